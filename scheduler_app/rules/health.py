"""Is the scheduler well? From what was measured to a word and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass

LATE_S = 60.0
"""What is due and has not begun for longer than this says that something is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What was measured; ages are seconds by the database's clock, None where there is nothing to be old."""

    nodes_ticking: int
    """Active nodes that completed a turn of their loop within the lease: those that fire."""
    nodes_draining: int
    nodes_stuck: int
    """Their heart beats, but their loop does not turn."""
    nodes_silent: int
    """No heartbeat within the lease, and not declared dead yet."""
    tick_age_s: float | None
    """Since any node last completed a turn."""
    ready: int
    """Executions that could start now; counted up to `counted_to`."""
    ready_age_s: float | None
    """How long the oldest of them has been due."""
    overdue: int
    """Jobs with a fire time that is due and not decided; counted up to `counted_to`."""
    overdue_age_s: float | None
    counted_to: int
    troubles: tuple[str, ...] = ()
    """What the database refuses living nodes at present, as machine words."""


@dataclass(frozen=True, slots=True)
class Health:
    status: str
    """`ok`, `degraded` (it works, but somebody should look) or `down` (nothing is fired)."""
    reasons: tuple[str, ...] = ()


def judge(vitals: Vitals) -> Health:
    """One word for what was measured."""
    reasons = []
    if not vitals.nodes_ticking:
        reasons.append(
            "No node has ever completed a turn: start one with manage.py runscheduler."
            if vitals.tick_age_s is None
            else f"No node fires: the last turn was completed {vitals.tick_age_s:.0f} s ago."
        )
    if vitals.nodes_stuck:
        reasons.append(f"Nodes that beat but do not turn: {vitals.nodes_stuck}.")
    if vitals.nodes_silent:
        reasons.append(f"Nodes that fell silent: {vitals.nodes_silent}.")
    if vitals.troubles:
        reasons.append(
            f"The database refuses nodes something: {', '.join(vitals.troubles)}. Their pages say more."
        )
    if vitals.overdue_age_s is not None and vitals.overdue_age_s > LATE_S:
        reasons.append(f"A fire time has been due for {vitals.overdue_age_s:.0f} s.")
    if vitals.ready_age_s is not None and vitals.ready_age_s > LATE_S:
        reasons.append(
            f"An execution has been ready for {vitals.ready_age_s:.0f} s: all threads are busy, or no node"
            " takes its queue."
        )
    if not vitals.nodes_ticking:
        return Health("down", tuple(reasons))
    return Health("degraded" if reasons else "ok", tuple(reasons))
