"""`runscheduler --processes N`: real processes that share the work, die, are replaced, and end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest
from django.core.management import CommandError, call_command

from scheduler_app import lifecycle
from scheduler_app.engine import processes
from scheduler_app.engine.processes import Processes, StopRequests
from scheduler_app.models import Execution, Node, NodeState, Status

from .conftest import NodeProcess, wait_for


def pids_of(*names: str) -> list[int]:
    """Of those that work, in the order of their names."""
    rows = Node.objects.filter(name__in=names, state="active", last_tick_at__isnull=False)
    return [row.pid for row in rows.order_by("name")]


@pytest.fixture
def start_two(start_node: Callable[..., NodeProcess]) -> Callable[..., NodeProcess]:
    def start(*arguments: str, lease: float = 60) -> NodeProcess:
        # On a busy machine nobody is to be declared dead who is only slow.
        parent = start_node("--processes", "2", *arguments, ready=False, lease=lease)
        wait_for(lambda: len(pids_of("node-1-1", "node-1-2")) == 2, what="both nodes")
        return parent

    return start


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_two_processes_share_the_work_with_the_options_of_the_command(start_two, make_job):
    parent = start_two("--threads", "1", "--queues", "mail,reports")
    job = make_job("sleep_deaf", {"seconds": 0.05}, on_overlap="allow", queue="mail")

    def both_worked() -> bool:
        for _ in range(4):
            lifecycle.run_now([job.pk], by="tester")
        done = Execution.objects.filter(status="succeeded")
        return set(done.values_list("node__name", flat=True)) == {"node-1-1", "node-1-2"}

    wait_for(both_worked, what="work of both")
    rows = Node.objects.values_list("threads", "queues")
    assert list(rows) == [(1, ["mail", "reports"])] * 2
    # Each line of the log says whose it is.
    for pid in pids_of("node-1-1", "node-1-2"):
        assert f" INFO {pid} scheduler_app.engine.node node started" in parent.log


def test_a_killed_process_is_replaced_and_the_other_goes_on(start_two):
    parent = start_two()
    victim, other = pids_of("node-1-1", "node-1-2")

    os.kill(victim, signal.SIGKILL)

    wait_for(lambda: Node.objects.filter(name="node-1-1").count() == 2, what="another node-1-1")
    wait_for(lambda: len(set(pids_of("node-1-1", "node-1-2")) - {victim}) == 2, what="both nodes")
    assert other in pids_of("node-1-2")
    assert f"starting another in_s=0.5 name=node-1-1 pid={victim} exit_code=-9" in parent.log


def test_a_signal_drains_all_of_them(start_two, make_job):
    parent = start_two("--threads", "1")
    job = make_job("sleep_deaf", {"seconds": 1.5}, on_overlap="allow")
    runs = [lifecycle.run_now([job.pk], by="tester")[0] for _ in range(2)]
    wait_for(lambda: Execution.objects.running().count() == 2, what="two runs")
    wait_for(
        lambda: Execution.objects.filter(started_at__isnull=False).count() == 2,
        what="the beginning of both",
    )

    # As a supervisor does that signals all processes at once: that is no second request.
    for pid in (*pids_of("node-1-1", "node-1-2"), parent.process.pid):
        os.kill(pid, signal.SIGTERM)

    assert parent.wait_exit() == 0
    assert set(Node.objects.values_list("state", flat=True)) == {NodeState.STOPPED}
    for run in runs:
        run.refresh_from_db()
        assert (run.status, run.crashes, run.attempt) == (Status.SUCCEEDED, 0, 1)


def test_a_second_signal_hands_back_at_once(start_two, make_job):
    parent = start_two()
    job = make_job("sleep_deaf", {"seconds": 300}, on_overlap="allow")
    [run] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: Execution.objects.filter(started_at__isnull=False).exists(), what="a start")
    began = time.monotonic()

    parent.signal(signal.SIGTERM)
    wait_for(lambda: Node.objects.filter(state="draining").exists(), what="draining")
    parent.signal(signal.SIGTERM)

    assert parent.wait_exit() == 0
    assert time.monotonic() - began < 50  # it would drain for a minute
    run.refresh_from_db()
    assert (run.status, run.attempt) == (Status.READY, 0)


def test_all_end_with_their_parent_and_let_what_runs_finish(start_two, make_job):
    parent = start_two()
    job = make_job("sleep_deaf", {"seconds": 1.5}, on_overlap="allow")
    [run] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: Execution.objects.filter(started_at__isnull=False).exists(), what="a start")
    pids = pids_of("node-1-1", "node-1-2")

    parent.signal(signal.SIGKILL)

    wait_for(lambda: all(map(is_gone, pids)), what="the end of both")
    run.refresh_from_db()
    assert run.status == Status.SUCCEEDED
    assert set(Node.objects.values_list("state", flat=True)) == {NodeState.STOPPED}


def test_what_was_drained_from_elsewhere_stays_away(start_two):
    parent = start_two()
    nodes = list(Node.objects.order_by("name"))

    assert lifecycle.drain_node(nodes[0].pk, by="ann")
    wait_for(lambda: is_gone(nodes[0].pid), what="the end of one")
    assert pids_of("node-1-1", "node-1-2") == [nodes[1].pid]
    assert lifecycle.drain_node(nodes[1].pk, by="ann")

    assert parent.wait_exit() == 0
    assert Node.objects.count() == 2


# --- Without nodes --------------------------------------------------------------------------------


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children run the words as a program of Python."""
    popen = subprocess.Popen

    def run(words: list[str], **options: object) -> subprocess.Popen[bytes]:
        return popen([sys.executable, *words[3:]], **options)

    monkeypatch.setattr(processes.subprocess, "Popen", run)
    monkeypatch.setattr(processes, "FIRST_BACKOFF_S", 0.01)


def test_it_waits_longer_each_time_that_one_dies(program, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(processes, "LONGEST_BACKOFF_S", 0.04)
    lives = tmp_path / "lives"
    source = (
        f"import sys; file = open({str(lives)!r}, 'a+'); file.write('x'); file.seek(0); "
        "sys.exit(3 if len(file.read()) < 5 else 0)"
    )

    assert Processes({"a": ["-c", source]}).run() == 0

    said = [record.getMessage() for record in caplog.records if "another" in record.getMessage()]
    assert [line.split()[4] for line in said] == [
        "in_s=0.01",
        "in_s=0.02",
        "in_s=0.04",
        "in_s=0.04",
    ]
    assert lives.read_text() == "xxxxx"


@pytest.mark.parametrize(("exit_code", "expected"), [(0, 0), (3, 75), (75, 75)])
def test_asked_to_stop_it_says_whether_all_ended_well(program, exit_code, expected):
    source = f"import os, sys; os.read(int(sys.argv[2]), 1); sys.exit({exit_code})"
    parent = Processes({"a": ["-c", source], "b": ["-c", source]})
    parent.request_stop()
    assert parent.run() == expected


@pytest.mark.parametrize(
    ("events", "asked"),
    [
        (["signal", "signal"], 1),
        (["signal", "parent"], 1),
        (["parent", "signal"], 1),
        (["parent", "signal", "parent"], 2),
        (["parent", "end"], 1),
        (["end"], 1),
    ],
)
def test_only_the_parent_hurries_its_children(events, asked):
    theirs, ours = os.pipe()
    requests, calls = StopRequests(theirs), []
    requests.pass_on(lambda: calls.append(1))
    for event in events:
        if event == "signal":
            requests.signalled(signal.SIGTERM, None)
        elif event == "parent":
            os.write(ours, b".")
        else:
            os.close(ours)
        time.sleep(0.02)

    wait_for(lambda: len(calls) == asked, what="the requests")
    time.sleep(0.1)
    assert len(calls) == asked
    if "end" not in events:
        os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--processes", "0"], "--processes must be from 1 to 100"),
        (["--processes", "101"], "--processes must be from 1 to 100"),
        (["--processes", "10", "--name", "x" * 98], "--name may have 97 characters"),
    ],
)
def test_what_cannot_be_is_refused(arguments, says):
    with pytest.raises(CommandError, match=says):
        call_command("runscheduler", *arguments)


@pytest.mark.parametrize("own", ["", "/opt/site"])
def test_the_programs_of_tasks_do_not_look_where_the_node_looked_for_modules(monkeypatch, own):
    """They may be of another Python."""
    monkeypatch.setenv("PYTHONPATH", "/all/of/sys.path")
    monkeypatch.setenv(processes.OWN_PYTHONPATH, own)

    processes.restore_environment()

    assert os.environ.get("PYTHONPATH", "") == own
    assert processes.OWN_PYTHONPATH not in os.environ


def test_what_was_started_by_hand_keeps_its_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/opt/site")
    monkeypatch.delenv(processes.OWN_PYTHONPATH, raising=False)

    processes.restore_environment()

    assert os.environ["PYTHONPATH"] == "/opt/site"
