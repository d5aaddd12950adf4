"""A job's fire times: its schedule within its window, shifted by its jitter."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from heapq import merge

from .calendars import Stretch, closed_stretches, moved_to
from .problems import Invalid
from .schedules import Schedule, parse_schedule
from .spec import JobSpec
from .zones import END_OF_TIME, FIRST_MOMENT, load_zone, utc, zone_problem

TICK = timedelta(microseconds=1)
"""The database's resolution: `moment - TICK` turns "strictly after" into "from"."""

# Any date can be entered as a window or as the end of a pause. The first day is left to the jitter, which looks back.
KNOWN_FROM = utc(FIRST_MOMENT) + timedelta(days=1)
KNOWN_UNTIL = utc(END_OF_TIME) - TICK

_EPOCH = utc(0)
_SECOND = timedelta(seconds=1)


def jitter_of(name: str, jitter_s: int) -> timedelta:
    """The job's fixed shift, from 0 to `jitter_s` seconds exclusive, the same on every node."""
    if jitter_s <= 0:
        return timedelta(0)
    digest = hashlib.blake2b(f"{name}\0jitter".encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest, "big") % jitter_s)


@dataclass(frozen=True, slots=True, eq=False)
class Timetable:
    """Fire times as aware UTC moments. Ranges leave out their start and include their end.

    Jobs with the same times have the same one, so that what was found for one job is known for the others.
    """

    schedule: Schedule
    shift: timedelta
    start_at: datetime | None
    end_at: datetime | None
    moved: tuple[datetime, ...] = ()
    """Runs that a calendar moved to the next open day, where the schedule has none by itself; ascending."""

    @classmethod
    def of(cls, spec: JobSpec) -> Timetable:
        """The timetable of a definition; raises InvalidSchedule when it cannot be read."""
        return _timetable(
            spec.schedule,
            spec.timezone,
            spec.name,
            spec.anchor_at,
            spec.day_match,
            spec.jitter_s,
            spec.start_at,
            spec.end_at,
            closed_stretches_of(spec) if spec.on_closed == "shift" else (),
        )

    def next_after(self, moment: datetime) -> datetime | None:
        """The first fire time strictly later."""
        found = self._next_of_schedule(moment)
        if self.moved:
            start, end = self._within(moment, KNOWN_UNTIL)
            place = bisect_right(self.moved, start)
            if place < len(self.moved) and self.moved[place] <= end:
                extra = self.moved[place]
                return extra if found is None else min(found, extra)
        return found

    def _next_of_schedule(self, moment: datetime) -> datetime | None:
        start, end = self._within(moment, KNOWN_UNTIL)
        found = self.schedule.next_after(start - self.shift) if start < end else None
        if found is None or found + self.shift > end:
            return None
        return found + self.shift

    def previous_before(self, moment: datetime) -> datetime | None:
        """The last fire time strictly earlier."""
        found = self._previous_of_schedule(moment)
        if self.moved:
            start, end = self._within(KNOWN_FROM, moment - TICK)
            place = bisect_right(self.moved, end)
            if place and self.moved[place - 1] > start:
                extra = self.moved[place - 1]
                return extra if found is None else max(found, extra)
        return found

    def _previous_of_schedule(self, moment: datetime) -> datetime | None:
        start, end = self._within(KNOWN_FROM, moment - TICK)
        before = min(end + TICK - self.shift, KNOWN_UNTIL)
        found = self.schedule.previous_before(before) if start < end else None
        if found is None or found + self.shift <= start:
            return None
        return found + self.shift

    def count(self, start: datetime, end: datetime) -> int:
        """How many fire times lie in (start, end]; the cost does not grow with the number."""
        start, end = self._within(start, end)
        if start >= end:
            return 0
        moved = bisect_right(self.moved, end) - bisect_right(self.moved, start)
        return self.schedule.count(start - self.shift, end - self.shift) + moved

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The fire times in (start, end], oldest first, lazily."""
        start, end = self._within(start, end)
        if start >= end:
            return
        shift, planned = self.shift, self.schedule.between(start - self.shift, end - self.shift)
        if shift:
            planned = (moment + shift for moment in planned)
        moved = self.moved[bisect_right(self.moved, start) : bisect_right(self.moved, end)]
        yield from merge(planned, moved) if moved else planned

    def between_ts(self, after: int, until: int) -> Iterator[int]:
        """As `between`, in Unix seconds, which fire times are: for walking through millions of them."""
        start, end = self._within(utc(after), utc(until))
        if start >= end:
            return iter(())
        shift, after, until = (
            self.shift // _SECOND,
            (start - _EPOCH) // _SECOND,
            (end - _EPOCH) // _SECOND,
        )
        planned = self.schedule.between_ts(after - shift, until - shift)
        if shift:
            planned = (ts + shift for ts in planned)
        if not self.moved:
            return planned
        moved = self.moved[bisect_right(self.moved, start) : bisect_right(self.moved, end)]
        return merge(planned, [(moment - _EPOCH) // _SECOND for moment in moved])

    def _within(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """The part of (start, end] that lies in the window and in the years that schedules know."""
        if start < KNOWN_FROM:
            start = KNOWN_FROM
        if end > KNOWN_UNTIL:
            end = KNOWN_UNTIL
        if self.start_at is not None and self.start_at > start:
            start = self.start_at - TICK
        if self.end_at is not None and self.end_at < end:
            end = self.end_at
        return start, end


@lru_cache(maxsize=10_000)
def _timetable(
    schedule: str,
    timezone: str,
    name: str,
    anchor_at: datetime | None,
    day_match: str,
    jitter_s: int,
    start_at: datetime | None,
    end_at: datetime | None,
    closed: tuple[Stretch, ...],
) -> Timetable:
    parsed = parse_schedule(schedule, timezone, key=name, anchor=anchor_at, day_match=day_match)
    planned = _planned(parsed, jitter_of(name, jitter_s), start_at, end_at)
    return replace(planned, moved=_moved(planned, closed, timezone)) if closed else planned


@lru_cache(maxsize=10_000)
def _planned(
    schedule: Schedule, shift: timedelta, start_at: datetime | None, end_at: datetime | None
) -> Timetable:
    return Timetable(schedule, shift, start_at, end_at)


def closed_stretches_of(spec: JobSpec) -> tuple[Stretch, ...]:
    """The days on which the job's calendar closes it, whatever becomes of its fire times then.

    Raises Invalid for a zone that does not exist.
    """
    if not spec.calendar_name:
        return ()
    return _closed(spec.calendar_days, spec.calendar_mode, spec.timezone)


@lru_cache(maxsize=1000)
def _closed(days: tuple[tuple[str, str], ...], mode: str, timezone: str) -> tuple[Stretch, ...]:
    if problem := zone_problem(timezone):
        raise Invalid([problem])
    ranges = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in days]
    return tuple(closed_stretches(ranges, follow=mode == "follow", zone=load_zone(timezone)))


def _moved(planned: Timetable, closed: tuple[Stretch, ...], timezone: str) -> tuple[datetime, ...]:
    """One run for each closed stretch that took some away, unless the schedule has it there by itself."""
    zone = load_zone(timezone)
    moved = []
    for stretch in closed:
        if stretch.until is None:
            continue
        last = planned.previous_before(stretch.until)
        if last is None or last < stretch.since:
            continue
        moment = moved_to(last, stretch, zone)
        if moment is not None and planned.next_after(moment - TICK) != moment:
            moved.append(moment)
    return tuple(moved)
