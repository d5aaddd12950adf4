"""What a simulation of jobs goes out from: definitions, pauses, runs so far and usual durations, only read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from scheduler_app.conf import get_config
from scheduler_app.models import Job, JobPlan
from scheduler_app.rules.firing import Suspension
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.simulating import Course, runs_before
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import TICK

from .timeline import read_pauses, suspensions_of

USUAL_SQL = """
SELECT
    wanted.job_id,
    percentile_cont(0.5) WITHIN GROUP (
        ORDER BY extract(epoch FROM recent.finished_at - recent.started_at)
    )
FROM unnest(%(job_ids)s::bigint[]) AS wanted (job_id)
CROSS JOIN LATERAL (
    SELECT status, started_at, finished_at
    FROM scheduler_app_execution
    WHERE job_id = wanted.job_id
    ORDER BY scheduled_for DESC
    LIMIT 50
) AS recent
WHERE recent.status = 'succeeded' AND recent.started_at IS NOT NULL
GROUP BY wanted.job_id
"""

RUNS_SINCE_SQL = """
SELECT job_id, count(*)
FROM scheduler_app_execution
WHERE job_id = ANY(%(job_ids)s) AND trigger = 'schedule' AND scheduled_for >= %(since)s
GROUP BY job_id
"""


@dataclass(frozen=True, slots=True)
class Forecast:
    """A job in a simulation; without a course when its definition cannot be read."""

    name: str
    timezone: str
    course: Course | None
    duration_s: float
    problem: str = ""


def forecast(
    jobs: Iterable[Job], start: datetime, end: datetime, *, duration_s: float | None = None
) -> list[Forecast]:
    """The courses that the jobs will take in (start, end] as they are defined now.

    Every execution takes `duration_s`, or what is usual for its job: the median of those that succeeded among its
    last fifty, 0 for a job without any.
    """
    found = list(jobs)
    usual = {} if duration_s is not None else usual_durations([job.pk for job in found])
    counted = _runs_since([job.pk for job in found if job.max_runs is not None], start)
    pauses = read_pauses()
    forecasts = []
    for job in found:
        lasts = duration_s if duration_s is not None else usual.get(job.pk, 0.0)
        plan: JobPlan | None = getattr(job, "plan", None)
        course, problem = None, ""
        try:
            spec = job.spec()
            suspensions = suspensions_of(spec, plan, pauses)
            runs = _runs_at(spec, plan, start, counted.get(job.pk, 0), lasts, suspensions)
            course = Course(spec, start, end, duration_s=lasts, suspensions=suspensions, runs=runs)
        except Invalid as error:
            problem = str(error)
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            # Written past the validation; one such job must not hide what becomes of the others.
            problem = f"the definition cannot be read ({type(error).__name__})"
        forecasts.append(Forecast(job.name, job.timezone, course, lasts, problem))
    return forecasts


def usual_durations(job_ids: Sequence[int]) -> dict[int, float]:
    """How long a success of each job takes, in seconds, by job id; without those that have none among the last 50."""
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(USUAL_SQL, {"job_ids": list(job_ids)})
        return {job_id: max(0.0, seconds) for job_id, seconds in cursor.fetchall()}


def _runs_since(job_ids: Sequence[int], start: datetime) -> dict[int, int]:
    """How many executions each schedule has created for fire times after `start`."""
    if not job_ids:
        return {}
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(RUNS_SINCE_SQL, {"job_ids": list(job_ids), "since": start + TICK})
        return dict(cursor.fetchall())


def _runs_at(
    spec: JobSpec,
    plan: JobPlan | None,
    start: datetime,
    counted: int,
    duration_s: float,
    suspensions: Sequence[Suspension],
) -> int:
    """How many runs count towards the job's limit at `start`, in the past or ahead."""
    if plan is None:
        return 0
    if start <= plan.decided_until:
        return max(0, plan.runs - counted)
    return runs_before(
        spec,
        plan.decided_until,
        start,
        duration_s=duration_s,
        suspensions=suspensions,
        runs=plan.runs,
    )
