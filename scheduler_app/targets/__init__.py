"""The kinds of target, by name, and the one check of a target that forms, API, model and nodes share."""

from __future__ import annotations

from scheduler_app.conf import get_config
from scheduler_app.rules.problems import Problem
from scheduler_app.rules.storable import storable_problems

from .base import JSON, InvalidTarget, Target, UnknownTarget
from .http import HttpTarget
from .task import TaskTarget

__all__ = ["get_target", "kinds", "target_problems"]

_TARGETS: dict[str, Target] = {target.kind: target for target in (TaskTarget(), HttpTarget())}


def kinds() -> dict[str, str]:
    """The kinds that may be created and run here, with what people read for them."""
    allowed = get_config().kinds
    return {kind: target.label for kind, target in _TARGETS.items() if kind in allowed}


def get_target(kind: str) -> Target:
    """Raises `UnknownTarget` for a kind that this release lacks, `InvalidTarget` for one that is switched off."""
    target = _TARGETS.get(kind)
    allowed = ", ".join(kinds()) or "none"
    if target is None:
        raise UnknownTarget(f"There is no kind of target called {kind!r:.100}. Allowed: {allowed}.")
    if kind not in get_config().kinds:
        message = (
            f"The kind {kind!r} is switched off. Allowed: {allowed}."
            f" To switch it on, add it to the setting SCHEDULER['kinds']."
        )
        raise InvalidTarget([Problem("kind", message, given=kind, allowed=allowed)])
    return target


def target_problems(kind: str, target: str, arguments: JSON) -> list[Problem]:
    """What is wrong with a job's kind, target and arguments; empty when nothing is. Never touches the network."""
    try:
        implementation = get_target(kind)
    except UnknownTarget as error:
        return [Problem("kind", str(error), given=str(kind), allowed=", ".join(kinds()))]
    except InvalidTarget as error:
        return list(error.problems)
    found = [Problem("arguments", message) for message in storable_problems(arguments)]
    if not isinstance(target, str) or not target.strip():
        found.append(Problem("target", "Say what to run: the name of a task, or a URL."))
    # What is not JSON, or far too large, is not looked into.
    return found or implementation.problems(target, arguments)
