"""May the caller let these jobs do what they do? Asked by every verb that makes something run."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models.fields.json import KT

from scheduler_app.access import NotAllowed, current_caller, require_targets
from scheduler_app.access.ownership import refusal_of_tags
from scheduler_app.models import Execution, Job, JobRevision
from scheduler_app.rules.spec import JobSpec


def require_targets_of(job_ids: Iterable[int]) -> None:
    """Raises NotAllowed unless the caller may use the targets of all of these jobs."""
    # Code and commands may, and do not pay for the question.
    if current_caller().user is not None:
        require_targets(Job.objects.filter(pk__in=list(job_ids)).values_list("kind", "target"))


def require_targets_ever(job_ids: Iterable[int]) -> None:
    """As `require_targets_of`, and for what the jobs did before they were edited: old executions do that again."""
    if current_caller().user is None:
        return
    revisions = JobRevision.objects.filter(job__in=list(job_ids)).order_by()
    targets = revisions.values_list(KT("spec__kind"), KT("spec__target")).distinct()
    require_targets((kind or "", target or "") for kind, target in targets)


def require_targets_again(execution_ids: Iterable[int]) -> None:
    """As `require_targets_of`, for executions that would run once more, with the definition that they have."""
    if current_caller().user is None:
        return
    executions = Execution.objects.filter(pk__in=list(execution_ids)).select_related("revision")
    specs = (
        JobSpec.from_json(execution.revision.spec if execution.revision else None, execution.spec)
        for execution in executions.only("spec", "revision__spec")
    )
    require_targets((spec.kind, spec.target) for spec in specs)


def require_own_tags(job: Job, stored: Job | None) -> None:
    """Raises NotAllowed when the job's new tags give it to a group of others, or take it away from the caller."""
    before = None if stored is None else stored.tags
    if why := refusal_of_tags(job.tags, before=before, owner_id=job.owner_id):
        raise NotAllowed(why)


def require_new_target(job: Job, stored: Job | None) -> None:
    """Raises NotAllowed unless the caller may let the job do what it is about to be told; what stays was allowed."""
    told = (job.kind, job.target, job.arguments)
    if stored is None or told != (stored.kind, stored.target, stored.arguments):
        require_targets([(job.kind, job.target)])
