"""Who may do what: the permissions, and the one check of a job's target that every way of running it goes through.

To see, run, pause and edit jobs are rights on the model. What a job *does* is a right of its own, since to choose a
target is to choose what code runs: one for each kind (`use_http`), or one for each task and command
(`use_task:shop.tasks.send_report`), which is made for each that is known when `migrate` runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from django.apps import AppConfig
from django.apps import apps as global_apps
from django.core.exceptions import PermissionDenied

from scheduler_app.models import Job
from scheduler_app.rules.masking import masked_text
from scheduler_app.targets import named_targets

from .caller import current_caller

APP = "scheduler_app"
CODENAME_CHARS = 100


class NotAllowed(PermissionDenied):
    """The caller lacks a right; the message names it."""


def use_kind(kind: str) -> str:
    """The permission to let jobs do anything of a kind."""
    return f"{APP}.use_{kind}"


def use_target(kind: str, target: str) -> str:
    """The permission to let jobs do this one thing."""
    return f"{APP}.{_codename(kind, target)}"


def may_use(user: Any, kind: str, target: str) -> bool:
    """Whether jobs may do this in the name of `user`."""
    return bool(user.has_perm(use_kind(kind)) or user.has_perm(use_target(kind, target)))


def may_use_some(user: Any, kind: str) -> bool:
    """Whether there is anything of this kind that jobs may do in the name of `user`."""
    if user.has_perm(use_kind(kind)):
        return True
    prefix = f"{APP}.use_{kind}:"
    return any(name.startswith(prefix) for name in user.get_all_permissions())


def refusal(user: Any, kind: str, target: str) -> str:
    """Why `user` may not let a job do this, in a sentence; empty when they may."""
    if may_use(user, kind, target):
        return ""
    sentence = f"{user.get_username()} may not use the target {masked_text(target)!r:.200} of kind {kind!r:.50}"
    named = f" or {use_target(kind, target)}" if kind in named_targets() else ""
    return f"{sentence}: this needs the permission {use_kind(kind)}{named}."


def require_targets(targets: Iterable[tuple[str, str]]) -> None:
    """Refuse the verb unless its caller may use all of these (kind, target). Code and commands may."""
    caller = current_caller()
    user = caller.user
    if user is None:
        return
    for kind, target in dict.fromkeys(targets):
        if why := refusal(user, kind, target):
            raise NotAllowed(why)


def require_kinds(kinds: Iterable[str]) -> None:
    """Refuse the verb unless its caller may use whatever there is of these kinds. Code and commands may."""
    user = current_caller().user
    if user is None:
        return
    missing = [use_kind(kind) for kind in kinds if not user.has_perm(use_kind(kind))]
    if missing:
        raise NotAllowed(f"So many at once need the permission {' and '.join(missing)}.")


def create_target_permissions(
    app_config: AppConfig, using: str, apps: Any = global_apps, **_: Any
) -> None:
    """After `migrate`: a permission for each task and command known here, so that it can be granted."""
    try:
        permissions = apps.get_model("auth", "Permission").objects.using(using)
        content_types = apps.get_model("contenttypes", "ContentType").objects.using(using)
    except LookupError:
        return
    job_type, _created = content_types.get_or_create(app_label=APP, model=Job._meta.model_name)
    wanted = {
        _codename(kind, name): f"May let jobs use the {kind} {name}"[:255]
        for kind, names in named_targets().items()
        for name in names
    }
    known = set(
        permissions.filter(content_type=job_type, codename__in=wanted).values_list(
            "codename", flat=True
        )
    )
    # Those of tasks that are gone stay: another release may have them, and they give nothing.
    permissions.bulk_create(
        (
            permissions.model(content_type=job_type, codename=codename, name=name)
            for codename, name in wanted.items()
            if codename not in known
        ),
        ignore_conflicts=True,
    )


def _codename(kind: str, target: str) -> str:
    codename = f"use_{kind}:{target}"
    if len(codename) <= CODENAME_CHARS:
        return codename
    digest = hashlib.sha256(target.encode(errors="replace")).hexdigest()[:16]
    return f"{codename[: CODENAME_CHARS - 17]}~{digest}"
