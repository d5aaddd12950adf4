"""Which local seconds does a cron text name? Tables made once, then a few look-ups a step.

croniter expands the fields; everything after that is ours. Local seconds are Unix seconds plus the
zone's offset, so a plan knows nothing of zones and is shared by all of them. Immutable.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from croniter import croniter

from .cron_text import DAY, DAY_NAMES, LAST, CronText, InvalidSchedule
from .problems import Problem
from .zones import AFTER_EVERYTHING, BEFORE_EVERYTHING

# Local days are counted from 1970-01-01. The tables reach one month beyond the moments that
# schedules know, so that every zone's local dates are inside.
_FIRST_YEAR, _LAST_YEAR = 1969, 2101
_EPOCH_DAY = date(1970, 1, 1).toordinal()

MONTH_FIRST_DAY: list[int] = []
"""Local day on which each month begins, from January 1969 on."""
MONTH_SHAPE: list[int] = []
"""Index 0 to 27 of (weekday of the 1st, length) of each month; Sunday is 0."""
MONTH_OF_DAY: list[int] = []
"""Month of each local day, from 1969-01-01 on."""
DAY_BASE = _EPOCH_DAY - date(_FIRST_YEAR, 1, 1).toordinal()

for _year in range(_FIRST_YEAR, _LAST_YEAR + 1):
    for _month in range(1, 13):
        _first = date(_year, _month, 1).toordinal()
        _length = calendar.monthrange(_year, _month)[1]
        MONTH_OF_DAY += [len(MONTH_FIRST_DAY)] * _length
        MONTH_FIRST_DAY.append(_first - _EPOCH_DAY)
        MONTH_SHAPE.append(_first % 7 * 4 + _length - 28)

MONTHS = len(MONTH_FIRST_DAY)
MONTH_FULL_NAMES = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
NONE = 99
"""In the tables of next values: there is none."""


def month_lengths(month: int) -> tuple[int, ...]:
    return (28, 29) if month == 2 else (30,) if month in (4, 6, 9, 11) else (31,)


def _weekday_mask(first: int, weekday: int) -> int:
    """Days 1 to 31 (bits 0 to 30) that are this weekday, when the 1st is weekday `first`."""
    mask = 0
    for day in range((weekday - first) % 7, 31, 7):
        mask |= 1 << day
    return mask


_WEEKDAYS = tuple(tuple(_weekday_mask(f, w) for w in range(7)) for f in range(7))


def _nearest_weekday(first: int, length: int, day: int) -> int:
    """The Monday to Friday nearest to a day, never leaving the month; 0 when the month lacks the day."""
    if day > length:
        return 0
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a cron text allows, as tables."""

    text: CronText
    both_days: bool
    """Day of month and weekday must both match."""
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: tuple[int, ...]
    """Days of the month without `L` and `W`."""
    last_day: bool
    weekdays: tuple[int, ...]
    next_second: tuple[int, ...]
    next_minute: tuple[int, ...]
    next_hour: tuple[int, ...]
    """The smallest allowed value from an index on, or NONE."""
    masks: tuple[int, ...]
    """Allowed days of each month shape; bit 0 is the 1st."""
    month_ok: tuple[bool, ...]
    month_step: tuple[int, ...]
    """From each month (0 is January), how many months to the next allowed one; at least 1."""
    month_step_back: tuple[int, ...]
    per_day: int
    """Runs on a day that is allowed."""
    first_of_day: int
    last_of_day: int
    first_of_hour: int
    last_of_hour: int
    every_hour: bool
    repeats: bool
    """In an hour that comes twice the job runs through both passes."""

    def first_from(self, local: int) -> int:
        """The first local second from `local` on that matches; far away when there is none."""
        day = local // 86400
        month = MONTH_OF_DAY[day + DAY_BASE]
        bits = 0
        if self.month_ok[month % 12]:
            bits = self.masks[MONTH_SHAPE[month]] >> (day - MONTH_FIRST_DAY[month])
            if bits & 1:
                rest = local - day * 86400
                hour = rest // 3600
                next_hour = self.next_hour[hour]
                if next_hour == hour:
                    minute = rest % 3600 // 60
                    next_minute = self.next_minute[minute]
                    if next_minute == minute:
                        second = self.next_second[rest % 60]
                        if second != NONE:
                            return local - rest % 60 + second
                        next_minute = self.next_minute[minute + 1]
                    if next_minute != NONE:
                        return day * 86400 + hour * 3600 + next_minute * 60 + self.seconds[0]
                    next_hour = self.next_hour[hour + 1]
                if next_hour != NONE:
                    return day * 86400 + next_hour * 3600 + self.first_of_hour
            bits &= -2
        if bits:
            return (day + (bits & -bits).bit_length() - 1) * 86400 + self.first_of_day
        while True:
            month += self.month_step[month % 12]
            if month >= MONTHS:
                return AFTER_EVERYTHING // 2
            bits = self.masks[MONTH_SHAPE[month]]
            if bits:
                day = MONTH_FIRST_DAY[month] + (bits & -bits).bit_length() - 1
                return day * 86400 + self.first_of_day

    def last_until(self, local: int) -> int:
        """The last local second up to `local` that matches; far away when there is none."""
        day = local // 86400
        month = MONTH_OF_DAY[day + DAY_BASE]
        bits = 0
        if self.month_ok[month % 12]:
            index = day - MONTH_FIRST_DAY[month]
            bits = self.masks[MONTH_SHAPE[month]] & ((2 << index) - 1)
            if bits >> index:
                rest = self._last_in_day(local - day * 86400)
                if rest >= 0:
                    return day * 86400 + rest
                bits &= (1 << index) - 1
        while not bits:
            month -= self.month_step_back[month % 12]
            if month < 0:
                return BEFORE_EVERYTHING // 2
            bits = self.masks[MONTH_SHAPE[month]]
        return (MONTH_FIRST_DAY[month] + bits.bit_length() - 1) * 86400 + self.last_of_day

    def _last_in_day(self, rest: int) -> int:
        """The last run of a day up to a second of that day, or -1."""
        hour, minute, second = rest // 3600, rest % 3600 // 60, rest % 60
        h = bisect_right(self.hours, hour) - 1
        if h >= 0 and self.hours[h] == hour:
            m = bisect_right(self.minutes, minute) - 1
            if m >= 0 and self.minutes[m] == minute:
                s = bisect_right(self.seconds, second) - 1
                if s >= 0:
                    return hour * 3600 + minute * 60 + self.seconds[s]
                m -= 1
            if m >= 0:
                return hour * 3600 + self.minutes[m] * 60 + self.seconds[-1]
            h -= 1
        return self.hours[h] * 3600 + self.last_of_hour if h >= 0 else -1

    def count_between(self, start: int, end: int) -> int:
        """How many local seconds match from `start` on and before `end`."""
        if end <= start:
            return 0
        first, last = start // 86400, end // 86400
        total = self._days_between(first, last) * self.per_day
        if self._runs_on(last):
            total += self._rank(end - last * 86400)
        if self._runs_on(first):
            total -= self._rank(start - first * 86400)
        return total

    def _runs_on(self, day: int) -> bool:
        month = MONTH_OF_DAY[day + DAY_BASE]
        if not self.month_ok[month % 12]:
            return False
        return bool(self.masks[MONTH_SHAPE[month]] >> (day - MONTH_FIRST_DAY[month]) & 1)

    def _days_between(self, first: int, last: int) -> int:
        """How many days match from `first` on and before `last`."""
        month, end_month = MONTH_OF_DAY[first + DAY_BASE], MONTH_OF_DAY[last + DAY_BASE]
        total = -self._days_before(month, first) + self._days_before(end_month, last)
        while month < end_month:
            if self.month_ok[month % 12]:
                total += self.masks[MONTH_SHAPE[month]].bit_count()
            month += self.month_step[month % 12]
        return total

    def _days_before(self, month: int, day: int) -> int:
        if not self.month_ok[month % 12]:
            return 0
        before = (1 << (day - MONTH_FIRST_DAY[month])) - 1
        return (self.masks[MONTH_SHAPE[month]] & before).bit_count()

    def _rank(self, rest: int) -> int:
        """How many runs of a day come before a second of that day."""
        hour, minute, second = rest // 3600, rest % 3600 // 60, rest % 60
        h = bisect_left(self.hours, hour)
        total = h * len(self.minutes) * len(self.seconds)
        if h < len(self.hours) and self.hours[h] == hour:
            m = bisect_left(self.minutes, minute)
            total += m * len(self.seconds)
            if m < len(self.minutes) and self.minutes[m] == minute:
                total += bisect_left(self.seconds, second)
        return total


@lru_cache(maxsize=4096)
def make_plan(text: CronText, *, both_days: bool = False) -> Plan:
    """The tables of a text; refuses one that never fires, and says why."""
    expanded: Any = croniter(" ".join(text.fields), 0, second_at_beginning=True).expanded
    minutes, hours, days, months, weekdays, seconds = expanded
    second_values = _values(seconds, 0, 59)
    minute_values = _values(minutes, 0, 59)
    hour_values = _values(hours, 0, 23)
    month_values = _values(months, 1, 12)
    day_values = _values([day for day in days if day != "l"], 1, 31)
    weekday_values = _values(weekdays, 0, 6) if text.plain_weekdays or not text.nth else ()
    day_bits = sum(1 << (day - 1) for day in day_values)
    shapes = tuple(
        _day_mask(text, both_days, "l" in days, day_bits, weekday_values, shape)
        for shape in range(28)
    )
    plan = Plan(
        text=text,
        both_days=both_days,
        seconds=second_values,
        minutes=minute_values,
        hours=hour_values,
        months=month_values,
        days=day_values,
        last_day="l" in days,
        weekdays=weekday_values,
        next_second=_next_values(second_values, 60),
        next_minute=_next_values(minute_values, 60),
        next_hour=_next_values(hour_values, 24),
        masks=shapes,
        month_ok=tuple(month in month_values for month in range(1, 13)),
        month_step=_steps(month_values, 1),
        month_step_back=_steps(month_values, -1),
        per_day=len(second_values) * len(minute_values) * len(hour_values),
        first_of_day=hour_values[0] * 3600 + minute_values[0] * 60 + second_values[0],
        last_of_day=hour_values[-1] * 3600 + minute_values[-1] * 60 + second_values[-1],
        first_of_hour=minute_values[0] * 60 + second_values[0],
        last_of_hour=minute_values[-1] * 60 + second_values[-1],
        every_hour=len(hour_values) == 24,
        # 0-23, or all hours in a list, say "every hour" as well as `*` does.
        repeats=text.repeats or len(hour_values) == 24,
    )
    if not any(
        shapes[first * 4 + length - 28]
        for month in month_values
        for length in month_lengths(month)
        for first in range(7)
    ):
        raise _never_runs(plan)
    return plan


def _values(expanded: list[int | str], low: int, high: int) -> tuple[int, ...]:
    if "*" in expanded:
        return tuple(range(low, high + 1))
    return tuple(sorted({int(value) for value in expanded}))


def _next_values(values: tuple[int, ...], size: int) -> tuple[int, ...]:
    table, following = [NONE] * (size + 1), NONE
    for start in range(size - 1, -1, -1):
        if start in values:
            following = start
        table[start] = following
    return tuple(table)


def _steps(months: tuple[int, ...], direction: int) -> tuple[int, ...]:
    return tuple(
        next(n for n in range(1, 13) if (month + direction * n) % 12 + 1 in months)
        for month in range(12)
    )


def _day_mask(
    text: CronText,
    both_days: bool,
    last_day: bool,
    days: int,
    weekdays: tuple[int, ...],
    shape: int,
) -> int:
    """The allowed days of a month of this shape; bit 0 is the 1st."""
    first, length = shape // 4, shape % 4 + 28
    whole = (1 << length) - 1
    by_day = by_weekday = whole
    if text.restricts_day:
        if text.nearest:
            days = 1 << _nearest_weekday(first, length, text.nearest) >> 1
        by_day = days & whole
        if last_day:
            by_day |= 1 << (length - 1)
    if text.restricts_weekday:
        by_weekday = 0
        for weekday in weekdays:
            by_weekday |= _WEEKDAYS[first][weekday]
        for weekday, nth in text.nth:
            days_of_week = _WEEKDAYS[first][weekday]
            span = 127 << (length - 7 if nth == LAST else nth * 7 - 7)
            by_weekday |= days_of_week & span
        by_weekday &= whole
    if text.restricts_day and text.restricts_weekday and not both_days:
        return by_day | by_weekday
    return by_day & by_weekday


def _never_runs(plan: Plan) -> InvalidSchedule:
    text = plan.text
    days = (text.nearest,) if text.nearest else plan.days
    given = f"{text.nearest}W" if text.nearest else text.fields[3]
    longest = max(max(month_lengths(month)) for month in plan.months)
    if not plan.last_day and min(days) > longest:
        names = [MONTH_FULL_NAMES[month - 1] for month in plan.months]
        have = "has" if len(names) == 1 else "have"
        reason = f"{listed(names)} {have} no day {listed([str(day) for day in days], 'or')}"
    else:
        weekdays = [DAY_NAMES[day] for day in plan.weekdays]
        weekdays += [
            DAY_NAMES[day] + ("L" if nth == LAST else f"#{nth}") for day, nth in sorted(text.nth)
        ]
        reason = (
            f"no day is both {given} in the day of month and {','.join(weekdays)} in the weekday"
        )
    return InvalidSchedule([Problem(DAY.name, f"never runs: {reason}", given=given)])


def listed(words: Sequence[str], joint: str = "and") -> str:
    """One, two and three."""
    return f"{', '.join(words[:-1])} {joint} {words[-1]}" if len(words) > 1 else "".join(words)
