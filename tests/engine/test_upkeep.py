"""What can wait gets done all the same, however slow the database is at it."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from scheduler_app.conf import get_config
from scheduler_app.engine import database
from scheduler_app.engine import upkeep as upkeep_module
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.upkeep import BATCH_ROWS, FIRST_ROWS, SMALLEST_ROWS, Upkeep, next_limit
from scheduler_app.models import Execution, Job, Status, database_now

SLOW_SQL = """
CREATE FUNCTION slow_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.02);
    RETURN OLD;
END
$$;
CREATE TRIGGER slow_delete BEFORE DELETE ON scheduler_app_execution FOR EACH ROW EXECUTE FUNCTION slow_delete();
"""


def make_old(count: int) -> None:
    """Executions that are kept no longer."""
    job = Job.objects.create(name="a", schedule="@manual", target="tests.testapp.tasks.echo")
    old = database_now() - timedelta(days=400)
    Execution.objects.bulk_create(
        Execution(
            job=job,
            trigger="manual",
            scheduled_for=old + timedelta(seconds=number),
            run_after=old,
            status=Status.SUCCEEDED,
            finished_at=old,
        )
        for number in range(count)
    )


def test_a_batch_that_is_too_much_for_the_deadline_is_tried_again_smaller(
    transactional_db, monkeypatch
):
    """The first batch of fifty rows takes a second here, and may take half of one."""
    monkeypatch.setitem(database.SESSION_SETTINGS, "statement_timeout", "500ms")
    make_old(60)
    with connection.cursor() as cursor:
        cursor.execute(SLOW_SQL)
    upkeep = Upkeep(get_config(), Gauges())
    try:
        went_well = [upkeep._try(upkeep._prune) for _ in range(5)]
    finally:
        upkeep._session.close()
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION slow_delete CASCADE")

    assert went_well[0] is False
    assert not Execution.objects.exists()


@pytest.mark.parametrize(
    ("limit", "took_s", "expected"),
    [
        (1, 0.001, BATCH_ROWS),
        (1, 0.08, BATCH_ROWS),  # nearly all of it for the batch itself, however many rows
        (BATCH_ROWS, 1.0, SMALLEST_ROWS),
        (3, 1.0, 3),  # after it was cut
    ],
)
def test_batches_grow_while_they_are_quick_and_never_shrink_to_nothing(limit, took_s, expected):
    for _ in range(BATCH_ROWS):
        limit = next_limit(limit, took_s)

    assert limit == expected


def test_the_rest_between_two_batches_does_not_make_them_smaller(transactional_db, monkeypatch):
    monkeypatch.setattr(upkeep_module, "BATCH_S", 1.0)
    monkeypatch.setattr(upkeep_module, "PAUSE_S", 1.1)
    make_old(3)
    upkeep = Upkeep(get_config(), Gauges())
    upkeep._limit = 1
    try:
        upkeep._prune()
    finally:
        upkeep._session.close()

    assert upkeep._limit > 1
    assert not Execution.objects.exists()


def test_an_outage_does_not_make_batches_smaller(transactional_db, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(database, "connect", refuse)
    upkeep = Upkeep(get_config(), Gauges())

    assert upkeep._try(upkeep._prune) is False
    assert upkeep._limit == FIRST_ROWS
