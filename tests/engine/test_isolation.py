"""Jobs that run in processes of their own, on real nodes: killed, crashed, limited, suspected."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Job, LogChunk, Node, Status

from .conftest import wait_for
from .test_children import is_alive


def log_of(execution: Execution) -> str:
    return "".join(chunk.text for chunk in LogChunk.objects.filter(execution=execution))


@pytest.fixture
def begin(make_job):
    """Run a task in a process of its own, on the node that the test started."""

    def start(task: str, arguments=None, **values) -> Execution:
        job = make_job(task, arguments, **({"isolation": "process"} | values))
        [execution] = lifecycle.run_now([job.pk], by="tester")
        return execution

    return start


def test_a_process_brings_results_logs_and_failures_as_a_thread_does(start_node, begin, finished):
    node = start_node()
    runs = [
        begin("tell_process"),
        begin("log_and_print"),
        begin("fail", {"message": "no luck"}),
        begin("fail_until", {"attempt": 2}, max_attempts=3, retry_backoff_s=0.1),
        begin("tell_process", isolation="thread"),
    ]
    child, log, failed, again, thread = map(finished, runs)

    assert child.status == Status.SUCCEEDED
    assert child.result[0] != node.process.pid == thread.result[0]
    assert "from a shell" in log_of(log)
    assert (failed.status, failed.error) == (Status.FAILED, "RuntimeError: no luck")
    assert (again.status, again.attempt) == (Status.SUCCEEDED, 2)


def test_s15_a_job_that_takes_all_that_it_can_get_fails_alone(start_node, begin, finished):
    node = start_node("--threads", "3")
    memory = begin("take_memory", {"mebibytes": 10 * 1024}, memory_limit_mb=200)
    cpu = begin("burn", cpu_limit_s=1)
    bystander = begin("echo", {"value": 1}, isolation="thread")

    assert finished(bystander).status == Status.SUCCEEDED
    assert finished(memory).error == "MemoryError"
    assert finished(cpu).reason == "cpu_limit"
    assert node.process.poll() is None
    assert finished(begin("echo", {"value": 2}, isolation="thread")).result == 2


def test_s15_a_fork_bomb_fails_alone_and_nothing_of_it_stays(start_node, begin, finished, tmp_path):
    node = start_node("--threads", "3", process_limit=20)
    path = tmp_path / "pids"
    bomb = begin("fork_like_a_bomb", {"path": str(path), "at_most": 300})
    bystander = begin("echo", {"value": 1}, isolation="thread")

    assert finished(bystander).status == Status.SUCCEEDED
    bomb = finished(bomb)
    assert (bomb.status, bomb.reason, bomb.crashes) == (Status.FAILED, "too_many_processes", 0)
    assert "at most 20" in bomb.error
    assert node.process.poll() is None
    forked = [int(pid) for pid in path.read_text().split()]
    assert len(forked) >= 20
    wait_for(lambda: not any(map(is_alive, forked)), what="the end of all that it forked")
    assert finished(begin("echo", {"value": 2})).result == 2


def test_s15_a_job_ends_after_an_hour_unless_it_says_otherwise(make_job):
    assert make_job("echo").timeout_s == 3600
    timeout = Job._meta.get_field("timeout_s")
    assert not timeout.null


def test_what_does_not_stop_is_killed_for_real(start_node, begin, finished, tmp_path):
    node = start_node("--threads", "2", kill_grace=0.2)
    paths = [tmp_path / "timed", tmp_path / "cancelled"]
    timed = begin("leave_processes", {"path": str(paths[0]), "stay": True}, timeout_s=1)
    cancelled = begin("leave_processes", {"path": str(paths[1]), "stay": True})
    wait_for(lambda: all(path.exists() and path.read_text() for path in paths), what="both shells")
    wait_for(lambda: node.row.children, what="the children on the node's row")

    lifecycle.cancel([cancelled.pk], by="ana")

    timed, cancelled = finished(timed), finished(cancelled)
    assert (timed.status, timed.reason) == (Status.FAILED, "timed_out")
    assert (cancelled.status, cancelled.cancelled_by) == (Status.CANCELLED, "ana")
    assert "from the shell" in log_of(timed)
    for path in paths:
        wait_for(lambda path=path: not is_alive(int(path.read_text())), what="the end of a shell")
    # No thread was given up for them.
    wait_for(lambda: node.row.busy == 0, what="an idle node")
    assert node.row.stuck == 0


def test_a_crash_ends_its_attempt_and_not_the_node(start_node, begin, finished):
    node = start_node()
    once = begin("crash", {"how": "segfault"})
    often = begin("crash", {"how": "exit"}, max_attempts=10, retry_backoff_s=0.1)
    limited = begin("take_memory", {"mebibytes": 500}, memory_limit_mb=100)

    once, often, limited = map(finished, (once, often, limited))

    assert (once.status, once.reason, once.crashes) == (Status.FAILED, "crashed", 1)
    assert "SIGSEGV" in once.error
    assert "last words" in log_of(once)
    assert (often.status, often.reason, often.crashes) == (Status.FAILED, "poisoned", 3)
    assert [entry["reason"] for entry in often.failures] == ["crashed", "crashed"]
    assert (limited.status, limited.error) == (Status.FAILED, "MemoryError")
    assert node.process.poll() is None


def test_what_killed_a_node_runs_in_a_process_on_the_next(start_node, make_job, finished):
    job = make_job("crash", {"how": "exit"}, timeout_s=60)
    first = start_node()
    [execution] = lifecycle.run_now([job.pk], by="tester")
    assert first.wait_exit() == 7

    second = start_node()

    execution = finished(execution)
    assert (execution.status, execution.reason, execution.crashes) == (Status.FAILED, "crashed", 2)
    assert [entry["reason"] for entry in execution.failures] == ["node_died"]
    assert execution.node_id == second.row.pk
    assert second.process.poll() is None


def test_a_node_that_ends_leaves_no_process(start_node, begin, tmp_path):
    path = tmp_path / "pid"
    node = start_node(drain_timeout=0.2, kill_grace=0.2)
    execution = begin("leave_processes", {"path": str(path), "stay": True})
    wait_for(lambda: path.exists() and path.read_text(), what="the shell")

    node.signal(signal.SIGTERM)

    assert node.wait_exit() == 0
    execution.refresh_from_db()
    assert (execution.status, execution.reason) == (Status.READY, "drained")
    wait_for(lambda: not is_alive(int(path.read_text())), what="the end of the shell")


def test_a_limit_without_a_process_of_its_own_is_refused(make_job):
    with pytest.raises(Exception, match="Only a process of its own can be limited"):
        make_job(memory_limit_mb=100)
    assert make_job(isolation="process", memory_limit_mb=100, cpu_limit_s=5).pk


def test_running_tasks_are_seen_on_the_row_of_their_node(start_node, begin, tmp_path):
    start_node()
    begin("note_slowly", {"path": str(tmp_path / "a"), "seconds": 600})
    begin("note_slowly", {"path": str(tmp_path / "b"), "seconds": 600}, isolation="thread")

    wait_for(
        lambda: Node.objects.values_list("busy", "children").get() == (2, 1), what="one of each"
    )


SLOW_SETTINGS = """
import sys, time
from pathlib import Path
from tests.node_settings import *

here = Path(__file__).parent
if sys.argv[0] == "-c":  # what processes are forked from, and not the node
    (here / "importing").touch()
    while not (here / "go").exists():
        time.sleep(0.02)
"""


@dataclass
class SlowImport:
    """A project whose import takes until the test lets it go on."""

    directory: Path

    @property
    def env(self) -> dict[str, str]:
        return {"DJANGO_SETTINGS_MODULE": "slow_settings", "PYTHONPATH": str(self.directory)}

    def wait_begun(self) -> None:
        wait_for((self.directory / "importing").exists, what="the import")

    def go_on(self) -> None:
        (self.directory / "go").touch()


@pytest.fixture
def slow_import(tmp_path) -> SlowImport:
    directory = tmp_path / "slow"
    directory.mkdir()
    (directory / "slow_settings.py").write_text(SLOW_SETTINGS)
    return SlowImport(directory)


def test_what_waits_for_the_first_process_can_be_cancelled(
    start_node, begin, finished, slow_import, tmp_path
):
    node = start_node(env=slow_import.env)
    path = tmp_path / "begun"
    execution = begin("note", {"path": str(path)})
    slow_import.wait_begun()

    lifecycle.cancel([execution.pk], by="ana")
    for _ in range(2):
        before = node.row.last_tick_at
        wait_for(lambda before=before: node.row.last_tick_at > before, what="a look at cancels")
    slow_import.go_on()

    execution = finished(execution)
    assert (execution.status, execution.cancelled_by) == (Status.CANCELLED, "ana")
    assert not path.exists()


def test_what_waits_for_the_first_process_is_handed_back_by_a_drain(
    start_node, begin, slow_import, tmp_path
):
    """Also what may run once at most: it has not begun."""
    node = start_node(drain_timeout=0.2, kill_grace=0.2, env=slow_import.env)
    path = tmp_path / "begun"
    runs = [
        begin("note", {"path": str(path)}, guarantee=guarantee)
        for guarantee in ("at_least_once", "at_most_once")
    ]
    slow_import.wait_begun()
    held = Execution.objects.filter(status=Status.RUNNING)
    wait_for(lambda: held.count() == len(runs), what="both claimed")

    node.signal(signal.SIGTERM)

    assert node.wait_exit() == 0
    for execution in runs:
        execution.refresh_from_db()
        assert (execution.status, execution.reason) == (Status.READY, "drained")
        assert (execution.attempt, execution.crashes) == (0, 0)
    assert not path.exists()
