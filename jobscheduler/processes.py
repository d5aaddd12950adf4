"""Run the processes of a Procfile side by side and end them together.

Each process leads a session of its own, so that Ctrl-C on the terminal reaches only the runner, which then ends
them in order: asked first, killed only when they do not listen.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

KILL_AFTER = 5.0
"""Seconds beyond the time that it was given, after which a process that still runs is killed."""


def read_procfile(path: Path) -> dict[str, str]:
    """Command by process name."""
    return dict(re.findall(r"^([A-Za-z0-9_-]+):\s*(.+)$", path.read_text(), re.MULTILINE))


class Process:
    """One command; over when it and all that inherited its output are."""

    def __init__(
        self, name: str, command: str, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self._say = say
        self._popen = subprocess.Popen(
            ["/bin/sh", "-c", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout
        for line in self._popen.stdout:
            self._say(f"{self.name:<9} | {line.decode(errors='replace').rstrip()}")

    @property
    def is_over(self) -> bool:
        return self._popen.poll() is not None and not self._reader.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Signal the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)


class ProcessGroup:
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._processes: list[Process] = []

    def start(self, name: str, command: str, environment: Mapping[str, str]) -> None:
        self._processes.append(Process(name, command, environment, self._say))

    def start_again(self, ended: Process) -> None:
        """The same command once more, in place of one that has ended."""
        self._processes.remove(ended)
        self.start(ended.name, ended.command, ended.environment)

    def first_ended(self) -> Process | None:
        """A process that ended by itself, if one did."""
        return next((each for each in self._processes if each.exit_code is not None), None)

    def stop(self, *, patience: float, urged: threading.Event) -> None:
        """Ask every process to end and wait for it; `urged` asks again and shortens the wait."""
        self._signal(signal.SIGTERM)
        if not self._wait(patience, unless=urged):
            if urged.is_set():
                self._signal(signal.SIGTERM)
            if not self._wait(KILL_AFTER):
                self._signal(signal.SIGKILL)
                self._wait(KILL_AFTER)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            if not process.is_over:
                process.send(number)

    def _wait(self, seconds: float, unless: threading.Event | None = None) -> bool:
        """Whether all are over within this time."""
        deadline = time.monotonic() + seconds
        while not all(process.is_over for process in self._processes):
            if time.monotonic() > deadline or (unless and unless.is_set()):
                return False
            time.sleep(0.05)
        return True
