"""What does a schedule say, in a sentence, and what about it may surprise?

Sentences have no full stop, so that a zone, a list or a hint can follow; clocks have 24 hours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from .cron import CronInZone
from .cron_plan import MONTH_FULL_NAMES, Plan, listed, month_lengths
from .zones import END_OF_TIME, Zone

DAY_FULL_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NTH = ("last", "first", "second", "third", "fourth", "fifth")

_MOST_TIMES = 6
"""This many times of a day are listed; more are told by their hours and minutes."""
_LINT_S = 400 * 86400
"""Clock changes are looked for this far ahead: a year, and the one after a yearly run."""


def describe_plan(plan: Plan) -> str:
    """The whole sentence, without the zone."""
    parts = [_times(plan), _days(plan), _months(plan)]
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
        return head + (_of_hours(hours, head) or ("" if head[0] == "E" else " of every minute"))
    step = _step(minutes, 60)
    inside = f"every {_ordinal(step)} minute" if step else _numbers("minute", minutes)
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
        return f" of every {_ordinal(step)} hour"
    runs = _runs(hours)
    if len(runs) <= 3 and (often or len(runs) < len(hours)):
        return " " + listed([f"from {first:02}:00 to {last:02}:59" for first, last in runs])
    return f" of {_numbers('hour', hours)}"


def _days(plan: Plan) -> str:
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
        parts.append(f"every {_ordinal(step)} day of the month")
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
        return f"every {_ordinal(steps.pop())} {unit} from {values[0]} to {values[-1]}"
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


def _ordinal(number: int) -> str:
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
        sentence += f", counted from {_wall(anchor):%Y-%m-%d %H:%M:%S} UTC"
    return sentence


def describe_moment(zone: Zone, at: int) -> str:
    return f"Once, on {_wall(at + zone.offset_at(at)):%Y-%m-%d at %H:%M:%S} ({zone.name})"


def _wall(local: int) -> datetime:
    """A local second as a datetime to be formatted; its time zone means nothing."""
    return datetime.fromtimestamp(local, UTC)


def _local_clock(local: int) -> str:
    wall = _wall(local)
    return _clock(wall.hour, wall.minute, wall.second)


# Warnings


def cron_warnings(steps: CronInZone, now: int) -> list[str]:
    """What may surprise the person who wrote this; mostly nothing."""
    plan = steps.plan
    found = []
    if plan.text.restricts_day and plan.text.restricts_weekday and not plan.both_days:
        found.append(_either_day(steps, now))
    if plan.text.seconds_last:
        found.append(
            "Six fields begin with the second and end with the weekday; did you put the seconds last?"
        )
    found += _uneven_steps(plan)
    found += _short_months(plan)
    found += _clock_changes(steps, now)
    return found


def _either_day(steps: CronInZone, now: int) -> str:
    plan = steps.plan
    dates: list[str] = []
    while len(dates) < 5:
        found = steps.next_after(now)
        if found is None:
            break
        local = found + steps.zone.offset_at(found)
        date = f"{_wall(local):%Y-%m-%d}"
        if date not in dates:
            dates.append(date)
        now = max(found, steps.zone.first_moment_of(local - local % 86400 + 86399))
    if len(plan.days) == 1 and len(plan.weekdays) == 1 and not plan.text.nth:
        day = DAY_FULL_NAMES[plan.weekdays[0]]
        both = f"{day} the {_ordinal(plan.days[0])}"
    else:
        both = "days that are both"
    return f'Runs {_days(plan)} (next: {", ".join(dates)}). For {both} choose "both must match"'


_INTERVAL_UNITS = {"second": "s", "minute": "m", "hour": "h", "day of month": "d"}
_AROUND = {
    "second": ("minute", 0, 60),
    "minute": ("hour", 0, 60),
    "hour": ("day", 0, 24),
    "day of month": ("month", 1, 31),
    "month": ("year", 1, 12),
    "weekday": ("week", 0, 7),
}


def _uneven_steps(plan: Plan) -> Iterator[str]:
    """`*/7` in the minutes: after 56 comes 0."""
    for field, step in plan.text.steps:
        around, low, size = _AROUND[field]
        values = range(low, low + size, step)
        if len(values) == 1 or (size % step == 0 and field != "day of month"):
            continue
        last, first = values[-1], low
        if field == "weekday":
            rest = f"after {DAY_FULL_NAMES[last]} comes {DAY_FULL_NAMES[first]}"
        elif field == "month":
            rest = f"after {MONTH_FULL_NAMES[last - 1]} comes {MONTH_FULL_NAMES[first - 1]}"
        else:
            rest = f"after {last} comes {first}"
        unit = _INTERVAL_UNITS.get(field)
        hint = f"; @every {step}{unit} keeps an even distance" if unit else ""
        yield f"A step of {step} in the {field} starts again each {around}: {rest}{hint}"


def _short_months(plan: Plan) -> Iterator[str]:
    """Day 31: seven months of twelve."""
    text = plan.text
    if not text.restricts_day or plan.last_day or (text.restricts_weekday and not plan.both_days):
        return
    day = text.nearest or min(plan.days)
    short = [month for month in plan.months if min(month_lengths(month)) < day]
    if short == [2] and day == 29:
        yield "Day 29 of February exists in leap years only"
    elif short:
        names = listed([MONTH_FULL_NAMES[month - 1] for month in short])
        have = "is skipped: it has" if len(short) == 1 else "are skipped: they have"
        yield f"{names} {have} no day {day}. L is the last day of every month"


def _clock_changes(steps: CronInZone, now: int) -> Iterator[str]:
    zone = steps.zone
    last = zone.segment(min(now + _LINT_S, END_OF_TIME))
    for segment in range(zone.segment(now) + 1, last + 1):
        if note := _change_note(steps, segment):
            yield note


def clock_note(steps: CronInZone, ts: int) -> str:
    """What a clock change does to the run at `ts`; mostly nothing."""
    zone = steps.zone
    segment = zone.segment(ts)
    local = ts + zone.offsets[segment]
    if ts == zone.starts[segment] or (segment and local < zone.local_ends[segment - 1]):
        return _change_note(steps, segment)
    if segment + 1 < len(zone.starts) and local >= zone.local_starts[segment + 1]:
        return _change_note(steps, segment + 1)
    return ""


def _change_note(steps: CronInZone, segment: int) -> str:
    """What the clock change that begins a segment does to the runs; mostly nothing."""
    plan, zone = steps.plan, steps.zone
    if plan.every_hour or not segment:
        return ""
    old, new = zone.local_ends[segment - 1], zone.local_starts[segment]
    first = plan.first_from(min(old, new))
    if first >= max(old, new):
        return ""
    last = plan.last_until(max(old, new) - 1)
    many = last > first
    what = f"{_local_clock(first)} to {_local_clock(last)}" if many else _local_clock(first)
    what += f" on {_wall(first):%Y-%m-%d}"
    change = f"in {zone.name} (the clock goes from {_local_clock(old)} to {_local_clock(new)})"
    if new > old:
        # A whole day may be missing, as when Samoa crossed the date line.
        day = f" on {_wall(new):%Y-%m-%d}" if new // 86400 > first // 86400 else ""
        verb = "do" if many else "does"
        return f"{what} {verb} not exist {change}; the job runs once, at {_local_clock(new)}{day}"
    verb = "come" if many else "comes"
    which = "both times" if plan.repeats else "the first time only"
    return f"{what} {verb} twice {change}; the job runs {which}"


def moment_warnings(zone: Zone, at: int, wall: int | None, now: int) -> list[str]:
    """`wall` is the local second that was written, when no offset stood beside it."""
    if at <= now:
        return ["This moment has passed: the job never runs"]
    segment = zone.segment(at)
    if wall is None:
        return []
    written = f"{_local_clock(wall)} on {_wall(wall):%Y-%m-%d}"
    if at + zone.offsets[segment] != wall:
        there = f"{_local_clock(zone.local_starts[segment])}"
        return [f"{written} does not exist in {zone.name}; the job runs at {there}"]
    if segment + 1 < len(zone.starts) and wall >= zone.local_starts[segment + 1]:
        return [f"{written} comes twice in {zone.name}; the job runs the first time"]
    return []


def interval_warnings(zone: Zone, every_s: int, now: int) -> list[str]:
    """Days are 24 hours here, whatever the clock on the wall does."""
    changes = zone.segment(min(now + _LINT_S, END_OF_TIME)) - zone.segment(now)
    if every_s % 86400 or not changes:
        return []
    return [
        f"Counts days of 24 hours: the time of day in {zone.name} moves when the clocks change."
        " A cron text keeps it"
    ]
