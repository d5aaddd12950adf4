"""The rows that the caller sees: what pages and the API read goes out from here, and from nowhere else.

Where ownership is off, and for code, commands and whoever may see all jobs, these are all rows.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from scheduler_app.models import (
    AuditEntry,
    BulkOperation,
    Execution,
    Gap,
    Job,
    Pause,
    PauseScope,
    Trigger,
)
from scheduler_app.models.execution import ExecutionQuerySet
from scheduler_app.models.job import JobQuerySet
from scheduler_app.models.pause import PauseQuerySet

from .caller import current_caller
from .ownership import View, current_view


def jobs() -> JobQuerySet:
    """Jobs that were not deleted."""
    return _narrowed(Job.objects.all(), current_view())


def jobs_and_deleted() -> JobQuerySet:
    """Jobs, and those of before that have a history still."""
    return _narrowed(Job.including_deleted.all(), current_view())


def executions() -> ExecutionQuerySet:
    """Executions of such jobs; those of no job (enqueued tasks) are only for who sees everything."""
    found: ExecutionQuerySet = _of_jobs(Execution.objects.all(), current_view())
    return found


def executions_by_id() -> ExecutionQuerySet:
    """To look one up: also the test runs that the caller asked for, which belong to no job."""
    view = current_view()
    if view is None:
        return Execution.objects.all()
    user = current_caller().user
    name = user.get_username() if user is not None else ""
    own_tests = Q(job=None, trigger=Trigger.TEST, requested_by=name) & ~Q(requested_by="")
    return Execution.objects.filter(Q(job__in=view.jobs.values("pk")) | own_tests)


def gaps() -> QuerySet[Gap]:
    """Gaps of such jobs."""
    found: QuerySet[Gap] = _of_jobs(Gap.objects.all(), current_view())
    return found


def audit_entries() -> QuerySet[AuditEntry]:
    """What was done to such jobs and their executions; of everything else only who sees everything is told."""
    found: QuerySet[AuditEntry] = _of_jobs(AuditEntry.objects.all(), current_view())
    return found


def bulk_operations() -> QuerySet[BulkOperation]:
    """Those that the caller started: the conditions of others may name what is not theirs."""
    view = current_view()
    found = BulkOperation.objects.all()
    if view is None:
        return found
    return found.filter(user_id=view.user) if view.user else found.none()


def pauses() -> PauseQuerySet:
    """Pauses of everything, and those of queues and tags that such jobs are in."""
    view = current_view()
    if view is None:
        return Pause.objects.all()
    in_queue = Exists(view.jobs.filter(queue=OuterRef("value")))
    with_tag = Exists(view.jobs.filter(tags__contains=[OuterRef("value")]))
    found: PauseQuerySet = Pause.objects.filter(
        Q(scope=PauseScope.ALL)
        | (Q(scope=PauseScope.QUEUE) & Q(in_queue))
        | (Q(scope=PauseScope.TAG) & (Q(value__in=view.groups) | Q(with_tag)))
    )
    return found


def _narrowed(found: JobQuerySet, view: View | None) -> JobQuerySet:
    return found if view is None else found.filter(view.condition)


def _of_jobs(rows: Any, view: View | None) -> Any:
    return rows if view is None else view.of_jobs(rows)
