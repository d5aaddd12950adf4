"""What becomes of each fire time: an execution, or a gap that says why not.

`decide` gives exactly one verdict to every fire time in a stretch of time, however long the stretch: what it
costs depends on the number of executions it creates, not on the number of fire times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from .calendars import Stretch
from .spec import JobSpec
from .timetable import KNOWN_FROM, TICK, Timetable, closed_stretches_of

CATCH_UP_LIMIT = 100
"""How many missed fire times `on_misfire = all` runs at most."""
QUEUE_LIMIT = 1000
"""How many executions of one job `on_overlap = queue_all` keeps waiting at most."""

SHORT = timedelta(minutes=1)
"""The fire times of a stretch up to this are kept, for other jobs that have the same."""

RUN, WAIT = "run", "wait"


class Fire(NamedTuple):
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

    def covers(self, moment: datetime) -> bool:
        """Whether the moment lies in it."""
        return self.since <= moment and (self.until is None or moment < self.until)


class _Piece(NamedTuple):
    """The time in (start, end], all of it in one suspension or all in none."""

    start: datetime
    end: datetime
    suspension: Suspension | None = None


class MadeUp(NamedTuple):
    """What is made up for of the fire times that nobody looked at in time, by the definitions after one.

    One choice for the whole absence, however many edits and pauses lie in it.
    """

    into: datetime | None = None
    """The earliest fire time that runs and was missed, or was looked at in time; None: there is none."""
    runs: int = 0
    """Missed fire times that run because `on_misfire` is `all`."""


NOTHING_MADE_UP = MadeUp()


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


def own_closures(spec: JobSpec) -> tuple[Suspension, ...]:
    """The days on which the job's calendar closes it, in order."""
    if spec.on_closed == "run":
        return ()
    detail = f"calendar {spec.calendar_name}" + (
        ", to run on the next open day" if spec.on_closed == "shift" else ""
    )
    return _closures(closed_stretches_of(spec), detail)


def open_stretches(
    spec: JobSpec, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The parts of (start, end], as such, in which the job's calendar leaves it open."""
    for closed in own_closures(spec):
        if closed.since > end:
            break
        if closed.since - TICK > start:
            yield start, closed.since - TICK
        if closed.until is None:
            return
        start = max(start, closed.until - TICK)
    if start < end:
        yield start, end


@lru_cache(maxsize=1000)
def _closures(closed: tuple[Stretch, ...], detail: str) -> tuple[Suspension, ...]:
    return tuple(
        Suspension(stretch.since, stretch.until, detail=detail, reason="calendar")
        for stretch in closed
    )


def decide(
    decision: Decision,
    spec: JobSpec,
    *,
    until: datetime,
    now: datetime,
    live: Live,
    pauses: Sequence[Suspension] = (),
    misfire_after_s: float,
    later: MadeUp = NOTHING_MADE_UP,
) -> None:
    """Give the fire times in (decision.decided_until, until] their verdicts.

    `until` is `now`, or the moment of the edit that ended this definition; `later` is what `made_up` says of the
    definitions after it. `live` is counted on. Raises InvalidSchedule when the definition cannot be read; the decision
    is unchanged then.
    """
    if until <= decision.decided_until:
        return
    if spec.is_in_force:
        timetable = Timetable.of(spec)
        missed_until = now - timedelta(seconds=misfire_after_s)
        if not pauses and decision.decided_until >= missed_until:
            # Nearly always: nothing is late and nothing suspended, and every fire time is decided by itself.
            is_short = until - decision.decided_until <= SHORT
            due = _due if is_short else Timetable.between
            _decide_each(decision, spec, due(timetable, decision.decided_until, until), live)
        else:
            pieces = list(cut(decision.decided_until, until, pauses))
            missed_until = min(until, missed_until)
            given_up, _ = _given_up(spec, timetable, pieces, missed_until, now, later)
            _decide_pieces(decision, spec, timetable, pieces, given_up, live, missed_until)
    decision.decided_until = until


def made_up(
    spec: JobSpec,
    since: datetime,
    until: datetime,
    *,
    now: datetime,
    pauses: Sequence[Suspension] = (),
    misfire_after_s: float,
    runs: int = 0,
    later: MadeUp = NOTHING_MADE_UP,
) -> MadeUp:
    """What a definition that was in force in (since, until], and those after it, make up for of what was missed.

    `runs` is how often the job has run so far: where that is its maximum already, it makes up for nothing. Raises InvalidSchedule when the definition cannot be read.
    """
    if until <= since or not spec.is_in_force:
        return later
    if spec.max_runs is not None and runs >= spec.max_runs:
        return later
    missed_until = min(until, now - timedelta(seconds=misfire_after_s))
    pieces = list(cut(since, until, pauses))
    return _given_up(spec, Timetable.of(spec), pieces, missed_until, now, later)[1]


def next_fire_at(
    decision: Decision, spec: JobSpec, pauses: Sequence[Suspension] = ()
) -> datetime | None:
    """When there is something to decide again; None when there never is under this definition.

    Fire times in suspensions are passed over: a job that is paused without an end is not looked at again.
    """
    if not spec.is_in_force:
        return None
    if spec.max_runs is not None and decision.runs >= spec.max_runs:
        return None
    timetable = Timetable.of(spec)
    if not pauses:
        return _next_after(timetable, decision.decided_until)
    return next_open(timetable, decision.decided_until, pauses)


# Many jobs have the same times and are decided at the same moment.
@lru_cache(maxsize=100)
def _due(timetable: Timetable, start: datetime, end: datetime) -> tuple[datetime, ...]:
    return tuple(timetable.between(start, end))


@lru_cache(maxsize=100)
def _next_after(timetable: Timetable, moment: datetime) -> datetime | None:
    return timetable.next_after(moment)


def next_open(
    timetable: Timetable, after: datetime, suspensions: Sequence[Suspension]
) -> datetime | None:
    """The first fire time after `after` that lies in no suspension."""
    ahead = _overlapping(suspensions, after, None)
    place, covered_until = 0, after
    while (moment := timetable.next_after(after)) is not None:
        while place < len(ahead) and ahead[place].since <= moment:
            until = ahead[place].until
            if until is None:
                return None
            covered_until = max(covered_until, until)
            place += 1
        if moment >= covered_until:
            return moment
        after = covered_until - TICK
    return None


def _overlapping(
    suspensions: Iterable[Suspension], start: datetime, end: datetime | None
) -> list[Suspension]:
    """Those that reach beyond `start` and begin by `end`, in the order of their beginnings."""
    found = [
        suspension
        for suspension in suspensions
        if (suspension.until is None or suspension.until > start)
        and (end is None or suspension.since <= end)
    ]
    return sorted(found, key=lambda suspension: suspension.since)


def cut(start: datetime, end: datetime, suspensions: Iterable[Suspension]) -> Iterator[_Piece]:
    """Cut (start, end] where suspensions begin and end; one covers from `since` up to before `until`."""
    for suspension in _overlapping(suspensions, start, end):
        since = max(start, suspension.since - TICK)
        until = end if suspension.until is None else min(end, suspension.until - TICK)
        if since >= until:
            continue
        if since > start:
            yield _Piece(start, since)
        yield _Piece(since, until, suspension)
        start = until
    if start < end:
        yield _Piece(start, end)


def _decide_pieces(
    decision: Decision,
    spec: JobSpec,
    timetable: Timetable,
    pieces: Sequence[_Piece],
    given_up: Sequence[tuple[datetime, str, str]],
    live: Live,
    missed_until: datetime,
) -> None:
    for start, end, suspension in pieces:
        if _is_over(decision, spec):
            return
        if suspension is not None:
            why = (suspension.reason, suspension.who, suspension.detail)
            _skip(decision, timetable, start, end, *why)
            continue
        for until, reason, detail in given_up:
            stop = min(until, end)
            if start < stop:
                _skip(decision, timetable, start, stop, reason, detail=detail)
                start = stop
        _decide_each(decision, spec, timetable.between(start, end), live, missed_until)


def _decide_each(
    decision: Decision,
    spec: JobSpec,
    moments: Iterable[datetime],
    live: Live,
    missed_until: datetime = KNOWN_FROM,
) -> None:
    for moment in moments:
        if _is_over(decision, spec):
            return
        _decide_overlap(decision, spec, moment, live, missed=moment <= missed_until)


def _given_up(
    spec: JobSpec,
    timetable: Timetable,
    pieces: Sequence[_Piece],
    missed_until: datetime,
    now: datetime,
    later: MadeUp,
) -> tuple[list[tuple[datetime, str, str]], MadeUp]:
    """Which of the fire times that nobody looked at in time are not run: up to when, reason and detail, in order.

    And what is made up for then, for the definition before.
    """
    into = _first(timetable, pieces, missed_until) or later.into
    if missed_until <= pieces[0].start:
        return [], later._replace(into=into)
    if spec.on_misfire == "skip":
        return [(missed_until, "missed", "")], later._replace(into=into)
    too_old = pieces[0].start
    given_up = []
    if spec.misfire_grace_s is not None:
        too_old = min(missed_until, now - timedelta(seconds=spec.misfire_grace_s) - TICK)
        given_up.append((too_old, "missed", "older than the grace"))
    missed = _backwards(timetable, pieces, too_old, missed_until)
    if spec.on_misfire == "latest":
        into = into or next(missed, None)
        if into is not None:
            detail = f"into {into:%Y-%m-%d %H:%M:%S} UTC"
            given_up.append((min(into - TICK, missed_until), "coalesced", detail))
        return given_up, later._replace(into=into)
    newest = list(islice(missed, CATCH_UP_LIMIT - later.runs))
    given_up.append((newest[-1] - TICK if newest else missed_until, "limit", ""))
    return given_up, MadeUp(newest[-1] if newest else into, later.runs + len(newest))


def _first(timetable: Timetable, pieces: Sequence[_Piece], after: datetime) -> datetime | None:
    """The first fire time after `after` outside of suspensions."""
    for piece in pieces:
        if piece.suspension is None and piece.end > after:
            found = timetable.next_after(max(piece.start, after))
            if found is not None and found <= piece.end:
                return found
    return None


def _backwards(
    timetable: Timetable, pieces: Sequence[_Piece], after: datetime, until: datetime
) -> Iterator[datetime]:
    """The fire times in (after, until] outside of suspensions, newest first."""
    for piece in reversed(pieces):
        if piece.suspension is not None or piece.start >= until:
            continue
        before = min(piece.end, until) + TICK
        while (found := timetable.previous_before(before)) is not None:
            if found <= max(piece.start, after):
                break
            yield found
            before = found


def _decide_overlap(
    decision: Decision, spec: JobSpec, moment: datetime, live: Live, *, missed: bool
) -> None:
    """An execution, now or when the limit allows, or none because of those that live."""
    what = answer(spec, live, missed=missed)
    if what in (RUN, WAIT):
        decision.cancel_running |= what == WAIT and spec.on_overlap == "cancel_running"
        _fire(decision, Fire(moment, blocked=what == WAIT))
    else:
        decision.add(Skip(moment, moment, 1, what))


def answer(spec: JobSpec, live: Live, *, missed: bool = False) -> str:
    """What a due fire time comes to beside those that live: RUN, WAIT, or the reason of its gap.

    `live` is counted on.
    """
    limit = spec.limit
    if limit is None or (live.unblocked < limit and not live.blocked):
        live.waiting += 1
        return RUN
    if _may_wait(spec, live, missed=missed):
        live.blocked += 1
        return WAIT
    return "retrying" if live.retrying and not live.running and not live.waiting else "overlap"


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
