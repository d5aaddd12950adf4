"""The drill for users: real nodes on a scratch database, which is the only one that it touches."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from scheduler_app.management.drill.scratch import MARK, Scratch
from scheduler_app.models import Job

pytestmark = pytest.mark.django_db(transaction=True)


def databases() -> set[str]:
    """Those of the server, save the ones that tests run in, which other processes of this run may just be making."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        return {name for (name,) in cursor.fetchall() if not name.startswith("test_")}


def site_database() -> str:
    connection.ensure_connection()
    return str(connection.connection.info.dbname)


@pytest.fixture
def other():
    """A database beside the site's, that no drill made."""
    name = f"{site_database()}_other"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "1"], "--nodes must be from 2 to 20"),
        (["--lease", "0.5"], "--lease must be from 3 to 300"),
        (["--faults", "kill,flood"], "--faults must name some of kill, freeze, cut"),
        (["--faults", ""], "--faults must name some of"),
    ],
)
def test_a_wrong_option_is_named(arguments, words):
    with pytest.raises(CommandError, match=words):
        call_command("schedulerdrill", *arguments)


def test_it_does_not_touch_the_database_of_the_site():
    Job.objects.create(name="mine", target="tests.testapp.tasks.echo")

    with pytest.raises(CommandError, match="the site's own database"):
        call_command("schedulerdrill", "--database", site_database())

    assert Job.objects.filter(name="mine").exists()


def test_it_does_not_touch_a_database_that_it_did_not_make(other):
    scratch = Scratch(other, scheduler={})
    with scratch.connect() as there:
        there.execute("CREATE TABLE scheduler_app_job (id int)")
        there.execute("INSERT INTO scheduler_app_job VALUES (1), (2)")

    with pytest.raises(CommandError, match="holds 2 jobs and was not made by a drill"):
        call_command("schedulerdrill", "--database", other)

    with scratch.connect() as there:
        assert there.execute("SELECT count(*) FROM scheduler_app_job").fetchone() == (2,)


def test_what_a_drill_left_behind_is_made_anew(other):
    scratch = Scratch(other, scheduler={})
    with scratch.connect() as there:
        there.execute("CREATE TABLE scheduler_app_job (id int)")
        there.execute(f"COMMENT ON DATABASE \"{other}\" IS '{MARK}'")

    scratch.create()

    with scratch.connect() as there:
        assert there.execute("SELECT to_regclass('scheduler_app_job')").fetchone() == (None,)
    scratch.drop()
    assert other not in databases()


def test_a_killed_node_is_replaced_and_nothing_is_left_behind():
    before = databases()
    out = io.StringIO()

    call_command("schedulerdrill", "--nodes", "2", "--faults", "kill", "--lease", "3", stdout=out)

    said = " ".join(out.getvalue().split())
    assert "lost fire times 0" in said
    assert "done twice without a reason 0" in said
    assert "failover, longest" in said
    assert "1 × SIGKILL" in said
    assert "Every promise was kept." in said
    assert databases() == before
