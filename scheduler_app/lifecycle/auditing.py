"""The audit trail: each verb notes what it did, to what, in whose name, in its own transaction and one statement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F

from scheduler_app.access import current_caller
from scheduler_app.models import Job, JobRevision
from scheduler_app.models.audit import Verb
from scheduler_app.rules.differences import differences
from scheduler_app.rules.spec import JobSpec

from .transactions import execute_prepared, psycopg_beneath

# Not by the ORM, which takes longer over each entry than whatever it is about.
RECORD_SQL = """
INSERT INTO scheduler_app_auditentry
    (who, user_id, source, address, token, verb, reason, object_kind, object_id, object_name, job_id, changes)
SELECT
    %(who)s, %(user_id)s, %(source)s, %(address)s, %(token)s, %(verb)s, %(reason)s,
    subject.kind, subject.id, subject.name, subject.job_id, subject.changes
FROM ROWS FROM (
    json_to_recordset(%(subjects)s) AS (kind text, id text, name text, job_id bigint, changes jsonb)
) WITH ORDINALITY AS subject (kind, id, name, job_id, changes, place)
ORDER BY subject.place
"""

_FOLLOWS = ("calendar_name", "calendar_days")
"""Columns of a job that follow from another one."""
_NOTHING_SAID = JobSpec()


@dataclass(frozen=True, slots=True)
class Subject:
    """What something was done to, and what changed of it."""

    kind: str
    id: Any
    name: str = ""
    job_id: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def of_job(job: Job, changes: dict[str, Any] | None = None) -> Subject:
    """A job as the subject of a verb."""
    return Subject("job", job.pk, job.name, job.pk, changes or {})


def record(verb: Verb, subjects: Iterable[Subject], *, by: str, reason: str = "") -> None:
    """One entry for each of the subjects, in the transaction of the verb that calls this."""
    told = [
        {
            "kind": subject.kind,
            "id": str(subject.id),
            "name": subject.name[:200],
            "job_id": subject.job_id,
            "changes": subject.changes,
        }
        for subject in subjects
    ]
    if not told:
        return
    caller = current_caller()
    execute_prepared(
        psycopg_beneath(),
        RECORD_SQL,
        {
            "who": by[:150],
            "user_id": "" if caller.user is None else str(caller.user.pk),
            "source": str(caller.source),
            "address": caller.address,
            "token": getattr(caller.token, "name", ""),
            "verb": str(verb),
            "reason": reason[:500],
            "subjects": json.dumps(told),
        },
    )


def definition_changes(job: Job) -> dict[str, Any]:
    """What the newest edit of a job changed; of a new job, all that it was given."""
    specs = dict(
        JobRevision.objects.filter(job=job, version__in=(job.version - 1, job.version)).values_list(
            "version", "spec"
        )
    )
    new = specs.get(job.version, {})
    if job.version == 1:
        return differences({}, _chosen(new))
    return differences(_told(specs.get(job.version - 1, {})), _told(new))


def definitions_lost(job_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """By job id, the definitions that end with the jobs: the audit trail is kept for longer than they are."""
    revisions = JobRevision.objects.filter(job__in=job_ids, version=F("job__version"))
    return {
        job_id: differences(_chosen(spec), {})
        for job_id, spec in revisions.values_list("job", "spec")
    }


def _chosen(spec: dict[str, Any]) -> dict[str, Any]:
    """What differs from a job about which nothing was said."""
    return {
        name: value
        for name, value in _told(spec).items()
        if value != getattr(_NOTHING_SAID, name, None)
    }


def _told(spec: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in _FOLLOWS}
