"""Business calendars: on which days a job is closed, and where its fire times go then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from .problems import Problem
from .zones import FIRST_MOMENT, Zone, utc

MOST_RANGES = 1000
MOST_PROBLEMS = 20
"""How many lines that cannot be read are named one by one."""
FIRST_DAY = date(1970, 1, 1)
LAST_DAY = date(2100, 12, 31)

Days = tuple[date, date]
"""A range of days, both included."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time from `since` up to before `until`; None: without an end."""

    since: datetime
    until: datetime | None


def read_days(text: str) -> tuple[list[Days], list[Problem]]:
    """The ranges in a text of one a line, `2030-12-25` or `2030-12-24 - 2030-12-26`, `#` begins a remark."""
    found: list[Days] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        first_text, _, last_text = content.partition(" - ")
        try:
            first = date.fromisoformat(first_text.strip())
            last = date.fromisoformat(last_text.strip() or first_text.strip())
        except ValueError:
            problems.append(
                Problem(
                    "days",
                    f"Line {number}: {content[:40]!r} is not a day; write 2030-12-25, "
                    "or 2030-12-24 - 2030-12-26 for several.",
                )
            )
            continue
        if first > last:
            problems.append(
                Problem("days", f"Line {number}: {first} comes after {last}; swap the two.")
            )
        elif first < FIRST_DAY or last > LAST_DAY:
            problems.append(
                Problem("days", f"Line {number}: days from {FIRST_DAY} to {LAST_DAY} are allowed.")
            )
        else:
            found.append((first, last))
    if len(problems) > MOST_PROBLEMS:
        more = len(problems) - MOST_PROBLEMS
        problems[MOST_PROBLEMS:] = [Problem("days", f"{more:,} more lines cannot be read.")]
    if len(found) > MOST_RANGES:
        problems.append(Problem("days", f"{len(found)} ranges; at most {MOST_RANGES} are allowed."))
    return found, problems


def closed_stretches(days: Sequence[Days], *, follow: bool, zone: Zone) -> list[Stretch]:
    """When a job is closed that avoids the listed days, or follows them: is open on those alone.

    Days begin and end at midnight in the job's zone, or where a clock change takes midnight away.
    """
    merged = _merged(days)
    if not follow:
        return [
            Stretch(_begin(first, zone), _begin(last + timedelta(days=1), zone))
            for first, last in merged
        ]
    stretches = []
    since = utc(FIRST_MOMENT)
    for first, last in merged:
        if (begin := _begin(first, zone)) > since:
            stretches.append(Stretch(since, begin))
        since = _begin(last + timedelta(days=1), zone)
    return [*stretches, Stretch(since, None)]


def moved_to(last_missed: datetime, stretch: Stretch, zone: Zone) -> datetime | None:
    """Where a run goes that a closed stretch takes away: to the next open day, at the same time of day.

    As for cron, a time of day that the clock jumps over is the first moment after the jump.
    """
    if stretch.until is None:
        return None
    day, _ = divmod(_local(stretch.until, zone), 86400)
    _, time_of_day = divmod(_local(last_missed, zone), 86400)
    return max(utc(zone.first_moment_of(day * 86400 + time_of_day)), stretch.until)


def _merged(days: Sequence[Days]) -> list[Days]:
    merged: list[Days] = []
    for first, last in sorted(days):
        if merged and first <= merged[-1][1] + timedelta(days=1):
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _begin(day: date, zone: Zone) -> datetime:
    return utc(zone.first_moment_of((day - FIRST_DAY).days * 86400))


def _local(moment: datetime, zone: Zone) -> int:
    ts = int(moment.timestamp())
    return ts + zone.offset_at(ts)
