"""What happens now: for the front page, and the warning on every page while nothing does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest

from scheduler_app.models import Execution, Job, Node, Status

from . import queries
from .display import OVERDUE_AFTER
from .queries import Pulse

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
COUNTED = 10_000
"""Executions that the counters look at, at most."""
SHOWN = 6
"""Rows of each list."""


def pulse_of(request: HttpRequest) -> Pulse:
    """The pulse, asked for once a request."""
    found: Pulse | None = getattr(request, "scheduler_pulse", None)
    if found is None:
        found = queries.pulse()
        request.scheduler_pulse = found  # type: ignore[attr-defined]
    return found


def alarm_for(request: HttpRequest | None) -> Pulse | None:
    """The pulse when no node fires jobs and the user may know it; None when all is well."""
    user = getattr(request, "user", None)
    if request is None or user is None or not _may_see(user, "node"):
        return None
    found = pulse_of(request)
    return None if found.ticks else found


def overview_for(request: HttpRequest) -> dict[str, Any]:
    """The lists and counters of the front page; those that the user may not see are left out."""
    user = request.user
    now = pulse_of(request).now
    found: dict[str, Any] = {"now": now, "overdue_before": now - OVERDUE_AFTER}
    if _may_see(user, "execution"):
        counts = queries.recent_counts(HOUR, limit=COUNTED)
        found["counts"] = [(status, counts.get(status.value, 0)) for status in Status]
        found["capped"] = sum(counts.values()) >= COUNTED
        found["counted"] = COUNTED
        found["running"] = (
            Execution.objects.running()
            .for_lists()
            .select_related("job", "node")
            .defer("job__arguments", "job__description")
            .order_by("started_at", "id")[:SHOWN]
        )
        found["failing"] = queries.failing_jobs(DAY, jobs=SHOWN)
    if _may_see(user, "job"):
        found["next_up"] = (
            Job.objects.scheduled()
            .filter(paused_at=None)
            .select_related("plan")
            .defer("arguments", "description")
            .order_by("plan__next_fire_at")[:SHOWN]
        )
    if _may_see(user, "node"):
        found["nodes"] = Node.objects.alive()[:SHOWN]
    return found


def _may_see(user: Any, model: str) -> bool:
    return user.is_active and any(
        user.has_perm(f"scheduler_app.{verb}_{model}") for verb in ("view", "change")
    )
