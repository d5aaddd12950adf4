"""Several equal nodes by one command, a process each, since the threads of one process share one core.

The parent runs no job and has no connection to the database. To each child it holds one end of a pipe, the child's lifeline:
a byte in it asks the child to stop, and so does its end, whatever the parent died of.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from .node import EXIT_AGAIN, EXIT_OK

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
STEADY_S = 60.0
"""A process that lived for so long is started again as soon as one that ended for the first time."""
NEVER_BEGAN = (-signal.SIGTERM, -signal.SIGINT)
"""How a process ends that a supervisor signals together with its parent while it still imports."""


OWN_PYTHONPATH = "SCHEDULER_OWN_PYTHONPATH"
"""What the operator gave, for a child to give on to the programs that its tasks start."""


def restore_environment() -> None:
    """In a child, when it has found its modules: other programs, of another Python even, must not look there."""
    own = os.environ.pop(OWN_PYTHONPATH, None)
    if own:
        os.environ["PYTHONPATH"] = own
    elif own is not None:
        os.environ.pop("PYTHONPATH", None)


@dataclass(eq=False, slots=True)
class _Child:
    name: str
    words: Sequence[str]
    """What stands behind `manage.py`."""
    process: subprocess.Popen[bytes] | None = None
    lifeline: int = -1
    started_at: float = 0.0
    backoff_s: float = field(default_factory=lambda: FIRST_BACKOFF_S)
    start_at: float | None = None
    """On the monotonic clock, when it is to be started again; None while it runs, and once it has ended for good."""

    def start(self) -> subprocess.Popen[bytes]:
        """Raises OSError when there is no memory or process left."""
        theirs, self.lifeline = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*(sys.executable, "-m", "django"), *self.words, "--lifeline", str(theirs)],
                # As this process finds modules, whatever way it was started.
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    OWN_PYTHONPATH: os.environ.get("PYTHONPATH", ""),
                },
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs],
            )
        except OSError:
            os.close(self.lifeline)
            raise
        finally:
            os.close(theirs)
        return self.process

    def ask_to_stop(self) -> None:
        """Once: to drain; once more: to hand back at once."""
        with suppress(BrokenPipeError):
            os.write(self.lifeline, b".")


class Processes:
    """What `manage.py runscheduler --processes N` runs: by the name of each node, the words behind `manage.py`."""

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self._children = [_Child(name, words) for name, words in commands.items()]
        self._steps: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._is_stopping = False
        self._exit_code = EXIT_OK

    def request_stop(self) -> None:
        """Ask all to drain; asked a second time, to hand back at once. For signal handlers: it takes no lock."""
        self._steps.put(self._pass_on)

    def run(self) -> int:
        """Keep them running until asked to stop, or until each was asked by somebody else; returns the exit code."""
        for child in self._children:
            self._start(child)
        while any(child.process or child.start_at is not None for child in self._children):
            starts = [child.start_at for child in self._children if child.start_at is not None]
            wait = max(0.0, min(starts) - time.monotonic()) if starts else None
            try:
                self._steps.get(timeout=wait)()
            except Empty:
                self._start_due()
        return self._exit_code

    def _start_due(self) -> None:
        for child in self._children:
            if child.start_at is not None and child.start_at <= time.monotonic():
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.started_at = time.monotonic()
        child.start_at = None
        try:
            process = child.start()
        except OSError as error:
            delay_s = self._start_again_later(child)
            logger.error(
                "no process can be started, trying again in_s=%g name=%s: %s",
                delay_s,
                child.name,
                error,
            )
            return
        logger.info("process started name=%s pid=%s", child.name, process.pid)

        def wait() -> None:
            exit_code = process.wait()
            self._steps.put(lambda: self._ended(child, process.pid, exit_code))

        threading.Thread(target=wait, name=f"end of {child.name}", daemon=True).start()

    def _ended(self, child: _Child, pid: int, exit_code: int) -> None:
        child.process = None
        os.close(child.lifeline)
        what = f"name={child.name} pid={pid} exit_code={exit_code}"
        if exit_code == EXIT_OK:
            # As it was asked to, here or from elsewhere.
            logger.info("process ended %s", what)
        elif self._is_stopping and exit_code in NEVER_BEGAN:
            logger.info("process ended before it began %s", what)
        elif self._is_stopping:
            logger.error("process ended %s", what)
            self._exit_code = EXIT_AGAIN
        else:
            delay_s = self._start_again_later(child)
            logger.error("process ended, starting another in_s=%g %s", delay_s, what)

    def _start_again_later(self, child: _Child) -> float:
        """Returns in how many seconds."""
        now = time.monotonic()
        if now - child.started_at >= STEADY_S:
            child.backoff_s = FIRST_BACKOFF_S
        delay_s = child.backoff_s
        child.start_at = now + delay_s
        child.backoff_s = min(delay_s * 2, LONGEST_BACKOFF_S)
        return delay_s

    def _pass_on(self) -> None:
        self._is_stopping = True
        for child in self._children:
            child.start_at = None
            if child.process:
                child.ask_to_stop()


class StopRequests:
    """In the process of a node: what asks it to stop, signals and the parent of several processes.

    A second signal of one's own means hurry, as the person at the terminal repeats it. With a parent only the parent
    says so: a supervisor that signals all processes at once would otherwise ask each of them twice.
    """

    def __init__(self, lifeline: int | None) -> None:
        self._lifeline = lifeline
        # A handler runs in the middle of anything, also of something that holds a lock that a stop needs. So it only
        # puts the request where a thread waits for it; SimpleQueue is made for that.
        self._requests: SimpleQueue[bool] = SimpleQueue()

    def signalled(self, number: int, frame: object) -> None:
        """A signal arrived; or the parent has gone, which asks for no more."""
        self._requests.put(False)

    def pass_on(self, request_stop: Callable[[], None]) -> None:
        """From now on, call it for every request: the first, and the one to hurry."""
        threading.Thread(
            target=self._pass_on, args=[request_stop], name="signals", daemon=True
        ).start()
        if self._lifeline is not None:
            # Not for the processes that jobs start.
            os.set_inheritable(self._lifeline, False)
            threading.Thread(
                target=self._listen, args=[self._lifeline], name="lifeline", daemon=True
            ).start()

    def _listen(self, lifeline: int) -> None:
        while os.read(lifeline, 1):
            self._requests.put(True)
        self._requests.put(False)

    def _pass_on(self, request_stop: Callable[[], None]) -> None:
        asked = by_parent = 0
        while True:
            by_parent += self._requests.get()
            wanted = asked + 1 if self._lifeline is None else max(1, by_parent)
            for _ in range(asked, wanted):
                request_stop()
            asked = max(asked, wanted)
