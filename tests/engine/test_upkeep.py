"""What can wait gets done all the same, however slow the database is at it."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection

from scheduler_app.conf import get_config
from scheduler_app.engine import database
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.upkeep import Upkeep
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


def test_a_batch_that_is_too_much_for_the_deadline_is_tried_again_smaller(
    transactional_db, monkeypatch
):
    """The first batch of fifty rows takes a second here, and may take half of one."""
    monkeypatch.setitem(database.SESSION_SETTINGS, "statement_timeout", "500ms")
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
        for number in range(60)
    )
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
