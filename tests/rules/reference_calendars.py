"""What fire times does a definition demand? A second answer, day by day, to test the first one.

Schedules by `reference_cron`, closed days by looking each date up in the list. Of the product it takes the definition
as a value, and the job's jitter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import jitter_of

from .reference_cron import Reference

DAY = timedelta(days=1)
LOOK_BACK = 63 * DAY
"""Where a run that moves to the next open day may come from, at most."""
UNITS = {"h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True)
class Demand:
    """What one definition asks for in a stretch of time, whatever else happens."""

    spec: JobSpec
    fire_times: list[datetime]
    """Ascending; closed ones and those that moved to an open day included."""
    moved: list[datetime]

    def is_closed(self, moment: datetime) -> bool:
        """Whether the fire time lies on a day on which the job is closed."""
        if self.spec.on_closed == "run" or not self.spec.calendar_name:
            return False
        return is_closed_day(self.spec, moment.astimezone(ZoneInfo(self.spec.timezone)).date())


def demand(spec: JobSpec, start: datetime, end: datetime) -> Demand:
    """All that an enabled job owes in (start, end]."""
    shift = jitter_of(spec.name, spec.jitter_s)
    begin = start - LOOK_BACK
    planned = [
        moment
        for second in seconds_of(
            spec.schedule, spec.timezone, int(begin.timestamp()), int((end + DAY).timestamp())
        )
        if in_window(spec, moment := datetime.fromtimestamp(second, UTC) + shift)
    ]
    moved = []
    if spec.on_closed == "shift" and spec.calendar_name:
        moved = [m for m in moved_runs(spec, planned, begin, end) if start < m <= end]
    fire_times = [moment for moment in sorted({*planned, *moved}) if start < moment <= end]
    return Demand(spec, fire_times, moved)


def in_window(spec: JobSpec, moment: datetime) -> bool:
    return (spec.start_at is None or spec.start_at <= moment) and (
        spec.end_at is None or moment <= spec.end_at
    )


@cache
def seconds_of(schedule: str, zone: str, after: int, until: int) -> list[int]:
    """The fire times of a cron text, or of an interval counted from 1970, in Unix seconds."""
    if schedule == "@manual":
        return []
    if schedule.startswith("@every "):
        every = int(schedule[7:-1]) * UNITS[schedule[-1]]
        return list(range(after - after % every + every, until + 1, every))
    return Reference(schedule, zone).fires(after, until)


def is_closed_day(spec: JobSpec, day: date) -> bool:
    text = day.isoformat()
    is_listed = any(first <= text <= last for first, last in spec.calendar_days)
    return is_listed == (spec.calendar_mode == "avoid")


def moved_runs(
    spec: JobSpec, planned: list[datetime], begin: datetime, end: datetime
) -> list[datetime]:
    """One run on each open day that follows closed ones with fire times, if the schedule has none just then."""
    zone = ZoneInfo(spec.timezone)
    last_of_day: dict[date, datetime] = {}
    for moment in planned:
        last_of_day[moment.astimezone(zone).date()] = moment
    found = []
    taken: datetime | None = None
    day = begin.astimezone(zone).date()
    while day <= end.astimezone(zone).date():
        if is_closed_day(spec, day):
            taken = last_of_day.get(day, taken)
        elif taken is not None:
            wall = datetime.combine(day, taken.astimezone(zone).time())
            moment = first_showing(wall, zone)
            if moment not in planned and in_window(spec, moment):
                found.append(moment)
            taken = None
        day += DAY
    return found


def first_showing(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment, to the minute, at which the zone's clock shows this time of this day or a later one."""
    seconds = timedelta(seconds=wall.second)
    wall = wall.replace(second=0)
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC) - timedelta(hours=3)
    while moment.astimezone(zone).replace(tzinfo=None) < wall:
        moment += timedelta(minutes=1)
    exists = moment.astimezone(zone).time() == time(wall.hour, wall.minute)
    return moment + seconds if exists else moment
