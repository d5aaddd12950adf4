"""What the tests of the lifecycle are told with: rows to begin from, the cluster's clock, races, and the story of a job."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.apps import apps
from django.db import connection as django_connection
from django.db import connections

from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.engine.database import connect
from scheduler_app.lifecycle import Claimed, Finished, SpecCache
from scheduler_app.models import Execution, Gap, Job, JobPlan, Node, Status, Trigger

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MISFIRE_AFTER_S = 5
DEADLINE_S = 60

_numbers = itertools.count(1)

Connection = psycopg.Connection[Any]


# --- The clock --------------------------------------------------------------------------------


class ClusterClock:
    """`scheduler_now()` for everyone who asks the test database; stands still until told to move."""

    def __init__(self) -> None:
        self.now = NOON
        self.set(NOON)

    def __call__(self) -> datetime:
        return self.now

    def set(self, moment: datetime) -> None:
        """From now on it is `moment`, earlier or later."""
        self.now = moment
        replace_clock(f"SELECT '{moment.isoformat()}'::timestamptz")

    def tick(self, seconds: float = 0, **more: float) -> None:
        """Move on by `seconds`, or by minutes=…, hours=…, days=…; back when negative."""
        self.set(self.now + timedelta(seconds=seconds, **more))


def replace_clock(body: str) -> None:
    """Give `scheduler_now()` another body; `SELECT statement_timestamp()` is its own."""
    with django_connection.cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION scheduler_now() RETURNS timestamptz "
            f"LANGUAGE sql STABLE PARALLEL SAFE AS $$ {body} $$"
        )


def after_noon(seconds: float) -> datetime:
    """So many seconds after noon; before it when negative."""
    return NOON + timedelta(seconds=seconds)


def empty_tables() -> None:
    """Forget all jobs, executions and nodes."""
    tables = [model._meta.db_table for model in apps.get_app_config("scheduler_app").get_models()]
    with django_connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)}")


# --- Rows to begin from -----------------------------------------------------------------------


def make_job(**fields: Any) -> Job:
    """A job that fires every second, unless told otherwise; its plan is not settled yet."""
    fields.setdefault("name", f"job {next(_numbers)}")
    fields.setdefault("schedule", "* * * * * *")
    job = Job(**fields)
    job.save()
    return job


def make_node(connection: Connection, **fields: Any) -> int:
    """The id of an active node."""
    fields.setdefault("name", f"node-{next(_numbers)}")
    values: dict[str, Any] = {"host": "here", "pid": 1, "release": "", "queues": (), "threads": 10}
    return lifecycle.register_node(connection, **(values | fields))


def make_execution(job: Job | None = None, **fields: Any) -> Execution:
    """A ready execution of a manual job, due at noon, unless told otherwise."""
    if job is None and "spec" not in fields:
        job = make_job(schedule="@manual", on_overlap="allow")
    values: dict[str, Any] = {
        "job": job,
        "revision": None if job is None else job.revisions.first(),
        "trigger": Trigger.MANUAL,
        "scheduled_for": NOON,
        "run_after": NOON,
        "queue": "default" if job is None else job.queue,
        "priority": 0 if job is None else job.priority,
    }
    return Execution.objects.create(**(values | fields))


def make_executions(count: int, **fields: Any) -> list[Execution]:
    """Ready executions of one job, a second apart."""
    job = fields.pop("job", None) or make_job(schedule="@manual", on_overlap="allow")
    revision = job.revisions.first()
    return Execution.objects.bulk_create(
        Execution(
            **(
                {
                    "job": job,
                    "revision": revision,
                    "trigger": Trigger.MANUAL,
                    "scheduled_for": NOON + timedelta(seconds=number),
                    "run_after": NOON,
                }
                | fields
            )
        )
        for number in range(count)
    )


# --- Steps of a node --------------------------------------------------------------------------


def settle(connection: Connection, specs: SpecCache | None = None) -> lifecycle.Fired:
    """Plan the edited jobs."""
    return lifecycle.settle_edited_jobs(
        connection, specs or SpecCache(), misfire_after_s=MISFIRE_AFTER_S
    )


def fire(connection: Connection, specs: SpecCache | None = None, **options: Any) -> lifecycle.Fired:
    """Fire what is due."""
    return lifecycle.fire_due_jobs(
        connection, specs or SpecCache(), **({"misfire_after_s": MISFIRE_AFTER_S} | options)
    )


def turn(connection: Connection) -> lifecycle.Fired:
    """What a node does first in every turn: settle, then fire."""
    return settle(connection) + fire(connection)


def claim(connection: Connection, node_id: int, limit: int = 100, **options: Any) -> list[Claimed]:
    """Take what is ready."""
    return lifecycle.claim(connection, SpecCache(), node_id=node_id, limit=limit, **options)


def outcome(claimed: Claimed, status: str = "succeeded", **fields: Any) -> Finished:
    """What an attempt came to: began when claimed, ended a second later, unless told otherwise."""
    values: dict[str, Any] = {
        "started_at": claimed.run_after,
        "finished_at": claimed.run_after + timedelta(seconds=1),
        "promotes": claimed.spec.limit is not None,
    }
    return Finished(
        id=claimed.id,
        token=claimed.token,
        attempt=claimed.attempt,
        job_id=claimed.job_id,
        status=status,
        **(values | fields),
    )


def failure(claimed: Claimed, *, retry_s: float | None = None, **fields: Any) -> Finished:
    """An attempt that raised, with its entry for the history."""
    values = {"reason": "raised", "error": "ValueError: no", "traceback": "Traceback …"}
    entry = f'{{"attempt": {claimed.attempt}, "reason": "raised", "error": "ValueError: no"}}'
    return outcome(claimed, "failed", retry_s=retry_s, failure=entry, **(values | fields))


def finish(connection: Connection, *outcomes: Finished) -> set[int]:
    """Record outcomes; the ids of those that are recorded."""
    return lifecycle.finish(connection, SpecCache(), outcomes).ids


def rescue(connection: Connection, **options: Any) -> lifecycle.Rescued:
    """Look for dead nodes, with a lease of 15 s."""
    return lifecycle.rescue(connection, **({"lease_s": 15, "max_crashes": 3} | options))


def bury(node_id: int) -> None:
    """The node died some time ago."""
    Node.objects.filter(pk=node_id).update(state="dead", finished_at=NOON)


def pause_impatiently(_: Connection) -> str:
    """Pause everything; `waits` where that would have to wait for somebody."""
    with django_connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        lifecycle.pause_scope("all", by="ann")
    except psycopg.errors.LockNotAvailable:
        return "waits"
    return "paused"


# --- What is seen -----------------------------------------------------------------------------


def story(job: Job) -> list[str]:
    """All verdicts of a job's fire times in order: `12:00:01 ready`, `12:00:02-12:00:04 overlap 3`."""
    verdicts = [
        (execution.scheduled_for, f"{execution.scheduled_for:%H:%M:%S} {words(execution)}")
        for execution in Execution.objects.filter(job_id=job.pk, trigger=Trigger.SCHEDULE)
    ]
    verdicts += [
        (gap.first_at, f"{gap.first_at:%H:%M:%S}-{gap.last_at:%H:%M:%S} {gap.reason} {gap.count}")
        for gap in Gap.objects.filter(job_id=job.pk)
    ]
    return [text for _, text in sorted(verdicts)]


def words(execution: Execution) -> str:
    """Status and reason of an execution: `blocked (paused)`."""
    return execution.status + (f" ({execution.reason})" if execution.reason else "")


def status_of(execution: Execution | Claimed | int) -> str:
    """The same, as it is in the database now."""
    pk = execution if isinstance(execution, int) else execution.id
    return words(Execution.objects.get(pk=pk))


def statuses(executions: Iterable[Execution | Claimed]) -> list[str]:
    """Those of several, in their order."""
    return [status_of(execution) for execution in executions]


def plan_of(job: Job) -> JobPlan:
    return JobPlan.objects.get(pk=job.pk)


def live_count() -> int:
    return Execution.objects.filter(status__in=[Status.READY, Status.RUNNING]).count()


# --- Races ------------------------------------------------------------------------------------


def overtaking(
    connection: Connection, statement: str, function: Callable[[Connection], Any], *, then: str = ""
) -> Any:
    """What the function returns that begins while the statement is done and not committed yet, and may wait for it.

    `then` is a statement that follows in the same transaction, once the function waits or is done.
    """
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute(statement)
            answer = pool.submit(together, function)
            deadline = time.monotonic() + DEADLINE_S
            while not answer.done() and not _somebody_waits_for(connection):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Neither an end nor a lock within {DEADLINE_S} s.")
                time.sleep(0.005)
            if then:
                connection.execute(then)
        return answer.result(DEADLINE_S)[0]


def _somebody_waits_for(connection: Connection) -> bool:
    waiting = connection.execute(
        "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    )
    return bool(waiting.rowcount)


def open_connection() -> Connection:
    """A connection as the engine opens them."""
    return connect(get_config(), "test")


def together(*functions: Callable[[Connection], Any]) -> list[Any]:
    """Run each function in a thread of its own, with a connection of its own, all from one start.

    Returns what they returned. Raises what one of them raised, or TimeoutError for one that does not come back.
    """
    barrier = threading.Barrier(len(functions), timeout=DEADLINE_S)
    answers: list[Any] = [None] * len(functions)
    errors: list[BaseException] = []

    def run(place: int, function: Callable[[Connection], Any]) -> None:
        try:
            with open_connection() as connection:
                barrier.wait()
                answers[place] = function(connection)
        except BaseException as error:
            errors.append(error)
            barrier.abort()
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=run, args=(place, function), daemon=True)
        for place, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        if thread.is_alive():
            raise TimeoutError(f"A function did not come back within {DEADLINE_S} s.")
    if errors:
        raise next(
            (e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0]
        )
    return answers
