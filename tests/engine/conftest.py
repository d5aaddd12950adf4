"""Real nodes: `manage.py runscheduler` as processes, on the tests' database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.conf import settings
from django.db import connection

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Job, Node

T = TypeVar("T")

DEADLINE_S = 60.0
"""How long a test waits for what should happen within a second or so, on a machine that is busy."""


def wait_for(question: Callable[[], T], *, what: str, within_s: float = DEADLINE_S) -> T:
    """Ask until the answer is true; fails naming `what` when it never is."""
    deadline = time.monotonic() + within_s
    while not (answer := question()):
        assert time.monotonic() < deadline, f"waited {within_s:g} s for: {what}"
        time.sleep(0.05)
    return answer


class NodeProcess:
    """One `runscheduler`, its log in a file."""

    def __init__(self, env: dict[str, str], log: Path, *arguments: str) -> None:
        self.name = log.stem
        self.log_path = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runscheduler", "--name", self.name, *arguments],
                cwd=settings.BASE_DIR,
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def row(self) -> Node:
        return Node.objects.get(name=self.name)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_ready(self) -> NodeProcess:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log
            return Node.objects.filter(name=self.name, last_tick_at__isnull=False).exists()

        wait_for(is_ready, what=f"the first tick of {self.name}")
        return self

    def wait_exit(self) -> int:
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def start_node(process_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start nodes with a short lease; options as `lease=2`, command-line arguments as strings."""
    nodes: list[NodeProcess] = []

    def start(
        *arguments: str, ready: bool = True, env: dict[str, str] | None = None, **options: Any
    ):
        given = {f"SCHEDULER_{name.upper()}": str(value) for name, value in options.items()}
        defaults = {
            "DJANGO_SETTINGS_MODULE": "tests.node_settings",
            "SCHEDULER_LEASE": "3",
            "SCHEDULER_OUTAGE_GRACE": "0.2",
        }
        node = NodeProcess(
            process_env | defaults | given | (env or {}),
            tmp_path / f"node-{len(nodes) + 1}.log",
            *arguments,
        )
        nodes.append(node)
        return node.wait_ready() if ready else node

    yield start
    for node in nodes:
        node.kill()
    connection.close()


@pytest.fixture
def make_job(transactional_db: None) -> Callable[..., Job]:
    """A stored job; by hand only unless told otherwise. Tasks are named without their module."""

    def make(task: str = "echo", arguments: Any = None, **values: Any) -> Job:
        values.setdefault("name", f"job {Job.objects.count() + 1}")
        values.setdefault("target", f"tests.testapp.tasks.{task}")
        job = Job(arguments={} if arguments is None else arguments, **values)
        job.full_clean()
        return lifecycle.save_job(job, by="tester")

    return make


@pytest.fixture
def finished() -> Callable[[Execution], Execution]:
    """Wait until an execution is over, and read it."""

    def wait(execution: Execution) -> Execution:
        def over() -> Execution | None:
            execution.refresh_from_db()
            return None if execution.is_live else execution

        return wait_for(over, what=f"the end of {execution}, which is {execution.status}")

    return wait
