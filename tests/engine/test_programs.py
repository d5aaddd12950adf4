"""Programs and secrets on real nodes: timeouts and cancels reach every process, and no secret reaches any table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from scheduler_app import lifecycle
from scheduler_app.models import LogChunk, Status
from tests.targets.server import LoopbackServer

from .conftest import wait_for

SLEEP = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
CANARY = "canary-in-a-coal-mine-8261"
OTHER = "another-canary-that-only-a-child-knows"


def use_secret(name: str) -> dict[str, object]:
    """A command of the allow-list that prints a secret of its environment."""
    program = "import os; print('token', os.environ['TOKEN'])"
    return {
        "argv": [sys.executable, "-I", "-c", program],
        "environment": {"TOKEN": f"secret://{name}"},
    }


@pytest.fixture
def start_allowing(start_node, monkeypatch, settings):
    """A node that runs programs; the tests' own process allows the same."""

    def start(*arguments: str, env: dict[str, str] | None = None, **options):
        commands = {
            "sleep": [sys.executable, "-I", "-c", SLEEP],
            "echo": ["/bin/echo", "--", "{arguments.text}"],
            "use-secret": use_secret("canary"),
            "use-other": use_secret("other"),
        }
        settings.SCHEDULER = {
            **settings.SCHEDULER,
            "kinds": ("task", "http", "management", "shell"),
            "shell_commands": commands,
            "management_commands": ("say",),
        }
        given = {
            "SCHEDULER_KINDS": "task,http,management,shell",
            "SCHEDULER_SHELL_COMMANDS": json.dumps(commands),
            "SCHEDULER_MANAGEMENT_COMMANDS": "say",
        }
        return start_node(*arguments, env=given | (env or {}), **options)

    return start


@pytest.fixture
def echo_server():
    server = LoopbackServer().start()
    yield server
    server.stop()


def log_of(execution) -> str:
    return "".join(LogChunk.objects.filter(execution=execution).values_list("text", flat=True))


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # gone before it was opened, or between that and the reading
        return True


def test_timeout_cancel_and_kill_end_a_program_with_its_children(
    start_allowing, make_job, finished
):
    node = start_allowing(kill_grace=2)
    late = make_job(kind="shell", target="sleep", timeout_s=1)
    unwanted = make_job(kind="shell", target="sleep")
    orphan = make_job(kind="shell", target="sleep")
    runs = [lifecycle.run_now([job.pk], by="tester")[0] for job in (late, unwanted, orphan)]
    pids = [
        [int(pid) for pid in wait_for(lambda run=run: log_of(run), what="its pids").split()]
        for run in runs
    ]

    lifecycle.cancel([runs[1].pk], by="tester")

    assert (finished(runs[0]).status, runs[0].reason) == (Status.FAILED, "timed_out")
    assert finished(runs[1]).status == Status.CANCELLED
    for pid in (*pids[0], *pids[1]):
        wait_for(lambda pid=pid: has_ended(pid), what=f"the end of {pid}")
    assert not has_ended(pids[2][0])
    node.kill()
    # Its children are not the node's to tell; it is itself.
    wait_for(lambda: has_ended(pids[2][0]), what="the end of the killed node's program")
    subprocess.run(["kill", "-9", str(pids[2][1])], check=False)


def test_programs_and_commands_leave_their_output_and_their_result(
    start_allowing, make_job, finished
):
    start_allowing()
    echo = make_job(kind="shell", target="echo", arguments={"text": "$(id) \x1b[31m"})
    say = make_job(kind="management", target="say", arguments={"args": ["hello"]})

    for job, words in ((echo, "$(id) \x1b[31m\n"), (say, "hello")):
        execution = finished(lifecycle.run_now([job.pk], by="tester")[0])
        assert (execution.status, execution.result["exit_code"]) == (Status.SUCCEEDED, 0)
        assert words in log_of(execution)


def test_s16_a_secret_is_in_no_table_no_log_and_no_error(
    start_allowing, make_job, finished, echo_server, client, django_user_model, settings
):
    settings.SCHEDULER = {"http_allowed_hosts": ("127.0.0.1",)}
    node = start_allowing(
        env={
            "SCHEDULER_SECRET_CANARY": CANARY,
            "SCHEDULER_SECRET_OTHER": OTHER,
            "SCHEDULER_HTTP_ALLOWED_HOSTS": "127.0.0.1",
            "LOG_LEVEL": "DEBUG",
        }
    )
    retried = {"max_attempts": 2, "retry_backoff_s": 0}
    jobs = {
        how: make_job("spill", {"secret": "secret://canary", "how": how}, name=how, **retried)
        for how in ("return", "print", "log", "raise", "chain", "exit")
    }
    # Python's own error quotes the value; the server sends back all that it gets.
    jobs["misfit"] = make_job("add", {"a": "secret://canary"}, name="misfit")
    exchange = {
        "method": "POST",
        "headers": {"Authorization": "Bearer secret://canary"},
        "body": {"key": "secret://canary"},
    }
    for name, status in (("accepted", 200), ("refused", 201)):
        jobs[name] = make_job(
            name=name,
            kind="http",
            target=echo_server.url(),
            arguments=exchange | {"expected_status": status},
        )
    jobs["echo"] = make_job(
        name="echo", kind="shell", target="echo", arguments={"text": "secret://canary"}
    )
    jobs["use"] = make_job(name="use", kind="shell", target="use-secret")
    # The node itself never looks this one up.
    jobs["use in a child"] = make_job(
        name="use in a child", kind="shell", target="use-other", isolation="process"
    )
    runs = {name: lifecycle.run_now([job.pk], by="tester")[0] for name, job in jobs.items()}
    failing = {"raise", "chain", "exit", "misfit", "refused"}

    for name, execution in runs.items():
        expected = Status.FAILED if name in failing else Status.SUCCEEDED
        assert finished(execution).status == expected, (name, execution.error)
    # They did use it.
    assert echo_server.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert json.loads(echo_server.requests[0].body) == {"key": CANARY}
    assert runs["return"].result == {"********": ["it is ********"]}
    assert "Bearer ********" in runs["refused"].result["body"]
    assert log_of(runs["print"]) == "using ********\n'********'\n"
    for name in ("use", "use in a child"):
        assert log_of(runs[name]) == "token ********\n"
    assert runs["raise"].error == "ValueError: ******** is wrong"
    assert "the key was ********" in runs["chain"].traceback

    lifecycle.retry([runs[name].pk for name in failing], by="tester")
    for execution in runs.values():
        finished(execution)

    everything = everything_in_the_database()
    assert CANARY not in everything
    assert OTHER not in everything
    client.force_login(django_user_model.objects.create_superuser("root"))
    for execution in runs.values():
        for page in (
            f"/admin/scheduler_app/execution/{execution.pk}/change/",
            f"/api/v1/executions/{execution.pk}/",
            f"/api/v1/executions/{execution.pk}/log/",
            f"/api/v1/jobs/{execution.job_id}/",
        ):
            answer = client.get(page)
            assert answer.status_code == 200, page
            assert CANARY not in answer.getvalue().decode()
    node.signal(signal.SIGTERM)
    node.wait_exit()
    assert "using ********" in node.log
    assert CANARY not in node.log


def everything_in_the_database() -> str:
    """Every row of every table as text: what a dump would hold."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [row[0] for row in cursor.fetchall()]
        texts = []
        for table in tables:
            cursor.execute(f'SELECT row::text FROM "{table}" AS row')
            texts += [row[0] for row in cursor.fetchall()]
    text = "\n".join(texts)
    assert "secret://canary" in text
    return text
