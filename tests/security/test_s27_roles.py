"""S27: the web part and the nodes work as two roles that own nothing, with the grants of docs/roles.sql."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import ProgrammingError, connection, transaction
from django.db.models import ProtectedError

from scheduler_app import lifecycle
from scheduler_app.access import calling, throttling
from scheduler_app.access.owners import Owners
from scheduler_app.models import AuditEntry, Calendar, Job
from tests.lifecycle.support import (
    Connection,
    claim,
    empty_tables,
    fire,
    make_node,
    open_connection,
    outcome,
    settle,
)
from tests.web.api_support import API, client_of, make_user

from .support import Somebody

ECHO = "tests.testapp.tasks.echo"


@pytest.fixture(scope="module")
def roles(django_db_setup: None, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if not cursor.fetchone()[0]:
            pytest.skip("making roles needs a superuser of the test server")
        cursor.execute((Path(settings.BASE_DIR) / "docs" / "roles.sql").read_text())


@pytest.fixture
def node(roles: None, transactional_db: None) -> Iterator[Connection]:
    """A node's connection, as its role."""
    with open_connection() as opened:
        opened.execute("SET ROLE scheduler_node")
        yield opened
    empty_tables()


@contextmanager
def as_web() -> Iterator[None]:
    """Django's connection, as the role of the web part."""
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE scheduler_web")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


def test_s27_people_and_nodes_do_all_they_do_under_their_roles(node: Connection) -> None:
    owner = make_user("operator")
    with as_web():
        calendar = lifecycle.save_calendar(Calendar(name="c", days="2030-01-01"), by="ana")
        job = lifecycle.save_job(
            Job(name="j", target=ECHO, schedule="* * * * * *", calendar=calendar, owner=owner),
            by="ana",
        )
        [first] = lifecycle.run_now([job.pk], by="ana")
        lifecycle.pause([job.pk], by="ana", reason="x")
        lifecycle.resume([job.pk], by="ana")
        pause = lifecycle.pause_scope("tag", "t", by="ana")
        lifecycle.resume_scope(pause.pk, by="ana")
        token, _ = lifecycle.create_token(owner, "t", scopes=["read"], by="ana")
        lifecycle.revoke_token(token.pk, by="ana")
        with calling(Somebody(owner)):
            throttling.spend(throttling.WRITES)
        assert client_of("admin").get(f"{API}/jobs/").status_code == 200

    node_id = make_node(node)
    settle(node)
    fire(node)
    claimed = claim(node, node_id)
    assert first.pk in {one.id for one in claimed}
    lifecycle.finish(
        node, lifecycle.SpecCache(), [outcome(one, status="failed") for one in claimed]
    )
    lifecycle.resume_expired(node)
    lifecycle.prune(node, lifecycle.Keep(age_s=86_400, audit_age_s=86_400))
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE scheduler_node")
        assert Owners().refusal(owner.pk, "task", ECHO) == ""
        cursor.execute("RESET ROLE")

    with as_web():
        lifecycle.retry([first.pk], by="ana")
        lifecycle.cancel([first.pk], by="ana")
        lifecycle.drain_node(node_id, by="ana")
        lifecycle.backfill(
            job.pk, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), by="ana"
        )
        lifecycle.delete_jobs([job.pk], by="ana")
    lifecycle.stop_node(node, node_id)
    assert AuditEntry.objects.filter(verb="job.delete").exists()
    first.refresh_from_db()
    assert first.status == "cancelled"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE scheduler_app_auditentry SET who = 'nobody'",
        "DELETE FROM scheduler_app_auditentry",
        "SELECT set_config('scheduler.pruning', 'on', true); DELETE FROM scheduler_app_auditentry",
        "TRUNCATE scheduler_app_auditentry",
        "ALTER TABLE scheduler_app_auditentry DISABLE TRIGGER ALL",
        "DELETE FROM scheduler_app_execution",
        "UPDATE scheduler_app_jobrevision SET spec = '{}'",
        "UPDATE scheduler_app_node SET heartbeat_at = now()",
        "CREATE TABLE mine (a int)",
        "SET session_replication_role = replica",
    ],
)
def test_s27_the_web_part_cannot(statement: str, roles: None, transactional_db: None) -> None:
    with (
        as_web(),
        pytest.raises(ProgrammingError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE scheduler_app_job SET target = 'other'",
        "INSERT INTO scheduler_app_job (name) VALUES ('x')",
        "UPDATE auth_user SET is_superuser = true",
        "INSERT INTO auth_user_user_permissions (user_id, permission_id) VALUES (1, 1)",
        "UPDATE scheduler_app_auditentry SET who = 'nobody'",
        "DELETE FROM scheduler_app_auditentry WHERE id > 0; SELECT 1/0",
        "SELECT * FROM scheduler_app_apitoken",
        "SELECT * FROM django_session",
        "TRUNCATE scheduler_app_auditentry",
    ],
)
def test_s27_a_node_cannot(statement: str, node: Connection) -> None:
    if statement.startswith("DELETE"):
        # It may prune, which says so in its transaction; a plain DELETE finds the trigger.
        Job(name="j", target=ECHO).save()
        AuditEntry.objects.create(who="x", source="code", verb="v", object_kind="job", object_id=1)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        psycopg.ClientCursor(node).execute(statement)


@pytest.mark.django_db(transaction=True)
def test_s27_the_web_part_deletes_an_account_that_has_nothing(roles: None) -> None:
    free, keeper = make_user("viewer"), make_user("viewer")
    lifecycle.create_token(keeper, "ci", scopes=["read"], by="ana")
    with as_web():
        free.delete()
        with pytest.raises(ProtectedError):
            keeper.delete()
    empty_tables()
