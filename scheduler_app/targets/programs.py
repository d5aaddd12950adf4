"""Run another program for an execution: its output is the log, its end the result, and nothing of it stays behind.

It has a session and a process group of its own. Asked to stop, the whole group gets SIGTERM and, if that does not end it,
SIGKILL; what fled from the group into a session of its own is found by a mark in its environment.
"""

from __future__ import annotations

import codecs
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scheduler_app.conf import get_config
from scheduler_app.rules.storable import one_line

from .base import JSON, CurrentExecution, TargetFailed
from .secrets import scrub

LAUNCHER = str(Path(__file__).with_name("launch.py"))
MARK = "SCHEDULER_RUN"
CHUNK = 64 * 1024
LOOK_S = 0.1
"""How often a silent program is looked at."""
REST_S = 0.5
"""How long after a program's end its last output is waited for, when somebody else holds the pipe."""
CAN_RUN = hasattr(os, "killpg") and hasattr(os, "waitid")
"""Only POSIX has sessions and process groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start, with everything it gets from this process."""

    name: str
    """As people know it."""
    argv: Sequence[str]
    """The first is an absolute path."""
    environment: Mapping[str, str]
    cwd: str
    limits: Mapping[str, int] = field(default_factory=dict)
    """By the names of the module `resource`."""


def run_program(program: Program, execution: CurrentExecution) -> JSON:
    """Run it to its end; raises `TargetFailed` unless it exits with 0."""
    began = time.monotonic()
    mark = secrets.token_hex(8)
    try:
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", LAUNCHER),
                *(json.dumps(dict(program.limits)), str(os.getpid())),
                *program.argv,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=program.cwd,
            env={**program.environment, MARK: mark},
            start_new_session=True,
            umask=0o077,
        )
    except OSError as error:
        raise TargetFailed(
            f"{program.name} cannot be started: {error.strerror or error}.", reason="not_started"
        ) from None
    output = _Output(process)
    try:
        was_stopped = _watch(process, output, execution)
    finally:
        # A zombie until it is waited for, so its number, and the group's, are nobody else's yet.
        _signal_group(process, signal.SIGKILL)
        output.read_rest()
        if not output.at_end or execution.should_stop():
            _kill_marked(f"{MARK}={mark}")
        code = process.wait()
    result = {
        "exit_code": code if code >= 0 else None,
        "signal": signal.Signals(-code).name if code < 0 else None,
        "duration_ms": round((time.monotonic() - began) * 1000, 1),
        "output_bytes": output.size,
    }
    if was_stopped:
        raise TargetFailed(f"{program.name} was ended.", reason="stopped", result=result)
    if code != 0:
        how = f"was ended by {result['signal']}" if code < 0 else f"ended with exit code {code}"
        last = f": {output.last_line}" if output.last_line else "."
        raise TargetFailed(f"{program.name} {how}{last}", reason="exit_code", result=result)
    return result


def _watch(process: subprocess.Popen[bytes], output: _Output, execution: CurrentExecution) -> bool:
    """Pass its output on until it has ended; returns whether it was told to."""
    kill_at = None
    pause_s = 0.001
    while not _has_ended(process):
        if not output.at_end:
            output.read(LOOK_S)
        else:
            # Mostly it ends right after it has closed its output.
            time.sleep(pause_s)
            pause_s = min(LOOK_S, pause_s * 2)
        if execution.should_stop():
            now = time.monotonic()
            if kill_at is None:
                # Before the pool gives this thread up.
                kill_at = now + get_config().kill_grace / 2
                _signal_group(process, signal.SIGTERM)
            elif now >= kill_at:
                _signal_group(process, signal.SIGKILL)
    return kill_at is not None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    # Gone, or, on macOS, nothing but the zombie is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _kill_marked(mark: str) -> None:
    """End every process that carries the mark in its environment; only Linux shows environments."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            # Opened first, so that the number cannot have become another process's.
            descriptor = os.pidfd_open(int(entry.parent.name))
            try:
                if mark.encode() in entry.read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


class _Output:
    """What a program writes, passed on line by line while it comes: standard output of this thread is the execution's log.

    Without secrets already, as whoever reads the log of a child process does not know all that the child does.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        """Of a line that has not ended yet."""
        self.last_line = ""
        """The last line that is not blank, with secrets hidden, for the error."""
        self.size = 0
        self.at_end = False

    def read(self, timeout_s: float) -> bool:
        """Pass on what is there, waiting a moment for it; False when nothing came."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN | select.POLLHUP)
        if not poll.poll(timeout_s * 1000):
            return False
        chunk = os.read(self._pipe.fileno(), CHUNK)
        self.size += len(chunk)
        self.at_end = not chunk
        *lines, self._rest = (self._rest + self._decoder.decode(chunk, self.at_end)).split("\n")
        for line in lines:
            self._pass_on(line, "\n")
        if self.at_end or len(self._rest) > CHUNK:
            self._pass_on(self._rest, "")
            self._rest = ""
        return True

    def read_rest(self) -> None:
        """What was written before the end; the pipe may be held open by somebody who writes on and on."""
        deadline = time.monotonic() + REST_S
        while not self.at_end and time.monotonic() < deadline:
            self.read(deadline - time.monotonic())
        self._pipe.close()
        self._pass_on(self._rest, "")

    def _pass_on(self, line: str, end: str) -> None:
        line = scrub(line)
        sys.stdout.write(line + end)
        if line.strip():
            self.last_line = one_line(line, 300)
