"""The kinds of target, by name, and the one check of a target that forms, API, model and nodes share."""

from __future__ import annotations

from scheduler_app.conf import get_config
from scheduler_app.rules.problems import Problem
from scheduler_app.rules.secrets import unreadable_references
from scheduler_app.rules.storable import storable_problems

from .base import JSON, InvalidTarget, Target, UnknownTarget
from .http import HttpTarget
from .management import ManagementTarget
from .shell import ShellTarget, allowed_commands
from .task import TaskTarget, known_tasks

__all__ = ["get_target", "kinds", "named_targets", "suggested_targets", "target_problems"]

_TARGETS: dict[str, Target] = {
    target.kind: target
    for target in (TaskTarget(), HttpTarget(), ManagementTarget(), ShellTarget())
}


def kinds() -> dict[str, str]:
    """The kinds that may be created and run here, with what people read for them."""
    allowed = get_config().kinds
    return {kind: target.label for kind, target in _TARGETS.items() if kind in allowed}


def get_target(kind: str) -> Target:
    """Raises `UnknownTarget` for a kind that this release lacks, `InvalidTarget` for one that is switched off."""
    target = _TARGETS.get(kind)
    if target is not None and kind in get_config().kinds:
        return target
    allowed = ", ".join(kinds()) or "none"
    if target is None:
        raise UnknownTarget(f"There is no kind of target called {kind!r:.100}. Allowed: {allowed}.")
    message = (
        f"The kind {kind!r} is switched off. Allowed: {allowed}."
        f" To switch it on, add it to the setting SCHEDULER['kinds']."
    )
    raise InvalidTarget([Problem("kind", message, given=kind, allowed=allowed)])


def target_problems(kind: str, target: str, arguments: JSON) -> list[Problem]:
    """What is wrong with a job's kind, target and arguments; empty when nothing is. Never touches the network."""
    try:
        implementation = get_target(kind)
    except UnknownTarget as error:
        return [Problem("kind", str(error), given=str(kind), allowed=", ".join(kinds()))]
    except InvalidTarget as error:
        return list(error.problems)
    found = [Problem("arguments", message) for message in storable_problems(arguments)]
    if not found:
        found = [_unreadable(text) for text in unreadable_references(arguments)]
    if not isinstance(target, str) or not target.strip():
        found.append(Problem("target", "Say what to run: the name of a task, or a URL."))
    # What is not JSON, or far too large, is not looked into.
    return found or implementation.problems(target, arguments)


def named_targets() -> dict[str, list[str]]:
    """By kind, the targets that have names and are known here: a right can be given for each."""
    return {
        "task": [task.name for task in known_tasks()],
        "management": list(get_config().management_commands),
        "shell": list(allowed_commands()),
    }


def suggested_targets() -> list[tuple[str, str]]:
    """Whatever has a name that can be chosen here, each with a line about it; a URL has none."""
    found = []
    if "task" in kinds():
        found += [(task.name, task.description.partition("\n")[0]) for task in known_tasks()]
    if "management" in kinds():
        found += [(name, "management command") for name in get_config().management_commands]
    if "shell" in kinds():
        found += [(name, command.usage) for name, command in allowed_commands().items()]
    return found


def _unreadable(text: str) -> Problem:
    message = f"{text!r:.100} names no secret: behind secret:// comes a name of letters, digits, '_', '.' and '-'."
    return Problem("arguments", message)
