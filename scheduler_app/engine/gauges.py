"""How the parts of one node are, for its row, its health and itself."""

from __future__ import annotations

import threading
import time

from .trouble import DEAF, Trouble


class Gauges:
    """When each part last completed a turn, and what troubles it.

    Written by the parts' own threads, read by the one that tells the database.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turned: dict[str, float] = {}
        self._troubles: dict[str, Trouble] = {}

    def turned(self, part: str) -> None:
        """The part has just completed a turn."""
        with self._lock:
            self._turned[part] = time.monotonic()

    def over(self, part: str) -> None:
        """The part has ended, as it should; nobody waits for its next turn."""
        with self._lock:
            self._turned.pop(part, None)
            self._troubles.pop(part, None)

    def troubled(self, part: str, trouble: Trouble | None) -> None:
        """What keeps the part from its work; None: nothing any more."""
        with self._lock:
            if trouble is None:
                self._troubles.pop(part, None)
            else:
                self._troubles[part] = trouble

    def turn_ages(self) -> dict[str, float]:
        """Seconds since each part completed a turn."""
        now = time.monotonic()
        with self._lock:
            return {part: round(now - at, 1) for part, at in sorted(self._turned.items())}

    def trouble(self) -> Trouble | None:
        """What is worst: that notifications do not arrive costs only time."""
        with self._lock:
            troubles = sorted(self._troubles.values(), key=lambda trouble: trouble.name == DEAF)
        return troubles[0] if troubles else None
