"""`manage.py jobs`: what people and scripts see, that nothing else changes, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from scheduler_app.lifecycle.definitions import values_of
from scheduler_app.management.definitions import LARGEST
from scheduler_app.models import AuditEntry, Calendar, Execution, Job, JobRevision, LogChunk
from tests.lifecycle.support import (
    NOON,
    claim,
    failure,
    finish,
    make_execution,
    make_job,
    make_node,
    outcome,
    settle,
)

ECHO = "tests.testapp.tasks.echo"


def call(*words: str, code: int = 0) -> str:
    """What it wrote; it must end with this exit code."""
    out = StringIO()
    if code:
        with pytest.raises(SystemExit) as ended:
            call_command("jobs", *words, stdout=out)
        assert ended.value.code == code
    else:
        call_command("jobs", *words, stdout=out)
    return out.getvalue()


def called(*words: str, code: int = 0) -> Any:
    return json.loads(call(*words, "--json", code=code))


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as error:
        call(*words)
    assert "Traceback" not in str(error.value)
    return str(error.value)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write a file; returns its name."""

    def write(content: str | bytes | dict[str, Any], name: str = "jobs.yaml") -> str:
        path = tmp_path / name
        if isinstance(content, dict):
            content = yaml.safe_dump(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


# --- Looking ----------------------------------------------------------------------------------


@pytest.fixture
def some_jobs(connection, clock, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    make_job(name="hourly", schedule="0 * * * *", target=ECHO, queue="mail", tags=["a"])
    make_job(name="by hand", schedule="@manual", target=ECHO)
    make_job(name="tokyo", schedule="@daily", timezone="Asia/Tokyo", target=ECHO)
    settle(connection)
    node = make_node(connection)
    make_execution(Job.objects.get(name="hourly"))
    finish(connection, *map(failure, claim(connection, node)))


def test_list_is_a_table(some_jobs):
    assert call("list").splitlines() == [
        "NAME     STATE    SCHEDULE           NEXT    LAST",
        "by hand  By hand  @manual",
        "hourly   Enabled  0 * * * *          in 1 h  failed now",
        "tokyo    Enabled  @daily Asia/Tokyo  in 3 h",
    ]


def test_list_chooses(some_jobs):
    def names(*words: str) -> list[str]:
        return [job["name"] for job in called("list", *words)["jobs"]]

    assert names("--queue", "mail") == names("--tag", "a") == ["hourly"]
    assert names("--search", "OKY") == ["tokyo"]
    assert names("--kind", "http") == names("--paused") == []
    assert called("list", "--limit", "1")["complete"] is False
    assert call("list", "--paused") == "There is no such job.\n"
    assert "--limit must be from 1" in refused("list", "--limit", "0")
    assert "cannot be the name of anything" in refused("list", "--queue", "a\0")


def test_list_costs_the_same_however_many_jobs(some_jobs, django_assert_num_queries):
    with django_assert_num_queries(4):
        call("list")


def test_show_tells_definition_and_executions(some_jobs):
    text = call("show", "hourly")

    assert "0 * * * *" in text
    assert "failed  now  manual" in " ".join(text.split()).replace("failed now", "failed  now ")
    shown = called("show", "hourly")
    assert shown["definition"]["queue"] == "mail"
    assert shown["next_fire_at"] == "2030-01-01T13:00:00Z"
    assert shown["executions"][0]["error"] == "ValueError: no"


def test_a_job_that_is_not_there_is_named_with_what_may_be_meant(some_jobs):
    assert refused("show", "hourli") == "There is no job 'hourli'. Did you mean 'hourly'?"


def test_s18_nothing_that_a_name_or_a_log_holds_reaches_the_terminal(connection, clock):
    job = make_job(name="\x1b[2Jx\x1b]0;owned\x07", schedule="@manual", target=ECHO)
    execution = make_execution(job)
    LogChunk.objects.create(
        execution=execution, attempt=1, seq=0, text="\x1b[31mred\x1b[0m\rline\nnext\n"
    )
    for words in (["list"], ["list", "--json"], ["export"], ["export", "--json"]):
        assert "\x1b" not in call(*words), words
    assert call("log", str(execution.pk)) == "red\nline\nnext\n"


def test_secrets_in_errors_and_logs_are_masked(connection, clock):
    job = make_job(name="hook", schedule="@manual", target=ECHO)
    execution = make_execution(
        job,
        status="failed",
        error="GET https://hooks.example/x?token=canary failed",
        finished_at=NOON,
    )
    LogChunk.objects.create(execution=execution, attempt=1, seq=0, text="/x?token=canary\n")
    for words in (["show", "hook"], ["log", "hook"]):
        for text in (call(*words), call(*words, "--json"), call("list", "--json")):
            assert "canary" not in text, words
    assert "hooks.example" in call("show", "hook")
    assert call("log", "hook") == "/x?token=********\n"


def test_a_secret_in_two_pieces_of_a_log_is_masked(connection, clock):
    execution = make_execution(make_job(name="hook", schedule="@manual", target=ECHO))
    for seq, text in enumerate(["https://u:SEKRET", "PASS9@host/\npassword=hun", "ter2canary"]):
        LogChunk.objects.create(execution=execution, attempt=1, seq=seq, text=text)
    Execution.objects.update(status="succeeded", finished_at=NOON)
    masked = "https://u:********@host/\npassword=********"

    assert call("log", "hook") == masked
    assert call("log", "hook", "--follow").startswith(masked)
    assert called("log", "hook")["log"] == masked


# --- Logs -------------------------------------------------------------------------------------


def test_log_follows_an_execution_to_its_end(start_node):
    start_node()
    job = Job(name="slow", target="tests.testapp.tasks.print_slowly", arguments={"lines": 4})
    job.full_clean()
    job.save()
    execution = called("run", "slow")["executions"][0]

    lines = call("log", "slow", "--follow", "--json").splitlines()
    text = call("log", "slow", "--follow")

    *parts, end = map(json.loads, lines)
    assert "".join(part["log"] for part in parts) == "".join(f"line {n}\n" for n in range(4))
    assert (end["id"], end["status"]) == (execution["id"], "succeeded")
    assert text.splitlines() == [
        *(f"line {number}" for number in range(4)),
        f"Execution {execution['id']} succeeded.",
    ]
    assert called("log", str(execution["id"]))["log"] == "".join(
        f"line {number}\n" for number in range(4)
    )


def test_run_waits_and_its_exit_code_tells(start_node):
    start_node()
    for name, task in (("good", "echo"), ("bad", "fail")):
        Job(name=name, target=f"tests.testapp.tasks.{task}").save()

    assert "succeeded." in call("run", "good", "--wait")
    assert "RuntimeError: on purpose" in call("run", "good", "bad", "--wait", code=4)


def test_what_has_no_log_says_why(connection, clock):
    make_job(name="never", schedule="@manual", target=ECHO)

    assert refused("log", "never") == "'never' has no execution yet."
    assert "There is no execution 999" in refused("log", "999")


# --- Changing ---------------------------------------------------------------------------------


def test_verbs_are_those_of_the_lifecycle_and_leave_their_trail(connection, clock):
    words = ["nightly", "--target", ECHO, "--schedule", "0 3 * * *", "--tag", "a", "--tag", "b"]
    created = called(
        "create", *words, "--arguments", '{"value": [1]}', "--set", "max_attempts=3",
        "--set", "description=3 times", "--set", "max_runs=null",
    )  # fmt: skip
    job = Job.objects.get(pk=created["id"])
    assert (job.tags, job.arguments, job.max_attempts) == (["a", "b"], {"value": [1]}, 3)
    assert (job.description, job.max_runs) == ("3 times", None)

    assert called("pause", "nightly", "--reason", "moving", "--until", "in 2h") == {
        "paused": ["nightly"],
        "unchanged": [],
    }
    job.refresh_from_db()
    assert (job.pause_reason, job.paused_until) == ("moving", NOON.replace(hour=14))
    assert call("pause", "nightly") == "nightly is paused already.\n"
    assert call("resume", "nightly") == "Resumed nightly.\n"
    [execution] = called("run", "nightly", "--arguments", '{"value": 5}')["executions"]
    finish(connection, *map(failure, claim(connection, make_node(connection))))
    assert called("retry", str(execution["id"])) == {
        "retried": [execution["id"]],
        "refused": [],
    }
    found = Execution.objects.get()
    assert (found.spec, found.trigger) == ({"arguments": {"value": 5}}, "manual")
    trail = AuditEntry.objects.order_by("id").values_list("verb", "source", "object_name")
    assert [verb for verb, source, _ in trail if source == "command"] == [
        *("job.create", "job.pause", "job.resume", "job.run", "execution.retry")
    ]
    assert AuditEntry.objects.exclude(who="").count() == 5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["create", "x", "--target", "no.such.task"], "No task is registered as 'no.such.task'"),
        (["create", "x", "--target", ECHO, "--schedule", "61 * * * *"], "schedule:"),
        (["create", "x", "--target", ECHO, "--arguments", "{"], "--arguments is not JSON"),
        (["create", "x", "--target", ECHO, "--set", "max_attempts"], "must be FIELD=VALUE"),
        (["create", "x", "--target", ECHO, "--set", "nme=1"], "nme is not a field of a job"),
        (["create", "x", "--target", ECHO, "--set", "owner=1"], "owner cannot be chosen"),
        (["create", "x", "--target", ECHO, "--set", "name=y"], "--set: 'name' is given already"),
        (["create", "x", "--target", ECHO, "--tag", "a", "--set", "tags=[]"], "'tags' is given"),
        (["create", "taken", "--target", ECHO], "There is a job with this name already."),
        (["pause", "taken", "--until", "yesterday"], "--until: 'yesterday' is not a moment"),
        (["pause", "taken", "--until", "2h ago"], "which is over"),
        (["pause", "nobody"], "There is no job 'nobody'."),
        (["run", "taken", "--arguments", '{"nope": 1}'], "do not fit"),
        (["run", "taken", "--arguments", "NaN"], "NaN"),
        (["retry", "999"], "There is no execution 999"),
        (["import", "/no/such/file"], "/no/such/file cannot be read: No such file"),
        (["export", "--output", "/no/such/dir/x"], "cannot be written: No such file"),
        (["import", "x", "--apply", "--dry-run"], "exclude each other"),
    ],
)
def test_bad_input_is_a_sentence_and_changes_nothing(connection, clock, words, sentence):
    make_job(name="taken", schedule="@manual", target=ECHO)
    before = JobRevision.objects.count()

    assert sentence in refused(*words)
    assert JobRevision.objects.count() == before
    assert not Execution.objects.exists()


def test_what_cannot_be_tried_again_is_told(connection, clock):
    execution = make_execution()
    finish(connection, *map(outcome, claim(connection, make_node(connection))))

    assert refused("retry", str(execution.pk)) == (
        f"Execution {execution.pk} is succeeded. Only what failed, was lost or cancelled can be tried again."
    )


# --- Files ------------------------------------------------------------------------------------


def rich_job(**fields: Any) -> Job:
    calendar, _ = Calendar.objects.get_or_create(name="holidays", days="2030-01-01")
    return make_job(
        **{
            "name": "rich: äöü 日本",
            "schedule": "* * * * *",
            "timezone": "Europe/Berlin",
            "start_at": NOON,
            "max_runs": 7,
            "tags": ["a", "yes", "1"],
            "target": ECHO,
            "arguments": {"value": {"deep": [1, "2030-01-01", None, "no"]}},
            "calendar": calendar,
            "retry_factor": 1.5,
            "enabled": False,
        }
        | fields
    )


@pytest.mark.parametrize("name", ["out.yaml", "out.json"])
def test_what_is_exported_comes_back_the_same(connection, clock, tmp_path, name):
    rich_job()
    make_job(name="plain", schedule="@manual", target=ECHO)
    before = {job.name: values_of(job) for job in Job.objects.all()}
    path = str(tmp_path / name)
    assert call("export", "--output", path) == f"Wrote 2 jobs to {path}.\n"

    assert called("import", path)["unchanged"] == 2
    Job.objects.all().delete()
    call("import", path, "--apply")

    assert {job.name: values_of(job) for job in Job.objects.all()} == before


def test_export_chooses_and_says_only_what_was_chosen(connection, clock):
    rich_job()
    make_job(name="plain", schedule="@manual", target=ECHO)

    assert yaml.safe_load(call("export", "plain")) == {
        "jobs": [{"name": "plain", "schedule": "@manual", "kind": "task", "target": ECHO}]
    }
    assert [job["name"] for job in called("export", "--tag", "a")["jobs"]] == ["rich: äöü 日本"]


def test_an_import_shows_its_plan_and_then_does_all_of_it(connection, clock, file):
    make_job(name="changes", schedule="0 * * * *", target=ECHO)
    make_job(name="stays", schedule="@manual", target=ECHO)
    make_job(name="goes", schedule="@manual", target=ECHO)
    path = file(
        {
            "jobs": [
                {"name": "changes", "schedule": "30 * * * *", "target": ECHO, "priority": 5},
                {"name": "stays", "target": ECHO},
                {"name": "comes", "schedule": "@daily", "target": ECHO},
            ]
        }
    )

    assert call("import", path, "--prune", code=3).splitlines() == [
        "+ comes",
        "    name: comes",
        "    schedule: @daily",
        f"    target: {ECHO}",
        "~ changes",
        "    schedule: 0 * * * * → 30 * * * *",
        "    priority: 0 → 5",
        "- goes",
        "1 to create, 1 to change, 1 to delete, 1 unchanged. Nothing was done; --apply does it.",
    ]
    assert set(Job.objects.values_list("name", flat=True)) == {"changes", "stays", "goes"}
    assert JobRevision.objects.count() == 3

    done = called("import", path, "--prune", "--apply")

    assert done["applied"] and done["delete"] == ["goes"]
    assert dict(Job.objects.values_list("name", "schedule")) == {
        "changes": "30 * * * *",
        "stays": "@manual",
        "comes": "@daily",
    }
    # Done twice it changes nothing.
    assert called("import", path, "--prune", "--apply") == {
        "create": [],
        "change": [],
        "delete": [],
        "unchanged": 3,
        "applied": True,
    }


def test_an_import_with_one_mistake_does_nothing_and_tells_all_of_them(connection, clock, file):
    path = file(
        {
            "jobs": [
                {"name": "good", "target": ECHO},
                {"name": "bad", "target": ECHO, "schedule": "* * *"},
                {"name": "worse", "target": "x", "retries": 3},
            ]
        }
    )

    told = refused("import", path, "--apply")

    assert "The job 'bad':\n  schedule:" in told
    assert "The job 'worse':" in told and "retries is not a field of a job" in told
    assert not Job.objects.exists()


def test_an_import_judges_what_it_changes_and_not_what_stays(connection, clock, file, settings):
    # As `make run` stores it: its processes may call this address, a command beside them may not.
    site = "http://127.0.0.1:8123/livez"
    settings.SCHEDULER = {**settings.SCHEDULER, "kinds": ("http", "task"), "http_allowed_hosts": ()}
    make_job(name="site", schedule="@hourly", kind="http", target=site)
    make_job(name="over", schedule="@hourly", target=ECHO, end_at=NOON - timedelta(days=1))
    make_job(name="good", schedule="@hourly", target=ECHO)
    text = call("export")

    assert called("import", file(text))["unchanged"] == 3
    edited = text.replace("@hourly", "@daily", 1).replace(site, f"{site}\n  description: ours")
    assert called("import", file(edited), "--apply")["unchanged"] == 1
    assert Job.objects.get(name="good").schedule == "@daily"
    assert Job.objects.get(name="site").description == "ours"
    elsewhere = refused("import", file(text.replace("livez", "readyz")), "--apply")
    assert "The job 'site':\n  target: " in elsewhere and "loopback" in elsewhere
    later = refused("import", file(text.replace("name: over", "name: over\n  priority: 5")))
    assert "The job 'over':\n  schedule: " in later and "no fire time" in later
    another = refused("import", file(text.replace("name: site", "name: another")))
    assert "The job 'another':\n  target: " in another


def test_a_prune_that_looks_like_a_mistake_is_refused(connection, clock, file):
    for number in range(12):
        make_job(name=f"job {number}", schedule="@manual", target=ECHO, tags=["team"][: number % 2])
    nothing = file({"jobs": []}, "nothing.yaml")
    one = file({"jobs": [{"name": "job 0", "target": ECHO}]}, "one.yaml")

    assert "--prune would delete every job" in refused("import", nothing, "--prune", "--apply")
    told = refused("import", one, "--prune", "--apply")
    assert "--prune would delete 11 jobs" in told and "--at-most 11" in told
    assert Job.objects.count() == 12

    assert len(called("import", one, "--prune", "--tag", "team", "--apply")["delete"]) == 6
    call("import", one, "--prune", "--at-most", "11", "--apply")
    assert Job.objects.get().name == "job 0"


def test_secrets_are_not_exported_and_are_kept_by_an_import(connection, clock, file):
    arguments = {"value": {"password": "canary", "api_key": "secret://key"}}
    make_job(name="has", schedule="@manual", target=ECHO, arguments=arguments)
    text = call("export")
    assert "canary" not in text and "secret://key" in text

    call("import", file(text.replace("@manual", "@daily")), "--apply")

    job = Job.objects.get()
    assert (job.schedule, job.arguments) == ("@daily", arguments)
    other = file(text.replace("name: has", "name: another"), "other.yaml")
    assert "stands for a value that is hidden" in refused("import", other)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("jobs: [", "cannot be read: line 1"),
        ("jobs:\n- name: x\n  schedule: * * * * *\n", "must be in quotes"),
        ("", "must be an object with a list of jobs"),
        ("[]", "must be an object with a list of jobs"),
        ("jobs: {}\n", "must be an object with a list of jobs"),
        ("jobs: []\nmore: 1\n", "must be an object with a list of jobs"),
        ("jobs:\n- 5\n", "must be an object with a list of jobs"),
        ("jobs:\n- schedule: x\n", "job 1 has no name"),
        ("jobs:\n- name: 5\n", "job 1 has no name"),
        ("jobs:\n- {name: a}\n- {name: a}\n", "there are two jobs 'a'"),
        ("jobs:\n- name: a\n  name: b\n", "the key 'name' is there twice, from line 2"),
        ("a: &x [1]\njobs: *x\n", "anchors and aliases are not read"),
        ("jobs: !!python/object/apply:os.system ['id']\n", "could not determine a constructor"),
        ("jobs:\n- {name: a, arguments: {v: !!binary aGk=}}\n", "cannot be read"),
        ("jobs:\n- {name: a, arguments: {v: .nan}}\n", "NaN"),
        ("jobs: " + "[" * 100 + "]" * 100, "nested deeper than 32"),
        ("jobs: " + "[" * 5000 + "]" * 5000, "too deeply"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * (LARGEST + 1), "larger than 5 MiB"),
        ("jobs:\n- {name: a, target: t, start_at: 2030-01-01 09:00:00}\n", "no time zone"),
    ],
    ids=range(20),
)
def test_a_file_that_cannot_be_meant_is_refused_with_the_place(
    connection, clock, file, content, sentence
):
    assert sentence in refused("import", file(content))


def test_json_is_read_as_strictly_as_by_the_api(connection, clock, file):
    assert "is not JSON" in refused("import", file("{", "x.json"))
    assert "twice" in refused("import", file('{"jobs": [], "jobs": []}', "y.json"))


def test_as_a_process_it_reads_a_pipe_and_has_exit_codes(process_env, connection):
    def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", "jobs", *words],
            cwd=settings.BASE_DIR,
            env=process_env | {"DJANGO_SETTINGS_MODULE": "tests.node_settings"},
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )

    waiting = run("import", "-", given=json.dumps({"jobs": [{"name": "a", "target": ECHO}]}))
    wrong = run("show", "nothing\x1b[2J")
    process_env = process_env | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    unreachable = run("list")
    misspelt = run("lst")

    assert (waiting.returncode, waiting.stderr) == (3, "")
    assert "+ a\n" in waiting.stdout
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("CommandError: There is no job") and "\x1b" not in wrong.stderr
    assert misspelt.returncode == 2
    assert unreachable.returncode == 1
    assert unreachable.stderr.startswith("CommandError: The database does not answer as it should")
    assert unreachable.stderr.count("\n") == 1


def test_two_who_create_the_same_job_are_told_apart(connection, clock, monkeypatch):
    # Whoever came second has passed the validation before the first one committed.
    monkeypatch.setattr(Job, "full_clean", lambda self: None)
    make_job(name="taken", schedule="@manual", target=ECHO)

    assert "Somebody has just created a job of this name" in refused(
        "create", "taken", "--target", ECHO
    )
