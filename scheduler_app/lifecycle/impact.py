"""What an edit would change, before it is saved: when the job fires, who else does then, what waits already."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count

from scheduler_app.access import visible
from scheduler_app.models import Execution, Job, JobPlan, Status
from scheduler_app.models.execution import LIVE
from scheduler_app.rules.previewing import ClockChange, Preview, clock_changes, preview
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import JobSpec

SAME_SECONDS_WITHIN = timedelta(hours=24)
SHOWN_JOBS = 10
COUNTED_TO = 1000
"""How many other jobs in the same seconds are counted at most."""


@dataclass(frozen=True, slots=True)
class SameSeconds:
    """The other jobs that are due at the same moments."""

    count: int
    jobs: tuple[str, ...]
    """The first of their names."""


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
    runs = plan.runs if plan else 0
    after = preview(spec, now=now, runs=runs)
    live = _live(stored)
    running = live.get(Status.RUNNING, 0)
    return Impact(
        after=after,
        before=_before(stored, now, runs),
        clock_changes=clock_changes(spec, now=now),
        same_seconds=_same_seconds(after, now=now, of=stored),
        running=running,
        waiting=sum(live.values()) - running,
    )


def _same_seconds(found: Preview, *, now: datetime, of: Job | None) -> SameSeconds:
    """Of the other jobs that the caller sees, those whose next fire time is one of these, of the next 24 hours."""
    moments = [
        fire_time.at
        for fire_time in found.fire_times
        if fire_time.runs and fire_time.at <= now + SAME_SECONDS_WITHIN
    ]
    names: list[str] = []
    if moments:
        plans = visible.plans().filter(next_fire_at__in=moments, job__deleted_at=None)
        if of is not None:
            plans = plans.exclude(pk=of.pk)
        by_time = plans.order_by("next_fire_at").values_list("job__name", flat=True)
        names = list(by_time[:COUNTED_TO])
    return SameSeconds(len(names), tuple(names[:SHOWN_JOBS]))


def _before(stored: Job | None, now: datetime, runs: int) -> Preview | None:
    if stored is None:
        return None
    try:
        return preview(stored.spec(), now=now, runs=runs)
    except Invalid:
        # Written past the validation; what it becomes can be read all the same.
        return None


def _live(stored: Job | None) -> dict[str, int]:
    if stored is None:
        return {}
    live = Execution.objects.filter(job=stored, status__in=LIVE).order_by()
    return dict(live.values_list("status").annotate(Count("pk")))
