"""What running code prints and logs, kept for its execution and bounded.

Threads share `sys.stdout` and the logging tree, so both get one listener that asks whose context it is in.
"""

from __future__ import annotations

import contextvars
import io
import logging
import sys
import threading
from collections import deque
from typing import Any, TextIO

from scheduler_app.rules.storable import storable_text
from scheduler_app.targets.secrets import scrub

HEAD_CHARS = 256 * 1024
TAIL_CHARS = 768 * 1024
LINE_CHARS = 16 * 1024

FORMATTER = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
"""Of log records in the log of an execution."""

_log: contextvars.ContextVar[AttemptLog | None] = contextvars.ContextVar(
    "scheduler_attempt_log", default=None
)


class AttemptLog:
    """The text of one attempt: its beginning as it comes, and of the rest the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line = ""
        self._fresh: list[str] = []
        self._head_left = HEAD_CHARS
        self._tail: deque[str] = deque()
        self._tail_chars = 0
        self._dropped_chars = 0
        self._seq = 0

    def write(self, text: str) -> None:
        """Add text; lines are kept whole, and cut where they are too long."""
        with self._lock:
            *lines, rest = text.split("\n")
            for line in lines:
                self._add_line(self._line + line)
                self._line = ""
            if len(self._line) <= LINE_CHARS:
                self._line += rest[: LINE_CHARS + 1 - len(self._line)]

    def take_fresh(self) -> tuple[int, str] | None:
        """The next piece to store while the attempt runs, as (seq, text); None when there is nothing new."""
        with self._lock:
            return self._take()

    def take_rest(self) -> tuple[int, str] | None:
        """The last piece, with the end of what came after the beginning was full."""
        with self._lock:
            if self._line:
                self._add_line(self._line)
                self._line = ""
            if self._dropped_chars:
                self._fresh.append(f"… {self._dropped_chars} characters left out …\n")
            self._fresh.extend(self._tail)
            self._tail.clear()
            return self._take()

    def _take(self) -> tuple[int, str] | None:
        text, self._fresh = "".join(self._fresh), []
        if not text:
            return None
        seq, self._seq = self._seq, self._seq + 1
        return seq, storable_text(text, len(text))

    def _add_line(self, line: str) -> None:
        line = scrub(line)
        if len(line) > LINE_CHARS:
            line = line[:LINE_CHARS] + " … line cut"
        line += "\n"
        if len(line) <= self._head_left:
            self._head_left -= len(line)
            self._fresh.append(line)
            return
        self._head_left = 0
        self._tail.append(line)
        self._tail_chars += len(line)
        while self._tail_chars > TAIL_CHARS:
            gone = len(self._tail.popleft())
            self._tail_chars -= gone
            self._dropped_chars += gone


class _Stream(io.TextIOBase):
    """Stands for stdout or stderr: text of an execution goes to its log, all other text where it went before."""

    def __init__(self, original: TextIO) -> None:
        self._original = original

    def write(self, text: str) -> int:
        log = _log.get()
        if log is None:
            return self._original.write(text)
        log.write(text)
        return len(text)

    def flush(self) -> None:
        self._original.flush()

    def fileno(self) -> int:
        return self._original.fileno()

    def isatty(self) -> bool:
        return self._original.isatty()

    @property
    def buffer(self) -> Any:
        # Bytes written past the text layer belong to nobody in particular.
        return self._original.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._original.encoding

    def writable(self) -> bool:
        return True


class _Handler(logging.Handler):
    """Copies the log records of an execution into its log."""

    def emit(self, record: logging.LogRecord) -> None:
        log = _log.get()
        if log is not None:
            try:
                log.write(self.format(record) + "\n")
            except Exception:  # noqa: BLE001
                # A record whose arguments do not fit its text is the task's mistake, and not worth its life.
                log.write(
                    f"{record.levelname} {record.name}: a log record could not be formatted\n"
                )


def install() -> None:
    """Begin to capture in this process; the node calls it once, at its start."""
    if isinstance(sys.stdout, _Stream):
        return
    sys.stdout = _Stream(sys.stdout)
    sys.stderr = _Stream(sys.stderr)
    handler = _Handler()
    handler.setFormatter(FORMATTER)
    logging.getLogger().addHandler(handler)


def start(log: AttemptLog) -> contextvars.Token[Any]:
    """From here on, what this context prints and logs belongs to the attempt."""
    return _log.set(log)


def stop(token: contextvars.Token[Any]) -> None:
    """The attempt is over."""
    _log.reset(token)
