"""What does a schedule say, in a sentence?

Sentences have no full stop, so that a zone or a hint can follow; clocks have 24 hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from .cron_plan import MONTH_FULL_NAMES, Plan, listed
from .zones import Zone

DAY_FULL_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NTH = ("last", "first", "second", "third", "fourth", "fifth")

_MOST_TIMES = 6
"""This many times of a day are listed; more are told by their hours and minutes."""


def describe_plan(plan: Plan) -> str:
    """The whole sentence, without the zone."""
    parts = [_times(plan), days_in_words(plan), _months(plan)]
    return " ".join(part for part in parts if part)


def _times(plan: Plan) -> str:
    seconds, minutes, hours = plan.seconds, plan.minutes, plan.hours
    if plan.per_day <= _MOST_TIMES:
        clocks = [(h, m, s) for h in hours for m in minutes for s in seconds]
        exact = seconds != (0,)
        return f"At {listed([_clock(*clock, exact=exact) for clock in clocks])}"
    if seconds == (0,):
        if len(minutes) == 1 and (hourly := _hourly(hours, minutes[0])):
            return hourly
        head = _each("minute", minutes)
        return head + _of_hours(hours, head)
    head = _each("second", seconds)
    if len(minutes) == 60:
        if head.startswith("At"):
            head += " of every minute"
        return head + _of_hours(hours, "Every")
    step = _step(minutes, 60)
    inside = f"every {ordinal(step)} minute" if step else _numbers("minute", minutes)
    return f"{head} of {inside}" + (_of_hours(hours, "At") or " of every hour")


def _hourly(hours: Sequence[int], minute: int) -> str:
    """Once an hour, in hours that are evenly spaced."""
    if len(hours) == 24 and minute == 0:
        return "Every hour"
    steps = {b - a for a, b in pairwise(hours)}
    if len(hours) == 24 or len(steps) != 1:
        return ""
    step = steps.pop()
    span = f"from {_clock(hours[0], minute)} to {_clock(hours[-1], minute)}"
    return f"Every hour {span}" if step == 1 else f"Every {step} hours {span}"


def _each(unit: str, values: Sequence[int]) -> str:
    step = _step(values, 60)
    if step == 1:
        return f"Every {unit}"
    return f"Every {step} {unit}s" if step else f"At {_numbers(unit, values)}"


def _of_hours(hours: Sequence[int], head: str) -> str:
    """What follows "Every 5 minutes" or "At minute 5"."""
    often = head.startswith("Every")
    if len(hours) == 24:
        return "" if often else " of every hour"
    step = _step(hours, 24)
    if step:
        return f" of every {ordinal(step)} hour"
    runs = _runs(hours)
    if len(runs) <= 3 and (often or len(runs) < len(hours)):
        return " " + listed([f"from {first:02}:00 to {last:02}:59" for first, last in runs])
    return f" of {_numbers('hour', hours)}"


def days_in_words(plan: Plan) -> str:
    text = plan.text
    if text.restricts_day and text.restricts_weekday:
        if plan.both_days:
            return f"on {_month_days(plan)} when it is {listed(_weekdays(plan, 'a {}'), 'or')}"
        return f"on {_month_days(plan)} or {_on_weekdays(plan)}"
    if text.restricts_day:
        return f"on {_month_days(plan)}"
    if text.restricts_weekday:
        return _on_weekdays(plan)
    return "every day" if len(plan.hours) < 24 else ""


def _month_days(plan: Plan) -> str:
    if plan.text.nearest:
        return f"the weekday (Monday to Friday) nearest to day {plan.text.nearest}"
    parts = []
    step = _step(plan.days, 31, low=1)
    if step > 1 and len(plan.days) > 3:
        parts.append(f"every {ordinal(step)} day of the month")
    elif plan.days:
        parts.append(f"{_numbers('day', plan.days)} of the month")
    if plan.last_day:
        parts.append("the last day of the month")
    return listed(parts)


def _on_weekdays(plan: Plan) -> str:
    days = _from_monday(plan.weekdays)
    if len(days) == 7:
        return "on every day of the week"
    if len(days) > 2 and not plan.text.nth and len(_runs(days)) == 1:
        return f"from {_day_name(days[0])} to {_day_name(days[-1])}"
    return f"on {listed(_weekdays(plan, '{}s'))}"


def _weekdays(plan: Plan, form: str) -> list[str]:
    plain = [form.format(_day_name(day)) for day in _from_monday(plan.weekdays)]
    nth = sorted(plan.text.nth, key=lambda pair: (pair[1] or 9, (pair[0] - 1) % 7))
    return plain + [f"the {_NTH[n]} {DAY_FULL_NAMES[day]} of the month" for day, n in nth]


def _from_monday(weekdays: Sequence[int]) -> list[int]:
    """Monday is 0 here: whoever reads a 24-hour clock mostly starts the week with it."""
    return sorted((day - 1) % 7 for day in weekdays)


def _day_name(from_monday: int) -> str:
    return DAY_FULL_NAMES[(from_monday + 1) % 7]


def _months(plan: Plan) -> str:
    if len(plan.months) == 12:
        return ""
    names = [MONTH_FULL_NAMES[month - 1] for month in plan.months]
    if len(names) > 2 and len(_runs(plan.months)) == 1:
        return f"from {names[0]} to {names[-1]}"
    return f"in {listed(names)}"


def _numbers(unit: str, values: Sequence[int]) -> str:
    if len(values) == 1:
        return f"{unit} {values[0]}"
    steps = {b - a for a, b in pairwise(values)}
    if len(values) > 5 and len(steps) == 1 and steps != {1}:
        return f"every {ordinal(steps.pop())} {unit} from {values[0]} to {values[-1]}"
    words = []
    for first, last in _runs(values):
        if last - first > 1:
            words.append(f"{first} to {last}")
        else:
            words += [str(value) for value in range(first, last + 1)]
    return f"{unit}s {listed(words)}"


def _step(values: Sequence[int], size: int, low: int = 0) -> int:
    """n when the values are every n-th of the whole field, and of the next one; else 0."""
    if len(values) < 2 or values[0] != low:
        return 0
    step = values[1] - values[0]
    even = tuple(values) == tuple(range(low, low + size, step))
    return step if even and (size % step == 0 or low) else 0


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring values joined: 1, 2, 3, 7 is (1, 3), (7, 7)."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def ordinal(number: int) -> str:
    teens = number % 100 // 10 == 1
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _clock(hour: int, minute: int, second: int = 0, *, exact: bool = False) -> str:
    return f"{hour:02}:{minute:02}:{second:02}" if exact or second else f"{hour:02}:{minute:02}"


def describe_interval(every_s: int, anchor: int | None) -> str:
    words = []
    rest = every_s
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        number, rest = divmod(rest, size)
        if number:
            words.append(f"{number} {unit}{'s' if number > 1 else ''}")
    if len(words) == 1:
        words[0] = words[0].removeprefix("1 ")
    sentence = f"Every {listed(words)}"
    if anchor is not None:
        sentence += f", counted from {wall_of(anchor):%Y-%m-%d %H:%M:%S} UTC"
    return sentence


def describe_moment(zone: Zone, at: int) -> str:
    return f"Once, on {wall_of(at + zone.offset_at(at)):%Y-%m-%d at %H:%M:%S} ({zone.name})"


def wall_of(local: int) -> datetime:
    """A local second as a datetime to be formatted; its time zone means nothing."""
    return datetime.fromtimestamp(local, UTC)


def clock_of(local: int) -> str:
    wall = wall_of(local)
    return _clock(wall.hour, wall.minute, wall.second)
