"""What about a schedule may surprise the person who wrote it? Mostly nothing; else a sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .cron import CronInZone
from .cron_plan import MONTH_FULL_NAMES, Plan, listed, make_plan, month_lengths
from .cron_text import DAY, FIELDS, Field, InvalidSchedule
from .describe import DAY_FULL_NAMES, clock_of, days_in_words, ordinal, wall_of
from .zones import END_OF_TIME, Zone

_LINT_S = 400 * 86400
"""Clock changes are looked for this far ahead: a year, and the one after a yearly run."""


def cron_warnings(steps: CronInZone, now: int) -> list[str]:
    """Both day fields, seconds put last, uneven steps, short months, and nights that move a run."""
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
        date = f"{wall_of(local):%Y-%m-%d}"
        if date not in dates:
            dates.append(date)
        now = max(found, steps.zone.first_moment_of(local - local % 86400 + 86399))
    told = f"Runs {days_in_words(plan)} (next: {', '.join(dates)})"
    if not _may_match_both(plan):
        return told
    single = len(plan.days) == len(plan.weekdays) == 1
    if single and not plan.text.nth and not plan.last_day:
        day = DAY_FULL_NAMES[plan.weekdays[0]]
        both = f"{day} the {ordinal(plan.days[0])}"
    else:
        both = "days that are both"
    return f'{told}. For {both} choose "both must match"'


def _may_match_both(plan: Plan) -> bool:
    """Whether the schedule would be accepted if both day fields had to match."""
    try:
        make_plan(plan.text, both_days=True)
    except InvalidSchedule:
        return False
    return True


# A step in the one form that is left of `*/n`, `a/n` and `a-b/n`.
_STEPS = re.compile("(?:[*]|([0-9]+)-([0-9]+))/([0-9]+)")
_INTERVAL_UNITS = {"second": "s", "minute": "m", "hour": "h", "day of month": "d"}
_AROUND = {
    "second": "minute",
    "minute": "hour",
    "hour": "day",
    "day of month": "month",
    "month": "year",
    "weekday": "week",
}


def _uneven_steps(plan: Plan) -> Iterator[str]:
    """`*/7` in the minutes: after 56 comes 0."""
    for field, text in zip(FIELDS, plan.text.fields, strict=True):
        for piece in text.split(","):
            values = _steps_around(field, piece)
            size = field.high - field.low + 1
            if len(values) > 1 and (size % values.step or field is DAY):
                yield _uneven(field.name, values)


def _steps_around(field: Field, piece: str) -> range:
    """The values of a piece that steps through the whole field; none of another, as 9-17/5 ends where it is meant to."""
    match = _STEPS.fullmatch(piece)
    if match is None:
        return range(0)
    start, end, step = int(match[1] or field.low), int(match[2] or field.high), int(match[3])
    is_whole = start - field.low < step and end == field.high
    return range(start, end + 1, step) if is_whole else range(0)


def _uneven(field: str, values: range) -> str:
    first, last, step = values[0], values[-1], values.step
    if field == "weekday":
        rest = f"after {DAY_FULL_NAMES[last]} comes {DAY_FULL_NAMES[first]}"
    elif field == "month":
        rest = f"after {MONTH_FULL_NAMES[last - 1]} comes {MONTH_FULL_NAMES[first - 1]}"
    else:
        rest = f"after {last} comes {first}"
    unit = _INTERVAL_UNITS.get(field)
    hint = f"; @every {step}{unit} keeps an even distance" if unit else ""
    return f"A step of {step} in the {field} starts again each {_AROUND[field]}: {rest}{hint}"


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


def change_note(steps: CronInZone, ts: int) -> str:
    """What the clock change at `ts` does to the runs around it; mostly nothing."""
    return _change_note(steps, steps.zone.segment(ts))


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
    what = f"{clock_of(first)} to {clock_of(last)}" if many else clock_of(first)
    what += f" on {wall_of(first):%Y-%m-%d}"
    way = "forward" if new > old else "back"
    change = f"{way} from {clock_of(old)} to {clock_of(new)}"
    change = f"in {zone.name} (the clock goes {change})"
    if new > old:
        # A whole day may be missing, as when Samoa crossed the date line.
        day = f" on {wall_of(new):%Y-%m-%d}" if new // 86400 > first // 86400 else ""
        verb = "do" if many else "does"
        return f"{what} {verb} not exist {change}; the job runs once, at {clock_of(new)}{day}"
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
    written = f"{clock_of(wall)} on {wall_of(wall):%Y-%m-%d}"
    if at + zone.offsets[segment] != wall:
        there = f"{clock_of(zone.local_starts[segment])}"
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
