"""Try a definition out before it is saved: one execution that carries all of it, and belongs to no job."""

from __future__ import annotations

from scheduler_app.access import require_targets
from scheduler_app.access.throttling import RUNS, spend
from scheduler_app.models import Execution, Job, Status, Trigger, Verb, database_now
from scheduler_app.rules.differences import differences
from scheduler_app.rules.masking import masked_text
from scheduler_app.targets import target_problems

from . import notices
from .auditing import Subject, record
from .transactions import CannotDo, transaction_on_psycopg

TRIED = (
    "kind",
    "target",
    "arguments",
    "queue",
    "priority",
    "timeout_s",
    "isolation",
    "memory_limit_mb",
    "cpu_limit_s",
)
"""What a test run takes of the definition; it is tried once, and its schedule is not looked at."""


def try_out(job: Job, *, by: str) -> Execution:
    """Run what `job` says once, as soon as a thread is free; neither a schedule nor the job is stored.

    It is a single attempt that no rescue repeats, and it counts for no job: not in its strip, its durations or its
    limits. Raises CannotDo when the target or its arguments cannot work.
    """
    spend(RUNS)
    require_targets([(job.kind, job.target)])
    problems = target_problems(job.kind, job.target, job.arguments)
    if problems:
        raise CannotDo(" ".join(problem.message for problem in problems), problems)
    tried = {name: getattr(job, name) for name in TRIED}
    name = f"Test of {job.name or masked_text(job.target)}"[:200]
    spec = tried | {"name": name, "max_attempts": 1, "guarantee": "at_most_once"}
    with transaction_on_psycopg() as connection:
        now = database_now()
        execution = Execution.objects.create(
            trigger=Trigger.TEST,
            spec=spec,
            scheduled_for=now,
            run_after=now,
            queue=job.queue,
            priority=job.priority,
            status=Status.READY,
            requested_by=by[:150],
        )
        record(
            Verb.JOB_TEST,
            [Subject("execution", execution.pk, name, job.pk, differences({}, tried))],
            by=by,
        )
        notices.notify(connection, notices.READY)
    return execution
