"""`manage.py schedulerhealth`: the exit code for probes, the reasons for people."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command

from scheduler_app.models import Node, database_now

pytestmark = pytest.mark.django_db


def check(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    out = StringIO()
    try:
        call_command("schedulerhealth", *arguments, stdout=out)
    except SystemExit as end:
        return int(end.code), out.getvalue()
    return 0, out.getvalue()


def make_node(**fields: object) -> Node:
    now = database_now()
    values = {"name": "n", "host": "h", "pid": 1, "threads": 1, "last_tick_at": now}
    return Node.objects.create(**(values | fields))


def ago(seconds: float):
    return database_now() - timedelta(seconds=seconds)


def test_without_a_node_it_is_down():
    code, text = check()

    assert code == 1
    assert text.startswith("down\n")
    assert "runscheduler" in text


def test_with_a_node_that_turns_it_is_well():
    make_node()

    assert check() == (0, "ok\n")
    assert check("--node", "n", "--strict") == (0, "ok\n")


def test_trouble_is_told_and_counts_when_asked_to_be_strict():
    make_node(trouble="disk_full", trouble_note="Make room.")

    assert check()[0] == 0
    assert "disk_full" in check()[1]
    assert check("--strict")[0] == 2
    assert check("--node", "n", "--strict") == (2, "degraded\n  Make room.\n")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"heartbeat_at": 100}, r"No heartbeat for 1\d\d s"),
        ({"last_tick_at": 100}, r"not completed a turn for 1\d\d s"),
        ({"state": "dead", "state_reason": "no heartbeat since"}, "It is dead: no heartbeat"),
    ],
)
def test_a_node_that_does_not_work_is_down_with_the_reason(fields, words):
    make_node(**{name: ago(value) if value == 100 else value for name, value in fields.items()})

    code, text = check("--node", "n")

    assert code == 1
    assert re.search(words, text)


def test_a_node_whose_own_lease_is_longer_is_well_between_its_heartbeats():
    make_node(lease_s=200, heartbeat_at=ago(100), last_tick_at=ago(100))

    assert check("--strict") == (0, "ok\n")
    assert check("--node", "n", "--strict") == (0, "ok\n")


def test_of_nodes_with_one_name_the_newest_counts():
    make_node(state="dead")
    make_node()

    assert check("--node", "n")[0] == 0
    assert check("--node", "other")[0] == 1


def test_a_database_that_does_not_answer_is_down_in_a_sentence():
    answer = subprocess.run(
        [sys.executable, "manage.py", "schedulerhealth"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", "DEBUG": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert answer.returncode == 1
    assert "The database does not answer" in answer.stdout
    assert "Traceback" not in answer.stderr
