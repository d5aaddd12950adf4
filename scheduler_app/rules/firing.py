"""What becomes of each fire time: an execution, or a gap that says why not.

`decide` gives exactly one verdict to every fire time in a stretch of time, however long the stretch: what it
costs depends on the number of executions it creates, not on the number of fire times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .spec import JobSpec
from .timetable import TICK, Timetable, closed_stretches_of

CATCH_UP_LIMIT = 100
"""How many missed fire times `on_misfire = all` runs at most."""
QUEUE_LIMIT = 1000
"""How many executions of one job `on_overlap = queue_all` keeps waiting at most."""


@dataclass(frozen=True, slots=True)
class Fire:
    """The fire time becomes an execution; a blocked one waits for the job's limit."""

    scheduled_for: datetime
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Consecutive fire times become no execution."""

    first_at: datetime
    last_at: datetime
    count: int
    reason: str
    who: str = ""
    detail: str = ""

    def continues(self, earlier: Skip) -> bool:
        """Whether this skip says the same as the one just before it."""
        return (self.reason, self.who, self.detail) == (
            earlier.reason,
            earlier.who,
            earlier.detail,
        )


@dataclass(frozen=True, slots=True)
class Suspension:
    """A stretch in which fire times become no execution: the job is paused or closed, or one is to be skipped.

    From `since` up to before `until`; None: without an end.
    """

    since: datetime
    until: datetime | None
    who: str = ""
    detail: str = ""
    reason: str = "paused"


@dataclass(slots=True)
class Live:
    """The job's unfinished executions, as far as overlap counts them."""

    running: int = 0
    waiting: int = 0
    """Ready to start for the first time."""
    retrying: int = 0
    blocked: int = 0

    @property
    def unblocked(self) -> int:
        return self.running + self.waiting + self.retrying


@dataclass(slots=True)
class Decision:
    """Verdicts in the order of time, and how far they reach."""

    decided_until: datetime
    runs: int
    verdicts: list[Fire | Skip] = field(default_factory=list)
    cancel_running: bool = False

    def add(self, verdict: Skip) -> None:
        """Append a skip, or let it continue the one before."""
        last = self.verdicts[-1] if self.verdicts else None
        if isinstance(last, Skip) and verdict.continues(last):
            self.verdicts[-1] = Skip(
                last.first_at,
                verdict.last_at,
                last.count + verdict.count,
                last.reason,
                last.who,
                last.detail,
            )
        else:
            self.verdicts.append(verdict)


def own_pause(spec: JobSpec) -> list[Suspension]:
    """The pause that lies on the job itself, if any."""
    if spec.paused_at is None:
        return []
    return [Suspension(spec.paused_at, spec.paused_until, spec.paused_by, spec.pause_reason)]


def own_closures(spec: JobSpec) -> list[Suspension]:
    """The days on which the job's calendar closes it."""
    if spec.on_closed == "run":
        return []
    detail = f"calendar {spec.calendar_name}" + (
        ", to run on the next open day" if spec.on_closed == "shift" else ""
    )
    return [
        Suspension(stretch.since, stretch.until, detail=detail, reason="calendar")
        for stretch in closed_stretches_of(spec)
    ]


def decide(
    decision: Decision,
    spec: JobSpec,
    *,
    until: datetime,
    now: datetime,
    live: Live,
    pauses: Sequence[Suspension] = (),
    misfire_after_s: float,
) -> None:
    """Give the fire times in (decision.decided_until, until] their verdicts.

    `until` is `now`, or the moment of the edit that ended this definition. `live` is counted on. Raises
    InvalidSchedule when the definition cannot be read; the decision is unchanged then.
    """
    if until <= decision.decided_until:
        return
    if spec.enabled and spec.deleted_at is None:
        timetable = Timetable.of(spec)
        for start, end, pause in _pieces(decision.decided_until, until, pauses):
            if _is_over(decision, spec):
                break
            if pause is not None:
                _skip(decision, timetable, start, end, pause.reason, pause.who, pause.detail)
            else:
                _decide_active(decision, spec, timetable, start, end, now, live, misfire_after_s)
    decision.decided_until = until


def next_fire_at(
    decision: Decision, spec: JobSpec, pauses: Sequence[Suspension] = ()
) -> datetime | None:
    """When there is something to decide again; None when there never is under this definition.

    Fire times in suspensions are passed over: a job that is paused without an end is not looked at again.
    """
    if not spec.enabled or spec.deleted_at is not None:
        return None
    if spec.max_runs is not None and decision.runs >= spec.max_runs:
        return None
    return next_open(Timetable.of(spec), decision.decided_until, pauses)


def next_open(
    timetable: Timetable, after: datetime, suspensions: Sequence[Suspension]
) -> datetime | None:
    """The first fire time after `after` that lies in no suspension."""
    while (moment := timetable.next_after(after)) is not None:
        covering = [s for s in suspensions if s.since <= moment]
        if not (covering := [s for s in covering if s.until is None or moment < s.until]):
            return moment
        ends = [s.until for s in covering if s.until is not None]
        if len(ends) < len(covering):
            return None
        after = max(ends) - TICK
    return None


def _pieces(
    start: datetime, end: datetime, pauses: Iterable[Suspension]
) -> Iterable[tuple[datetime, datetime, Suspension | None]]:
    """Cut (start, end] where pauses begin and end; a pause covers from `since` up to before `until`."""
    stretches = sorted(pauses, key=lambda pause: pause.since)
    for pause in stretches:
        since = max(start, pause.since - TICK)
        until = end if pause.until is None else min(end, pause.until - TICK)
        if since >= until:
            continue
        if since > start:
            yield start, since, None
        yield since, until, pause
        start = until
    if start < end:
        yield start, end, None


def _decide_active(
    decision: Decision,
    spec: JobSpec,
    timetable: Timetable,
    start: datetime,
    end: datetime,
    now: datetime,
    live: Live,
    misfire_after_s: float,
) -> None:
    missed_until = min(end, now - timedelta(seconds=misfire_after_s))
    if start < missed_until:
        _decide_missed(decision, spec, timetable, start, missed_until, end, now, live)
        start = missed_until
    for moment in timetable.between(start, end):
        if _is_over(decision, spec):
            return
        _decide_overlap(decision, spec, moment, live, missed=False)


def _decide_missed(
    decision: Decision,
    spec: JobSpec,
    timetable: Timetable,
    start: datetime,
    missed_until: datetime,
    end: datetime,
    now: datetime,
    live: Live,
) -> None:
    """Fire times that nobody looked at in time, in (start, missed_until]."""
    if spec.on_misfire == "skip":
        _skip(decision, timetable, start, missed_until, "missed")
        return
    if spec.misfire_grace_s is not None:
        too_old = min(missed_until, now - timedelta(seconds=spec.misfire_grace_s) - TICK)
        if start < too_old:
            _skip(decision, timetable, start, too_old, "missed", detail="older than the grace")
            start = too_old
    if spec.on_misfire == "latest":
        first_on_time = timetable.next_after(missed_until)
        if first_on_time is not None and first_on_time <= end:
            into = first_on_time
        else:
            latest = timetable.previous_before(missed_until + TICK)
            if latest is None or latest <= start:
                return
            into = latest
        detail = f"into {into:%Y-%m-%d %H:%M:%S} UTC"
        before = min(into - TICK, missed_until)
        _skip(decision, timetable, start, before, "coalesced", detail=detail)
        if into <= missed_until:
            _decide_overlap(decision, spec, into, live, missed=True)
        return
    first = missed_until + TICK
    for _ in range(CATCH_UP_LIMIT):
        earlier = timetable.previous_before(first)
        if earlier is None or earlier <= start:
            break
        first = earlier
    _skip(decision, timetable, start, min(first - TICK, missed_until), "limit")
    for moment in timetable.between(first - TICK, missed_until):
        if _is_over(decision, spec):
            return
        _decide_overlap(decision, spec, moment, live, missed=True)


def _decide_overlap(
    decision: Decision, spec: JobSpec, moment: datetime, live: Live, *, missed: bool
) -> None:
    """An execution, now or when the limit allows, or none because of those that live."""
    limit = spec.limit
    if limit is None or (live.unblocked < limit and not live.blocked):
        live.waiting += 1
        _fire(decision, Fire(moment))
    elif _may_wait(spec, live, missed=missed):
        live.blocked += 1
        decision.cancel_running |= spec.on_overlap == "cancel_running"
        _fire(decision, Fire(moment, blocked=True))
    else:
        retrying = live.retrying and not live.running and not live.waiting
        decision.add(Skip(moment, moment, 1, "retrying" if retrying else "overlap"))


def _may_wait(spec: JobSpec, live: Live, *, missed: bool) -> bool:
    if spec.on_overlap == "queue_all" or (missed and spec.on_misfire == "all"):
        return live.blocked < QUEUE_LIMIT
    return spec.on_overlap in ("queue_one", "cancel_running") and live.blocked < 1


def _fire(decision: Decision, verdict: Fire) -> None:
    decision.verdicts.append(verdict)
    decision.runs += 1


def _is_over(decision: Decision, spec: JobSpec) -> bool:
    return spec.max_runs is not None and decision.runs >= spec.max_runs


def _skip(
    decision: Decision,
    timetable: Timetable,
    start: datetime,
    end: datetime,
    reason: str,
    who: str = "",
    detail: str = "",
) -> None:
    """One skip for all fire times in (start, end], if there are any."""
    count = timetable.count(start, end) if start < end else 0
    if not count:
        return
    first, last = timetable.next_after(start), timetable.previous_before(end + TICK)
    assert first is not None and last is not None  # because count said so
    decision.add(Skip(first, last, count, reason, who, detail))
