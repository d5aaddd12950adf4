"""What happened and what lies ahead across many jobs, only read: each question one statement, bounded, by index."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Any

from django.db import connections

from scheduler_app.access.ownership import in_sql
from scheduler_app.conf import get_config
from scheduler_app.rules.firing import Suspension
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import TIMING, JobSpec
from scheduler_app.rules.timetable import TICK, Timetable

from .timeline import read_pauses, suspensions_of

ACTIVITY_READ = 20_000
"""Executions, and gaps, of the window that tell which jobs have something in it."""
EXECUTIONS_OF_JOB = 1_000
GAPS_OF_JOB = 50
WALKED = 300_000
"""Fire times that are looked at one by one."""

ACTIVE_SQL = """
WITH happened AS MATERIALIZED (
    SELECT job_id, status
    FROM scheduler_app_execution
    WHERE scheduled_for >= %(start)s AND scheduled_for < %(end)s AND {visible}
    ORDER BY scheduled_for DESC
    LIMIT %(limit)s
), missing AS MATERIALIZED (
    SELECT job_id
    FROM scheduler_app_gap
    WHERE last_at >= %(start)s AND first_at < %(end)s AND {visible}
    ORDER BY last_at DESC
    LIMIT %(limit)s
)
SELECT job_id, bool_or(failed), bool_or(running), bool_or(gap)
FROM (
    SELECT job_id, status IN ('failed', 'lost') AS failed, status = 'running' AS running, false AS gap
    FROM happened
    WHERE job_id IS NOT NULL
    UNION ALL
    SELECT job_id, false, false, true
    FROM missing
    UNION ALL
    SELECT job_id, false, false, false
    FROM scheduler_app_jobplan
    WHERE next_fire_at < %(end)s AND next_fire_at >= %(start)s AND {visible}
) AS found
GROUP BY job_id
"""

HAPPENED_SQL = """
SELECT
    wanted.job_id, floor(extract(epoch FROM one.ran_at - %(start)s) / %(bin_s)s)::int AS bin,
    count(*),
    count(*) FILTER (WHERE one.status IN ('failed', 'lost')),
    count(*) FILTER (WHERE one.status = 'running'),
    count(*) FILTER (WHERE one.status IN ('ready', 'blocked')),
    count(*) FILTER (WHERE one.status = 'cancelled'),
    max(one.id), min(one.scheduled_for), max(one.scheduled_for), min(one.ran_at), max(one.ran_at),
    min(one.started_at), max(one.finished_at), min(one.status)
FROM unnest(%(job_ids)s::bigint[]) AS wanted (job_id)
CROSS JOIN LATERAL (
    SELECT
        id, status, scheduled_for, started_at, finished_at,
        coalesce(started_at, scheduled_for) AS ran_at  -- late ones lie where they ran, not across an outage
    FROM scheduler_app_execution
    WHERE job_id = wanted.job_id AND scheduled_for >= %(start)s AND scheduled_for < %(end)s
    ORDER BY scheduled_for DESC
    LIMIT %(limit)s
) AS one
GROUP BY wanted.job_id, bin
ORDER BY wanted.job_id, bin
"""

MISSING_SQL = """
SELECT wanted.job_id, gap.first_at, gap.last_at, gap.count, gap.reason
FROM unnest(%(job_ids)s::bigint[]) AS wanted (job_id)
CROSS JOIN LATERAL (
    SELECT first_at, last_at, count, reason
    FROM scheduler_app_gap
    WHERE job_id = wanted.job_id AND last_at >= %(start)s AND first_at < %(end)s
    ORDER BY first_at DESC
    LIMIT %(limit)s
) AS gap
ORDER BY wanted.job_id, gap.first_at
"""

# Whether a fire time of a job will run, and if not, why, follows from these; no large column.
AHEAD = (
    *(*TIMING, "max_runs", "queue", "tags"),
    *("enabled", "paused_at", "paused_by", "paused_until", "pause_reason"),
)


@dataclass(frozen=True, slots=True)
class Activity:
    """Why a job has something in a window."""

    failed: bool
    running: bool
    gap: bool


@dataclass(frozen=True, slots=True)
class Happened:
    """Executions of one job that are next to each other on the axis."""

    count: int
    failed: int
    running: int
    waiting: int
    cancelled: int
    execution_id: int
    """The newest."""
    first_at: datetime
    last_at: datetime
    """Their fire times reach from one to the other, …"""
    ran_from: datetime
    ran_to: datetime
    """… and these are their starts, or fire times while they have not begun."""
    started_at: datetime | None
    finished_at: datetime | None
    status: str
    """Of the only one."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Fire times that became no execution."""

    first_at: datetime
    last_at: datetime
    count: int
    reason: str


@dataclass(slots=True)
class Ahead:
    """When a job will fire; `problem` when its definition cannot be read."""

    job_id: int
    name: str
    timezone: str
    next_at: datetime | None
    skip_at: datetime | None
    spec: JobSpec
    timetable: Timetable | None = None
    suspensions: Sequence[Suspension] = field(default_factory=list)
    problem: str = ""

    def count(self, start: datetime, end: datetime) -> int:
        """How many fire times lie in (start, end]; its cost does not grow with the number."""
        return self.timetable.count(start, end) if self.timetable else 0

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The fire times in (start, end], lazily."""
        return self.timetable.between(start, end) if self.timetable else iter(())

    def held(self, moment: datetime) -> Suspension | None:
        """What takes this fire time away."""
        return next((one for one in self.suspensions if one.covers(moment)), None)


def active_jobs(start: datetime, end: datetime) -> dict[int, Activity]:
    """The jobs that the caller sees and that have an execution, a gap or their next fire time in [start, end)."""
    visible, view = in_sql()
    statement = ACTIVE_SQL.replace("{visible}", visible)
    rows = _rows(statement, {"start": start, "end": end, "limit": ACTIVITY_READ, **view})
    return {job_id: Activity(*flags) for job_id, *flags in rows}


def happened(
    job_ids: Collection[int], start: datetime, end: datetime, *, bins: int
) -> dict[int, list[Happened]]:
    """The newest executions of each job in [start, end), those that ran in one bin together, oldest first."""
    found: dict[int, list[Happened]] = {}
    parameters = {
        "job_ids": list(job_ids),
        "start": start,
        "end": end,
        "bin_s": (end - start).total_seconds() / bins,
        "limit": EXECUTIONS_OF_JOB,
    }
    for job_id, _, *facts in _rows(HAPPENED_SQL, parameters):
        found.setdefault(job_id, []).append(Happened(*facts))
    return found


def missing(job_ids: Collection[int], start: datetime, end: datetime) -> dict[int, list[Missing]]:
    """The newest gaps of each job that reach into [start, end), oldest first."""
    parameters = {"job_ids": list(job_ids), "start": start, "end": end, "limit": GAPS_OF_JOB}
    found: dict[int, list[Missing]] = {}
    for job_id, *facts in _rows(MISSING_SQL, parameters):
        found.setdefault(job_id, []).append(Missing(*facts))
    return found


def ahead(jobs: Any) -> list[Ahead]:
    """When these jobs will fire, as they are defined now; `jobs` is a queryset. Its large columns are not read."""
    pauses = read_pauses()
    rows = jobs.values_list("pk", "plan__next_fire_at", "plan__skip_at", "plan__skip_by", *AHEAD)
    return [_ahead(row, pauses) for row in rows]


def _ahead(row: Sequence[Any], pauses: Sequence[tuple[Any, ...]]) -> Ahead:
    job_id, next_at, skip_at, skip_by, *values = row
    named = dict(zip(AHEAD, values, strict=True))
    found = Ahead(job_id, named["name"], named["timezone"], next_at, skip_at, JobSpec())
    try:
        found.spec = JobSpec.from_json(named)
        found.timetable = Timetable.of(found.spec)
        found.suspensions = suspensions_of(found.spec, None, pauses)
    except Invalid as error:
        found.problem = str(error)
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        # Written past the validation; one such job must not hide the others.
        found.problem = f"the definition cannot be read ({type(error).__name__})"
    if skip_at is not None:
        found.suspensions = [
            *found.suspensions,
            Suspension(skip_at, skip_at + TICK, skip_by, reason="skipped"),
        ]
    return found


# --- Where fire times crowd -------------------------------------------------------------------


@dataclass(slots=True)
class Minute:
    """How many fire times lie in one minute, and whose, the first few."""

    at: datetime
    count: int
    jobs: list[tuple[int, str]]


@dataclass(slots=True)
class Crowds:
    """Fire times by minute from `start`; those of jobs that fire all the time are apart, per minute."""

    start: datetime
    counts: list[int]
    who: list[list[Ahead]]
    steady: list[Ahead]
    steady_per_minute: float
    left_out: int
    """Jobs that were not looked at, since there are too many fire times to walk through."""

    def minute(self, index: int) -> Minute:
        """One of them, with names."""
        at = self.start + timedelta(minutes=index)
        return Minute(at, self.counts[index], [(one.job_id, one.name) for one in self.who[index]])

    def crowded(self, limit: int) -> list[Minute]:
        """The fullest minutes in which more than one job fires, the fullest first."""
        order = sorted(range(len(self.counts)), key=lambda index: (-self.counts[index], index))
        return [self.minute(index) for index in order[:limit] if len(self.who[index]) > 1]


NAMED_PER_MINUTE = 8


def crowds(planned: Sequence[Ahead], start: datetime, minutes: int) -> Crowds:
    """The fire times of all these jobs in the `minutes` from `start`, what pauses take away left out.

    Jobs that fire in most minutes are the same everywhere, so they are counted and not walked through.
    """
    end = start + timedelta(minutes=minutes)
    found = Crowds(start, [0] * minutes, [[] for _ in range(minutes)], [], 0.0, 0)
    first = int(start.timestamp())
    walked = 0
    counted = sorted((one.count(start - TICK, end - TICK), one.job_id, one) for one in planned)
    for count, _, one in counted:
        if not count or one.timetable is None:
            continue
        if count > minutes / 2:
            found.steady.append(one)
            found.steady_per_minute += count / minutes
            continue
        walked += count
        if walked > WALKED:
            found.left_out += 1
            continue
        stretches = [
            (one_off.since.timestamp(), one_off.until.timestamp() if one_off.until else None)
            for one_off in one.suspensions
        ]
        before = -1
        for moment in one.timetable.between_ts(first - 1, first + minutes * 60 - 1):
            if any(
                since <= moment and (until is None or moment < until) for since, until in stretches
            ):
                continue
            index = (moment - first) // 60
            found.counts[index] += 1
            if index != before and len(found.who[index]) < NAMED_PER_MINUTE:
                found.who[index].append(one)
            before = index
    return found


@dataclass(frozen=True, slots=True)
class Appointment:
    """One fire time ahead, and what takes it away, if anything."""

    at: datetime
    ahead: Ahead
    held: Suspension | None


def agenda(
    planned: Sequence[Ahead], start: datetime, end: datetime, *, often: int, limit: int
) -> tuple[list[Appointment], list[tuple[Ahead, int]]]:
    """The fire times in (start, end], soonest first and `limit` at most; and the jobs that have more than `often`."""
    courses, frequent = [], []
    for one in planned:
        count = one.count(start, end)
        if count > often:
            frequent.append((one, count))
        elif count:
            courses.append(_appointments(one, start, end))
    frequent.sort(key=lambda pair: (-pair[1], pair[0].name))
    # Lazily: of a job with fire times after the last that is shown, only the first is computed.
    soonest = merge(*courses, key=lambda found: found.at)
    return list(islice(soonest, limit)), frequent


def _appointments(one: Ahead, start: datetime, end: datetime) -> Iterator[Appointment]:
    for moment in one.between(start, end):
        yield Appointment(moment, one, one.held(moment))


def plannable(jobs: Any) -> Any:
    """Of a queryset of jobs, those that have a fire time ahead."""
    return jobs.filter(plan__next_fire_at__isnull=False, enabled=True)


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
