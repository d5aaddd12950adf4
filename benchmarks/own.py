"""What only this project is asked: how cost grows with what exists, and how it calls HTTP endpoints."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.cluster import Cluster
from benchmarks.contenders import ROOT, SCHEDULER
from benchmarks.starts import Start
from benchmarks.workloads import (
    LEAD_S,
    Figures,
    Stage,
    cpu_s,
    every_second,
    in_time,
    lateness,
    stage,
)

IDLE_S = 60
COUNTED_WITHIN_S = 12.0
"""A session of PostgreSQL that has nothing to do tells what it has done with this delay at most."""

IDLE_JOBS_SQL = """
INSERT INTO scheduler_app_job (
    name, description, tags, schedule, timezone, day_match, jitter_s, calendar_mode, on_closed, kind, target,
    arguments, queue, priority, on_misfire, on_overlap, max_attempts, retry_backoff_s, retry_factor, retry_cap_s,
    retry_jitter, timeout_s, guarantee, enabled, paused_by, pause_reason, provenance
)
SELECT
    'idle ' || number, '', '{}', '0 0 1 1 *', 'UTC', 'or', 0, 'avoid', 'skip', 'task',
    'benchmarks.contenders.scheduler.tasks.start', '[0]', 'default', 0, 'latest', 'skip', 1, 10, 2, 3600,
    0.1, 3600, 'at_least_once', true, '', '', 'code'
FROM generate_series(1, %s) AS number
"""

PLANNED_SQL = """
UPDATE scheduler_app_jobplan
SET dirty = false,
    next_fire_at = date_trunc('year', scheduler_now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '1 year',
    decided_until = scheduler_now()
"""

HISTORY_SQL = """
INSERT INTO scheduler_app_execution (
    job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status, token, attempt, node_id,
    created_at, claimed_at, started_at, finished_at, result
)
SELECT
    1 + number %% 1000, 1 + number %% 1000, 'schedule', moment, moment, 'default', 0, 'succeeded', 1, 1, 1,
    moment, moment, moment, moment, 'null'
FROM generate_series(1, %(count)s) AS number
CROSS JOIN LATERAL (
    SELECT scheduler_now() - make_interval(days => %(days)s) - make_interval(secs => number * 0.1) AS moment
) AS ended
ORDER BY moment   -- as it would have grown
"""

INDEXES_SQL = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid = 'scheduler_app_execution'::regclass AND NOT indisprimary
"""


def scale(cluster: Cluster, *, jobs: int) -> Figures:
    """Jobs that are not due: what a node costs beside them, and how late one job among them is."""
    with stage(SCHEDULER, cluster) as on:
        with cluster.connect() as connection:
            connection.execute(IDLE_JOBS_SQL, [jobs])
            # As a node would, which takes minutes for a million.
            connection.execute(PLANNED_SQL)
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
        began = time.monotonic()
        with cluster.without_autovacuum(), on.workers() as workers:
            on.wait_until(lambda: bool(cluster.number(_TICKED_SQL)))
            ready_s = time.monotonic() - began
            time.sleep(COUNTED_WITHIN_S)
            before, busy = cluster.cost(), cpu_s(workers)
            time.sleep(IDLE_S)
            cost, busy = cluster.cost() - before, cpu_s(workers) - busy
            memory = sum(process.memory_info().rss for process in workers)
            late = _one_among_them(on)
    return {
        "ready_s": ready_s,
        "memory_mb": memory / 2**20,
        "node_cpu_s_per_min": busy,
        "postgres_cpu_s_per_min": cost.postgres_cpu_s,
        # The two by which the cost is asked for are not the node's.
        "transactions_per_min": cost.transactions - 2,
        "one_p50_ms": late["p50_ms"],
        "one_p99_ms": late["p99_ms"],
    }


_TICKED_SQL = """
SELECT count(*) FROM scheduler_app_node
WHERE state = 'active' AND last_tick_at IS NOT NULL AND started_at > now() - interval '60 s'
"""


def _one_among_them(on: Stage) -> Figures:
    on.run("every_second", 1, 20)
    time.sleep(20)
    return lateness([start.at - start.fire_time for start in on.recorded()[2:]])


def growth(cluster: Cluster, *, finished: int, pruning: bool = False) -> Figures:
    """The steps of a node, then a thousand jobs every second, beside a history; `pruning`: while that is removed."""
    steps: Figures = {}

    def fill(on: Stage) -> None:
        fill_history(cluster, finished, days=30 if pruning else 1)
        if not pruning:
            steps.update(json.loads(on.run("steps")))

    figures = every_second(SCHEDULER, cluster, count=1000, seconds=30, prepare=fill)
    if pruning:
        figures["pruned"] = finished - cluster.number(_OLD_SQL)
    return figures | steps


_OLD_SQL = """
SELECT count(*) FROM scheduler_app_execution WHERE scheduled_for < scheduler_now() - interval '29 days'
"""


def fill_history(cluster: Cluster, count: int, *, days: int) -> None:
    """Executions that ended that many days ago and before, one every 0.1 s, of a thousand jobs."""
    with cluster.connect() as connection:
        with connection.transaction():
            # Ten times as fast as to grow all indexes with every row.
            indexes = connection.execute(INDEXES_SQL).fetchall()
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")  # type: ignore[arg-type]
            connection.execute(HISTORY_SQL, {"count": count, "days": days})
            for _, definition in indexes:
                connection.execute(str(definition))  # type: ignore[arg-type]
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def enqueue(cluster: Cluster) -> Figures:
    """Runs and tasks that a program asks for, one by one and many at once."""
    with stage(SCHEDULER, cluster) as on:
        return dict(json.loads(on.run("enqueuing")))


def http(cluster: Cluster, *, jobs: int, seconds: int) -> Figures:
    """Jobs that call a loopback server, which answers in 20 ms, every second; beside client and server alone."""
    with _server() as port:
        alone = _calls_alone(port, threads=50, seconds=5)
        with stage(SCHEDULER, cluster) as on:
            on.env["SCHEDULER_HTTP_ALLOWED_HOSTS"] = f"127.0.0.1:{port}"
            with on.workers(arguments=("--threads", "50")) as workers:
                on.run("http_every_second", jobs, port)
                begin = int(time.time()) + LEAD_S
                time.sleep(begin - time.time())
                busy = cpu_s(workers)
                time.sleep(seconds)
                busy = cpu_s(workers) - busy
                time.sleep(3)
            with cluster.connect() as connection:
                rows = connection.execute(
                    "SELECT job_id, extract(epoch FROM scheduled_for)::float8, extract(epoch FROM started_at)::float8"
                    " FROM scheduler_app_execution WHERE status = 'succeeded'"
                ).fetchall()
    found = [Start(*row) for row in rows]  # type: ignore[arg-type]
    return in_time(found, range(begin, begin + seconds), jobs) | {
        "alone_per_s": alone,
        "asked_per_s": float(jobs),
        "node_cpu_s_per_s": busy / seconds,
    }


@contextmanager
def _server() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.slow_server"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def _calls_alone(port: int, *, threads: int, seconds: int) -> float:
    """The guarded client in a process of its own, with as many threads as the node."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.calls", str(port), str(threads), str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
