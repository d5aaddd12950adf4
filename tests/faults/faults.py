"""The faults, one function each: what is done to a running system, and what must be seen beside the zeros.

Every fault must leave no finding of the checker at all. What a fault expects beyond that is in its `expect`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from scheduler_app.management.drill.checker import Report
from scheduler_app.management.drill.evidence import Evidence

from .cluster import LEASE_S, X_S, Stage
from .plan import Wanted, work

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
    nodes: int = 3
    seconds: dict[str, float] = field(default_factory=dict)
    """What figures may come to at most, in seconds, on a machine that does nothing else."""
    more_jobs: tuple[Wanted, ...] = ()
    only_more: bool = False
    settings: dict[str, str] = field(default_factory=dict)


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


# --- F0: nothing --------------------------------------------------------------------------------

LATE = {"late_p99_s": 1.0, "late_max_s": 2.0}


@fault(
    "F0", "nothing is broken", quick_s=25, long_s=600, expect=no_reruns_and_no_exits, seconds=LATE
)
def nothing(stage: Stage, seconds: float) -> None:
    time.sleep(seconds)


# --- F1: nodes die ------------------------------------------------------------------------------


def some_rescues(evidence: Evidence, report: Report) -> list[str]:
    return [] if report.figures.rescues else ["nothing was rescued, so this proves nothing"]


@fault(
    "F1",
    "nodes are killed, one by one and all at once",
    quick_s=40,
    long_s=900,
    expect=some_rescues,
    seconds={"rescue_max_s": LEASE_S + X_S},
)
def kill(stage: Stage, seconds: float) -> None:
    # One alone first, so that what it held is rescued by nodes that live on.
    stage.node_amid_long_run().send(signal.SIGKILL)
    time.sleep(LEASE_S + X_S)
    all_at = seconds / 2
    for left in stage.during(seconds, 2.0, 4.0):
        if left <= all_at:
            all_at = -1.0
            for keeper in stage.nodes.values():
                keeper.send(signal.SIGKILL)
        else:
            stage.any_node().send(signal.SIGKILL)


# --- F2: nodes freeze ---------------------------------------------------------------------------


def some_fenced(evidence: Evidence, report: Report) -> list[str]:
    return [] if report.figures.fenced else ["no late outcome was fenced, so this proves nothing"]


@fault(
    "F2",
    "a node freezes for longer than its lease, and wakes",
    quick_s=40,
    long_s=600,
    expect=some_fenced,
    seconds={"rescue_max_s": LEASE_S + X_S},
)
def freeze(stage: Stage, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        with stage.frozen(stage.node_amid_long_run()):
            time.sleep(LEASE_S + X_S)
        if time.monotonic() + LEASE_S + X_S > end:
            return
        time.sleep(1.0)


# --- F3: deploys --------------------------------------------------------------------------------


def only_hand_backs(evidence: Evidence, report: Report) -> list[str]:
    figures = report.figures
    problems = []
    if figures.rescues:
        problems.append(f"{figures.rescues} executions were rescued from nodes that drained")
    if not figures.reruns:
        problems.append("nothing was handed back, so this proves nothing")
    if set(figures.exits) != {"exit 0"}:
        problems.append(f"the exits were {dict(figures.exits)}, and each must be exit 0")
    return problems


@fault(
    "F3",
    "deploys: SIGTERM one by one, to all at once, and twice",
    quick_s=40,
    long_s=600,
    expect=only_hand_backs,
    seconds={"silence_s": 2.0},
    settings={"SCHEDULER_DRAIN_TIMEOUT": "4"},
    more_jobs=(Wanted("longer than the drain", "@every 4s", work(9.0, on_overlap="allow")),),
)
def deploy(stage: Stage, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        for keeper in stage.nodes.values():
            keeper.send(signal.SIGTERM)
            time.sleep(0.5)
            stage.wait_all_active()
            if time.monotonic() > end - seconds / 2:
                break
        for keeper in stage.nodes.values():
            keeper.send(signal.SIGTERM)
        time.sleep(0.5)
        stage.wait_all_active()
        time.sleep(1.5)
        keeper = stage.node_amid_long_run()
        keeper.send(signal.SIGTERM)
        time.sleep(0.3)
        keeper.send(signal.SIGTERM)
        stage.wait_all_active()
        if time.monotonic() > end:
            return


# --- F4: the database goes away -----------------------------------------------------------------


@fault(
    "F4",
    "PostgreSQL restarts, and is away for long; a node starts meanwhile",
    quick_s=40,
    long_s=600,
    expect=no_reruns_and_no_exits,
    seconds={"recovery_s": 3.0},
)
def database_away(stage: Stage, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        with stage.database_away():
            pass
        time.sleep(seconds / 8)
        with stage.database_away():
            if "late" not in stage.nodes:
                stage.add_node("late", {}).start()
            time.sleep(min(20.0, seconds / 2))
        if time.monotonic() + seconds / 2 > end:
            return
        time.sleep(seconds / 8)


# --- F6: connections end ------------------------------------------------------------------------

TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE %s
"""


@fault(
    "F6",
    "every connection is ended by the server, again and again, also in a job's own transaction",
    quick_s=40,
    long_s=600,
    expect=no_reruns_and_no_exits,
    seconds={"late_p99_s": 2.0},
    more_jobs=(
        Wanted(
            "in a transaction",
            "*/2 * * * * *",
            {
                "target": "tests.faults.jobs.tasks.in_transaction",
                "arguments": {"seconds": 0.4},
                "on_overlap": "allow",
            },
            may_fail=True,
        ),
    ),
)
def terminate(stage: Stage, seconds: float) -> None:
    for left in stage.during(seconds, 0.4, 0.6):
        # First all of them, then only what listens.
        stage.sql(TERMINATE, "%" if left > seconds / 3 else "scheduler listener")
