"""What a fault is, and the list of all; each is a function in one of the modules that `faults` names.

Every fault must leave no finding of the checker at all. What it expects beyond that is in its `expect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scheduler_app.management.drill.checker import Report
from scheduler_app.management.drill.evidence import Evidence

from .cluster import Stage
from .plan import Wanted

Inject = Callable[[Stage, float], None]
Expect = Callable[[Evidence, Report], list[str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the suite."""

    name: str
    title: str
    inject: Inject
    quick_s: float
    long_s: float
    expect: Expect = lambda evidence, report: []
    before: Callable[[Stage], None] = lambda stage: None
    """Done before the nodes start."""
    after: Callable[[Stage, Evidence], list[str]] = lambda stage, evidence: []
    """Asked when the nodes have stopped and the database is still there; answers with what must not be."""
    nodes: int = 3
    seconds: dict[str, float] = field(default_factory=dict)
    """What figures may come to at most, in seconds, on a machine that does nothing else."""
    more_jobs: tuple[Wanted, ...] = ()
    only_more: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    pooled: bool = False
    """The nodes reach the server through PgBouncer, which lends its connections for a transaction at a time."""


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, title: str, *, quick_s: float, long_s: float, **more: object
) -> Callable[[Inject], Inject]:
    """Enter the decorated function as a fault."""

    def enter(inject: Inject) -> Inject:
        FAULTS[name] = Fault(name, title, inject, quick_s, long_s, **more)  # type: ignore[arg-type]
        return inject

    return enter


def no_reruns(evidence: Evidence, report: Report) -> list[str]:
    """Nothing was taken from anybody."""
    figures = report.figures
    if figures.reruns or figures.rescues:
        return [f"{figures.reruns} reruns and {figures.rescues} rescues, and there must be none"]
    return []


def no_exits(evidence: Evidence, report: Report) -> list[str]:
    """Every process lived until the end."""
    lives = evidence.ledger.lives
    if len(lives) != len({life.node for life in lives}):
        return [f"{len(lives)} process lives of {len({life.node for life in lives})} nodes"]
    return []


def no_reruns_and_no_exits(evidence: Evidence, report: Report) -> list[str]:
    return no_reruns(evidence, report) + no_exits(evidence, report)


def some_rescues(evidence: Evidence, report: Report) -> list[str]:
    return [] if report.figures.rescues else ["nothing was rescued, so this proves nothing"]
