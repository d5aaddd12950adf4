"""When will a job fire? What its definition means, as the rules tell it, and why it cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scheduler_app.lifecycle.upcoming import first_open, upcoming
from scheduler_app.models import Job, JobPlan, Pause
from scheduler_app.rules import previewing
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.schedules import Schedule
from scheduler_app.rules.timetable import Timetable


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a preview, for a definition that was written past the validation."""

    problem: str


def schedule_of(job: Job) -> Schedule | None:
    """The job's schedule, or None when it cannot be read."""
    try:
        return Timetable.of(job.spec()).schedule
    except Invalid:
        return None


def upcoming_of(job: Job, *, now: datetime, pauses: list[Pause]) -> previewing.Preview | Unreadable:
    """The job's next fire times, and what the pauses that stand take away of them."""
    try:
        return upcoming(job, now=now, pauses=[_values(pause) for pause in pauses])
    except Invalid as error:
        return Unreadable(str(error))


def skippable(job: Job, plan: JobPlan | None, *, pauses: list[Pause]) -> datetime | None:
    """The fire time that a skip would skip; None where there is none."""
    if plan is None:
        return None
    try:
        return first_open(job, plan, pauses=[_values(pause) for pause in pauses])
    except Invalid:
        return None


def _values(pause: Pause) -> tuple[Any, ...]:
    """As `lifecycle.timeline.read_pauses` has it."""
    return (
        pause.scope,
        pause.value,
        pause.paused_at,
        pause.paused_until,
        pause.paused_by,
        pause.reason,
    )
