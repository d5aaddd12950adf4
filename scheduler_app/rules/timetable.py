"""A job's fire times: its schedule within its window, shifted by its jitter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from .schedules import Schedule, parse_schedule
from .spec import JobSpec
from .zones import END_OF_TIME, FIRST_MOMENT, utc

TICK = timedelta(microseconds=1)
"""The database's resolution: `moment - TICK` turns "strictly after" into "from"."""

# Any date can be entered as a window or as the end of a pause. The first day is left to the jitter, which looks back.
KNOWN_FROM = utc(FIRST_MOMENT) + timedelta(days=1)
KNOWN_UNTIL = utc(END_OF_TIME) - TICK


def jitter_of(name: str, jitter_s: int) -> timedelta:
    """The job's fixed shift, from 0 to `jitter_s` seconds exclusive, the same on every node."""
    if jitter_s <= 0:
        return timedelta(0)
    digest = hashlib.blake2b(f"{name}\0jitter".encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest, "big") % jitter_s)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Fire times as aware UTC moments. Ranges leave out their start and include their end."""

    schedule: Schedule
    shift: timedelta
    start_at: datetime | None
    end_at: datetime | None

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
        )

    def next_after(self, moment: datetime) -> datetime | None:
        """The first fire time strictly later."""
        start, end = self._within(moment, KNOWN_UNTIL)
        found = self.schedule.next_after(start - self.shift) if start < end else None
        if found is None or found + self.shift > end:
            return None
        return found + self.shift

    def previous_before(self, moment: datetime) -> datetime | None:
        """The last fire time strictly earlier."""
        start, end = self._within(KNOWN_FROM, moment - TICK)
        found = self.schedule.previous_before(end + TICK - self.shift) if start < end else None
        if found is None or found + self.shift <= start:
            return None
        return found + self.shift

    def count(self, start: datetime, end: datetime) -> int:
        """How many fire times lie in (start, end]; the cost does not grow with the number."""
        start, end = self._within(start, end)
        return self.schedule.count(start - self.shift, end - self.shift) if start < end else 0

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The fire times in (start, end], oldest first, lazily."""
        start, end = self._within(start, end)
        if start < end:
            for moment in self.schedule.between(start - self.shift, end - self.shift):
                yield moment + self.shift

    def _within(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """The part of (start, end] that lies in the window and in the years that schedules know."""
        start, end = max(start, KNOWN_FROM), min(end, KNOWN_UNTIL)
        if self.start_at is not None and self.start_at > start:
            start = self.start_at - TICK
        if self.end_at is not None:
            end = min(end, self.end_at)
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
) -> Timetable:
    parsed = parse_schedule(schedule, timezone, key=name, anchor=anchor_at, day_match=day_match)
    return Timetable(parsed, jitter_of(name, jitter_s), start_at, end_at)
