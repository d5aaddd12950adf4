"""Trouble with the database and on the way to it: F4 to F9, F20 to F23."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from .catalogue import fault, no_exits, no_reruns_and_no_exits, some_rescues
from .cluster import LEASE_S, X_S, Stage
from .plan import Wanted, work
from .sizes import Sizes
from .web import Web

# --- F4: the database goes away -----------------------------------------------------------------


@fault(
    "F4",
    "PostgreSQL restarts, and is away for long; a node starts meanwhile",
    quick_s=40,
    long_s=600,
    expect=no_reruns_and_no_exits,
    seconds={"recovery_s": 3.0},
)
def database_away(stage: Stage, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        with stage.database_away():
            pass
        time.sleep(seconds / 8)
        with stage.database_away():
            if "late" not in stage.nodes:
                stage.add_node("late", {}).start()
            time.sleep(min(20.0, seconds / 2))
        if time.monotonic() + seconds / 2 > end:
            return
        time.sleep(seconds / 8)


# --- F6: connections end ------------------------------------------------------------------------

TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE %s
"""


@fault(
    "F6",
    "every connection is ended by the server, again and again, also in a job's own transaction",
    quick_s=40,
    long_s=600,
    expect=no_reruns_and_no_exits,
    seconds={"late_p99_s": 2.0},
    more_jobs=(
        Wanted(
            "in a transaction",
            "*/2 * * * * *",
            {
                "target": "tests.faults.jobs.tasks.in_transaction",
                "arguments": {"seconds": 0.4},
                "on_overlap": "allow",
            },
            may_fail=True,
        ),
    ),
)
def terminate(stage: Stage, seconds: float) -> None:
    for left in stage.during(seconds, 0.4, 0.6):
        # First all of them, then only what listens.
        stage.sql(TERMINATE, "%" if left > seconds / 3 else "scheduler listener")


# --- F5: the server crashes, and commits whose answer is lost ------------------------------------


@fault(
    "F5",
    "PostgreSQL crashes; commits are done and their answers lost; the API acknowledges meanwhile",
    quick_s=40,
    long_s=900,
    expect=no_reruns_and_no_exits,
    seconds={"recovery_s": 3.0},
    more_jobs=(Wanted("by hand", "@manual", work(0.2, on_overlap="allow")),),
)
def crash(stage: Stage, seconds: float) -> None:
    over = threading.Event()
    with Web(stage) as web:
        asking = threading.Thread(target=_ask_for_runs, args=(stage, web, over))
        asking.start()
        for number, _ in enumerate(stage.during(seconds, 1.5, 2.5)):
            if number % 3 == 2:
                with stage.database_away("immediate"):
                    pass
                continue
            for proxy in stage.proxies.values():
                proxy.lose_commits(2)
        for proxy in stage.proxies.values():
            proxy.lose_commits(0)
        over.set()
        asking.join()
    lost = sum(proxy.lost_commits for proxy in stage.proxies.values())
    stage.ledger.note(
        f"{lost} commits were done and not told, {len(stage.acknowledged)} runs acknowledged"
    )
    if not lost or not stage.acknowledged:
        stage.problems.append(
            f"{lost} answers of commits were lost and {len(stage.acknowledged)} runs acknowledged, "
            "so this proves nothing"
        )


def _ask_for_runs(stage: Stage, web: Web, over: threading.Event) -> None:
    """Run a job by hand a few times a second; what the API says yes to must be there at the end."""
    while not over.wait(0.2):
        with suppress(OSError):
            answer = web.post(f"/jobs/{stage.ids['by hand']}/run")
            if answer.status == 202:
                stage.acknowledged.append(answer.json["id"])


# --- F7: nobody hears -----------------------------------------------------------------------------


@fault(
    "F7",
    "notifications are swallowed on their way; work by hand is found by polling",
    quick_s=30,
    long_s=300,
    expect=no_reruns_and_no_exits,
    seconds={"late_p99_s": 1.0, "late_max_s": 2.0},
    more_jobs=(Wanted("by hand", "@manual", work(0.1, on_overlap="allow")),),
)
def deaf(stage: Stage, seconds: float) -> None:
    for proxy in stage.proxies.values():
        proxy.deafen("scheduler listener")
    slowest = 0.0
    with stage.ledger.band("deaf", unable=False):
        for _ in stage.during(seconds, 1.0, 2.0):
            asked = time.monotonic()
            id_ = run_by_hand(stage, "by hand")
            stage.wait(
                lambda id_=id_: stage.number(
                    "SELECT count(*) FROM scheduler_app_execution WHERE id = %s AND status = 'succeeded'",
                    id_,
                ),
                "a run by hand",
            )
            slowest = max(slowest, time.monotonic() - asked)
    for proxy in stage.proxies.values():
        proxy.deafen()
        proxy.cut()
    stage.ledger.note(f"the slowest run by hand took {slowest:.1f} s without notifications")


@fault(
    "F7P",
    "PgBouncer in transaction mode stands between, and cuts its connections now and then",
    quick_s=30,
    long_s=300,
    expect=no_reruns_and_no_exits,
    pooled=True,
    settings={"SCHEDULER_POOLED": "1"},
    seconds={"late_p99_s": 2.0},
)
def pooled(stage: Stage, seconds: float) -> None:
    for number, _ in enumerate(stage.during(seconds, 2.0, 3.0)):
        if number % 4 == 3:
            # Those between PgBouncer and the server; it opens others.
            stage.sql(TERMINATE, "%")


def run_by_hand(
    stage: Stage, name: str, count: int = 1, *, spec: dict[str, object] | None = None
) -> int:
    """Executions of a job by plain SQL, ready to be claimed; the id of the last."""
    rows = stage.sql(
        """
        INSERT INTO scheduler_app_execution
            (job_id, revision_id, spec, trigger, scheduled_for, run_after, queue, priority, status)
        SELECT job.id, revision.id, %s::text::jsonb, 'manual', scheduler_now(), scheduler_now(), job.queue, job.priority, 'ready'
        FROM scheduler_app_job AS job
        JOIN scheduler_app_jobrevision AS revision
          ON revision.job_id = job.id AND revision.version = job.version
        CROSS JOIN generate_series(1, %s)
        WHERE job.id = %s
        RETURNING id
        """,
        None if spec is None else json.dumps(spec),
        count,
        stage.ids[name],
    )
    return int(rows[-1][0])


# --- F8: the network is cut -----------------------------------------------------------------------


@fault(
    "F8",
    "the network is cut: for all nodes, for one, for all but one",
    quick_s=40,
    long_s=600,
    expect=some_rescues,
    seconds={"rescue_max_s": LEASE_S + X_S},
)
def cut(stage: Stage, seconds: float) -> None:
    longer_than_the_lease = LEASE_S + 2.0
    end = time.monotonic() + seconds
    while True:
        with stage.cut_off():
            time.sleep(0.3)
        time.sleep(2.0)
        with stage.cut_off():
            time.sleep(longer_than_the_lease)
        time.sleep(4.0)
        with stage.cut_off(stage.node_amid_long_run()):
            time.sleep(longer_than_the_lease + X_S)
        stage.wait_all_active()
        keepers = list(stage.nodes.values())
        with stage.cut_off(*keepers[1:]):
            time.sleep(longer_than_the_lease)
        if time.monotonic() > end:
            return
        stage.wait_all_active()


# --- F9: the network, or a backend, stands still ----------------------------------------------------


@fault(
    "F9",
    "a node's network swallows everything for longer than the lease; a backend of the server freezes",
    quick_s=40,
    long_s=600,
    expect=some_rescues,
    seconds={"rescue_max_s": LEASE_S + X_S},
)
def stall(stage: Stage, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        with stage.cut_off(stage.node_amid_long_run(), kind="stalled"):
            time.sleep(15.0)
        stage.wait_all_active()
        with frozen_backend(stage):
            time.sleep(12.0)
        if time.monotonic() > end:
            return
        time.sleep(2.0)


@contextmanager
def frozen_backend(stage: Stage) -> Iterator[None]:
    """The server's process behind some node's loop stands still; the node's heartbeat goes on."""
    # Frozen with a lock in its hands it would hold up others too, so one that waits for its node is taken.
    [pid] = stage.sql(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' "
        "AND application_name = 'scheduler scheduler' ORDER BY random() LIMIT 1"
    )[0]
    with stage.ledger.band("a backend frozen", unable=False):
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


# --- F20: the server says no ------------------------------------------------------------------------

DISK_FULL = """
CREATE FUNCTION drill_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER drill_full BEFORE INSERT ON scheduler_app_execution EXECUTE FUNCTION drill_full();
"""
DISK_FREE = "DROP TRIGGER drill_full ON scheduler_app_execution; DROP FUNCTION drill_full();"


@fault(
    "F20",
    "the disk is full, the server read-only, a table missing",
    quick_s=30,
    long_s=90,
    expect=no_reruns_and_no_exits,
    seconds={"recovery_s": 3.0},
)
def refused(stage: Stage, seconds: float) -> None:
    for begin, end in (
        (DISK_FULL, DISK_FREE),
        (
            f"ALTER DATABASE {stage.database} SET default_transaction_read_only = on",
            f"ALTER DATABASE {stage.database} RESET default_transaction_read_only",
        ),
        (
            "ALTER TABLE scheduler_app_gap RENAME TO scheduler_app_gap_away",
            "ALTER TABLE scheduler_app_gap_away RENAME TO scheduler_app_gap",
        ),
    ):
        with stage.ledger.band(begin.strip().split("\n")[0][:40]):
            stage.sql(begin)
            if "read_only" in begin:
                stage.sql(TERMINATE, "scheduler %")
            time.sleep(seconds / 3)
            # The drill's own connection was there before and may write.
            stage.sql(end)
            if "read_only" in begin:
                stage.sql(TERMINATE, "scheduler %")
        time.sleep(4.0)


# --- F21: the database is slow ----------------------------------------------------------------------


@fault(
    "F21",
    "the database is slow: a long way to it, a lock on the hot table, an update that sleeps",
    quick_s=40,
    long_s=300,
    expect=no_reruns_and_no_exits,
)
def slow(stage: Stage, seconds: float) -> None:
    # A turn of many round trips takes seconds, so fire times may count as missed; nothing may be taken from anybody.
    with stage.ledger.band("300 ms each way"):
        for proxy in stage.proxies.values():
            proxy.delay(0.3)
        time.sleep(seconds / 3)
        for proxy in stage.proxies.values():
            proxy.delay(0)
    time.sleep(3.0)
    with (
        stage.ledger.band("hot table locked"),
        stage.cluster.connect(stage.database) as other,
        other.transaction(),
    ):
        other.execute("LOCK TABLE scheduler_app_execution IN ACCESS EXCLUSIVE MODE")
        time.sleep(min(10.0, seconds / 3))
    time.sleep(3.0)
    with stage.ledger.band("updates sleep"):
        stage.sql(
            "CREATE FUNCTION drill_sleep() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;"
        )
        stage.sql(
            "CREATE TRIGGER drill_sleep AFTER UPDATE ON scheduler_app_execution EXECUTE FUNCTION drill_sleep()"
        )
        time.sleep(seconds / 3)
        stage.sql("DROP TRIGGER drill_sleep ON scheduler_app_execution")


# --- F22: an old snapshot ---------------------------------------------------------------------------

CLAIM_TIMES = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM claimed.at - made.at))
FROM drill_change AS made
JOIN drill_change AS claimed ON claimed.execution_id = made.execution_id AND claimed.new_token = 1
  AND claimed.new_status = 'running'
WHERE made.old_status IS NULL
  AND made.at BETWEEN to_timestamp(%s) AND to_timestamp(%s)
"""


def _crowd(number: int) -> Wanted:
    return Wanted(f"one of many {number}", "* * * * * *", work(on_overlap="allow"))


@fault(
    "F22",
    "a transaction holds an old snapshot while fifty jobs fire every second",
    quick_s=120,
    long_s=1800,
    expect=no_reruns_and_no_exits,
    more_jobs=tuple(_crowd(number) for number in range(50)),
    only_more=True,
)
def rot(stage: Stage, seconds: float) -> None:
    sizes = Sizes(stage)
    began = time.time()
    with (
        stage.ledger.band("old snapshot", unable=False),
        stage.cluster.connect(stage.database) as other,
        other.transaction(),
    ):
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM scheduler_app_execution")
        time.sleep(seconds)
    ended = time.time()
    part = (ended - began) / 5
    [[first]] = stage.sql(CLAIM_TIMES, began, began + part)
    [[last]] = stage.sql(CLAIM_TIMES, ended - part, ended)
    stage.ledger.note(
        f"from made to claimed, median: {first * 1000:.0f} ms, at the end {last * 1000:.0f} ms"
    )
    sizes.compare(f"{seconds:.0f} s of fifty jobs a second")
    # The tick of one turn is noise; three times as slow and more than that is not.
    if last > 3 * first + 0.05:
        stage.problems.append(
            f"claims took {first:.3f} s at the beginning and {last:.3f} s at the end"
        )


# --- F23: no connection left ------------------------------------------------------------------------


@fault(
    "F23",
    "others take every connection that the server has",
    quick_s=30,
    long_s=120,
    expect=no_exits,
    seconds={"recovery_s": 4.0},
)
def starve(stage: Stage, seconds: float) -> None:
    taken: list[psycopg.Connection[object]] = []
    with stage.ledger.band("no connection left"):
        try:
            _take_all(stage, taken)
            stage.sql(TERMINATE, "scheduler %")
            end = time.monotonic() + seconds / 2
            while time.monotonic() < end:
                _take_all(stage, taken)
                time.sleep(0.1)
        finally:
            for connection in taken:
                connection.close()


def _take_all(stage: Stage, taken: list[psycopg.Connection[object]]) -> None:
    with suppress(psycopg.OperationalError):
        while len(taken) < 400:
            taken.append(stage.cluster.connect("postgres"))
