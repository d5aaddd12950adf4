"""When does a job run next? One string and a time zone in, moments in UTC out.

A schedule is a cron text (five fields, or six with the second first), an alias such as `@daily`,
`@every 2h30m`, `@at 2030-01-31T09:00:00` or `@manual`. Nothing here knows what time it is: the
answers follow from the text, the zone's data and the moment that is asked about, so every node
finds the same. Schedules are immutable and may be shared by threads.

Moments are aware datetimes from 1970 up to the end of 2100; the `_ts` methods take and give Unix
seconds for the hot path. Fire times are whole seconds.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from .cron import CronInZone
from .cron_plan import Plan, make_plan
from .cron_text import LONGEST_TEXT, InvalidSchedule, read_cron, refuse, shown
from .cron_warnings import (
    change_note,
    clock_note,
    cron_warnings,
    interval_warnings,
    moment_warnings,
)
from .describe import describe_interval, describe_moment, describe_plan
from .problems import Invalid, Problem
from .zones import END_OF_TIME, FIRST_MOMENT, load_zone, utc, zone_fingerprint, zone_problem

__all__ = ["InvalidSchedule", "Schedule", "parse_schedule", "zone_fingerprint"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BLANKS = " \t\r\n"
_HASHES = re.compile(r"(?<![a-z])h(?![a-z])", re.IGNORECASE)
DAY_MATCHES = ("or", "and")


@dataclass(frozen=True, slots=True)
class Schedule(ABC):
    """A rule that gives fire times; made by `parse_schedule`."""

    text: str
    """As it was given, without blanks around it."""
    timezone: str
    key: str = ""
    """What `H` derives its values from; empty when the text has no `H`."""
    anchor: datetime | None = None
    """For `@every` only."""
    day_match: str = "or"

    def next_after(self, moment: datetime) -> datetime | None:
        """The first fire time strictly later than `moment`; None when there is none before 2101."""
        found = self.next_after_ts(_floor(moment))
        return None if found is None else utc(found)

    def previous_before(self, moment: datetime) -> datetime | None:
        """The last fire time strictly earlier than `moment`; None when there is none since 1970."""
        # A whole second is earlier than a moment just when it is earlier than the next whole one.
        found = self.previous_before_ts(_floor(moment) + (moment.microsecond > 0))
        return None if found is None else utc(found)

    def count(self, start: datetime, end: datetime) -> int:
        """How many fire times are strictly later than `start` and not later than `end`.

        Computed without stepping, and always equal to `len(list(between(start, end)))`.
        """
        return self.count_ts(_floor(start), _floor(end))

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The fire times strictly later than `start` and not later than `end`, one by one."""
        after, until = _floor(start), _floor(end)
        return (utc(ts) for ts in self.between_ts(after, until))

    def between_ts(self, after: int, until: int) -> Iterator[int]:
        """As `between`, in Unix seconds."""
        found = self.next_after_ts(after)
        while found is not None and found <= until:
            yield found
            found = self.next_after_ts(found)

    @abstractmethod
    def next_after_ts(self, ts: int) -> int | None:
        """As `next_after`, in Unix seconds."""

    @abstractmethod
    def previous_before_ts(self, ts: int) -> int | None:
        """As `previous_before`, in Unix seconds."""

    @abstractmethod
    def count_ts(self, after: int, until: int) -> int:
        """As `count`, in Unix seconds."""

    @abstractmethod
    def describe(self) -> str:
        """The schedule as a sentence, with a 24-hour clock."""

    def warnings(self, now: datetime) -> list[str]:
        """What may surprise the person who wrote this, a sentence each; mostly none."""
        return []

    def clock_note(self, moment: datetime) -> str:
        """What a clock change does to the fire time `moment`; mostly empty."""
        return ""

    def change_note(self, moment: datetime) -> str:
        """What the clock change at `moment` does to the fire times around it; mostly empty."""
        return ""


@dataclass(frozen=True, slots=True)
class CronSchedule(Schedule):
    """Wall times in a zone."""

    plan: Plan = field(kw_only=True, repr=False, compare=False)

    def next_after_ts(self, ts: int) -> int | None:
        return _in_zone(self.plan, self.timezone).next_after(ts)

    def previous_before_ts(self, ts: int) -> int | None:
        return _in_zone(self.plan, self.timezone).previous_before(ts)

    def count_ts(self, after: int, until: int) -> int:
        return _in_zone(self.plan, self.timezone).count(after, until)

    def describe(self) -> str:
        return f"{describe_plan(self.plan)} ({self.timezone})"

    def warnings(self, now: datetime) -> list[str]:
        return cron_warnings(_in_zone(self.plan, self.timezone), _floor(now))

    def clock_note(self, moment: datetime) -> str:
        return clock_note(_in_zone(self.plan, self.timezone), _floor(moment))

    def change_note(self, moment: datetime) -> str:
        return change_note(_in_zone(self.plan, self.timezone), _floor(moment))


@lru_cache(maxsize=16384)
def _in_zone(plan: Plan, timezone: str) -> CronInZone:
    # Here and not in the parser, so that a text is checked without reading its zone.
    return CronInZone(plan, load_zone(timezone))


@dataclass(frozen=True, slots=True)
class IntervalSchedule(Schedule):
    """Every so many seconds, counted from the anchor in both directions, whatever clocks do."""

    every_s: int = field(kw_only=True, compare=False)
    phase_s: int = field(kw_only=True, compare=False)
    """Unix second of the anchor, or any other fire time."""

    def next_after_ts(self, ts: int) -> int | None:
        ts = max(ts, FIRST_MOMENT - 1)
        found = ts + self.every_s - (ts - self.phase_s) % self.every_s
        return found if found < END_OF_TIME else None

    def previous_before_ts(self, ts: int) -> int | None:
        ts = min(ts, END_OF_TIME)
        found = ts - 1 - (ts - 1 - self.phase_s) % self.every_s
        return found if found >= FIRST_MOMENT else None

    def count_ts(self, after: int, until: int) -> int:
        after, until = max(after, FIRST_MOMENT - 1), min(until, END_OF_TIME - 1)
        if until <= after:
            return 0
        return (until - self.phase_s) // self.every_s - (after - self.phase_s) // self.every_s

    def describe(self) -> str:
        return describe_interval(self.every_s, self.phase_s if self.anchor else None)

    def warnings(self, now: datetime) -> list[str]:
        return interval_warnings(load_zone(self.timezone), self.every_s, _floor(now))


@dataclass(frozen=True, slots=True)
class MomentSchedule(Schedule):
    """Once."""

    at: int = field(kw_only=True, compare=False)
    wall: int | None = field(kw_only=True, compare=False)
    """The wall time that was written, as a local second; None when an offset was written too."""

    def next_after_ts(self, ts: int) -> int | None:
        return self.at if self.at > ts else None

    def previous_before_ts(self, ts: int) -> int | None:
        return self.at if self.at < ts else None

    def count_ts(self, after: int, until: int) -> int:
        return int(after < self.at <= until)

    def describe(self) -> str:
        return describe_moment(load_zone(self.timezone), self.at)

    def warnings(self, now: datetime) -> list[str]:
        return moment_warnings(load_zone(self.timezone), self.at, self.wall, _floor(now))


@dataclass(frozen=True, slots=True)
class ManualSchedule(Schedule):
    """Never by itself."""

    def next_after_ts(self, ts: int) -> int | None:
        return None

    def previous_before_ts(self, ts: int) -> int | None:
        return None

    def count_ts(self, after: int, until: int) -> int:
        return 0

    def describe(self) -> str:
        return "Only when started by hand or by the API"


def parse_schedule(
    text: str,
    timezone: str = "UTC",
    key: str = "",
    anchor: datetime | None = None,
    day_match: str = "or",
) -> Schedule:
    """Understand a schedule, or raise InvalidSchedule with every problem found.

    `key` is what `H` derives its values from (the job's name). `anchor` is a moment at which `@every`
    fires, taken to the second (1970-01-01T00:00:00Z when None). `day_match` says whether the day of
    month "or" the weekday is enough when both are given, or both must match ("and").
    """
    if not isinstance(text, str):
        raise refuse("the schedule must be a text", given=repr(text))
    text = text.strip(_BLANKS)
    if len(text) > LONGEST_TEXT:
        raise refuse(
            f"the schedule has {len(text)} characters; {LONGEST_TEXT} are allowed",
            given=text,
            allowed=f"{LONGEST_TEXT} characters",
        )
    # What the text does not use is left out, so that jobs with the same text share one schedule.
    key = str(key) if text[:1] != "@" and _HASHES.search(text) else ""
    anchor = anchor if text[:6].lower() == "@every" else None
    return _parse(text, str(timezone), key, anchor, str(day_match))


@lru_cache(maxsize=16384)
def _parse(text: str, timezone: str, key: str, anchor: datetime | None, day_match: str) -> Schedule:
    problems: list[Problem] = []
    if problem := zone_problem(timezone):
        problems.append(problem)
    if day_match not in DAY_MATCHES:
        problems.append(
            Problem(
                field="day_match",
                message=f"day_match: {shown(day_match)} is not allowed (or, and)",
                given=shown(day_match),
                allowed="or, and",
            )
        )
    if anchor is not None:
        try:
            _floor(anchor)
        except Invalid as error:
            problems += [replace(problem, field="anchor") for problem in error.problems]
    known = not problems
    try:
        schedule = _read(
            text, timezone if known else "UTC", key, anchor if known else None, day_match
        )
    except InvalidSchedule as error:
        raise InvalidSchedule([*error.problems, *problems]) from None
    if problems:
        raise InvalidSchedule(problems)
    return schedule


def _read(text: str, timezone: str, key: str, anchor: datetime | None, day_match: str) -> Schedule:
    kind, _, rest = text.replace("\t", " ").partition(" ")
    kind, rest = kind.lower(), rest.strip(_BLANKS)
    if kind == "@manual":
        if rest:
            raise refuse("@manual stands alone", given=text, suggestion="@manual")
        return ManualSchedule(text, timezone, key, anchor, day_match)
    if kind == "@every":
        phase = 0 if anchor is None else _floor(anchor)
        return IntervalSchedule(
            text, timezone, key, anchor, day_match, every_s=_interval(rest), phase_s=phase
        )
    if kind == "@at":
        at, wall = _moment(rest, timezone)
        return MomentSchedule(text, timezone, key, anchor, day_match, at=at, wall=wall)
    plan = make_plan(read_cron(text, key), both_days=day_match == "and")
    return CronSchedule(text, timezone, key, anchor, day_match, plan=plan)


_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_INTERVAL = re.compile("".join(rf"(?:([0-9]{{1,10}}){unit}[ \t]*)?" for unit in _UNITS))
_LONGEST_INTERVAL = 36525 * 86400


def _interval(text: str) -> int:
    """The seconds of `2h30m`."""
    match = _INTERVAL.fullmatch(text.lower())
    if not match or not text:
        suggestion = f"@every {text}s" if text.isascii() and text.isdigit() else ""
        raise refuse(
            f"@every: {shown(text) or 'nothing'} is not allowed; write 90s, 5m, 2h30m, 1d or 2w",
            given=text,
            allowed="whole numbers with w, d, h, m, s, the largest unit first",
            suggestion=suggestion,
        )
    seconds = sum(
        int(number) * size
        for number, size in zip(match.groups(), _UNITS.values(), strict=True)
        if number
    )
    if not 1 <= seconds <= _LONGEST_INTERVAL:
        raise refuse(
            f"@every: {shown(text)} is not allowed (1 s to 100 years)",
            given=text,
            allowed="1 s to 100 years",
        )
    return seconds


_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.IGNORECASE,
)


def _moment(text: str, timezone: str) -> tuple[int, int | None]:
    """The Unix second of an ISO moment; without an offset, a wall time of the zone and that too.

    As for cron: a wall time in a gap is the first moment after the jump, one that comes twice is
    the first.
    """
    match = _MOMENT.fullmatch(text)
    allowed = "2030-01-31T09:00:00, or with an offset, 2030-01-31T09:00:00+01:00"
    if not match:
        day_only = re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)
        raise refuse(
            f"@at: {shown(text) or 'nothing'} is not a moment; write {allowed}",
            given=text,
            allowed=allowed,
            suggestion=f"@at {text}T00:00:00" if day_only else "",
        )
    day, time, offset = match.groups()
    try:
        wall = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)
        shift = (
            datetime.fromisoformat(f"{day}T{time}{offset.upper()}").utcoffset() if offset else None
        )
    except ValueError as error:
        raise refuse(
            f"@at: {shown(text)} does not exist: {error}", given=text, allowed=allowed
        ) from None
    if not 1970 <= wall.year <= 2100:
        raise refuse(
            f"@at: {shown(text)} is not allowed (1970 to 2100)", given=text, allowed="1970 to 2100"
        )
    local = _floor_of(wall - _EPOCH)
    if shift is not None:
        at = local - _floor_of(shift)
    else:
        at = load_zone(timezone).first_moment_of(local)
    if not FIRST_MOMENT <= at < END_OF_TIME:
        raise refuse(
            f"@at: {shown(text)} is not allowed (1970 to 2100)", given=text, allowed="1970 to 2100"
        )
    return at, local if shift is None else None


def _floor_of(delta: timedelta) -> int:
    return delta.days * 86400 + delta.seconds


def _floor(moment: datetime) -> int:
    """The Unix second that a moment lies in."""
    try:
        since = moment - _EPOCH
    except TypeError:
        raise Invalid(
            [
                Problem(
                    field="moment",
                    message=f"moment: {moment.isoformat()} has no time zone; add one, such as +00:00",
                    given=moment.isoformat(),
                )
            ]
        ) from None
    ts = since.days * 86400 + since.seconds
    if FIRST_MOMENT <= ts < END_OF_TIME:
        return ts
    raise Invalid(
        [
            Problem(
                field="moment",
                message=f"moment: {moment.isoformat()} is not allowed (1970 to 2100)",
                given=moment.isoformat(),
                allowed="1970-01-01T00:00:00Z to 2100-12-31T23:59:59Z",
            )
        ]
    )
