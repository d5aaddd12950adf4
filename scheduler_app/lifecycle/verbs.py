"""What people and programs do: run now, pause, resume, cancel, retry. Admin, API and commands call these alike.

Each verb is one transaction on Django's connection and takes ids, one or many. What cannot be done to one of
them is said in the answer or raised as `CannotDo`; nothing is done by halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import psycopg
from django.db.models import F

from scheduler_app.access.ownership import require_pause
from scheduler_app.access.throttling import RUNS, spend, spend_up_to_all
from scheduler_app.conf import get_config
from scheduler_app.models import (
    Execution,
    Job,
    JobPlan,
    JobRevision,
    Pause,
    PauseScope,
    Trigger,
    Verb,
    acting_as,
)
from scheduler_app.models.clock import DatabaseNow, database_now
from scheduler_app.rules.differences import differences

from . import auditing, held, locks, notices
from .auditing import Subject, of_job, record
from .entitling import (
    require_new_target,
    require_own_tags,
    require_targets_again,
    require_targets_of,
)
from .fences import JOB_IS_GONE
from .firing import settle_at_once
from .promoting import LOCK_PLANS_SQL, promote_locked
from .running import Inserted, Run, check_arguments, check_fire_times, insert_runs
from .specs import SpecCache
from .timeline import read_pauses
from .transactions import CannotDo, psycopg_beneath, transaction_on_psycopg
from .upcoming import first_open

_specs = SpecCache()

RUN_NONE, RUN_LAST, RUN_ALL = RUN_CHOICES = ("none", "last", "all")
"""Of the fire times that a pause held back, those that `resume` runs after all."""

CANCEL_SQL = """
WITH wanted AS MATERIALIZED (
    SELECT id
    FROM scheduler_app_execution
    WHERE id = ANY(%(ids)s) AND status IN ('ready', 'blocked', 'running')
    ORDER BY id
    FOR UPDATE
)
UPDATE scheduler_app_execution AS execution
SET
    cancel_requested_at = COALESCE(execution.cancel_requested_at, scheduler_now()),
    cancelled_by = %(by)s,
    status = CASE WHEN execution.status = 'running' THEN 'running' ELSE 'cancelled' END,
    finished_at = CASE WHEN execution.status <> 'running' THEN scheduler_now() END,
    reason = CASE WHEN execution.status = 'running' THEN execution.reason ELSE %(reason)s END
FROM wanted
WHERE execution.id = wanted.id AND execution.status IN ('ready', 'blocked', 'running')
RETURNING execution.id, execution.status, execution.job_id
"""

RETRY_SQL = f"""
WITH wanted AS MATERIALIZED (
    SELECT execution.id
    FROM scheduler_app_execution AS execution
    LEFT JOIN scheduler_app_job AS job ON job.id = execution.job_id
    WHERE execution.id = ANY(%(ids)s)
      AND execution.status IN ('failed', 'lost', 'cancelled')
      AND NOT {JOB_IS_GONE}
    ORDER BY execution.id
    FOR UPDATE OF execution
)
UPDATE scheduler_app_execution AS execution
SET
    -- Blocked first: those that the job's limit allows are promoted in the same transaction.
    status = CASE WHEN execution.job_id IS NULL THEN 'ready' ELSE 'blocked' END,
    reason = '',
    token = execution.token + 1,
    crashes = 0,
    node_id = NULL,
    run_after = scheduler_now(),
    claimed_at = NULL,
    started_at = NULL,
    finished_at = NULL,
    cancel_requested_at = NULL,
    cancelled_by = '',
    requested_by = %(by)s,
    result = NULL,
    error = '',
    traceback = '',
    failures = execution.failures || jsonb_build_object(
        'attempt', execution.attempt,
        'reason', COALESCE(NULLIF(execution.reason, ''), execution.status),
        'error', execution.error,
        'traceback', execution.traceback,
        'started_at', execution.started_at,
        'finished_at', execution.finished_at
    )
FROM wanted
WHERE execution.id = wanted.id AND execution.status IN ('failed', 'lost', 'cancelled')
RETURNING execution.id, execution.job_id
"""

JOBS_OF_SQL = """
SELECT DISTINCT job_id
FROM scheduler_app_execution
WHERE id = ANY(%(ids)s) AND job_id IS NOT NULL
ORDER BY job_id
"""


_WRITTEN_BY_VERBS = ("paused_at", "paused_by", "paused_until", "pause_reason", "deleted_at")
_DEFINITION = [
    field.name
    for field in Job._meta.concrete_fields
    if not field.primary_key and field.name not in _WRITTEN_BY_VERBS
]


@dataclass(slots=True)
class Cancelled:
    """What became of a request to cancel, by execution id."""

    cancelled: list[int] = field(default_factory=list)
    """They never begin, or never again."""
    requested: list[int] = field(default_factory=list)
    """They run; their node was told."""
    finished: list[int] = field(default_factory=list)
    """They were over before, or do not exist."""


def run_now(
    job_ids: Iterable[int],
    *,
    by: str,
    arguments: Any = None,
    scheduled_for: datetime | None = None,
    trigger: str = Trigger.MANUAL,
) -> list[Execution]:
    """One execution of each job, at once, or when the job's limit allows; its schedule is not touched.

    `arguments` replaces the job's own for this execution; `scheduled_for` is the fire time that the job is told, now at
    the latest. Raises CannotDo when these do not fit or no job is left.
    """
    runs = [Run(job_id, arguments, scheduled_for) for job_id in sorted(set(job_ids))]
    # Before the transaction: nobody waits for the counter of somebody else's.
    spend(RUNS, len(runs))
    check_arguments(runs)
    # Of all these runs it is the same.
    check_fire_times(runs[:1])
    with transaction_on_psycopg() as connection:
        rows = insert_runs(connection, runs, by=by, trigger=trigger)
        if not rows:
            raise CannotDo("There is no such job; it may have been deleted.")
    return [_just_inserted(row, arguments, by=by, trigger=trigger) for row in rows]


def _just_inserted(row: Inserted, arguments: Any, *, by: str, trigger: str) -> Execution:
    """The execution as it is in the database by the statement that inserted it; read again, a node might have it."""
    execution = Execution(
        id=row.id,
        job_id=row.job_id,
        revision_id=row.revision_id,
        spec=None if arguments is None else {"arguments": arguments},
        trigger=trigger,
        scheduled_for=row.scheduled_for,
        run_after=row.run_after,
        queue=row.queue,
        priority=row.priority,
        status=row.status,
        created_at=row.created_at,
        requested_by=by,
    )
    database = get_config().database
    execution._state.adding, execution._state.db = False, database
    execution.job = Job.from_db(database, ("id", "name"), (row.job_id, row.job_name))
    execution.revision = _revision(row.revision_id)
    return execution


@lru_cache(maxsize=1000)
def _revision(revision_id: int) -> JobRevision:
    """Kept, as it never changes: programs run the same jobs over and over."""
    return JobRevision.objects.get(pk=revision_id)


def save_job(job: Job, *, by: str) -> Job:
    """Store a job that was created or edited, after its `full_clean()`, with the author in its history.

    An edit sets the definition alone: a pause, resume or delete since the job was read stands.
    """
    with acting_as(by):
        if job._state.adding:
            require_new_target(job, None)
            require_own_tags(job, None)
            job.save()
            record(Verb.JOB_CREATE, [of_job(job, auditing.definition_changes(job))], by=by)
        else:
            before = (
                Job.including_deleted.select_for_update()
                .only("version", "owner", "tags", "kind", "target", "arguments")
                .get(pk=job.pk)
            )
            require_new_target(job, before)
            require_own_tags(job, before)
            job.save(update_fields=_DEFINITION)
            job.refresh_from_db(fields=_WRITTEN_BY_VERBS)
            changes = differences({"owner": before.owner_id}, {"owner": job.owner_id})
            if job.version != before.version:
                changes |= auditing.definition_changes(job)
            if changes:
                record(Verb.JOB_EDIT, [of_job(job, changes)], by=by)
        _notify(notices.PLAN)
    return job


def delete_jobs(job_ids: Iterable[int], *, by: str) -> int:
    """No fire time and no attempt of them begins after this; what runs may finish. Returns how many there were."""
    with acting_as(by):
        found = _lock_jobs(sorted(set(job_ids)))
        lost = auditing.definitions_lost([job.pk for job in found])
        deleted: int = Job.objects.filter(pk__in=lost).delete()[0]
        record(Verb.JOB_DELETE, [of_job(job, lost.get(job.pk)) for job in found], by=by)
        _notify(notices.PLAN)
    return deleted


def pause(
    job_ids: Iterable[int], *, by: str, reason: str = "", until: datetime | None = None
) -> list[int]:
    """No fire time after this becomes an execution, and none that waits begins, until `resume` or `until`.

    Returns the ids of the jobs that were not paused before. Raises CannotDo for an `until` that is over.
    """
    if until is not None and until <= database_now():
        raise CannotDo(f"The pause would end at {until:%Y-%m-%d %H:%M:%S %Z}, which is over.")
    ids = sorted(set(job_ids))
    with acting_as(by):
        found = _lock_jobs(ids, paused_at=None)
        paused = [job.pk for job in found]
        Job.objects.filter(pk__in=paused).update(
            paused_at=DatabaseNow(), paused_by=by, paused_until=until, pause_reason=reason[:500]
        )
        changes = differences({}, {"paused_until": until.isoformat() if until else None})
        record(Verb.JOB_PAUSE, [of_job(job, changes) for job in found], by=by, reason=reason)
        _notify(notices.PLAN)
    return paused


def resume(job_ids: Iterable[int], *, by: str, run: str = RUN_NONE) -> list[int]:
    """Fire again from now on; returns the ids of the jobs that were paused.

    The fire times meanwhile stay a gap. `run` says which of them are run after all, as a backfill: "none", the
    "last" of each job, or "all". Raises CannotDo when those are too many, of one job or of all together.
    """
    _check_choice(run)
    ids = sorted(set(job_ids))
    if run != RUN_NONE:
        require_targets_of(ids)
        spend_up_to_all(RUNS, lambda: _runs_of_resume(ids, run))
    with acting_as(by):
        if run != RUN_NONE:
            # Before the plans, as nodes do that decide.
            psycopg_beneath().execute("SELECT pg_advisory_xact_lock_shared(%s)", [locks.PAUSES])
        found = _lock_jobs(ids, paused_at__isnull=False)
        resumed = [job.pk for job in found]
        waiting = Job.objects.filter(pk__in=resumed).select_related("calendar")
        missed_by = [] if run == RUN_NONE else list(waiting)
        Job.objects.filter(pk__in=resumed).update(
            paused_at=None, paused_by="", paused_until=None, pause_reason=""
        )
        with transaction_on_psycopg() as connection:
            connection.execute(LOCK_PLANS_SQL, {"job_ids": resumed})
            # Up to the moment of the edit, and no other, nodes count fire times as paused.
            until = dict(Job.objects.filter(pk__in=resumed).values_list("pk", "updated_at"))
            _settle_limited(connection, [job.pk for job in missed_by])
            helds = held.held_by_own_pauses(missed_by, until)
            if run == RUN_ALL:
                held.refuse_too_many(helds)
            held.run_held(connection, helds, by=by, last_only=run == RUN_LAST)
            promote_locked(connection, _specs, resumed)
            record(Verb.JOB_RESUME, [of_job(job, _end_of_pause(job, run)) for job in found], by=by)
            notices.notify(connection, notices.PLAN)
    return resumed


def _runs_of_resume(ids: Sequence[int], run: str) -> int:
    """How many fire times a resume would run, as of now."""
    now = database_now()
    jobs = Job.objects.filter(pk__in=ids, paused_at__isnull=False).select_related("calendar")
    return _chosen_of(held.held_by_own_pauses(jobs, now), run)


def _runs_of_resume_scope(pause_id: int, run: str) -> int:
    """How many fire times the end of such a pause would run, as of now."""
    pause = Pause.objects.filter(pk=pause_id, ended_at=None).first()
    if pause is None:
        return 0
    return _chosen_of(held.held_by_scope(pause, now=database_now()), run)


def _chosen_of(helds: Iterable[held.Held], run: str) -> int:
    return sum(min(each.count, 1) if run == RUN_LAST else each.count for each in helds)


def _end_of_pause(job: Job, run: str) -> dict[str, Any]:
    held = {
        "paused_at": job.paused_at.isoformat() if job.paused_at else None,
        "paused_by": job.paused_by,
        "pause_reason": job.pause_reason,
    }
    return differences(held, {} if run == RUN_NONE else {"run": run})


def skip_next(job_id: int, *, by: str, expected: datetime | None = None) -> datetime:
    """The fire time that would run next becomes a gap; returns it. Raises CannotDo when there is none to skip.

    With `expected`, also when the next is another one by now: who saw 12:00 on a page must not skip 13:00.
    """
    with transaction_on_psycopg() as connection:
        connection.execute(LOCK_PLANS_SQL, {"job_ids": [job_id]})
        plan = JobPlan.objects.select_related("job__calendar").filter(pk=job_id).first()
        if plan is None:
            raise CannotDo("There is no such job; it may have been deleted.")
        if plan.skip_at is not None and plan.skip_at > plan.decided_until:
            raise CannotDo(
                f"The fire time {plan.skip_at:%Y-%m-%d %H:%M:%S} UTC is to be skipped already."
            )
        if plan.dirty:
            raise CannotDo("The job was edited a moment ago and is being planned; try again.")
        moment = first_open(plan.job, plan, pauses=read_pauses())
        if moment is None:
            raise CannotDo(
                "The job has no next fire time: it is paused, disabled, over, or runs by hand only."
            )
        if expected is not None and expected != moment:
            raise CannotDo(
                f"The next fire time is {moment:%Y-%m-%d %H:%M:%S} UTC by now, not "
                f"{expected.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC. Nothing is skipped."
            )
        JobPlan.objects.filter(pk=job_id).update(skip_at=moment, skip_by=by, dirty=True)
        _record_skip(Verb.JOB_SKIP, job_id, None, moment, by=by)
        notices.notify(connection, notices.PLAN)
        return moment


def unskip_next(job_id: int, *, by: str) -> bool:
    """Take a skip back, if its fire time has not come; False when there was none."""
    with transaction_on_psycopg() as connection:
        connection.execute(LOCK_PLANS_SQL, {"job_ids": [job_id]})
        plan = JobPlan.objects.filter(pk=job_id, skip_at__gt=F("decided_until")).first()
        if plan is None:
            return False
        JobPlan.objects.filter(pk=job_id).update(skip_at=None, skip_by="", dirty=True)
        _record_skip(Verb.JOB_UNSKIP, job_id, plan.skip_at, None, by=by)
        notices.notify(connection, notices.PLAN)
    return True


def _record_skip(
    verb: Verb, job_id: int, old: datetime | None, new: datetime | None, *, by: str
) -> None:
    written = {"skip_at": old and old.isoformat()}, {"skip_at": new and new.isoformat()}
    record(verb, [of_job(Job.objects.get(pk=job_id), differences(*written))], by=by)


def pause_scope(
    scope: str, value: str = "", *, by: str, reason: str = "", until: datetime | None = None
) -> Pause:
    """Pause a queue, a tag or everything. Raises CannotDo when that is paused already, NotAllowed when it holds others' jobs."""
    if scope not in PauseScope.values or (scope == PauseScope.ALL) != (value == ""):
        raise CannotDo("Pause 'all' without a value, or 'queue' or 'tag' with its name.")
    if until is not None and until <= database_now():
        raise CannotDo(f"The pause would end at {until:%Y-%m-%d %H:%M:%S %Z}, which is over.")
    require_pause(scope, value)
    with transaction_on_psycopg() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks.PAUSES])
        standing = Pause.objects.filter(scope=scope, value=value, ended_at=None)
        standing.filter(paused_until__lte=DatabaseNow()).update(ended_at=DatabaseNow())
        if standing.exists():
            raise CannotDo(f"{standing[0]} is paused already.")
        created = Pause.objects.create(
            scope=scope, value=value, paused_by=by, paused_until=until, reason=reason[:500]
        )
        changes = differences({}, {"paused_until": until.isoformat() if until else None})
        subject = Subject("pause", created.pk, str(created), changes=changes)
        record(Verb.PAUSE_CREATE, [subject], by=by, reason=reason)
        notices.notify(connection, notices.PLAN)
    created.refresh_from_db()
    return created


def resume_scope(pause_id: int, *, by: str, run: str = RUN_NONE) -> bool:
    """End a pause of a queue, a tag or everything; False when it was over.

    `run` as for `resume`, for each job that was held by this pause and has none of its own.
    """
    _check_choice(run)
    if run != RUN_NONE:
        spend_up_to_all(RUNS, lambda: _runs_of_resume_scope(pause_id, run))
    with transaction_on_psycopg() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks.PAUSES])
        pause = Pause.objects.filter(pk=pause_id, ended_at=None).first()
        if pause is None:
            return False
        require_pause(pause.scope, pause.value)
        Pause.objects.filter(pk=pause_id).update(ended_at=DatabaseNow(), ended_by=by)
        changes = {} if run == RUN_NONE else differences({}, {"run": run})
        record(Verb.PAUSE_END, [Subject("pause", pause_id, str(pause), changes=changes)], by=by)
        if run != RUN_NONE:
            pause.refresh_from_db(fields=["ended_at"])
            _run_what_was_held(connection, pause, by=by, run=run)
        notices.notify(connection, notices.PLAN)
    return True


def _run_what_was_held(
    connection: psycopg.Connection[Any], pause: Pause, *, by: str, run: str
) -> None:
    job_ids = sorted(job.pk for job in held.jobs_covered(pause))
    require_targets_of(job_ids)
    connection.execute(LOCK_PLANS_SQL, {"job_ids": job_ids})
    _settle_limited(connection, job_ids)
    # Read again: an edit that the lock has waited for is the last one.
    locked = set(job_ids)
    helds = [each for each in held.held_by_scope(pause) if each.job.pk in locked]
    if run == RUN_ALL:
        held.refuse_too_many_by(pause, helds)
    held.run_held(connection, helds, by=by, last_only=run == RUN_LAST)


def _settle_limited(connection: psycopg.Connection[Any], job_ids: Sequence[int]) -> None:
    """Decide about the fire times of those with a maximum number of runs: what is made up for takes of what is left."""
    limited = Job.objects.filter(pk__in=job_ids, max_runs__isnull=False)
    if ids := list(limited.values_list("pk", flat=True)):
        settle_at_once(connection, _specs, ids, misfire_after_s=get_config().misfire_after)


def _check_choice(run: str) -> None:
    if run not in RUN_CHOICES:
        raise CannotDo(f"Run {', '.join(RUN_CHOICES)} of the missed fire times, not {run!r}.")


def cancel(execution_ids: Iterable[int], *, by: str, reason: str = "") -> Cancelled:
    """What waits never begins; what runs is asked to stop, and ends as cancelled when it does."""
    ids = sorted(set(execution_ids))
    answer = Cancelled()
    with transaction_on_psycopg() as connection:
        rows = cancel_on(connection, ids, by=by, reason=reason)
        for execution_id, status, _ in rows:
            (answer.requested if status == "running" else answer.cancelled).append(execution_id)
        touched = {execution_id: job_id for execution_id, _, job_id in rows}
        _record_executions(Verb.EXECUTION_CANCEL, touched, by=by, reason=reason)
    answer.finished = sorted(set(ids) - set(answer.requested) - set(answer.cancelled))
    return answer


def cancel_on(
    connection: psycopg.Connection[Any], ids: Sequence[int], *, by: str, reason: str
) -> list[tuple[int, str, int | None]]:
    """`cancel` within the caller's transaction, which also records it: the id, status and job of each that lived."""
    parameters = {"ids": ids, "by": by, "reason": reason[:40]}
    rows = connection.execute(CANCEL_SQL, parameters).fetchall()
    if any(status == "running" for _, status, _ in rows):
        notices.notify(connection, notices.CANCEL)
    return rows


def retry(execution_ids: Iterable[int], *, by: str) -> list[int]:
    """Try executions again that failed, were lost or cancelled; the same executions, with one more attempt.

    Returns the ids of those that could be; a success, one that lives, and those of deleted jobs cannot.
    """
    ids = sorted(set(execution_ids))
    require_targets_again(ids)
    spend_up_to_all(RUNS, lambda: len(ids))
    with transaction_on_psycopg() as connection:
        rows = retry_on(connection, ids, by=by)
        _record_executions(Verb.EXECUTION_RETRY, dict(rows), by=by)
    return [row[0] for row in rows]


def retry_on(
    connection: psycopg.Connection[Any], ids: Sequence[int], *, by: str
) -> list[tuple[int, int | None]]:
    """`retry` within the caller's transaction, which also records it: the id and job of each that could be."""
    job_ids = [row[0] for row in connection.execute(JOBS_OF_SQL, {"ids": ids})]
    connection.execute(LOCK_PLANS_SQL, {"job_ids": job_ids})
    rows = connection.execute(RETRY_SQL, {"ids": ids, "by": by}).fetchall()
    promote_locked(connection, _specs, job_ids)
    notices.notify(connection, notices.READY)
    return rows


def _record_executions(
    verb: Verb, job_of: Mapping[int, int | None], *, by: str, reason: str = ""
) -> None:
    """An entry for each execution, with the name of its job, which the execution may outlive."""
    job_ids = {job_id for job_id in job_of.values() if job_id is not None}
    jobs = Job.including_deleted.filter(pk__in=job_ids)
    names: dict[int | None, str] = dict(jobs.values_list("pk", "name"))
    subjects = [
        Subject("execution", execution_id, names.get(job_id, ""), job_id)
        for execution_id, job_id in job_of.items()
    ]
    record(verb, subjects, by=by, reason=reason)


def _lock_jobs(job_ids: Sequence[int], **state: Any) -> list[Job]:
    """Those jobs that are in this state, with their rows and plans locked.

    In one order, as nodes lock the plans of many jobs too: so that nobody deadlocks.
    """
    found: list[Job] = list(
        Job.objects.filter(pk__in=job_ids, **state)
        .only("name", "version", "paused_at", "paused_by", "pause_reason")
        .order_by("pk")
        .select_for_update()
    )
    with transaction_on_psycopg() as connection:
        connection.execute(LOCK_PLANS_SQL, {"job_ids": [job.pk for job in found]})
    return found


def _notify(notice: str) -> None:
    with transaction_on_psycopg() as connection:
        notices.notify(connection, notice)
