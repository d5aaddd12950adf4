"""Child processes: real ones, forked from a real template, without a node."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings

from scheduler_app.conf import get_config
from scheduler_app.engine import children as children_module
from scheduler_app.engine.capture import AttemptLog
from scheduler_app.engine.children import Child, Children, NoChild
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.performing import Ending
from scheduler_app.rules.spec import JobSpec
from scheduler_app.targets.base import CurrentExecution

from .conftest import wait_for

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass
class Run:
    """One attempt in a child, in a thread of its own."""

    child: Child
    execution: CurrentExecution
    log: AttemptLog
    ending: Ending | None = None

    def result(self) -> object:
        assert self.ending is not None
        assert not self.ending.raised, self.ending.error
        return json.loads(self.ending.result)

    def text(self) -> str:
        rest = self.log.take_rest()
        return rest[1] if rest else ""


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    started = Children(get_config(), Gauges())
    yield started
    started.close()


@pytest.fixture
def begin(children):
    """Start a task in a child; join the thread to have its ending."""
    threads = []

    def start(task: str, arguments=None, *, in_children=children, **spec) -> Run:
        given = JobSpec(
            target=f"tests.testapp.tasks.{task}", arguments=arguments or {}, timeout_s=60, **spec
        )
        execution = CurrentExecution(
            id=7,
            job_id=1,
            job_name="a job",
            attempt=2,
            scheduled_for=NOON,
            target=given.target,
            arguments=given.arguments,
            timeout_s=given.timeout_s,
        )
        run = Run(in_children.child(), execution, AttemptLog())

        def work() -> None:
            run.ending = run.child.run(execution, given, run.log)

        thread = threading.Thread(target=work)
        thread.start()
        threads.append((thread, run))
        return run

    yield start
    for thread, run in threads:
        run.child.kill(signal.SIGKILL)
        thread.join(60)


@pytest.fixture
def perform(begin):
    """Run a task in a child to its end."""

    def run(task: str, arguments=None, **spec) -> Run:
        begun = begin(task, arguments, **spec)
        wait_for(lambda: begun.ending, what=f"the end of {task}")
        return begun

    return run


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody collects does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_task_returns_and_raises_comes_back(perform):
    assert perform("add", {"a": 2, "b": 3}).result() == 5
    assert perform("add_async", {"a": 2, "b": 3}).result() == 5
    assert perform("tell_attempt").result() == "attempt 2"

    ending = perform("fail", {"message": "no luck"}).ending

    assert (ending.raised, ending.error, ending.crashed) == (True, "RuntimeError: no luck", False)
    assert "in fail" in ending.traceback
    assert "scheduler_app/engine" not in ending.traceback


def test_each_attempt_has_a_process_of_its_own_forked_from_the_same_template(perform):
    (first, template), (second, same) = (perform("tell_process").result() for _ in range(2))

    assert template == same != os.getpid()
    assert len({first, second, template, os.getpid()}) == 4


def test_what_one_attempt_does_to_its_process_does_not_reach_the_next(perform):
    before = perform("ask_whether_spoiled").result()

    assert perform("spoil_the_process").result() == "/"

    assert perform("ask_whether_spoiled").result() == before


def test_everything_that_is_printed_or_logged_is_its_log(perform):
    text = perform("log_and_print").text()

    assert text.splitlines()[:2] == ["printed", "complained"]
    assert "WARNING shop: logged" in text
    assert "from a shell\n" in text
    assert text.endswith("no newline \\udcff\n")


def test_the_log_comes_while_it_runs(begin, tmp_path):
    run = begin("leave_processes", {"path": str(tmp_path / "pid"), "stay": True})

    wait_for(lambda: "from the shell" in (run.log.take_fresh() or (0, ""))[1], what="the output")
    assert run.ending is None


def test_s15_a_flood_of_output_is_bounded_and_none_of_its_end_is_lost(perform):
    text = perform("print_much", {"lines": 100_000, "text": "x" * 20}).text()

    assert len(text) < 1_100_000
    assert text.endswith(" 99999\n")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "ended with exit code 7"),
        ("signal", "killed by signal 9 (SIGKILL), perhaps"),
        ("segfault", "killed by signal 11 (SIGSEGV)"),
    ],
)
def test_a_crash_is_an_ending_with_its_reason_and_its_last_words(perform, how, words):
    run = perform("crash", {"how": how})

    assert (run.ending.reason, run.ending.crashed) == ("crashed", True)
    assert words in run.ending.error
    assert run.text().startswith("last words\n")


def test_s15_memory_is_limited_beyond_what_python_takes(perform):
    assert perform("take_memory", {"mebibytes": 50}, memory_limit_mb=100).result() > 0

    ending = perform("take_memory", {"mebibytes": 200}, memory_limit_mb=100).ending

    assert (ending.error, ending.crashed) == ("MemoryError", False)


def test_s15_cpu_is_limited(perform):
    ending = perform("burn", cpu_limit_s=1).ending

    assert (ending.reason, ending.crashed) == ("cpu_limit", False)
    assert "more than 1 s of CPU" in ending.error


def test_s15_open_files_are_limited(perform):
    assert perform("open_files", {"number": 500}).result() == 500

    ending = perform("open_files", {"number": 2000}).ending

    assert "Too many open files" in ending.error
    assert not ending.crashed


def test_running_code_is_asked_to_stop_and_knows_its_time(begin):
    run = begin("watch_the_clock")
    wait_for(lambda: run.child.pid, what="the process")

    run.execution.stop()

    wait_for(lambda: run.ending, what="the end")
    answer = run.result()
    assert (answer["id"], answer["stopped"], answer["asked"]) == (7, True, True)
    assert 0 < answer["left"] <= 60


def test_a_term_from_elsewhere_is_meant_for_the_node_and_one_after_the_request_ends_it(begin):
    run = begin("sleep_deaf", {"seconds": 600})
    wait_for(lambda: run.child.pid, what="the process")
    run.child.kill(signal.SIGTERM)
    time.sleep(0.3)
    assert run.ending is None

    run.execution.stop()

    def end_it() -> Ending | None:
        # Again and again: it has no effect until the request has arrived.
        with suppress(ProcessLookupError):
            os.kill(run.child.pid, signal.SIGTERM)
        return run.ending

    wait_for(end_it, what="the end")
    assert "signal 15" in run.ending.error


def test_what_it_started_ends_with_it(perform, tmp_path):
    path = tmp_path / "pid"

    assert perform("leave_processes", {"path": str(path)}).result() == "left"

    wait_for(lambda: not is_alive(int(path.read_text())), what="the end of the shell")


def test_s15_killed_it_takes_its_whole_group_along(begin, tmp_path):
    path = tmp_path / "pid"
    run = begin("leave_processes", {"path": str(path), "stay": True})
    wait_for(lambda: path.exists() and path.read_text(), what="the shell")

    run.child.kill(signal.SIGKILL)

    wait_for(lambda: run.ending, what="the end")
    assert run.ending.crashed
    wait_for(lambda: not is_alive(int(path.read_text())), what="the end of the shell")


def test_a_lost_template_takes_its_children_along_and_is_replaced(begin, perform):
    template = perform("tell_process").result()[1]
    run = begin("sleep_deaf", {"seconds": 600})
    wait_for(lambda: run.child.pid, what="the process")

    os.kill(template, signal.SIGKILL)

    wait_for(lambda: run.ending, what="the end")
    assert (run.ending.reason, run.ending.crashed) == ("crashed", True)
    wait_for(lambda: not is_alive(run.child.pid), what="the end of the child")
    assert perform("tell_process").result()[1] != template


def test_many_at_once_do_not_mix_up_and_leave_nothing_open(begin, perform):
    perform("echo", {"value": 0})
    before = len(os.listdir("/proc/self/fd"))

    runs = [begin("echo", {"value": number}) for number in range(30)]

    wait_for(lambda: all(run.ending for run in runs), what="all")
    assert [run.result() for run in runs] == list(range(30))
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before, what="closed files")


class NarrowSockets:
    """The module `socket`, but what two processes may have said without being heard is little."""

    def __getattr__(self, name: str) -> object:
        return getattr(socket, name)

    def socketpair(self) -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair()
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return ends


def test_more_at_once_than_can_be_said_unheard_do_not_wait_for_each_other(begin, monkeypatch):
    """Neither node nor template may stop listening until the other has heard what it says."""
    monkeypatch.setattr(children_module, "socket", NarrowSockets())
    narrow = Children(get_config(), Gauges())
    narrow.prepare()
    try:
        runs = [begin("echo", {"value": n}, in_children=narrow) for n in range(60)]

        wait_for(lambda: all(run.ending for run in runs), what="all")
        assert [run.result() for run in runs] == list(range(60))
    finally:
        narrow.close()


def test_what_a_child_says_is_held_to_what_the_node_would_say():
    ending = Ending.from_message(
        {
            "raised": "yes",
            "result": "[" * 200_000 + "]" * 200_000,
            "error": "a\nb" * 5000,
            "traceback": 7,
            "reason": "x" * 100,
            "unknown": 1,
        }
    )

    assert (ending.raised, ending.result, ending.traceback) == (False, None, "")
    assert len(ending.error) <= 1000
    assert "\n" not in ending.error
    assert len(ending.reason) <= 40


def test_without_a_template_there_is_no_child_and_the_reason_is_shown(begin, monkeypatch):
    gauges = Gauges()
    broken = Children(get_config(), gauges)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no.such.settings")
    spec = JobSpec(target="tests.testapp.tasks.echo")
    execution = begin("echo").execution

    with pytest.raises(NoChild):
        broken.child().run(execution, spec, AttemptLog())

    assert gauges.trouble().name == "no_child_process"
    broken.close()


NODE = """
import os, sys, threading, time
import django
django.setup()
from tests.engine.test_children import *
children = Children(get_config(), Gauges())
execution = CurrentExecution(
    id=7, job_id=1, job_name="", attempt=1, scheduled_for=NOON, timeout_s=600,
    target="tests.testapp.tasks.leave_processes", arguments={"path": sys.argv[1], "stay": True},
)
children.child().run(execution, JobSpec(target=execution.target), AttemptLog())
"""


def test_the_process_limit_is_that_of_the_node_and_not_of_the_environment(begin, tmp_path):
    """What is enforced is what the error says, however the node came to its settings."""
    assert get_config().process_limit > 5
    small = Children(replace(get_config(), process_limit=5), Gauges())
    try:
        bomb = begin(
            "fork_like_a_bomb", {"path": str(tmp_path / "pids"), "at_most": 10}, in_children=small
        )
        wait_for(lambda: bomb.ending, what="the end of the bomb")
    finally:
        small.close()

    assert bomb.ending.reason == "too_many_processes"
    assert "at most 5" in bomb.ending.error


def test_when_the_node_is_killed_nothing_of_it_stays(tmp_path):
    path = tmp_path / "pid"
    node = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(NODE), str(path)], cwd=settings.BASE_DIR
    )
    try:
        wait_for(lambda: path.exists() and path.read_text(), what="the child")
        shell = int(path.read_text())
        family = _descendants(node.pid)
        assert shell in family
        assert len(family) >= 3
    finally:
        node.kill()
        node.wait()

    wait_for(lambda: not any(map(is_alive, family)), what="the end of all")


def _descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            child = int(entry.name)
            parents[child] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}
