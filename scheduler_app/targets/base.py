"""What a job can do: the interface that every kind of target implements.

A new kind is one module with one subclass of `Target`, listed in `targets/__init__.py`.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from scheduler_app.rules.problems import Invalid, Problem

logger = logging.getLogger(__name__)

JSON = Any
"""A value that `json.dumps` writes and PostgreSQL's jsonb keeps."""


class UnknownTarget(LookupError):
    """This node does not know the target, perhaps because another release does: worth handing back."""

    is_sentence = True
    """The message says everything; `rules.storable.error_line` leaves the class out."""


class InvalidTarget(Invalid):
    """The target or its arguments cannot work, now or later: not worth a retry."""

    is_sentence = True


class TargetFailed(Exception):
    """The target ran and said no.

    `result` is kept beside the error (an HTTP exchange, say), `reason` is a short machine word,
    `permanent` says that another attempt could not help.
    """

    is_sentence = True

    def __init__(
        self, message: str, *, reason: str = "", result: JSON = None, permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.result = result
        self.permanent = permanent


class Stopped(Exception):
    """The target gave up early because `should_stop()` became true."""

    is_sentence = True


class CurrentExecution:
    """What running code may know about its execution, and how it is told to stop."""

    def __init__(
        self,
        *,
        id: int,
        job_id: int | None,
        job_name: str,
        attempt: int,
        scheduled_for: datetime,
        target: str,
        arguments: JSON,
        timeout_s: float,
        time_left_s: float | None = None,
    ) -> None:
        self.id = id
        """Stays the same for every attempt: the key to be idempotent with."""
        self.job_id = job_id
        self.job_name = job_name
        self.attempt = attempt
        self.scheduled_for = scheduled_for
        """The fire time, aware, UTC."""
        self.target = target
        self.arguments = arguments
        self.timeout_s = timeout_s
        self._deadline = time.monotonic() + (timeout_s if time_left_s is None else time_left_s)
        self._stopped = False
        self._woken: threading.Event | None = None
        """Made for those who wait, which few do."""
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def to_message(self) -> dict[str, JSON]:
        """What another process needs to be this execution, as JSON."""
        return {
            "id": self.id,
            "job_id": self.job_id,
            "job_name": self.job_name,
            "attempt": self.attempt,
            "scheduled_for": self.scheduled_for.isoformat(),
            "target": self.target,
            "arguments": self.arguments,
            "timeout_s": self.timeout_s,
            "time_left_s": self.time_left(),
        }

    @classmethod
    def from_message(cls, message: dict[str, JSON]) -> CurrentExecution:
        """The execution that `to_message` told of, in the process that runs it."""
        moment = datetime.fromisoformat(message["scheduled_for"])
        return cls(**message | {"scheduled_for": moment})

    def should_stop(self) -> bool:
        """True once the execution timed out, was cancelled, or its node must stop."""
        return self._stopped

    def time_left(self) -> float:
        """Seconds until the timeout, never negative."""
        return max(0.0, self._deadline - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake at once when asked to stop; returns `should_stop()`."""
        with self._lock:
            if self._stopped:
                return True
            if self._woken is None:
                self._woken = threading.Event()
        return self._woken.wait(seconds)

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call `callback` (from another thread) when asked to stop; at once if that has happened."""
        with self._lock:
            if not self._stopped:
                self._callbacks.append(callback)
                return
        callback()

    def stop(self) -> None:
        """Ask the running code to stop; the engine's side of `should_stop()`."""
        with self._lock:
            self._stopped = True
            if self._woken is not None:
                self._woken.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                # The others must still be told.
                logger.exception("A callback of on_stop failed. execution=%s", self.id)


_current: contextvars.ContextVar[CurrentExecution | None] = contextvars.ContextVar(
    "scheduler_current_execution", default=None
)


def current_execution() -> CurrentExecution | None:
    """The execution that this code runs for; None outside of one."""
    return _current.get()


def bind_current_execution(
    execution: CurrentExecution,
) -> contextvars.Token[CurrentExecution | None]:
    """Make `execution` the current one for this thread's context; the engine calls it."""
    return _current.set(execution)


def unbind_current_execution(token: contextvars.Token[CurrentExecution | None]) -> None:
    """Undo `bind_current_execution`."""
    _current.reset(token)


class Target(ABC):
    """One kind of thing that a job can do. Instances hold no state about executions: threads share them."""

    kind: ClassVar[str]
    """The word in `Job.kind`."""
    label: ClassVar[str]
    """What people read for it."""

    @abstractmethod
    def problems(self, target: str, arguments: JSON) -> list[Problem]:
        """What is wrong with these; empty when nothing is. Never raises, never touches the network.

        Fields are `target`, `arguments` or a path below them such as `arguments.headers`.
        """

    def load(self, target: str) -> None:
        """Raise `UnknownTarget`, naming what is known, when this node cannot run `target`."""
        return

    @abstractmethod
    def run(self, execution: CurrentExecution) -> object:
        """Do it, in a worker thread, after `problems` had none to tell. What is returned is the result; what is raised
        is the error."""
