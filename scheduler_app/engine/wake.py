"""What the scheduler loop sleeps on."""

from __future__ import annotations

import threading


class Wake:
    """An event that is used up by the sleeper, so that no call between two sleeps is lost."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def call(self) -> None:
        """Let the loop look at once."""
        self._event.set()

    def sleep(self, seconds: float) -> bool:
        """Sleep until called or the time is over; True when called."""
        called = self._event.wait(seconds) if seconds > 0 else self._event.is_set()
        self._event.clear()
        return called
