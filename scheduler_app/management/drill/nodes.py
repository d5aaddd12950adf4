"""Keeps nodes running, as a supervisor does, and writes down every start, signal and exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from .ledger import Ledger, Life

RESTART_AFTER_S = 0.3
STOP_S = 60.0
"""How long a stop may take before the process is killed, so that a drill ends."""


class NodeKeeper:
    """One named node: its process now, and the next one after it ended."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        *,
        command: list[str],
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
    ) -> None:
        self.name = name
        self.log = log
        self.restarts = True
        """Whether a process that ended is followed by another."""
        self.process: subprocess.Popen[bytes] | None = None
        self._ledger = ledger
        self._command = [sys.executable, *command, "--name", name]
        self.environment = dict(environment)
        """Of the next process."""
        self._directory = directory
        self._closing = threading.Event()
        self._may_start = threading.Event()
        self._may_start.set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True)

    @property
    def pid(self) -> int:
        """Of the process that runs now; 0 when there is none."""
        process = self.process
        return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> None:
        self._thread.start()

    def send(self, number: int) -> int:
        """Signal the process, if there is one; returns its pid or 0."""
        with self._lock:
            pid = self.pid
            if pid:
                self._ledger.add_signal(self.name, pid, number)
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            return pid

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Ask it to drain and wait; no other process follows."""
        self.restarts = False
        self._closing.set()
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._ledger.note(f"{self.name} did not end within {timeout_s:g} s and was killed")
            self.send(signal.SIGKILL)
            self._thread.join(10.0)

    def kill(self) -> None:
        """End it at once, for the end of a drill that failed."""
        self.restarts = False
        self._closing.set()
        with self._lock:
            if self.process is not None and self.process.poll() is None:
                self.process.kill()
        self._thread.join(10.0)

    def hold(self) -> None:
        """After the process that runs now none follows, until `go_on`."""
        self._may_start.clear()

    def go_on(self) -> None:
        """Processes follow each other again."""
        self._may_start.set()

    def _keep(self) -> None:
        while True:
            while not self._may_start.wait(RESTART_AFTER_S):
                if self._closing.is_set():
                    return
            with self._lock:
                if self._closing.is_set():
                    return
                process, life = self._spawn()
            code = process.wait()
            life.code = code
            life.ended = time.time()
            if not self.restarts or self._closing.wait(RESTART_AFTER_S):
                return

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Life]:
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        life = Life(self.name, self.process.pid, time.time())
        self._ledger.add_life(life)
        return self.process, life


def wait_until(question: Callable[[], object], timeout_s: float, every_s: float = 0.05) -> bool:
    """Ask until the answer is true; False when it never was in time."""
    deadline = time.monotonic() + timeout_s
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
