"""What the database itself must do: migrations both ways, and statements whose cost does not grow with what exists.

The plans are not read but their work is counted: how many rows the statements touched. Proves DESIGN's budgets for
idle jobs and old history.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection as django_connection
from django.db import connections, transaction
from django.db.migrations.executor import MigrationExecutor
from pytest_django.plugin import DjangoDbBlocker

from scheduler_app import lifecycle
from scheduler_app.lifecycle import HandBack, SpecCache
from scheduler_app.models import Execution, Job, JobPlan
from tests.wire import sent_by

from .support import (
    Connection,
    claim,
    empty_tables,
    failure,
    finish,
    fire,
    make_node,
    open_connection,
    outcome,
    rescue,
    settle,
)

JOBS = 2_000
HISTORY = 20_000
READY = 2_000

SEED_SQL = f"""
UPDATE scheduler_app_jobplan SET dirty = false, next_fire_at = scheduler_now() + interval '30 days';

INSERT INTO scheduler_app_execution
    (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status, finished_at)
SELECT
    plan.job_id, plan.revision_id, 'manual', scheduler_now() - n * interval '1 minute',
    scheduler_now() - n * interval '1 minute', 'default', 0,
    CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, scheduler_now() - n * interval '1 minute'
FROM generate_series(1, {HISTORY}) AS n
JOIN (
    SELECT row_number() OVER (ORDER BY job_id) AS place, job_id, revision_id
    FROM scheduler_app_jobplan
) AS plan ON plan.place = CASE WHEN n % 2 = 0 THEN 1 ELSE n % {JOBS} + 1 END;

INSERT INTO scheduler_app_gap (job_id, first_at, last_at, count, reason)
SELECT job_id, scheduler_now() - n * interval '1 hour', scheduler_now() - n * interval '1 hour', 1, 'overlap'
FROM scheduler_app_jobplan, generate_series(1, 3) AS n;
"""


@pytest.fixture(scope="module")
def seeded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A database with much that exists and nothing that is due."""
    with django_db_blocker.unblock():
        Job.objects.bulk_create(
            Job(name=f"job {number}", schedule="* * * * * *") for number in range(JOBS)
        )
        with django_connection.cursor() as cursor:
            cursor.execute(SEED_SQL)
            cursor.execute("ANALYZE")
        yield
        empty_tables()
        connections.close_all()


@pytest.fixture
def transactional_db(seeded: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The seeded database; each test takes back what it does."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def connection(transactional_db: None) -> Iterator[Connection]:
    """A node's connection, in a transaction that is rolled back."""
    with open_connection() as opened, opened.transaction(force_rollback=True):
        yield opened


@contextmanager
def at_most(rows: int, connection: Connection) -> Iterator[None]:
    """Fails when the statements inside read more rows than that of the scheduler's tables."""
    before = rows_read(connection)
    yield
    touched = rows_read(connection) - before
    assert touched <= rows, f"{touched} rows read where {rows} suffice"


def rows_read(connection: Connection | Any) -> int:
    """How many rows of the scheduler's tables this transaction has read so far, in whatever way."""
    cursor = connection.execute(
        """
        SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
        FROM pg_stat_xact_user_tables
        WHERE relname LIKE 'scheduler_app_%'
        """
    )
    return int(cursor.fetchone()[0] or 0)


def make_ready(connection: Connection, count: int = READY) -> None:
    """Ready executions, one of each job."""
    connection.execute(
        """
        INSERT INTO scheduler_app_execution
            (job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, status)
        SELECT job_id, revision_id, 'manual', scheduler_now(),
            scheduler_now() - job_id * interval '1 second', 'default', job_id %% 7, 'ready'
        FROM scheduler_app_jobplan
        ORDER BY job_id
        LIMIT %s
        """,
        [count],
    )


def make_due(connection: Connection, count: int) -> None:
    connection.execute(
        """
        UPDATE scheduler_app_jobplan
        SET next_fire_at = scheduler_now(), decided_until = scheduler_now() - interval '1 second'
        WHERE job_id IN (SELECT job_id FROM scheduler_app_jobplan ORDER BY job_id LIMIT %s)
        """,
        [count],
    )


# --- Cost grows with what is due -----------------------------------------------------------------


def test_looking_ahead_reads_one_plan(connection):
    with at_most(3, connection):
        lifecycle.look_ahead(connection)


def test_looking_for_chores_reads_nearly_nothing(connection):
    node = make_node(connection)
    with at_most(10, connection):
        lifecycle.look_round(connection, node_id=node, lease_s=15)


def test_a_turn_with_nothing_to_do_reads_nearly_nothing(connection):
    node = make_node(connection)
    with at_most(20, connection):
        fire(connection)
        settle(connection)
        claim(connection, node)
        rescue(connection)
        lifecycle.resume_expired(connection)
        lifecycle.promote_blocked(connection, SpecCache())
        lifecycle.heartbeat(connection, node, lifecycle.Condition(listening=True))


def test_firing_reads_what_is_due_and_not_what_exists(connection):
    make_due(connection, 10)
    with at_most(10 * 20, connection):
        assert fire(connection).jobs == 10


def test_settling_reads_what_was_edited(connection):
    connection.execute(
        """
        UPDATE scheduler_app_job SET queue = 'x'
        WHERE id IN (SELECT id FROM scheduler_app_job ORDER BY id DESC LIMIT 10)
        """
    )
    with at_most(10 * 20, connection):
        assert settle(connection).jobs == 10


def test_counting_what_lives_of_a_job_does_not_read_its_history(connection):
    """The first job has half of all executions behind it."""
    make_due(connection, 1)
    make_ready(connection, 3)
    with at_most(50, connection):
        assert fire(connection).gaps == 1


def test_claiming_reads_what_it_takes_and_not_all_that_is_ready(connection):
    make_ready(connection)
    node = make_node(connection)
    with at_most(10 * 20, connection):
        assert len(claim(connection, node, limit=10)) == 10


def test_claiming_from_a_full_queue_is_planned_without_fresh_statistics(connection):
    """Right after a burst the statistics say that hardly anything is ready."""
    make_ready(connection)
    make_ready(connection)
    node = make_node(connection)
    for _ in range(8):  # past the point at which statements are prepared
        with at_most(5 * 20, connection):
            assert len(claim(connection, node, limit=5)) == 5


def test_recording_reads_what_ended(connection):
    make_ready(connection)
    node = make_node(connection)
    claimed = claim(connection, node, limit=300)
    with at_most(20 * 20, connection):
        finish(connection, *[outcome(item) for item in claimed[:10]])
        finish(connection, *[failure(item, retry_s=1) for item in claimed[10:20]])
    with at_most(20 * 20, connection):
        lifecycle.hand_back(connection, [HandBack(item.id, item.token) for item in claimed[20:30]])


def test_rescuing_reads_what_ran(connection):
    make_ready(connection)
    claim(connection, make_node(connection), limit=20)
    connection.execute(
        "UPDATE scheduler_app_node SET state = 'dead', finished_at = scheduler_now()"
    )
    with at_most(20 * 20, connection):
        assert rescue(connection).ready == 20


def test_pruning_reads_what_is_old(connection):
    with at_most(100 * 20, connection):
        removed = lifecycle.prune(
            connection, lifecycle.Keep(age_s=(HISTORY - 50) * 60, audit_age_s=60), limit=100
        )
    # One more for each minute since they were made.
    assert 50 <= removed.executions <= 60


@pytest.mark.parametrize(
    "choose",
    [
        lambda: Execution.objects.for_lists()[:50],
        lambda: Execution.objects.filter(job_id=first_job()).for_lists()[:50],
        lambda: Execution.objects.unsuccessful().for_lists()[:50],
        lambda: Execution.objects.live().for_lists()[:50],
    ],
    ids=["newest", "newest of a job", "newest unsuccessful", "live"],
)
def test_the_newest_are_read_in_the_order_of_an_index(choose, transactional_db):
    with transaction.atomic(), django_connection.cursor() as cursor:
        queryset = choose()
        before = rows_read(Cursor(cursor))
        rows = list(queryset)
        touched = rows_read(Cursor(cursor)) - before

    assert touched <= len(rows) + 20


def first_job() -> int:
    return JobPlan.objects.order_by("job_id").values_list("job_id", flat=True)[0]


class Cursor:
    """Django's cursor with psycopg's way of answering."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor

    def execute(self, statement: str) -> Any:
        self.cursor.execute(statement)
        return self.cursor


# --- The clock is inlined ------------------------------------------------------------------------


def test_the_clock_is_inlined_and_due_plans_are_found_by_their_index(connection):
    plan = explain(
        connection,
        "SELECT job_id FROM scheduler_app_jobplan WHERE next_fire_at <= scheduler_now()"
        " ORDER BY next_fire_at LIMIT 10",
    )

    assert "using plan_next_fire_at" in plan
    assert "<= statement_timestamp()" in plan


def test_the_clock_is_one_for_a_statement_and_moves_within_a_transaction(connection):
    first, again = connection.execute("SELECT scheduler_now(), scheduler_now()").fetchone()
    [later] = connection.execute("SELECT scheduler_now() FROM pg_sleep(0.002)").fetchone()

    assert first == again < later


def explain(connection: Connection, statement: str) -> str:
    rows = connection.execute(f"EXPLAIN (VERBOSE, COSTS OFF) {statement}").fetchall()
    return "\n".join(row[0] for row in rows)


def test_the_engine_s_statements_are_never_compiled(connection):
    """Up to PostgreSQL 17 the engine's planner settings make cheap plans look costly enough to compile for seconds."""
    assert connection.execute("SHOW jit").fetchone() == ("off",)


# --- The number of statements ----------------------------------------------------------------------


def statements(connection: Connection, step: Callable[[], Any]) -> int:
    """How many the step sends to the server."""
    with sent_by(connection) as sent:
        step()
    return sent.statements


def test_firing_many_jobs_takes_as_many_statements_as_firing_a_few(connection):
    counts = []
    for jobs in (5, 500):
        make_due(connection, jobs)
        specs = SpecCache()
        counts.append(statements(connection, lambda specs=specs: fire(connection, specs)))

    assert counts[0] == counts[1] <= 12


def test_claiming_and_recording_many_takes_as_many_statements_as_a_few(connection):
    make_ready(connection)
    node = make_node(connection)
    counts = []
    for limit in (5, 500):
        held: list[lifecycle.Claimed] = []
        specs = SpecCache()
        counts.append(
            (
                statements(
                    connection,
                    lambda held=held, limit=limit: held.extend(claim(connection, node, limit)),
                ),
                statements(
                    connection,
                    lambda held=held, specs=specs: lifecycle.finish(
                        connection, specs, [outcome(item) for item in held]
                    ),
                ),
            )
        )
        assert len(held) == limit

    assert counts[0] == counts[1]
    assert max(counts[0]) <= 10


def test_statements_are_counted_at_all(connection):
    assert statements(connection, lambda: connection.execute("SELECT 1")) == 1


# --- Migrations ------------------------------------------------------------------------------------


@pytest.fixture
def fresh_alias(transactional_db: None) -> Iterator[str]:
    """The alias of a new, empty database on the same server."""
    name, alias = f"test_migrations_{os.getpid()}", "fresh"
    with open_connection() as server:
        server.execute(f'CREATE DATABASE "{name}"')
        connections.databases[alias] = connections.databases["default"] | {"NAME": name}
        try:
            yield alias
        finally:
            connections[alias].close()
            del connections[alias], connections.databases[alias]
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def schema(alias: str) -> list[tuple[str, str]]:
    """Tables, functions, triggers and indexes of the scheduler in that database."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            SELECT 'relation', relname::text FROM pg_class WHERE relname LIKE '%scheduler_app_%'
            UNION ALL
            SELECT 'index', indexname::text FROM pg_indexes WHERE tablename LIKE 'scheduler_app_%'
            UNION ALL
            SELECT 'function', proname::text || md5(prosrc) FROM pg_proc WHERE proname LIKE 'scheduler_%'
            UNION ALL
            SELECT 'trigger', tgname::text FROM pg_trigger WHERE NOT tgisinternal
            ORDER BY 1, 2
            """
        )
        return cursor.fetchall()


def test_the_migrations_go_forward_and_back_and_forward_again(fresh_alias):
    def migrate(to: str | None) -> list[tuple[str, str]]:
        executor = MigrationExecutor(connections[fresh_alias])
        newest = executor.loader.graph.leaf_nodes("scheduler_app")
        executor.migrate([("scheduler_app", None)] if to == "zero" else newest)
        return schema(fresh_alias)

    built = migrate("newest")
    kinds = {kind for kind, _ in built}
    assert kinds == {"relation", "index", "function", "trigger"}

    assert migrate("zero") == []
    assert migrate("newest") == built
