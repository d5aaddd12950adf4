"""Who may do what: Django's permissions, named by each view for each of its actions."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from scheduler_app.models import ApiToken
from scheduler_app.models.token import scope_of

VIEW_JOB = "scheduler_app.view_job"
ADD_JOB = "scheduler_app.add_job"
CHANGE_JOB = "scheduler_app.change_job"
DELETE_JOB = "scheduler_app.delete_job"
RUN_JOB = "scheduler_app.run_job"
PAUSE_JOB = "scheduler_app.pause_job"
VIEW_EXECUTION = "scheduler_app.view_execution"
VIEW_NODE = "scheduler_app.view_node"

DRAIN_NODE = "scheduler_app.drain_node"
VIEW_AUDIT = "scheduler_app.view_auditentry"
VIEW_CALENDAR = "scheduler_app.view_calendar"
ADD_CALENDAR = "scheduler_app.add_calendar"
CHANGE_CALENDAR = "scheduler_app.change_calendar"
DELETE_CALENDAR = "scheduler_app.delete_calendar"
VIEW_PAUSE = "scheduler_app.view_pause"
ADD_PAUSE = "scheduler_app.add_pause"
CHANGE_PAUSE = "scheduler_app.change_pause"


class MayDo(BasePermission):
    """Logged in, and holding every permission that `view.needs` names for the action."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        names = needed(request, view)
        missing = [name for name in names if not request.user.has_perm(name)]
        # DRF makes one instance for each request.
        if missing:
            self.message = f"This needs the permission {' and '.join(missing)}."
        elif isinstance(request.auth, ApiToken):
            missing = [scope_of(name) for name in names if not request.auth.allows(name)]
            self.message = (
                f"This needs a token with the scope {' and '.join(dict.fromkeys(missing))}."
            )
        return not missing


def require(request: Request, name: str) -> None:
    """For what is known only after the look at what there is, or at what is asked; raises PermissionDenied."""
    if not request.user.has_perm(name):
        raise PermissionDenied(f"This needs the permission {name}.")
    if not holds(request, name):
        raise PermissionDenied(f"This needs a token with the scope {scope_of(name)}.")


def holds(request: Request, name: str) -> bool:
    """Whether the caller has the permission, and the token, if there is one, the scope for it."""
    in_scope = not isinstance(request.auth, ApiToken) or request.auth.allows(name)
    return in_scope and bool(request.user.has_perm(name))


def needed(request: Request, view: Any) -> tuple[str, ...]:
    """By the method, since forms and OPTIONS ask about methods that were not called."""
    method = str(request.method).lower()
    if hasattr(view, "action_map"):
        action = view.action_map.get(method)
    else:
        action = ("get" if method == "head" else method) if hasattr(view, method) else None
    # A method that the route lacks is refused as such, after this.
    if method == "options" or action is None:
        return ()
    names: tuple[str, ...] = view.needs[action]
    return names
