"""How late does this machine make everybody? A thread that only sleeps notes when it was not woken in time."""

from __future__ import annotations

import threading
import time

INTERVAL_S = 0.02
NOTED_S = 0.05
"""Lateness below this is no stall."""


class Probe:
    """Stalls of the machine itself, which explain lateness that the scheduler cannot help."""

    def __init__(self) -> None:
        self.stalls: list[tuple[float, float]] = []
        """As (since, until) in seconds since 1970."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(5.0)

    @property
    def longest_s(self) -> float:
        return max((until - since for since, until in self.stalls), default=0.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            before = time.monotonic()
            time.sleep(INTERVAL_S)
            late = time.monotonic() - before - INTERVAL_S
            if late > NOTED_S:
                now = time.time()
                self.stalls.append((now - late, now))
