"""Bring jobs into line with a file: first the plan, then all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import CommandError

from scheduler_app import lifecycle
from scheduler_app.lifecycle.definitions import values_of
from scheduler_app.models import Job
from scheduler_app.rules.differences import differences

from .arguments import quoted
from .definitions import candidate


@dataclass(frozen=True, slots=True)
class Change:
    """A job that would be another one than it is."""

    job: Job
    fields: dict[str, Any]
    """By field, what it is and what it would be, secrets masked."""


@dataclass(slots=True)
class Plan:
    """What an import would do."""

    create: list[Change] = field(default_factory=list)
    change: list[Change] = field(default_factory=list)
    delete: list[Job] = field(default_factory=list)
    unchanged: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.change or self.delete)

    @property
    def summary(self) -> str:
        return (
            f"{len(self.create)} to create, {len(self.change)} to change, {len(self.delete)} to delete,"
            f" {self.unchanged} unchanged"
        )


def make_plan(
    definitions: Sequence[dict[str, Any]], *, prune: bool, tag: str = "", lock: bool = False
) -> Plan:
    """Compare the definitions with the jobs of the same names. Raises CommandError with everything that is wrong.

    With `prune`, jobs that the file does not name are to be deleted; with `tag`, of those only the ones that have it.
    """
    stored_jobs = Job.objects.select_related("calendar").order_by("pk")
    if lock:
        stored_jobs = stored_jobs.select_for_update(of=("self",))
    names = [definition["name"] for definition in definitions]
    stored = {job.name: job for job in stored_jobs.filter(name__in=names)}
    plan = Plan()
    wrong: list[str] = []
    for definition in definitions:
        before = stored.get(definition["name"])
        old = {} if before is None else values_of(before)
        try:
            job = candidate(definition, before)
        except CommandError as error:
            wrong.append(str(error))
            continue
        if before is None:
            chosen = {name: value for name, value in values_of(job).items() if name in definition}
            plan.create.append(Change(job, differences({}, chosen)))
        elif fields := differences(old, values_of(job)):
            plan.change.append(Change(job, fields))
        else:
            plan.unchanged += 1
    if wrong:
        raise CommandError("\n".join(wrong))
    if prune:
        missing = stored_jobs.exclude(name__in=names)
        plan.delete = list(missing.filter(tags__contains=[tag]) if tag else missing)
    return plan


def check_prune(plan: Plan, definitions: Sequence[dict[str, Any]], at_most: int) -> None:
    """Raises CommandError when a prune looks like a mistake."""
    if plan.delete and not definitions:
        raise CommandError("The file names no job; --prune would delete every job.")
    if len(plan.delete) > at_most:
        names = ", ".join(quoted(job.name) for job in plan.delete[:5])
        more = f" and {len(plan.delete) - 5} more" if len(plan.delete) > 5 else ""
        raise CommandError(
            f"--prune would delete {len(plan.delete)} jobs ({names}{more}). Nothing was done."
            f" If that is meant, say --at-most {len(plan.delete)}."
        )


def apply_plan(plan: Plan, *, by: str) -> None:
    """Do it, within the caller's transaction."""
    for change in (*plan.create, *plan.change):
        lifecycle.save_job(change.job, by=by)
    if plan.delete:
        lifecycle.delete_jobs([job.pk for job in plan.delete], by=by)
