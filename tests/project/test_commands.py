"""The project's commands on an embedded database that nobody started."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Manage


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["makemigrations", "--check", "--dry-run"],
        ["collectstatic", "--noinput"],
        ["embeddeddb", "status"],
        ["help"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_no_database_starts_none(
    manage: Manage, directory: Path, arguments: list[str]
) -> None:
    done = manage(*arguments)

    assert "Warning" not in done.stderr
    assert not (directory / "postgresql").exists()


def test_the_first_query_starts_it_and_only_its_command_stops_it(
    manage: Manage, directory: Path
) -> None:
    asked = manage("dbshell", "--", "-Atc", "SELECT 40 + 2")
    assert (asked.stdout, asked.stderr) == ("42\n", "")

    status = manage("embeddeddb", "status")
    assert status.returncode == 0
    assert "state:    running\n" in status.stdout
    assert f"data:     {directory}/postgresql\n" in status.stdout
    assert "url:      postgresql://postgres@/postgres?host=%2F" in status.stdout
    assert manage("embeddeddb", "start").stdout == "It was running already.\n"
    # Its history is compared now that there is one.
    assert manage("makemigrations", "--check", "--dry-run").returncode == 0

    assert manage("embeddeddb", "stop").stdout == "Stopped.\n"
    assert manage("embeddeddb", "stop").stdout == "It was not running.\n"
    status = manage("embeddeddb", "status")
    assert status.returncode == 3
    assert "state:    stopped\n" in status.stdout


def test_with_a_database_url_the_status_says_that_it_is_not_used(manage: Manage) -> None:
    status = manage("embeddeddb", "status", DATABASE_URL="postgresql://h/n", DEBUG="1")

    assert "The project does not use it, because DATABASE_URL is set." in status.stdout


def test_who_stops_it_means_it(manage: Manage) -> None:
    code = """
from django.core.management import call_command
from django.db import connection, OperationalError
connection.ensure_connection()
connection.close()
call_command("embeddeddb", "stop")
try:
    connection.ensure_connection()
except OperationalError:
    print("not started again")
"""
    assert manage("shell", "--no-imports", "-c", code).stdout == "Stopped.\nnot started again\n"
