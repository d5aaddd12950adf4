"""What people write behind a command: moments, durations and names of jobs, read strictly, with errors that help."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.core.management.base import CommandError

from scheduler_app.models import Job
from scheduler_app.models.job import LONGEST_S
from scheduler_app.rules.storable import one_line, storable_text
from scheduler_app.rules.zones import END_OF_TIME, FIRST_MOMENT, load_zone, utc

MOMENT_FORMS = (
    "2030-01-31T09:00:00, 2030-01-31 09:00, 2030-01-31, 09:00 (today), each also with an offset such as Z or "
    "+02:00; now, '2h ago' or 'in 30m'"
)
NAMES_COMPARED = 10_000
"""With how many names of jobs one that does not exist is compared."""

_TIME = "[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6})?)?"
_MOMENT = re.compile(
    f"(?:([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(?:[Tt ]({_TIME}))?|({_TIME})) ?([Zz]|[+-][0-9]{{2}}:?[0-9]{{2}})?"
)
_RELATIVE = re.compile(r"(in )?((?:[0-9]{1,9} ?[wdhms] ?)+)( ?ago)?", re.IGNORECASE)
_UNITS_S = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def read_moment(option: str, text: str, *, zone: str, now: datetime) -> datetime:
    """The moment behind an option; without an offset it is read in `zone`. Raises CommandError.

    As in schedules, a time of day that the clock jumps over is the first moment after the jump, one that comes twice
    the first of the two.
    """
    given = text.strip(" ")
    moment = _relative(given, now) or _absolute(given, zone, now)
    if moment is None:
        raise CommandError(f"{option}: {quoted(text)} is not a moment; write {MOMENT_FORMS}.")
    if not utc(FIRST_MOMENT) <= moment < utc(END_OF_TIME):
        raise CommandError(
            f"{option}: {quoted(text)} is not allowed; moments are from 1970 to 2100."
        )
    return moment


def _relative(text: str, now: datetime) -> datetime | None:
    """`now`, `2h30m ago`, `in 5m`."""
    if text.lower() == "now":
        return now
    match = _RELATIVE.fullmatch(text)
    if match is None or bool(match[1]) == bool(match[3]):
        return None
    seconds = sum(
        int(number) * _UNITS_S[unit.lower()]
        for number, unit in re.findall("([0-9]+) ?([a-z])", match[2], re.IGNORECASE)
    )
    try:
        return now + timedelta(seconds=seconds if match[1] else -seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _absolute(text: str, zone: str, now: datetime) -> datetime | None:
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    day, time_of_day, time_alone, offset = match.groups()
    table = load_zone(zone)
    if day is None:
        seconds = int(now.timestamp())
        shift = table.offset_at(seconds) if offset is None else _offset_s(offset)
        day = f"{utc(seconds) + timedelta(seconds=shift):%Y-%m-%d}"
    try:
        wall = datetime.fromisoformat(f"{day}T{time_of_day or time_alone or '00:00'}").replace(
            tzinfo=UTC
        )
        if offset is not None:
            return wall - timedelta(seconds=_offset_s(offset))
    except ValueError:
        return None
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
    local, fraction = divmod(wall - _EPOCH, _SECOND)
    found = table.first_moment_of(local)
    if not FIRST_MOMENT <= found < END_OF_TIME:
        return datetime.max.replace(tzinfo=UTC)
    return utc(found) + fraction


def _offset_s(text: str) -> int:
    """The seconds of `+02:00`. Raises ValueError for one that is a day or more."""
    if text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    return (hours * 3600 + minutes * 60) * (-1 if text[0] == "-" else 1)


def read_seconds(option: str, text: str) -> float:
    """A duration in seconds, from 0 to a year. Raises CommandError."""
    try:
        seconds = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_S:
        raise CommandError(
            f"{option}: {quoted(text)} is not allowed; give seconds from 0 to {LONGEST_S:,}, such as 90 or 2.5."
        )
    return seconds


def find_jobs(names: Iterable[str]) -> list[Job]:
    """The jobs with these names, each once, in this order. Raises CommandError for those that do not exist."""
    wanted = list(dict.fromkeys(names))
    possible = [name for name in wanted if _can_be_a_name(name)]
    known = {job.name: job for job in Job.objects.filter(name__in=possible)}
    missing = [name for name in wanted if name not in known]
    if missing:
        raise CommandError(" ".join(_unknown(name) for name in missing[:10]))
    return [known[name] for name in wanted]


def find_deleted_job(name: str) -> Job:
    """The job of this name that was deleted last. Raises CommandError."""
    found = (
        Job.including_deleted.filter(name=name, deleted_at__isnull=False).order_by("-deleted_at")
        if _can_be_a_name(name)
        else Job.including_deleted.none()
    )
    job = found.first()
    if job is None:
        raise CommandError(f"There is no deleted job {quoted(name)}, or its history was removed.")
    return job


def _unknown(name: str) -> str:
    """That there is no such job, and which one may be meant."""
    text = f"There is no job {quoted(name)}."
    if not _can_be_a_name(name):
        return text
    if Job.including_deleted.filter(name=name).exists():
        return f"{text} One was deleted; explainjob tells of it with --deleted."
    by_lower = {
        known.lower(): known
        for known in Job.objects.order_by("name").values_list("name", flat=True)[:NAMES_COMPARED]
    }
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    if not close and len(name) > 2:
        close = [lower for lower in by_lower if name.lower() in lower][:3]
    if not close:
        return text
    return f"{text} Did you mean {' or '.join(quoted(by_lower[lower]) for lower in close)}?"


def _can_be_a_name(name: str) -> bool:
    """Whether the database can be asked for it."""
    return len(name) <= 200 and storable_text(name, 200) == name


def quoted(text: str) -> str:
    """A name or an input as part of a sentence: one printable line of bounded length."""
    return f"'{one_line(text, 100)}'"
