"""Whether the scheduler lives: the database's time for every page, and the warning on each while nothing fires."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from scheduler_app.access.rights import may_use_some
from scheduler_app.targets import kinds

from . import queries
from .queries import Pulse


def pulse_of(request: HttpRequest) -> Pulse:
    """The pulse, asked for once a request."""
    found: Pulse | None = getattr(request, "scheduler_pulse", None)
    if found is None:
        found = queries.pulse()
        request.scheduler_pulse = found  # type: ignore[attr-defined]
    return found


def alarm_for(request: HttpRequest | None) -> Pulse | None:
    """The pulse when no node fires jobs and the user has to do with the scheduler; None when all is well."""
    user = getattr(request, "user", None)
    if request is None or user is None or not user.has_module_perms("scheduler_app"):
        return None
    found = pulse_of(request)
    return None if found.ticks else found


def may_retry(user: Any) -> bool:
    """Whether the user may run jobs, and use at least some of what jobs do."""
    return user.has_perm("scheduler_app.run_job") and any(
        may_use_some(user, kind) for kind in kinds()
    )


def may_see(user: Any, model: str) -> bool:
    """Whether the user may see the rows of this model at all."""
    return user.is_active and any(
        user.has_perm(f"scheduler_app.{verb}_{model}") for verb in ("view", "change")
    )
