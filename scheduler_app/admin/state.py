"""How a job stands, in one word and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, QuerySet

from scheduler_app.models import Job, JobPlan, Pause, PauseScope
from scheduler_app.models.clock import DatabaseNow

from .display import OVERDUE_AFTER


@dataclass(frozen=True, slots=True)
class JobState:
    """One of the states of the jobs list. `key` names the badge, `by`, `since`, `until` and `note` tell of a pause."""

    key: str
    label: str
    note: str = ""
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None


def standing_pauses() -> QuerySet[Pause]:
    """The pauses of queues, tags and everything that hold now."""
    return Pause.objects.standing()


def covers(pause: Pause, job: Job) -> bool:
    """Whether the pause holds the job's fire times."""
    return (
        pause.scope == PauseScope.ALL
        or (pause.scope == PauseScope.QUEUE and pause.value == job.queue)
        or (pause.scope == PauseScope.TAG and pause.value in job.tags)
    )


def paused_q(pauses: Sequence[Pause]) -> Q:
    """Jobs that are paused, by themselves or by one of `pauses`."""
    if any(pause.scope == PauseScope.ALL for pause in pauses):
        return ~Q(pk=None)
    found = Q(paused_at__isnull=False)
    found |= Q(queue__in=[pause.value for pause in pauses if pause.scope == PauseScope.QUEUE])
    if tags := [pause.value for pause in pauses if pause.scope == PauseScope.TAG]:
        found |= Q(tags__overlap=tags)
    return found


def overdue_q() -> Q:
    """Jobs whose next fire time is past and not being fired this moment."""
    return Q(plan__next_fire_at__lt=DatabaseNow() - OVERDUE_AFTER)


def over_q() -> Q:
    """Jobs that are switched on and have no fire time left."""
    return Q(
        enabled=True, paused_at=None, plan__next_fire_at=None, plan__dirty=False, plan__problem=""
    ) & ~Q(schedule__iregex=r"^\s*@manual\s*$")


def state_of(job: Job, plan: JobPlan | None, pauses: Sequence[Pause], now: datetime) -> JobState:
    """The first that holds, the most surprising first."""
    if job.deleted_at is not None:
        return JobState("deleted", "Deleted", since=job.deleted_at)
    if plan is not None and plan.problem:
        return JobState("problem", "Cannot be planned", note=plan.problem)
    if not job.enabled:
        return JobState("disabled", "Disabled")
    if job.paused_at is not None and (job.paused_until is None or job.paused_until > now):
        return JobState(
            "paused",
            "Paused",
            note=job.pause_reason,
            by=job.paused_by,
            since=job.paused_at,
            until=job.paused_until,
        )
    for pause in pauses:
        if covers(pause, job):
            return JobState(
                "paused",
                "Paused",
                note=f"with {pause}: {pause.reason}" if pause.reason else f"with {pause}",
                by=pause.paused_by,
                since=pause.paused_at,
                until=pause.paused_until,
            )
    if is_manual(job):
        return JobState("manual", "By hand")
    if plan is None or plan.dirty:
        return JobState("planning", "Being planned")
    if plan.next_fire_at is None:
        return JobState("over", "Over", note="There is no fire time left.")
    return JobState("enabled", "Enabled")


def is_manual(job: Job) -> bool:
    """Whether the job only runs when somebody asks for it."""
    return job.schedule.strip().lower() == "@manual"


def is_overdue(plan: JobPlan | None, now: datetime) -> bool:
    """Whether the next fire time is past and not being fired this moment."""
    return (
        plan is not None
        and plan.next_fire_at is not None
        and plan.next_fire_at < now - OVERDUE_AFTER
    )


NEXT_FIRE_FIRST = F("plan__next_fire_at").asc(nulls_last=True)
