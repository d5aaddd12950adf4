"""The fire times ahead of a job, and what becomes of each as things stand: for the job's page and the API alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from scheduler_app.models import Job, JobPlan
from scheduler_app.rules.firing import next_open
from scheduler_app.rules.previewing import Preview, preview
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import Timetable

from .timeline import gap_in_words, suspensions_of


def upcoming(job: Job, *, now: datetime, pauses: Sequence[tuple[Any, ...]]) -> Preview:
    """What the job's definition means from now on, with what pauses and skips take away of it.

    `pauses` as from `read_pauses`. Raises Invalid when the definition cannot be read.
    """
    return foreseen(job.spec(), getattr(job, "plan", None), now=now, pauses=pauses)


def foreseen(
    spec: JobSpec, plan: JobPlan | None, *, now: datetime, pauses: Sequence[tuple[Any, ...]]
) -> Preview:
    """As `upcoming`, for any definition of the job that has this plan; None for a new one."""

    def taken(at: datetime) -> str:
        suspensions = suspensions_of(spec, plan, pauses)
        held = next((found for found in suspensions if found.covers(at)), None)
        return "" if held is None else gap_in_words(held.reason, held.who, held.detail)

    return preview(spec, now=now, runs=plan.runs if plan else 0, taken=taken)


def first_open(job: Job, plan: JobPlan, *, pauses: Sequence[tuple[Any, ...]]) -> datetime | None:
    """The fire time that runs next as things stand, which is what a skip skips; None where there is none.

    Pauses of queues, tags and everything leave plans alone, so that the next fire time of a plan may lie in one.
    """
    if plan.next_fire_at is None:
        return None
    spec = job.spec()
    suspensions = suspensions_of(spec, plan, pauses)
    if not any(found.covers(plan.next_fire_at) for found in suspensions):
        return plan.next_fire_at
    return next_open(Timetable.of(spec), plan.next_fire_at, suspensions)
