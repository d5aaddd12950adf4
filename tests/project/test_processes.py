"""The Procfile runner: started together, asked to end, made to end."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobscheduler.processes import ProcessGroup, read_procfile

from .conftest import ROOT

POLITE = "import time; print('ready', flush=True); time.sleep(60)"
# Ends when asked twice.
STUBBORN = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
print('ready', flush=True)
while len(asked) < 2:
    time.sleep(0.01)
print('asked twice', flush=True)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(60)
"""


class Group(ProcessGroup):
    """A group that collects what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.urged = threading.Event()
        super().__init__(self.lines.append)

    def run(self, name: str, code: str) -> None:
        self.start(name, f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}", os.environ)

    def wait_for(self, word: str) -> None:
        deadline = time.monotonic() + 30
        while not any(word in line for line in self.lines):
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.01)


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group()
    yield made
    made.urged.set()
    made.stop(patience=0, urged=made.urged)


def test_the_procfile_names_release_web_and_scheduler() -> None:
    commands = read_procfile(ROOT / "Procfile")

    assert list(commands) == ["release", "web", "scheduler"]
    assert "runscheduler" in commands["scheduler"]


def test_a_procfile_may_have_comments(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("# ours\n\nweb: serve --port 1: x\n")

    assert read_procfile(tmp_path / "Procfile") == {"web": "serve --port 1: x"}


def test_each_line_is_headed_by_its_process(group: Group) -> None:
    group.run("web", "print('hello'); import sys; print('oops', file=sys.stderr)")
    group.wait_for("hello")
    group.wait_for("oops")

    assert sorted(group.lines) == ["web       | hello", "web       | oops"]


def test_a_process_that_ends_by_itself_is_noticed(group: Group) -> None:
    group.run("web", POLITE)
    group.run("scheduler", "raise SystemExit(7)")
    deadline = time.monotonic() + 30
    while not (ended := group.first_ended()):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    assert (ended.name, ended.exit_code) == ("scheduler", 7)


def test_stopping_waits_for_those_who_need_time_and_their_children(group: Group) -> None:
    group.run("web", POLITE)
    # The shell dies of the signal at once; what it started still has something to say.
    code = "import time; print('ready', flush=True); time.sleep(0.5)"
    ignoring = f"trap '' TERM; {shlex.quote(sys.executable)} -c {shlex.quote(code)}; echo done"
    group.start("scheduler", f"sh -c {shlex.quote(ignoring)}", os.environ)
    group.wait_for("scheduler | ready")

    group.stop(patience=30, urged=group.urged)

    assert "scheduler | done" in group.lines


def test_an_impatient_person_asks_twice(group: Group) -> None:
    group.run("scheduler", STUBBORN)
    group.wait_for("ready")
    threading.Timer(0.2, group.urged.set).start()
    begun = time.monotonic()

    group.stop(patience=50, urged=group.urged)

    assert "scheduler | asked twice" in group.lines
    assert time.monotonic() - begun < 40


def test_who_does_not_listen_is_killed(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobscheduler.processes.KILL_AFTER", 0.2)
    group.run("scheduler", DEAF)
    group.wait_for("ready")

    group.stop(patience=0.2, urged=group.urged)

    assert (ended := group.first_ended())
    assert ended.is_over
