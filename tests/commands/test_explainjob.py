"""`manage.py explainjob`: the answers on a terminal and as JSON, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from scheduler_app import lifecycle
from scheduler_app.models import Job
from tests.lifecycle.support import (
    after_noon,
    claim,
    failure,
    finish,
    make_job,
    make_node,
    outcome,
    settle,
    turn,
)


def explain(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("explainjob", *arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        explain(*arguments)
    return str(error.value)


@pytest.fixture
def job(connection, clock) -> Job:
    """Every ten minutes; ran at 11:50 UTC and met itself at 12:00, which is now; fires next at 12:10."""
    clock.set(after_noon(-900))
    job = make_job(name="nightly", schedule="*/10 * * * *", timezone="Europe/Paris")
    settle(connection)
    node = make_node(connection, name="node-a")
    clock.set(after_noon(-600))
    turn(connection)
    [claimed] = claim(connection, node)
    clock.set(after_noon(0))
    turn(connection)
    connection.execute("UPDATE scheduler_app_node SET heartbeat_at = scheduler_now()")
    finish(connection, outcome(claimed, finished_at=after_noon(1)))
    return job


def test_without_options_it_tells_how_the_job_stands_its_last_hour_and_what_comes_next(job):
    assert explain("nightly").splitlines() == [
        "nightly is enabled and fires next at 2030-01-01 13:10:00 CET.",
        "Every 10 minutes (Europe/Paris).",
        "The last hour:",
        "  2030-01-01 12:50:00 CET ran on node-a, 0 ms late, and succeeded.",
        "  2030-01-01 13:00:00 CET did not run: the one before still ran.",
        "Next:",
        "  2030-01-01 13:10:00 CET is still to come.",
        "  2030-01-01 13:20:00 CET is still to come.",
        "  2030-01-01 13:30:00 CET is still to come.",
        "  2030-01-01 13:40:00 CET is still to come.",
        "  2030-01-01 13:50:00 CET is still to come.",
    ]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("13:00", "13:00:00 CET did not run: the one before still ran. It met that of"),
        ("2030-01-01T12:50", "12:50:00 CET ran on node-a"),
        ("2030-01-01T11:50Z", "12:50:00 CET ran on node-a"),
        ("10m ago", "12:50:00 CET ran on node-a"),
        ("in 10m", "13:10:00 CET is still to come."),
        ("now", "13:00:00 CET did not run"),
        ("12:55", "is no fire time of nightly (Every 10 minutes (Europe/Paris)): the one before is"),
    ],
)  # fmt: skip
def test_a_moment_is_explained(job, at, expected):
    assert expected in explain("nightly", "--at", at)


def test_a_range_is_told_oldest_first_a_line_for_each(job):
    text = explain("nightly", "--since", "12:00", "--until", "in 15m")

    assert [line[11:19] for line in text.splitlines()] == ["12:50:00", "13:00:00", "13:10:00"]


def test_a_week_of_pause_is_one_line(connection, clock):
    make_job(name="busy")
    settle(connection)
    lifecycle.pause(Job.objects.values_list("pk", flat=True), by="ann", reason="stocktaking")
    clock.tick(7 * 86400)

    [line] = explain("busy", "--since", "1w ago").splitlines()

    assert line.startswith("604,800 fire times from ")
    assert line.endswith("do not run: paused by ann (stocktaking).")


def test_only_so_many_lines_and_it_says_so(job):
    first, *lines = explain("nightly", "--since", "12:00", "--limit", "1").splitlines()

    assert first == "Only 1 are shown; give a higher --limit, or ask for less."
    assert lines == ["2030-01-01 13:00:00 CET did not run: the one before still ran."]


def test_nothing_says_so(job):
    assert explain("nightly", "--since", "12:01", "--until", "12:02") == "Nothing was due in this time.\n"  # fmt: skip


def test_json(job):
    found = json.loads(explain("nightly", "--json"))

    assert found["job"] == {"id": job.pk, "name": "nightly"}
    assert (found["since"], found["until"]) == ("2030-01-01T11:00:00Z", "2030-01-01T12:00:00Z")
    assert found["complete"] is True
    assert [verdict["what"] for verdict in found["verdicts"]] == ["succeeded", "overlap"]
    assert found["verdicts"][0]["execution"] == job.executions.get().pk
    assert [verdict["first_at"] for verdict in found["next"]][:2] == [
        "2030-01-01T12:10:00Z",
        "2030-01-01T12:20:00Z",
    ]
    at = json.loads(explain("nightly", "--at", "12:50", "--json"))
    assert at["at"] == "2030-01-01T11:50:00Z"
    assert at["sentence"].startswith("2030-01-01 12:50:00 CET ran on node-a")


def test_a_deleted_job_is_found_when_asked_for(job):
    lifecycle.delete_jobs([job.pk], by="ann")

    assert refused("nightly") == (
        "There is no job 'nightly'. One was deleted; explainjob tells of it with --deleted."
    )
    assert explain("nightly", "--deleted").startswith(
        "nightly was deleted at 2030-01-01 13:00:00 CET."
    )
    assert "ran on node-a" in explain("nightly", "--deleted", "--at", "12:50")
    assert refused("other", "--deleted").startswith("There is no deleted job 'other'")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nigthly", "There is no job 'nigthly'. Did you mean 'nightly'?"),
        ("NIGHTLY", "There is no job 'NIGHTLY'. Did you mean 'nightly'?"),
        ("zzz", "There is no job 'zzz'."),
        ("", "There is no job ''."),
        ("a\x00b", "There is no job 'a\N{REPLACEMENT CHARACTER}b'."),
        ("\udcff", "There is no job '\N{REPLACEMENT CHARACTER}'."),
        ("\x1b[31mred", r"There is no job '\x1b[31mred'."),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_are_like_it(job, name, expected):
    assert refused(name) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--at", "x"], "--at: 'x' is not a moment; write "),
        (["--since", "2030-02-30"], "--since: '2030-02-30' is not a moment"),
        (["--until", "2101-01-02"], "--until: '2101-01-02' is not allowed; moments are from 1970"),
        (["--at", "now", "--since", "now"], "--at explains one moment; leave out --since"),
        (["--since", "in 1h"], "--since: 'in 1h' comes after now; give --until as well."),
        (["--since", "13:00", "--until", "12:00"], "--since: '13:00' comes after --until, '12:00'."),
        (["--limit", "0"], "--limit must be from 1 to 1,000,000, got 0."),
        (["--limit", "x"], "argument --limit: invalid int value: 'x'"),
    ],
)  # fmt: skip
def test_what_is_refused(job, arguments, expected):
    assert expected in refused("nightly", *arguments)


def test_what_names_and_errors_bring_along_does_not_reach_the_terminal(connection, clock):
    make_job(name="\x1b]0;gotcha\x07\u202ejob", schedule="*/10 * * * * *")
    settle(connection)
    clock.tick(10)
    turn(connection)
    [claimed] = claim(connection, make_node(connection, name="\x1b[2J"))
    finish(connection, failure(claimed, error="first\nsecond \x1b[31mred"))

    text = explain("\x1b]0;gotcha\x07\u202ejob")

    assert all(line.isprintable() for line in text.splitlines())
    assert r"first second \x1b[31mred" in text
    assert explain("\x1b]0;gotcha\x07\u202ejob", "--json").isascii()


def test_a_job_that_was_written_past_the_validation_is_still_told_of(job, connection):
    Job.objects.filter(pk=job.pk).update(schedule="nonsense", timezone="Mars/Olympus")
    settle(connection)

    assert explain("nightly").startswith("nightly cannot be planned: ")
    assert explain("nightly", "--at", "11:50").startswith("2030-01-01 11:50:00 UTC ran on node-a")


def test_errors_are_a_sentence_and_an_exit_code(job, process_env):
    done = subprocess.run(
        [sys.executable, "manage.py", "explainjob", "nigthly"],
        env=process_env,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "CommandError: There is no job 'nigthly'. Did you mean 'nightly'?\n"
