"""The engine's statements use their indexes on a large database, whatever the planner's statistics say.

Each step of a node runs for real, in a transaction that is taken back. What it sends is planned and explained first,
with the planner settings of the engine's connections and as the generic plan that they ask for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as django_connection
from django.db import connections, transaction
from django.db.models import QuerySet
from psycopg import sql
from pytest_django.plugin import DjangoDbBlocker

from scheduler_app import lifecycle
from scheduler_app.lifecycle import HandBack, Keep, LogPart, SpecCache, TaskCall
from scheduler_app.models import Execution, Job, database_now

from .support import (
    MISFIRE_AFTER_S,
    Connection,
    claim,
    empty_tables,
    failure,
    make_node,
    open_connection,
    outcome,
)

# One process seeds, and all tests of this module go there.
pytestmark = pytest.mark.xdist_group("plans")

JOBS = 20_000
HISTORY = 200_000
DAY_S = 86_400
MOST_PAGES = 30_000
"""For a step, with what tests before it have left for VACUUM; to read the executions again for each of a hundred is more."""

SMALL = {
    # Read as a whole, and always a page or two.
    "scheduler_app_pause",
    "scheduler_app_node",
    "scheduler_app_tally",
    "scheduler_app_bulkoperation",
}

SEED_SQL = f"""
UPDATE scheduler_app_jobplan
SET dirty = false, next_fire_at = CASE WHEN job_id % 5 > 0 THEN scheduler_now() + interval '30 days' END;

INSERT INTO scheduler_app_node (name, host, pid, release, queues, threads, state, finished_at, heartbeat_at)
SELECT 'seeded-' || n, 'h', n, '', '{{}}', 10, CASE WHEN n <= 5 THEN 'active' ELSE 'stopped' END,
    CASE WHEN n > 5 THEN scheduler_now() END, scheduler_now() + interval '1 day'
FROM generate_series(1, 50) AS n;

-- A fire time every ten seconds for three weeks; half of all executions are those of one busy job.
INSERT INTO scheduler_app_execution
    (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status, node_id, token, attempt,
     started_at, finished_at)
SELECT
    plan.job_id, plan.revision_id, 'manual', moment, moment, 'default', 0,
    CASE WHEN n % 1000 = 0 THEN 'lost' WHEN n % 200 = 0 THEN 'cancelled' WHEN n % 50 = 0 THEN 'failed'
        ELSE 'succeeded' END,
    6 + n % 45, 1, 1, moment, moment
FROM generate_series(1, {HISTORY}) AS n
CROSS JOIN LATERAL (SELECT scheduler_now() - n * interval '10 seconds' AS moment) AS fired
JOIN (
    SELECT row_number() OVER (ORDER BY job_id) AS place, job_id, revision_id
    FROM scheduler_app_jobplan
) AS plan ON plan.place = CASE WHEN n % 2 = 0 THEN 1 ELSE n % {JOBS} + 1 END;

-- What is on the way: some run, some wait for their retry, for the limit of their job, or for the end of a pause.
INSERT INTO scheduler_app_execution
    (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status, reason, node_id, token, attempt)
SELECT
    job_id, revision_id, 'schedule', scheduler_now(), scheduler_now() + interval '1 hour', 'default', 0,
    (ARRAY['running', 'ready', 'blocked'])[1 + job_id % 3],
    CASE job_id % 3 WHEN 1 THEN 'raised' WHEN 2 THEN 'paused' ELSE '' END,
    CASE WHEN job_id % 3 = 0 THEN (SELECT min(id) + job_id % 5 FROM scheduler_app_node) END, 1, 1
FROM scheduler_app_jobplan
ORDER BY job_id DESC
LIMIT 300;

INSERT INTO scheduler_app_gap (job_id, first_at, last_at, count, reason)
SELECT job_id, moment, moment, 1, 'overlap'
FROM scheduler_app_jobplan
CROSS JOIN generate_series(1, 3) AS n
CROSS JOIN LATERAL (SELECT scheduler_now() - n * interval '1 hour' - job_id * interval '1 ms' AS moment) AS fired;

INSERT INTO scheduler_app_logchunk (execution_id, attempt, token, seq, text)
SELECT id, 1, 1, 0, 'done' FROM scheduler_app_execution WHERE id % 4 = 0;
"""

FORGET_SQL = """
DELETE FROM pg_statistic WHERE starelid::regclass::text LIKE 'scheduler\\_app\\_%';

UPDATE pg_class
SET relpages = 0, reltuples = -1
WHERE COALESCE((SELECT indrelid FROM pg_index WHERE indexrelid = pg_class.oid), oid)::regclass::text
    LIKE 'scheduler\\_app\\_%';
"""
"""A table of before, in which VACUUM saw pages and no row, would else count as empty for ever after."""


@pytest.fixture(scope="module")
def loaded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A large database that nobody has analysed."""
    with django_db_blocker.unblock():
        with django_connection.cursor() as cursor:
            for table in tables():
                # It would be analysed behind our back.
                cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            Job.objects.bulk_create(
                (Job(name=f"job {number}", schedule="* * * * * *") for number in range(JOBS)),
                batch_size=5000,
            )
            cursor.execute(SEED_SQL)
            cursor.execute(FORGET_SQL)
        yield
        empty_tables()
        with django_connection.cursor() as cursor:
            for table in tables():
                cursor.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")
            cursor.execute("ANALYZE")
        connections.close_all()


def tables() -> list[str]:
    return [
        name
        for name in django_connection.introspection.table_names()
        if name.startswith("scheduler_app_")
    ]


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def statistics(request: pytest.FixtureRequest, loaded: None, django_db_blocker: DjangoDbBlocker):
    """What the planner knows."""
    if request.param == "analysed":
        with django_db_blocker.unblock(), django_connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


@pytest.fixture
def transactional_db(loaded: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def connection(transactional_db: None) -> Iterator[Connection]:
    """A node's connection, in a transaction that is rolled back."""
    with open_connection() as opened, opened.transaction(force_rollback=True):
        yield opened


# --- What is seen of a plan ----------------------------------------------------------------------


@dataclass
class Seen:
    """What the plans of some statements did."""

    scans: list[str] = field(default_factory=list)
    """Tables that were read as a whole, or by a bitmap of unknown size."""
    indexes: set[str] = field(default_factory=set)
    rows: float = 0
    """Read from tables and indexes, those that a filter took away included."""
    pages: int = 0
    plans: list[str] = field(default_factory=list)

    def look_at(self, node: dict[str, Any]) -> None:
        table = node.get("Relation Name", "")
        kind = node["Node Type"]
        if "Index Name" in node:
            self.indexes.add(node["Index Name"])
        if table or "Index Name" in node:
            if kind in ("Seq Scan", "Bitmap Heap Scan") and table not in SMALL:
                self.scans.append(table)
            if kind != "ModifyTable" and table not in SMALL:
                self.rows += node["Actual Loops"] * (
                    node["Actual Rows"]
                    + node.get("Rows Removed by Filter", 0)
                    + node.get("Rows Removed by Index Recheck", 0)
                )
        for child in node.get("Plans", ()):
            self.look_at(child)


class Explaining:
    """A node's connection that explains what it is asked, then does it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.seen = Seen()

    def execute(self, statement: str, params: Any = None, **options: Any) -> Any:
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
            self._explain(statement, params)
        return self._connection.execute(statement, params, **options)

    def transaction(self) -> AbstractContextManager[Any]:
        return self._connection.transaction()

    def pipeline(self) -> AbstractContextManager[None]:
        """None: to explain a statement needs the answer to the one before."""
        return nullcontext()

    def _explain(self, statement: str, params: Any) -> None:
        text, values = numbered(statement, params)
        arguments = sql.SQL(", ").join(map(sql.Literal, values))
        call = sql.SQL("one({})").format(arguments) if values else sql.SQL("one")
        connection = self._connection
        with connection.transaction(force_rollback=True):
            # As psycopg: what has no type of its own on the wire gets that of its place.
            types = ["interval" if isinstance(value, timedelta) else "unknown" for value in values]
            head = f"one({', '.join(types)})" if types else "one"
            connection.execute(f"PREPARE {head} AS {text}")
            explain = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT JSON) EXECUTE {}")
            [[[found]]] = connection.execute(explain.format(call)).fetchall()
            connection.execute("DEALLOCATE one")
        plan = found["Plan"]
        self.seen.look_at(plan)
        self.seen.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.seen.plans.append(f"{text}\n{outline(plan)}")


def numbered(statement: str, params: Any) -> tuple[str, Sequence[Any]]:
    """The statement with $1, $2, … as a server wants them, and their values."""
    names: list[str] = []

    def place(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        name = match[1] or str(len(names))
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    if params is None:
        return statement, []
    text = re.sub(r"%%|%\((\w+)\)s|%s", place, statement)
    return text, [params[name] if isinstance(params, dict) else params[int(name)] for name in names]


def outline(node: dict[str, Any], depth: int = 0) -> str:
    """A plan for people: what was read by what, and how many rows."""
    words = [
        node["Node Type"],
        node.get("Index Name") or node.get("Relation Name", ""),
        f"rows={node['Actual Rows']} loops={node['Actual Loops']}",
        f"filtered={node['Rows Removed by Filter']}" if "Rows Removed by Filter" in node else "",
        f"pages={node['Shared Hit Blocks'] + node['Shared Read Blocks']}",
    ]
    lines = ["  " * depth + " ".join(filter(None, words))]
    return "\n".join(lines + [outline(child, depth + 1) for child in node.get("Plans", ())])


# --- The steps of a node -------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One thing that a node does, what it needs, and what it may read."""

    prepare: Callable[[Connection], Any]
    """Returns what `act` is given."""
    act: Callable[[Any, Any], Any]
    indexes: frozenset[str] | set[str]
    """Of those that scans use, the ones that they must."""
    rows: int


def nothing(connection: Connection) -> None:
    pass


def busy_queue(connection: Connection) -> int:
    """Twenty thousand became ready since the planner last looked; the node that is to take them."""
    connection.execute(
        """
        INSERT INTO scheduler_app_execution
            (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status)
        SELECT job_id, revision_id, 'manual', scheduler_now(), scheduler_now() - job_id * interval '1 second',
            'default', job_id % 7, 'ready'
        FROM scheduler_app_jobplan
        """
    )
    return make_node(connection)


def much_waits(connection: Connection) -> int:
    """Twenty thousand are held back by pauses, and nothing is ready; a node."""
    connection.execute(
        """
        INSERT INTO scheduler_app_execution
            (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status, reason)
        SELECT job_id, revision_id, 'manual', scheduler_now(), scheduler_now(), 'default', 0, 'blocked', 'paused'
        FROM scheduler_app_jobplan
        """
    )
    return make_node(connection)


def held(connection: Connection) -> list[lifecycle.Claimed]:
    """A hundred executions that a node has taken."""
    return claim(connection, busy_queue(connection), limit=100)


def a_busy_node(connection: Connection) -> int:
    return held(connection) and last_node(connection)


def due(connection: Connection) -> None:
    """A hundred jobs."""
    connection.execute(
        """
        UPDATE scheduler_app_jobplan
        SET next_fire_at = date_trunc('second', scheduler_now()),
            decided_until = date_trunc('second', scheduler_now()) - interval '1 second'
        WHERE job_id IN (SELECT job_id FROM scheduler_app_jobplan ORDER BY job_id LIMIT 100)
        """
    )


def edited(connection: Connection) -> None:
    """A hundred jobs."""
    connection.execute(
        """
        UPDATE scheduler_app_job SET queue = 'x'
        WHERE id IN (SELECT id FROM scheduler_app_job ORDER BY id DESC LIMIT 100)
        """
    )


def orphaned(connection: Connection) -> None:
    """A hundred executions of a node that fell silent."""
    held(connection)
    connection.execute(
        """
        UPDATE scheduler_app_node SET heartbeat_at = scheduler_now() - interval '1 minute'
        WHERE id = (SELECT max(id) FROM scheduler_app_node)
        """
    )


def waiting(connection: Connection) -> None:
    """A hundred jobs, each with ten executions that wait for its limit."""
    connection.execute(
        """
        INSERT INTO scheduler_app_execution
            (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status)
        SELECT job_id, revision_id, 'manual', scheduler_now() + n * interval '1 second', scheduler_now(),
            'default', 0, 'blocked'
        FROM (SELECT * FROM scheduler_app_jobplan ORDER BY job_id LIMIT 100) AS plan, generate_series(1, 10) AS n
        """
    )


def much_of_the_past_waits(connection: Connection) -> None:
    """As `waiting`; of the first job also five backfills of two thousand each."""
    waiting(connection)
    connection.execute(
        """
        INSERT INTO scheduler_app_backfill (id, job_id, since, until, only_missing, max_running, count)
        SELECT gen_random_uuid(), (SELECT min(job_id) FROM scheduler_app_jobplan), scheduler_now(), scheduler_now(),
            false, 1, 2000
        FROM generate_series(1, 5);

        INSERT INTO scheduler_app_execution
            (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status, backfill)
        SELECT job_id, revision_id, 'backfill', scheduler_now() - n * interval '1 minute', scheduler_now(),
            'default', 0, 'blocked', request.id
        FROM scheduler_app_jobplan
        JOIN scheduler_app_backfill AS request USING (job_id), generate_series(1, 2000) AS n
        """
    )


def held_and_waited_for(connection: Connection) -> list[lifecycle.Claimed]:
    """One execution each of the same hundred jobs, that a node has taken."""
    waiting(connection)
    connection.execute(
        """
        INSERT INTO scheduler_app_execution
            (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status)
        SELECT job_id, revision_id, 'manual', scheduler_now(), scheduler_now() - interval '1 hour', 'default', 100,
            'ready'
        FROM (SELECT * FROM scheduler_app_jobplan ORDER BY job_id LIMIT 100) AS plan
        """
    )
    return claim(connection, make_node(connection), limit=100)


def pauses_over(connection: Connection) -> None:
    """Ten jobs."""
    connection.execute(
        """
        UPDATE scheduler_app_job
        SET paused_at = scheduler_now() - interval '1 hour', paused_until = scheduler_now() - interval '1 second'
        WHERE id IN (SELECT id FROM scheduler_app_job ORDER BY id LIMIT 10)
        """
    )


def keepers(connection: Connection) -> None:
    """Ten jobs that say themselves what is kept; the first has half of all executions."""
    connection.execute(
        """
        UPDATE scheduler_app_job SET keep_days = 22, keep_last = 300
        WHERE id IN (SELECT id FROM scheduler_app_job ORDER BY id LIMIT 10)
        """
    )


def fire(connection: Any, _: None) -> None:
    fired = lifecycle.fire_due_jobs(connection, SpecCache(), misfire_after_s=MISFIRE_AFTER_S)
    assert fired.jobs == 100


def settle(connection: Any, _: None) -> None:
    settled = lifecycle.settle_edited_jobs(connection, SpecCache(), misfire_after_s=MISFIRE_AFTER_S)
    assert settled.jobs == 100


def take(connection: Any, node: int) -> None:
    taken = lifecycle.claim(connection, SpecCache(), node_id=node, limit=100)
    assert len(taken) == 100


def record(connection: Any, items: list[lifecycle.Claimed]) -> None:
    """Half of them succeed, half are tried again; all have printed something, and let others go."""
    outcomes = [
        outcome(item, log=(LogPart(item.id, item.token, 1, 0, "x"),), promotes=True)
        for item in items[:50]
    ] + [failure(item, retry_s=60) for item in items[50:]]
    assert len(lifecycle.finish(connection, SpecCache(), outcomes).ids) == 100


def record_before_others(connection: Any, items: list[lifecycle.Claimed]) -> None:
    """All have a limit, which ten more of their job wait for."""
    outcomes = [outcome(item, promotes=False, limited=True) for item in items]
    recorded = lifecycle.finish(connection, SpecCache(), outcomes)
    assert len(recorded.followed) == 100
    assert lifecycle.promote(connection, SpecCache(), recorded.followed) == 100


def record_again(connection: Any, items: list[lifecycle.Claimed]) -> None:
    """The answer to the first try was lost."""
    outcomes = [outcome(item) for item in items]
    lifecycle.finish(connection, SpecCache(), outcomes)
    assert len(lifecycle.finish(connection, SpecCache(), outcomes).ids) == 100


def show_progress(connection: Any, items: list[lifecycle.Claimed]) -> None:
    lifecycle.record_progress(
        connection,
        [(item.id, item.token, database_now()) for item in items],
        [LogPart(item.id, item.token, 1, 0, "x") for item in items],
    )


def give_back(connection: Any, items: list[lifecycle.Claimed]) -> None:
    given = [HandBack(item.id, item.token) for item in items]
    assert len(lifecycle.hand_back(connection, given)) == 100


def rescue(connection: Any, _: None) -> None:
    assert lifecycle.rescue(connection, lease_s=15, max_crashes=3).ready == 100


def promote(connection: Any, _: None) -> None:
    assert lifecycle.promote_blocked(connection, SpecCache()) == 100


def promote_first_job(connection: Any, _: None) -> None:
    assert lifecycle.promote(connection, SpecCache(), [first_job().pk]) == 1


def prune(keep: Keep) -> Callable[[Any, None], None]:
    def step(connection: Any, _: None) -> None:
        removed = lifecycle.prune(connection, keep, limit=200)
        assert removed and (removed.executions or removed.logs)

    return step


PRIMARY = "scheduler_app_execution_pkey"
PLAN = "scheduler_app_jobplan_pkey"
JOB = "scheduler_app_job_pkey"
REVISION = "scheduler_app_jobrevision_pkey"
LOGS = "one_log_chunk_per_place"

STEPS = {
    "look ahead": Step(
        busy_queue,
        lambda connection, _: lifecycle.look_ahead(connection, ["default"]),
        {"plan_next_fire_at", "plan_dirty", "execution_ready"},
        rows=5,
    ),
    "look ahead past what waits": Step(
        much_waits,
        lambda connection, _: lifecycle.look_ahead(connection),
        {"execution_ready"},
        rows=120,
    ),
    "look round": Step(
        busy_queue,
        lambda connection, node: lifecycle.look_round(connection, node_id=node, lease_s=15),
        {
            *("plan_next_fire_at", "plan_dirty", "execution_ready", "execution_running"),
            *("execution_blocked", "job_pause_ends"),
        },
        rows=500,
    ),
    "fire": Step(
        due,
        fire,
        {"plan_next_fire_at", PLAN, REVISION, "execution_live"},
        rows=2000,
    ),
    "settle": Step(
        edited,
        settle,
        {"plan_dirty", PLAN, REVISION, "execution_live", "one_revision_per_version"},
        rows=2000,
    ),
    "claim": Step(busy_queue, take, {"execution_ready", PRIMARY, REVISION}, rows=1000),
    "held back": Step(
        held,
        lambda connection, items: lifecycle.held_back(connection, [item.id for item in items]),
        {PRIMARY, JOB},
        rows=500,
    ),
    "held by": Step(
        a_busy_node,
        lifecycle.held_by,
        {"execution_running"},
        rows=200,
    ),
    "finish": Step(held, record, {PRIMARY, PLAN, JOB, "execution_live"}, rows=2000),
    "finish before others": Step(
        held_and_waited_for,
        record_before_others,
        {PRIMARY, PLAN, "execution_blocked", "execution_live"},
        rows=6000,
    ),
    "finish again": Step(held, record_again, {PRIMARY}, rows=2000),
    "progress": Step(held, show_progress, {PRIMARY}, rows=500),
    "hand back": Step(held, give_back, {PRIMARY, PLAN, JOB}, rows=1000),
    "rescue": Step(
        orphaned, rescue, {"execution_running", PRIMARY, PLAN, JOB, REVISION}, rows=2000
    ),
    "promote": Step(
        waiting,
        promote,
        {"execution_blocked", "execution_live", PLAN, PRIMARY},
        rows=5000,
    ),
    "promote past what waits": Step(
        much_of_the_past_waits,
        promote_first_job,
        {"execution_blocked", "execution_live", PLAN, PRIMARY},
        rows=100,
    ),
    "end pauses": Step(
        pauses_over,
        lambda connection, _: lifecycle.resume_expired(connection),
        {"job_pause_ends"},
        rows=50,
    ),
    "heartbeat": Step(
        make_node,
        lambda connection, node: lifecycle.heartbeat(connection, node, lifecycle.Condition()),
        set(),
        rows=5,
    ),
    "prune": Step(
        nothing,
        prune(Keep(age_s=20 * DAY_S, audit_age_s=DAY_S, log_age_s=10 * DAY_S)),
        {
            *("execution_newest", PRIMARY, LOGS, "gap_oldest", "job_deleted", "audit_newest"),
            *("job_keeps_by_itself", "idempotencykey_oldest", "throttle_oldest"),
        },
        rows=5000,
    ),
    "prune by number": Step(
        nothing,
        prune(Keep(age_s=100 * DAY_S, audit_age_s=DAY_S, count=1000)),
        {"execution_newest", "gap_oldest", PRIMARY, LOGS},
        rows=6000,
    ),
    "prune by job": Step(
        keepers,
        prune(Keep(age_s=100 * DAY_S, audit_age_s=DAY_S)),
        {"job_keeps_by_itself", "execution_newest_of_job", PRIMARY, LOGS},
        rows=5000,
    ),
}


def last_node(connection: Connection) -> int:
    [[node]] = connection.execute("SELECT max(id) FROM scheduler_app_node").fetchall()
    return int(node)


def run(step: Step, connection: Connection) -> Seen:
    given = step.prepare(connection)
    explaining = Explaining(connection)
    step.act(explaining, given)
    return explaining.seen


@pytest.mark.parametrize("name", STEPS)
def test_a_step_reads_what_it_needs_by_its_indexes(name, statistics, connection):
    step = STEPS[name]
    seen = run(step, connection)
    plans = "\n".join(seen.plans)

    assert not seen.scans, plans
    assert step.indexes <= seen.indexes, plans
    assert seen.rows <= step.rows, plans
    assert seen.pages <= MOST_PAGES, plans


# --- The verbs of people -------------------------------------------------------------------------


def first_job() -> Job:
    """The one that has half of all executions behind it."""
    return Job.objects.order_by("id")[0]


def paused_job() -> Job:
    """The same, as if it had been paused for an hour, in which it ran 180 times."""
    job = first_job()
    job.paused_at = job.updated_at = database_now() - timedelta(hours=1)
    return job


def enqueue(_: Job) -> None:
    lifecycle.enqueue([TaskCall(target="tests.testapp.tasks.echo", arguments=[1])] * 100)


def edit(job: Job) -> None:
    job.priority = 5
    lifecycle.save_job(job, by="ann")


def some(executions: QuerySet[Execution]) -> list[int]:
    return list(executions.order_by("-id").values_list("id", flat=True)[:20])


VERBS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], int]] = {
    "run now": (first_job, lambda job: lifecycle.run_now([job.pk], by="ann"), 200),
    "enqueue": (first_job, enqueue, 0),
    "pause": (first_job, lambda job: lifecycle.pause([job.pk], by="ann"), 100),
    "ask what a pause held back": (
        paused_job,
        lambda job: lifecycle.missed_while_paused([job], now=database_now()),
        400,
    ),
    "delete": (first_job, lambda job: lifecycle.delete_jobs([job.pk], by="ann"), 100),
    "edit": (first_job, edit, 100),
    "cancel": (
        lambda: some(Execution.objects.live()),
        lambda ids: lifecycle.cancel(ids, by="ann"),
        300,
    ),
    "retry": (
        lambda: some(Execution.objects.unsuccessful()),
        lambda ids: lifecycle.retry(ids, by="ann"),
        300,
    ),
}


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_reads_what_it_is_about(name, statistics, transactional_db):
    """With the planner's own choice: people's connections have no settings of ours."""
    choose, verb, rows = VERBS[name]
    given = choose()
    # Past the point at which those are prepared that programs repeat.
    times = 8 if name in ("run now", "enqueue") else 1
    with transaction.atomic(), django_connection.cursor() as cursor:
        for _ in range(times):
            before = rows_read(cursor)
            verb(given)
            touched = rows_read(cursor) - before
            assert touched <= rows
        transaction.set_rollback(True)


def rows_read(cursor: Any) -> int:
    """How many rows of the scheduler's tables this transaction has read so far, in whatever way."""
    cursor.execute(
        """
        SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
        FROM pg_stat_xact_user_tables
        WHERE relname LIKE 'scheduler_app_%'
        """
    )
    return int(cursor.fetchone()[0] or 0)
