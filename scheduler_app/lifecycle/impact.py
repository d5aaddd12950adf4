"""What an edit would change, before it is saved: when the job fires, who else does then, what waits already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count

from scheduler_app.models import Execution, Job, JobPlan, Status
from scheduler_app.models.execution import LIVE
from scheduler_app.rules.previewing import ClockChange, Preview, clock_changes
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import JobSpec

from .same_seconds import SameSeconds, same_seconds
from .timeline import read_pauses
from .upcoming import foreseen, upcoming

SAME_SECONDS_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Impact:
    """What a definition means, and what it changes about the stored one."""

    after: Preview
    before: Preview | None
    """Of the stored definition; None for a new job, and for one that cannot be read."""
    clock_changes: tuple[ClockChange, ...]
    same_seconds: SameSeconds
    running: int
    """Executions of the stored job, which keep the definition they were created with."""
    waiting: int

    @property
    def warnings(self) -> list[str]:
        """Those that are not told as a clock change."""
        told = {change.note for change in self.clock_changes}
        return [warning for warning in self.after.warnings if warning not in told]


def impact(spec: JobSpec, *, now: datetime, stored: Job | None = None) -> Impact:
    """What it would mean to save this definition, in place of that of `stored` if that is given. Raises Invalid."""
    plan: JobPlan | None = getattr(stored, "plan", None)
    pauses = read_pauses()
    after = foreseen(spec, plan, now=now, pauses=pauses)
    live = _live(stored)
    running = live.get(Status.RUNNING, 0)
    return Impact(
        after=after,
        before=_before(stored, now, pauses),
        clock_changes=clock_changes(spec, now=now),
        same_seconds=same_seconds(_runs_soon(after, now), of=stored),
        running=running,
        waiting=sum(live.values()) - running,
    )


def _runs_soon(found: Preview, now: datetime) -> list[datetime]:
    return [
        fire_time.at
        for fire_time in found.fire_times
        if fire_time.runs and fire_time.at <= now + SAME_SECONDS_WITHIN
    ]


def _before(stored: Job | None, now: datetime, pauses: Sequence[tuple[Any, ...]]) -> Preview | None:
    if stored is None:
        return None
    try:
        return upcoming(stored, now=now, pauses=pauses)
    except Invalid:
        # Written past the validation; what it becomes can be read all the same.
        return None


def _live(stored: Job | None) -> dict[str, int]:
    if stored is None:
        return {}
    live = Execution.objects.filter(job=stored, status__in=LIVE).order_by()
    return dict(live.values_list("status").annotate(Count("pk")))
