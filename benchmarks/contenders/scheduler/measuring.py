"""What is measured within one process: the steps of a node on a database as it is, and enqueuing. Each prints JSON."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from django.db import connection as django_connection

from benchmarks.contenders.scheduler.tasks import start
from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.engine.database import connect
from scheduler_app.lifecycle import Finished, Run, SpecCache
from scheduler_app.models import Job

BATCH = 500
ROUNDS = 15
WARM_UPS = 6
"""By then all statements are prepared."""

DUE_SQL = """
UPDATE scheduler_app_jobplan
SET dirty = false, next_fire_at = date_trunc('second', scheduler_now()),
    decided_until = date_trunc('second', scheduler_now()) - interval '1 second'
WHERE job_id = ANY(%s)
"""


class Clock:
    """Seconds by the clock, and of CPU of this process and its database session together."""

    def __init__(self, backend: int) -> None:
        self._backend = backend
        self.wall: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), self._cpu_s()
        yield
        self.wall[what].append(time.perf_counter() - wall)
        self.cpu[what].append(self._cpu_s() - cpu)

    def _cpu_s(self) -> float:
        on_cpu_ns = int(Path(f"/proc/{self._backend}/schedstat").read_text().split()[0])
        return time.process_time() + on_cpu_ns / 1e9


def steps() -> None:
    """Milliseconds to fire, claim and finish 500 executions: medians, in the way that a node does it."""
    jobs = Job.objects.bulk_create(
        Job(
            name=f"step {number}",
            target=start.module_path,
            arguments=[number],
            schedule="* * * * * *",
            on_overlap="allow",
        )
        for number in range(BATCH)
    )
    ids = [job.pk for job in jobs]
    specs = SpecCache()
    with connect(get_config(), "measuring") as connection:
        node = lifecycle.register_node(
            connection, name="measuring", host="h", pid=1, release="", queues=(), threads=1
        )
        clock = Clock(connection.info.backend_pid)
        for number in range(WARM_UPS + ROUNDS):
            # A fire time of its own for each round.
            time.sleep(1 - time.time() % 1)
            connection.execute(DUE_SQL, [ids])
            if number == WARM_UPS:
                clock.wall.clear()
                clock.cpu.clear()
            with clock.timing("fire"):
                lifecycle.fire_due_jobs(connection, specs, misfire_after_s=5)
            with clock.timing("claim"):
                held = lifecycle.claim(connection, specs, node_id=node, limit=BATCH)
            outcomes = [_success(item) for item in held]
            with clock.timing("finish"):
                recorded = lifecycle.finish(connection, specs, outcomes)
            assert len(recorded.ids) == BATCH, "other executions are in the way"
        lifecycle.stop_node(connection, node)
    Job.objects.filter(pk__in=ids).update(enabled=False)
    found = {f"{what}_ms": median(times) * 1000 for what, times in clock.wall.items()}
    print(json.dumps(found | {f"{what}_cpu_ms": median(t) * 1000 for what, t in clock.cpu.items()}))


def _success(claimed: lifecycle.Claimed) -> Finished:
    return Finished(
        id=claimed.id,
        token=claimed.token,
        attempt=claimed.attempt,
        job_id=claimed.job_id,
        status="succeeded",
        started_at=claimed.run_after,
        finished_at=claimed.run_after,
        result="null",
    )


def enqueuing() -> None:
    """A second, in a process that does nothing else: runs and tasks one by one, and many by one call."""
    job = Job.objects.create(
        name="by hand", target=start.module_path, arguments=[0], on_overlap="allow"
    )
    calls: list[tuple[tuple[int], dict[str, Any]]] = [((number,), {}) for number in range(5000)]
    backend = start.get_backend()
    ways: dict[str, tuple[int, int, Callable[[], object]]] = {
        "run_now": (1, 600, lambda: lifecycle.run_now([job.pk], by="ann")),
        "enqueue": (1, 1500, lambda: start.enqueue(1)),
        "run_many": (1000, 10, lambda: lifecycle.run_many([Run(job.pk)] * 1000, by="ann")),
        "enqueue_many": (5000, 6, lambda: backend.enqueue_many(start, calls)),
    }
    django_connection.ensure_connection()
    session: psycopg.Connection[Any] = django_connection.connection
    found = {}
    for way, (weight, times, call) in ways.items():
        call()
        clock = Clock(session.info.backend_pid)
        with clock.timing(way):
            for _ in range(times):
                call()
        [wall], [cpu] = clock.wall[way], clock.cpu[way]
        found |= {
            f"{way}_per_s": weight * times / wall,
            f"{way}_cpu_ms_per_1000": cpu * 1e6 / (weight * times),
        }
    print(json.dumps(found))
