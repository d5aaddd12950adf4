"""What a checker finds: promises that were broken, each by a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from .evidence import PlannedJob

KINDS = {
    "missing": "a fire time has neither an execution nor a gap",
    "doubled": "a fire time has two executions, or an execution ran twice without a reason",
    "gap_overlap": "a fire time lies in a gap and has another verdict too",
    "gap_count": "a gap counts other fire times than it covers",
    "unlawful_gap": "the reason of a gap is not what happened",
    "unexpected": "something fired that no schedule asked for",
    "early": "a run began before its fire time",
    "paused": "something fired or began while it was paused",
    "stale_overwrite": "an outcome was written by a run that was no longer its execution's, or over a final one",
    "lost_outcome": "a run ended in a process that lived on, and its outcome is nowhere",
    "untrue_end": "the database says that something ended in a way in which no run did",
    "stuck": "an execution or a node is not over although everything is at rest",
    "unordered_exit": "a process ended that nobody had told to",
    "slow_rescue": "what a dead node held waited longer than the lease and three seconds",
}


class Where(NamedTuple):
    """A fire time of a job."""

    at: float
    job: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise that was broken once."""

    kind: str
    text: str
    at: float = 0.0
    """On the cluster's clock, in seconds since 1970."""
    job: int = 0


class Findings:
    """Collects them."""

    def __init__(self, jobs: Mapping[int, PlannedJob]) -> None:
        self._jobs = jobs
        self._found: list[Finding] = []

    def add(self, kind: str, where: Where, text: str) -> None:
        """A promise was broken."""
        assert kind in KINDS
        if where.job in self._jobs:
            text = f"{self._jobs[where.job].name}: {text}"
        self._found.append(Finding(kind, text, where.at, where.job))

    def in_order(self) -> list[Finding]:
        """By time."""
        return sorted(self._found, key=lambda finding: finding.at)


def shown(moment: float) -> str:
    """A moment of the cluster's clock for people."""
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"
