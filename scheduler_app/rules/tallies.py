"""What is counted for ever, pruned or not: its names, its labels, and the buckets of its histograms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

FIRED = "fired"
"""Fire times that became executions."""
WITHHELD = "withheld"
"""Fire times that became none, by reason."""
FINISHED = "finished"
"""Executions that ended on a node or with it, by outcome."""
RETRIED = "retried"
"""Attempts that failed and were followed by another."""
RESCUED = "rescued"
"""Executions that were taken from a dead node, to run again."""
DRIFT = "drift"
"""How late executions of fire times began, in seconds."""
DURATION = "duration"
"""How long attempts took, in seconds."""

BUCKETS: dict[str, tuple[float, ...]] = {
    DRIFT: (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
    DURATION: (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400),
}
"""The upper bounds in seconds; what is longer lies in one more bucket. Widen them at the end only: rows hold their numbers."""

OUTCOMES = ("succeeded", "failed", "timed_out", "cancelled", "lost")
GAP_REASONS = (
    *("missed", "coalesced", "overlap", "retrying"),
    *("paused", "calendar", "skipped", "limit"),
)


@dataclass(slots=True)
class Tallies:
    """Counts to add, by name, label and number of the bucket; with the sum of the seconds in it."""

    counts: dict[tuple[str, str, int], tuple[int, float]] = field(default_factory=dict)

    def add(self, name: str, label: str = "", number: int = 1) -> None:
        """Count something."""
        self._add((name, label, 0), number, 0.0)

    def observe(self, name: str, seconds: float) -> None:
        """Put a duration into its bucket; a negative one, from a clock that moved, counts as none."""
        seconds = max(0.0, seconds)
        self._add((name, "", bisect_left(BUCKETS[name], seconds)), 1, seconds)

    def rows(self) -> Iterator[tuple[str, str, int, int, float]]:
        """Name, label, bucket, count and seconds, always in one order, so that writers cannot deadlock."""
        for key in sorted(self.counts):
            yield *key, *self.counts[key]

    def _add(self, key: tuple[str, str, int], number: int, seconds: float) -> None:
        count, total = self.counts.get(key, (0, 0.0))
        self.counts[key] = count + number, total + seconds


def outcome_of(status: str, reason: str) -> str:
    """The label of an execution that ended."""
    return "timed_out" if status == "failed" and reason == "timed_out" else status
