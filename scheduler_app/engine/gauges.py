"""How the parts of one node are, for its row, its health and itself."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from .trouble import DEAF, Trouble

TURNS = 3
SLACK_S = 15.0
"""A turn may wait for a call to the database that ends only at its deadline, and for the next connection."""


@dataclass(slots=True)
class _Turn:
    tried_at: float
    interval_s: float
    completed_at: float | None = None


class Gauges:
    """When each part last completed a turn, and what troubles it.

    Written by the parts' own threads, read by the one that tells the database.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, _Turn] = {}
        self._troubles: dict[str, Trouble] = {}

    def turned(self, part: str, interval_s: float) -> None:
        """The part has just completed a turn; the next is due by the interval."""
        self.tried(part, interval_s).completed_at = time.monotonic()

    def tried(self, part: str, interval_s: float) -> _Turn:
        """The part is at work, although its turn may have failed, because there is no database, say."""
        with self._lock:
            turn = self._turns.setdefault(part, _Turn(0.0, interval_s))
            turn.tried_at, turn.interval_s = time.monotonic(), interval_s
            return turn

    def over(self, part: str) -> None:
        """The part has ended, as it should; nobody waits for its next turn."""
        with self._lock:
            self._turns.pop(part, None)
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
            return {
                part: round(now - turn.completed_at, 1)
                for part, turn in sorted(self._turns.items())
                if turn.completed_at is not None
            }

    def late(self) -> dict[str, float]:
        """The parts that have missed three turns, with the seconds since they were last at work: they hang."""
        now = time.monotonic()
        with self._lock:
            return {
                part: now - turn.tried_at
                for part, turn in self._turns.items()
                if now - turn.tried_at > TURNS * (turn.interval_s + SLACK_S)
            }

    def trouble(self) -> Trouble | None:
        """What is worst: that notifications do not arrive costs only time."""
        with self._lock:
            troubles = sorted(self._troubles.values(), key=lambda trouble: trouble.name == DEAF)
        return troubles[0] if troubles else None
