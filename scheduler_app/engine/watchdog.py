"""End calls to the database that bring no answer: no other thread can, and no setting of the server.

When the network swallows everything, the server's timeouts do not arrive, and keepalives take minutes. So every call
has a deadline here; when it passes, the connection's socket is shut, and the call ends with an error.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

logger = logging.getLogger(__name__)

INTERVAL_S = 0.25


@dataclass(slots=True, eq=False)
class Call:
    """A call under way."""

    connection: psycopg.Connection[Any]
    deadline: float
    """On the monotonic clock."""
    was_cut: bool = False


class Watchdog:
    """One thread for all connections of the process; it also asks, each time, what else it was given to ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[Call] = set()
        self._thread: threading.Thread | None = None
        self._checks: list[Callable[[], None]] = []

    @contextmanager
    def within(self, seconds: float, connection: psycopg.Connection[Any]) -> Iterator[Call]:
        """While this lasts, for that long at most, the connection is in use by the calling thread alone."""
        call = Call(connection, time.monotonic() + seconds)
        with self._lock:
            self._calls.add(call)
            self._start()
        try:
            yield call
        finally:
            # Afterwards the socket's number may be somebody else's, so cutting needs the same lock.
            with self._lock:
                self._calls.discard(call)

    def also(self, check: Callable[[], None]) -> None:
        """Call this too, several times a second, from a thread that waits for nothing."""
        with self._lock:
            self._checks.append(check)
            self._start()

    def no_longer(self, check: Callable[[], None]) -> None:
        """Undo `also`."""
        with self._lock:
            self._checks.remove(check)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL_S)
            now = time.monotonic()
            with self._lock:
                for call in self._calls:
                    if call.deadline <= now and not call.was_cut:
                        call.was_cut = True
                        _cut(call.connection)
                checks = list(self._checks)
            for check in checks:
                try:
                    check()
                except Exception:
                    logger.exception("a check of the watchdog failed")


def _cut(connection: psycopg.Connection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


watchdog = Watchdog()
"""The process's own."""
