"""The fire times ahead of a job, and what becomes of each as things stand: for the job's page and the API alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from scheduler_app.models import Job, JobPlan
from scheduler_app.rules.firing import Suspension
from scheduler_app.rules.previewing import FireTime, Preview, preview

from .timeline import gap_in_words, suspensions_of


def upcoming(job: Job, *, now: datetime, pauses: Sequence[tuple[Any, ...]]) -> Preview:
    """What the job's definition means from now on, with what pauses and skips take away of it.

    `pauses` as from `read_pauses`. Raises Invalid when the definition cannot be read.
    """
    plan: JobPlan | None = getattr(job, "plan", None)
    spec = job.spec()
    found = preview(spec, now=now, runs=plan.runs if plan else 0)
    suspensions = suspensions_of(spec, plan, pauses)
    return replace(
        found, fire_times=tuple(_held(fire_time, suspensions) for fire_time in found.fire_times)
    )


def _held(fire_time: FireTime, suspensions: Sequence[Suspension]) -> FireTime:
    """As it is, unless something takes it away that its definition alone does not."""
    if not fire_time.runs:
        return fire_time
    held = next((found for found in suspensions if found.covers(fire_time.at)), None)
    if held is None:
        return fire_time
    return replace(fire_time, runs=False, note=gap_in_words(held.reason, held.who, held.detail))
