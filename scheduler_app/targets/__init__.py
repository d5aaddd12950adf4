"""The kinds of things that a job can do; each is one module with one class, listed here."""

from __future__ import annotations

from scheduler_app.conf import get_config
from scheduler_app.rules.problems import Problem

from .base import JSON, Target, UnknownTarget
from .task import TaskTarget

__all__ = ["get_target", "kinds", "target_problems"]

_TARGETS: dict[str, Target] = {target.kind: target for target in (TaskTarget(),)}


def kinds() -> dict[str, str]:
    """The kinds that the settings allow, with what people read for them."""
    allowed = get_config().kinds
    return {kind: target.label for kind, target in _TARGETS.items() if kind in allowed}


def get_target(kind: str) -> Target:
    """The implementation of a kind; raises UnknownTarget when there is none, or the settings switch it off."""
    if kind not in kinds():
        raise UnknownTarget(_unknown_kind(kind))
    return _TARGETS[kind]


def target_problems(kind: str, target: str, arguments: JSON) -> list[Problem]:
    """What is wrong with what a job is to do; form, API, `Job.clean()` and the runner ask alike."""
    if kind not in kinds():
        return [Problem("kind", _unknown_kind(kind))]
    return _TARGETS[kind].problems(target, arguments)


def _unknown_kind(kind: str) -> str:
    allowed = ", ".join(kinds())
    if kind in _TARGETS:
        return f"The kind {kind!r} is switched off here; SCHEDULER_KINDS allows {allowed}."
    return f"{kind!r} is not a kind of target; choose one of {allowed}."
