"""What a definition means before it is saved: its sentence, its next fire times, how often it runs, what may surprise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice

from .firing import Suspension, own_closures
from .spec import JobSpec
from .timetable import TICK, Timetable
from .zones import load_zone, utc

FIRE_TIMES = 10
"""How many a preview shows."""
RATE_DAYS = 30
"""How many days ahead runs are counted for their number a day."""
CHANGES_DAYS = 366
MOST_CHANGES = 6
"""Some zones have changed their clocks four times a year."""


@dataclass(frozen=True, slots=True)
class FireTime:
    """A fire time ahead; on a closed day, the first of those that the closed days take away."""

    at: datetime
    """In UTC."""
    local: datetime
    """The same moment with the offset that the job's zone has then."""
    note: str = ""
    """What a clock change or a calendar does to it, or what else takes it away; mostly empty."""
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Preview:
    """What a definition means from a moment on."""

    sentence: str
    fire_times: tuple[FireTime, ...]
    warnings: tuple[str, ...]
    runs_per_day: float
    """The runs of the next 30 days, divided by 30."""
    note: str = ""
    """Why these fire times come later or not at all."""


def preview(
    spec: JobSpec,
    *,
    now: datetime,
    runs: int = 0,
    taken: Callable[[datetime], str] = lambda at: "",
) -> Preview:
    """What the definition means from `now` on; `runs` count towards its `max_runs`. Raises InvalidSchedule.

    `taken` says what else takes a fire time away that the definition leaves, such as a skip; empty: nothing does.
    The cost does not depend on how often it runs.
    """
    timetable = Timetable.of(spec)
    closures = own_closures(spec)
    start, note = _begin(spec, now)
    left = None if spec.max_runs is None else max(spec.max_runs - runs, 0)
    fire_times = tuple(_limited(_ahead(spec, timetable, closures, start, taken), left))
    if not fire_times and not note and spec.schedule.strip().lower() != "@manual":
        note = "There is no fire time from now on."
    end = now + timedelta(days=RATE_DAYS)
    coming = _count_open(timetable, closures, start, end)
    return Preview(
        timetable.schedule.describe(),
        fire_times,
        tuple(timetable.schedule.warnings(now)),
        (coming if left is None else min(coming, left)) / RATE_DAYS,
        note,
    )


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A night in which the clocks of the job's zone change, and what that does to the job."""

    at: datetime
    before: datetime
    """The wall clock just before and just after, each with its offset."""
    after: datetime
    note: str
    """Empty where no fire time is lost, moved or doubled."""


def clock_changes(spec: JobSpec, *, now: datetime) -> tuple[ClockChange, ...]:
    """The clock changes of the next year. Raises InvalidSchedule."""
    schedule = Timetable.of(spec).schedule
    zone = load_zone(spec.timezone)
    first = zone.segment(int(now.timestamp())) + 1
    last = zone.segment(int((now + timedelta(days=CHANGES_DAYS)).timestamp()))
    return tuple(
        ClockChange(
            at=(at := utc(zone.starts[segment])),
            before=at.astimezone(timezone(timedelta(seconds=zone.offsets[segment - 1]))),
            after=at.astimezone(timezone(timedelta(seconds=zone.offsets[segment]))),
            note=schedule.change_note(at),
        )
        for segment in range(first, min(last + 1, first + MOST_CHANGES))
    )


def _begin(spec: JobSpec, now: datetime) -> tuple[datetime, str]:
    if not spec.enabled:
        return now, "The job is disabled; enabled, it would fire at these times."
    if spec.paused_at is None:
        return now, ""
    if spec.paused_until is None:
        return now, "The job is paused; these fire times pass unless somebody resumes it."
    # A fire time at the very end of the pause runs.
    return max(now, spec.paused_until - TICK), "Counted from the end of the pause."


def _limited(fire_times: Iterator[FireTime], left: int | None) -> Iterator[FireTime]:
    """The first ten, and those that run only as long as `left` allows."""
    for found in islice(fire_times, FIRE_TIMES):
        if left is not None and found.runs:
            if left == 0:
                return
            left -= 1
        yield found


def _ahead(
    spec: JobSpec,
    timetable: Timetable,
    closures: tuple[Suspension, ...],
    after: datetime,
    taken: Callable[[datetime], str],
) -> Iterator[FireTime]:
    zone = load_zone(spec.timezone)
    moved = set(timetable.moved)

    def shown(at: datetime, note: str, *, runs: bool = True) -> FireTime:
        offset = timedelta(seconds=zone.offset_at(int(at.timestamp())))
        return FireTime(at, at.astimezone(timezone(offset)), note, runs)

    place = 0
    while (at := timetable.next_after(after)) is not None:
        while place < len(closures) and _is_over(closures[place], at):
            place += 1
        closed = closures[place] if place < len(closures) and closures[place].covers(at) else None
        if closed is None:
            after = at
            if why := taken(at):
                yield shown(at, why, runs=False)
            elif at in moved:
                yield shown(at, "moved here from a closed day")
            else:
                yield shown(at, timetable.schedule.clock_note(at - timetable.shift))
        elif closed.until is None:
            yield shown(at, f"closed by {closed.detail}, and all later ones", runs=False)
            return
        else:
            after = closed.until - TICK
            more = timetable.count(at, after)
            note = f"closed by {closed.detail}"
            if more:
                note += f"; so {'is' if more == 1 else 'are'} the next {f'{more:,}' if more > 1 else 'one'}"
            yield shown(at, note, runs=False)


def _is_over(closure: Suspension, at: datetime) -> bool:
    return closure.until is not None and closure.until <= at


def _count_open(
    timetable: Timetable, closures: tuple[Suspension, ...], start: datetime, end: datetime
) -> int:
    """How many fire times lie in (start, end] and on no closed day."""
    if start >= end:
        return 0
    found = timetable.count(start, end)
    for closure in closures:
        if closure.since > end:
            break
        if _is_over(closure, start):
            continue
        closed_from = max(start, closure.since - TICK)
        closed_until = end if closure.until is None else min(end, closure.until - TICK)
        found -= timetable.count(closed_from, closed_until)
    return found
