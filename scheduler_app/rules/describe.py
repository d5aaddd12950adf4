"""What does a schedule say, in a sentence, and what about it may surprise?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from .cron import MONTH_FULL_NAMES, CronInZone, Plan
from .cron_text import LAST
from .zones import Zone

DAY_FULL_NAMES = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()
_NTH = ("last", "first", "second", "third", "fourth", "fifth")
_MOST_TIMES = 6
"""This many times of day are listed; more are told by their hours and minutes."""


def describe_plan(plan: Plan) -> str:
    """The whole sentence, without the zone."""
    parts = [_times(plan), _days(plan), _months(plan)]
    return " ".join(part for part in parts if part)


def _times(plan: Plan) -> str:
    seconds, minutes, hours = plan.seconds, plan.minutes, plan.hours
    if len(seconds) * len(minutes) * len(hours) <= _MOST_TIMES:
        times = [_clock(h, m, s) for h in hours for m in minutes for s in seconds]
        return f"At {_listed(times)}"
    if seconds != (0,):
        unit, values = "second", seconds
        inside = "" if len(minutes) == 60 else f" {_in('minute', minutes, 60)}"
        if not inside and len(hours) == 24 and not _step(seconds, 60):
            inside = " of every minute"
    else:
        unit, values, inside = "minute", minutes, ""
    head = _each(unit, values)
    if len(hours) == 24:
        if unit == "minute" and _step(minutes, 60):
            return head
        if unit == "minute":
            return f"{head} of every hour"
        return f"{head}{inside}" + (" of every hour" if inside.startswith(" in ") else "")
    return f"{head}{inside} {_in_hours(hours)}"


def _each(unit: str, values: Sequence[int]) -> str:
    step = _step(values, 60)
    if step == 1:
        return f"Every {unit}"
    if step:
        return f"Every {step} {unit}s"
    return f"At {_numbers(unit, values)}"


def _in(unit: str, values: Sequence[int], size: int) -> str:
    step = _step(values, size)
    return f"in every {_ordinal(step)} {unit}" if step else f"in {_numbers(unit, values)}"


def _in_hours(hours: Sequence[int]) -> str:
    step = _step(hours, 24)
    if step:
        return f"of every {_ordinal(step)} hour"
    runs = _runs(hours)
    if len(runs) <= 3 and len(hours) > len(runs):
        return _listed([f"from {first:02}:00 to {last:02}:59" for first, last in runs])
    return f"of {_numbers('hour', hours)}"


def _days(plan: Plan) -> str:
    text = plan.text
    if not text.restricts_day and not text.restricts_weekday:
        listed = len(plan.seconds) * len(plan.minutes) * len(plan.hours) <= _MOST_TIMES
        return "every day" if listed or len(plan.hours) < 24 else ""
    by_day, by_weekday = _month_days(plan), _weekdays(plan)
    if not text.restricts_weekday:
        return f"on {by_day}"
    if not text.restricts_day:
        return f"on {by_weekday}"
    if plan.both_days:
        return f"on {by_day}, only on {by_weekday}"
    return f"on {by_day} or on {by_weekday}"


def _month_days(plan: Plan) -> str:
    if plan.text.nearest:
        return f"the weekday (Monday to Friday) nearest to day {plan.text.nearest}"
    step = _step(plan.days, 31, low=1)
    parts = []
    if step and step > 1 and len(plan.days) > 3:
        parts.append(f"every {_ordinal(step)} day of the month")
    elif plan.days:
        parts.append(f"{_numbers('day', plan.days)} of the month")
    if plan.last_day:
        parts.append("the last day of the month")
    return _listed(parts)


def _weekdays(plan: Plan) -> str:
    parts = []
    # Monday first, as most calendars that show a 24-hour clock have it.
    days = sorted(plan.weekdays, key=lambda day: (day - 1) % 7)
    if len(days) == 7:
        parts.append("every weekday and at weekends")
    elif days:
        shifted = [(day - 1) % 7 for day in days]
        runs = _runs(shifted)
        if len(runs) == 1 and len(days) > 2:
            parts.append(f"{DAY_FULL_NAMES[days[0]]} to {DAY_FULL_NAMES[days[-1]]}")
        else:
            parts += [f"{DAY_FULL_NAMES[day]}s" for day in days]
    for day, nth in sorted(plan.text.nth, key=lambda pair: (pair[1] or 9, (pair[0] - 1) % 7)):
        parts.append(f"the {_NTH[nth]} {DAY_FULL_NAMES[day]} of the month")
    return _listed(parts)


def _months(plan: Plan) -> str:
    if len(plan.months) == 12:
        return ""
    runs = _runs(plan.months)
    names = [MONTH_FULL_NAMES[month - 1] for month in plan.months]
    if len(runs) == 1 and len(names) > 2:
        return f"from {names[0]} to {names[-1]}"
    return f"in {_listed(names)}"


def _numbers(unit: str, values: Sequence[int]) -> str:
    if len(values) == 1:
        return f"{unit} {values[0]}"
    runs = _runs(values)
    steps = {b - a for a, b in zip(values, values[1:], strict=False)}
    if len(values) > 5 and len(steps) == 1 and steps != {1}:
        return f"every {_ordinal(steps.pop())} {unit} from {values[0]} to {values[-1]}"
    words = []
    for first, last in runs:
        if last - first > 1:
            words.append(f"{first} to {last}")
        else:
            words += [str(value) for value in range(first, last + 1)]
    return f"{unit}s {_listed(words)}"


def _step(values: Sequence[int], size: int, low: int = 0) -> int:
    """n when the values are every n-th of the whole cycle, else 0."""
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


def _ordinal(number: int) -> str:
    if number == 1:
        return "single"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 // 10 != 1 else 0, "th")
    return f"{number}{suffix}"


def _listed(words: Sequence[str], joint: str = "and") -> str:
    return f"{', '.join(words[:-1])} {joint} {words[-1]}" if len(words) > 1 else "".join(words)


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def describe_interval(every_s: int, anchor: int | None) -> str:
    words = []
    rest = every_s
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        number, rest = divmod(rest, size)
        if number:
            words.append(f"{number} {unit}{'s' if number > 1 else ''}")
    if len(words) == 1 and words[0].startswith("1 "):
        words[0] = words[0][2:]
    sentence = f"Every {_listed(words)}"
    if anchor is not None:
        moment = datetime.fromtimestamp(anchor, UTC)
        sentence += f", counted from {moment:%Y-%m-%d %H:%M:%S} UTC"
    return sentence


def describe_moment(zone: Zone, at: int) -> str:
    wall = datetime.fromtimestamp(at + zone.offset_at(at), UTC)
    return f"Once, on {wall:%Y-%m-%d} at {wall:%H:%M:%S}"


def moment_warnings(zone: Zone, at: int, now: int) -> list[str]:
    return ["This moment has passed: the job never runs"] if at <= now else []


def cron_warnings(steps: CronInZone, now: int) -> list[str]:
    return []
