"""What commands print steers no terminal, whatever jobs, logs, nodes and accounts are called (S18)."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError

from scheduler_app import lifecycle
from scheduler_app.lifecycle.definitions import values_of
from scheduler_app.models import Calendar, Job, LogChunk
from tests.lifecycle.support import NOON, make_execution, make_job, make_node, settle

ECHO = "tests.testapp.tasks.echo"
CONTROLS = "".join(map(chr, (*range(1, 0x20), *range(0x7F, 0xA0))))
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
HOSTILE = f"a\x1b[2Jb\x1b]0;title\x07c\x7fd\x85e\x9b31mf{BIDI}z"
NAME = f"ü{HOSTILE}"
STEERS = re.compile(f"[{CONTROLS.replace(chr(9), '').replace(chr(10), '')}{BIDI}]")


def told(*words: str) -> tuple[str, str]:
    """What a command wrote, and what it complained of."""
    out, err = StringIO(), StringIO()
    try:
        call_command(*words, stdout=out, stderr=err)
    except SystemExit:
        pass
    except CommandError as error:
        err.write(str(error))
    return out.getvalue(), err.getvalue()


@pytest.fixture
def hostile(connection, clock) -> Any:
    """An execution of a job of which everything is called so."""
    calendar = Calendar.objects.create(name=HOSTILE, days="2030-01-02")
    job = make_job(
        name=NAME,
        description=CONTROLS + HOSTILE,
        tags=[HOSTILE],
        queue=HOSTILE,
        schedule="0 * * * *",
        target=ECHO,
        arguments={"value": {HOSTILE: [HOSTILE]}},
        calendar=calendar,
    )
    settle(connection)
    execution = make_execution(
        job, status="failed", reason="raised", error=HOSTILE, finished_at=NOON, queue=HOSTILE
    )
    LogChunk.objects.create(execution=execution, attempt=1, seq=0, text=f"{HOSTILE}\n")
    make_node(connection, name=HOSTILE)
    user, _ = get_user_model().objects.get_or_create(username=HOSTILE)
    lifecycle.create_token(user, "token", scopes=["read"], by="tester")
    return execution


def commands(execution: Any, file: Path) -> list[list[str]]:
    pk = str(execution.pk)
    jobs = [
        ["list"], ["list", "--search", HOSTILE], ["show", NAME], ["show", HOSTILE],
        ["log", pk], ["log", NAME], ["log", pk, "--follow"],
        ["create", f"1{HOSTILE}", "--target", ECHO], ["create", HOSTILE, "--target", HOSTILE],
        ["create", HOSTILE, "--target", ECHO, "--kind", HOSTILE],
        ["create", HOSTILE, "--target", ECHO, "--schedule", HOSTILE],
        ["create", HOSTILE, "--target", ECHO, "--timezone", HOSTILE],
        ["create", HOSTILE, "--target", ECHO, "--arguments", HOSTILE],
        ["create", HOSTILE, "--target", ECHO, "--set", HOSTILE],
        ["create", HOSTILE, "--target", ECHO, "--set", f"{HOSTILE}=1"],
        ["create", HOSTILE, "--target", ECHO, "--set", f"isolation={HOSTILE}"],
        ["create", HOSTILE, "--target", ECHO, "--set", f"calendar={HOSTILE}!"],
        ["pause", NAME, "--reason", HOSTILE], ["pause", NAME], ["pause", NAME, "--until", HOSTILE],
        ["list", "--paused"], ["show", NAME], ["resume", NAME], ["resume", NAME],
        ["run", NAME], ["run", NAME, "--arguments", json.dumps({HOSTILE: 1})],
        ["retry", pk], ["retry", pk], ["retry", HOSTILE],
        ["export"], ["export", NAME], ["export", "--tag", HOSTILE], ["export", HOSTILE],
        ["export", "--output", f"/no/such/{HOSTILE}"],
        ["import", str(file)], ["import", f"/no/such/{HOSTILE}"], ["import", str(file), "--apply"],
    ]  # fmt: skip
    return [
        *(["jobs", *words, *as_json] for words in jobs for as_json in ([], ["--json"])),
        *(
            [*words, *as_json]
            for words in (
                ["explainjob", NAME], ["explainjob", HOSTILE], ["explainjob", NAME, "--at", "now"],
                ["explainjob", NAME, "--since", "1h ago"], ["explainjob", NAME, "--at", HOSTILE],
                ["simulate", "--from", "now", "--to", "in 3h"],
                ["simulate", "--from", "now", "--to", "in 3h", "--summary"],
                ["simulate", "--from", HOSTILE, "--to", "now"],
                ["simulate", "--from", "now", "--to", "in 3h", "--job", HOSTILE],
            )
            for as_json in ([], ["--json"])
        ),
        ["schedulerhealth"], ["schedulerhealth", "--node", HOSTILE],
        ["schedulertoken", "list"], ["schedulertoken", "create", HOSTILE, HOSTILE],
        ["schedulertoken", "create", f"{HOSTILE}!", "x"], ["schedulertoken", "list", "--all"],
    ]  # fmt: skip


def test_s18_no_command_lets_a_control_character_through(hostile, tmp_path):
    file = tmp_path / "jobs.json"
    definitions = [
        {"name": NAME, "target": ECHO, "description": f"{HOSTILE}!", "tags": [HOSTILE]},
        {"name": f"new {HOSTILE}", "target": ECHO, "arguments": {"value": HOSTILE}},
    ]
    file.write_text(json.dumps({"jobs": definitions}))

    found = {}
    for words in commands(hostile, file):
        text, complaint = told(*words)
        assert text or complaint, words
        if STEERS.search(text + complaint) or ("--json" in words and not text.isascii()):
            found[" ".join(words)] = text + complaint
    assert found == {}


@pytest.mark.parametrize("name", ["out.yaml", "out.json"])
def test_s18_what_is_exported_without_them_comes_back_with_them(hostile, tmp_path, name):
    make_job(
        name="separators \u2028 \u2029 \ufeff", description="\ufeffa\u2028b\u2029c", target=ECHO
    )
    make_job(name="lines", description=f"ä\n b \n\n{HOSTILE}", tags=["a\x85b"], target=ECHO)
    before = {job.name: values_of(job) for job in Job.objects.all()}
    path = tmp_path / name

    told("jobs", "export", "--output", str(path))
    assert not STEERS.search(path.read_text("utf-8"))
    Job.objects.all().delete()
    assert told("jobs", "import", str(path), "--apply")[1] == ""

    assert {job.name: values_of(job) for job in Job.objects.all()} == before
