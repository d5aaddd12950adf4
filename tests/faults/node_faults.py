"""Nodes that live, die, freeze and are deployed: F0 to F3."""

from __future__ import annotations

import signal
import time

from scheduler_app.management.drill.checker import Report
from scheduler_app.management.drill.evidence import Evidence
from scheduler_app.management.drill.nodes import NodeKeeper

from .catalogue import fault, no_reruns_and_no_exits, some_rescues
from .cluster import LEASE_S, PATIENCE_S, X_S, Stage
from .plan import Wanted, work

# --- F0: nothing --------------------------------------------------------------------------------

LATE = {"late_p99_s": 1.0, "late_max_s": 2.0}


@fault(
    "F0", "nothing is broken", quick_s=25, long_s=600, expect=no_reruns_and_no_exits, seconds=LATE
)
def nothing(stage: Stage, seconds: float) -> None:
    time.sleep(seconds)


# --- F1: nodes die ------------------------------------------------------------------------------


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


IN_TRANSACTION = """
SELECT activity.pid, activity.xact_start
FROM pg_stat_activity AS activity
JOIN pg_locks AS held ON held.pid = activity.pid
WHERE activity.datname = current_database()
  AND activity.application_name = 'scheduler scheduler'
  AND activity.state = 'idle in transaction'
  AND held.relation = 'scheduler_app_jobplan'::regclass
"""


def node_frozen_with_locks(stage: Stage) -> NodeKeeper:
    """A node that stands still between two statements of a transaction that holds plans; found by trying."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        before = stage.sql(IN_TRANSACTION)
        if not before:
            continue
        keeper = stage.any_node()
        keeper.send(signal.SIGSTOP)
        # Nobody who is awake takes so long between two statements.
        time.sleep(0.5)
        if set(stage.sql(IN_TRANSACTION)) & set(before):
            return keeper
        keeper.send(signal.SIGCONT)
    raise TimeoutError(f"no node could be frozen in a transaction within {PATIENCE_S:g} s")


@fault(
    "F2T",
    "a node freezes in the middle of a transaction, with the plans of jobs locked",
    quick_s=20,
    long_s=120,
)
def freeze_with_locks(stage: Stage, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        keeper = node_frozen_with_locks(stage)
        with stage.ledger.band("frozen with locks", keeper.name):
            time.sleep(2 * LEASE_S)
        keeper.send(signal.SIGCONT)
        if time.monotonic() + 2 * LEASE_S > end:
            return
        time.sleep(1.0)
        stage.wait_all_active()


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
