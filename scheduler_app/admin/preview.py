"""When will a job fire? Its schedule as a sentence, what may surprise about it, and the next moments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from scheduler_app.models import Job
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.schedules import Schedule
from scheduler_app.rules.timetable import Timetable

SHOWN = 10
"""Fire times on a page."""


@dataclass(slots=True)
class Preview:
    """What a schedule means. With a `problem` there is nothing else."""

    timezone: str
    sentence: str = ""
    warnings: list[str] = field(default_factory=list)
    fire_times: list[datetime] = field(default_factory=list)
    note: str = ""
    """Why these fire times come later or not at all."""
    problem: str = ""


def schedule_of(job: Job) -> Schedule | None:
    """The job's schedule, or None when it cannot be read."""
    try:
        return Timetable.of(job.spec()).schedule
    except Invalid:
        return None


def preview(job: Job, *, now: datetime, runs: int = 0) -> Preview:
    """What the job's definition means from now on, stored or not; `runs` counts towards its `max_runs`."""
    try:
        timetable = Timetable.of(job.spec())
    except Invalid as error:
        return Preview(job.timezone, problem=str(error))
    found = Preview(
        job.timezone,
        sentence=timetable.schedule.describe(),
        warnings=timetable.schedule.warnings(now),
    )
    after = now
    if not job.enabled:
        found.note = "The job is disabled; enabled, it would fire at these times."
    elif job.paused_at is not None and job.paused_until is None:
        found.note = "The job is paused; these fire times pass unless somebody resumes it."
    elif job.paused_at is not None and job.paused_until is not None:
        found.note = "Counted from the end of the pause."
        after = max(now, job.paused_until)
    left = SHOWN if job.max_runs is None else max(0, min(SHOWN, job.max_runs - runs))
    found.fire_times = list(itertools.islice(_after(timetable, after), left))
    return found


def _after(timetable: Timetable, moment: datetime) -> Iterator[datetime]:
    found = timetable.next_after(moment)
    while found is not None:
        yield found
        found = timetable.next_after(found)
