"""Which other jobs fire at the same moments? Asked once for all that have the same timetable."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest
from typing import Any

from django.db import connections

from scheduler_app.access.ownership import in_sql
from scheduler_app.conf import get_config
from scheduler_app.models import Job
from scheduler_app.rules.firing import own_closures
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import TIMING, JobSpec
from scheduler_app.rules.timetable import TICK, Timetable

SHOWN_JOBS = 10
COUNTED_TO = 10_000
"""How many jobs are looked at, those that fire soonest, and so counted at most."""
ASKED = 500
"""How many timetables are asked at most, those that surely meet and then those of the most jobs."""

# A name counts where H or jitter derive from it. What fires after the last of the moments does so at none of them.
ALIKE_SQL = f"""
WITH soonest AS MATERIALIZED (
    SELECT
        plan.next_fire_at, job.max_runs - plan.runs AS runs_left, job.name AS job_name,
        CASE WHEN job.jitter_s > 0 OR job.schedule ~* '\\yh\\y' THEN job.name ELSE '' END AS name,
        {", ".join(f"job.{column}" for column in TIMING[1:])}
    FROM scheduler_app_jobplan AS plan
    JOIN scheduler_app_job AS job ON job.id = plan.job_id AND job.deleted_at IS NULL
    WHERE plan.next_fire_at <= %(last)s AND plan.job_id <> %(but)s AND {{visible}}
    ORDER BY plan.next_fire_at
    LIMIT %(counted_to)s
)
SELECT array_agg(job_name), next_fire_at, runs_left, {", ".join(TIMING)}
FROM soonest
GROUP BY next_fire_at, runs_left, {", ".join(TIMING)}
ORDER BY (next_fire_at = ANY(%(moments)s)) DESC, count(*) DESC
LIMIT %(asked)s + 1
"""


@dataclass(frozen=True, slots=True)
class SameSeconds:
    """The other jobs that fire at one of these moments at least."""

    count: int
    jobs: tuple[str, ...]
    """The first of their names, by when they meet."""
    at_least: bool = False
    """There may be more: not all jobs were asked, as they are too many, or too different from each other."""


def same_seconds(moments: Sequence[datetime], *, of: Job | None) -> SameSeconds:
    """Of the jobs that the caller sees, without `of`, those that fire at one of these moments, which ascend.

    One statement, and a bounded number of timetables.
    """
    if not moments:
        return SameSeconds(0, ())
    rows = _rows(moments, of)
    met = [
        (at, name)
        for names, *timing in rows[:ASKED]
        if (at := _first_met(moments, *timing)) is not None
        for name in names
    ]
    looked_at = sum(len(names) for names, *_ in rows)
    return SameSeconds(
        len(met),
        tuple(name for _, name in nsmallest(SHOWN_JOBS, met)),
        len(rows) > ASKED or looked_at == COUNTED_TO,
    )


def _rows(moments: Sequence[datetime], of: Job | None) -> list[tuple[Any, ...]]:
    visible, view = in_sql("plan.job_id")
    parameters: dict[str, Any] = {
        "moments": list(moments),
        "last": moments[-1],
        "but": of.pk if of is not None else 0,
        "counted_to": COUNTED_TO,
        "asked": ASKED,
    }
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(ALIKE_SQL.replace("{visible}", visible), {**parameters, **view})
        return list(cursor.fetchall())


def _first_met(
    moments: Sequence[datetime], next_at: datetime, runs_left: int | None, *timing: Any
) -> datetime | None:
    """The first of the moments at which jobs with this timing fire, whose next fire time is `next_at`."""
    values = dict(zip(TIMING, timing, strict=True))
    values["calendar_days"] = json.loads(values["calendar_days"])
    try:
        spec = JobSpec.from_json(values)
        timetable, closures = Timetable.of(spec), own_closures(spec)
    except Invalid:
        # Written past the validation: it has no fire times.
        return None
    place = bisect_left(moments, next_at)
    while place < len(moments):
        at = moments[place]
        found = timetable.next_after(at - TICK)
        if found is None or (
            runs_left is not None and timetable.count(next_at - TICK, at) > runs_left
        ):
            return None
        if found == at and not any(closed.covers(at) for closed in closures):
            return at
        place = max(place + 1, bisect_left(moments, found))
    return None
