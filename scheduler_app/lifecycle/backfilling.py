"""Run fire times of the past, because somebody asks for it: a range, or its holes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import psycopg

from scheduler_app.access.throttling import RUNS, spend_up_to_all
from scheduler_app.models import (
    Backfill,
    Execution,
    Job,
    JobPlan,
    Status,
    Verb,
    database_now,
)
from scheduler_app.models.execution import LIVE
from scheduler_app.rules import firing as rules
from scheduler_app.rules.differences import differences
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import TIMING, JobSpec
from scheduler_app.rules.timetable import TICK, Timetable

from .auditing import of_job, record
from .definitions import plain
from .entitling import require_targets_of
from .promoting import LOCK_PLANS_SQL, promote_locked
from .specs import SpecCache
from .transactions import CannotDo, transaction_on_psycopg

MOST_FIRE_TIMES = 10_000
"""How many fire times one backfill may have."""

ANSWERED = (*LIVE, Status.SUCCEEDED)
"""A fire time that has an execution in one of these needs no other."""

MEANT = (*TIMING, "kind", "target", "arguments")
"""The fields of a definition that say which fire times there are and what is done at them."""

_NAMESPACE = uuid.UUID("6f1c1c1e-6a0c-4a57-9a4e-3f5f1f0b7a11")
_specs = SpecCache()

INSERT_SQL = """
INSERT INTO scheduler_app_execution
    (job_id, revision_id, trigger, backfill, scheduled_for, run_after, queue, priority, status, requested_by)
SELECT
    job.id, revision.id, 'backfill', asked.backfill, asked.moment, scheduler_now(),
    job.queue, job.priority, 'blocked', %(by)s
FROM unnest(%(backfills)s::uuid[], %(job_ids)s::bigint[], %(moments)s::timestamptz[])
    WITH ORDINALITY AS asked (backfill, job_id, moment, place)
JOIN scheduler_app_job AS job ON job.id = asked.job_id AND job.deleted_at IS NULL
JOIN scheduler_app_jobrevision AS revision
  ON revision.job_id = job.id AND revision.version = job.version
ORDER BY asked.place   -- ids are given out in this order, and what becomes ready at one moment begins in it
ON CONFLICT (backfill, scheduled_for) WHERE backfill IS NOT NULL DO NOTHING
"""


def fire_times_to_fill(
    job: Job, since: datetime, until: datetime, *, only_missing: bool
) -> list[datetime]:
    """The fire times of the job's present schedule in [since, until] that a backfill would run, oldest first.

    With `only_missing` those that have no success and nothing under way, nor are due and will be. Raises CannotDo when there are too many.
    """
    spec = job.spec()
    timetable = _timetable(job)
    stretches = rules.open_stretches(spec, since - TICK, min(until, database_now()))
    open_times = (moment for start, end in stretches for moment in timetable.between(start, end))
    moments = list(islice(open_times, MOST_FIRE_TIMES + 1))
    if len(moments) > MOST_FIRE_TIMES:
        raise CannotDo(
            f"There are more than {MOST_FIRE_TIMES:,} fire times from "
            f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S} to "
            f"{until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC; choose a shorter range."
        )
    if only_missing and moments:
        answered = set(
            Execution.objects.filter(
                job=job,
                scheduled_for__range=(moments[0], moments[-1]),
                status__in=ANSWERED,
            )
            .order_by()
            .values_list("scheduled_for", flat=True)
        )
        is_due = _due_by(job, spec)
        moments = [m for m in moments if m not in answered and not is_due(m)]
    return moments


def _due_by(job: Job, spec: JobSpec) -> Callable[[datetime], bool]:
    """Whether the schedule will still answer a fire time of the past, because no node has looked at it yet."""
    plan = JobPlan.objects.filter(pk=job.pk).first()
    if plan is None:
        return lambda moment: False
    if not plan.dirty:
        return lambda moment: plan.next_fire_at is not None and moment >= plan.next_fire_at
    pauses = rules.own_pause(spec)
    return lambda moment: (
        moment > plan.decided_until and not any(pause.covers(moment) for pause in pauses)
    )


def backfill(
    job_id: int,
    since: datetime,
    until: datetime,
    *,
    by: str,
    only_missing: bool = False,
    max_running: int = 1,
    request: str = "",
) -> Backfill:
    """Run the fire times in [since, until], oldest first, at most `max_running` side by side.

    Asking twice for the same range of the same definition runs nothing twice; `only_missing` asked again runs what
    has failed meanwhile, unless both name the same `request`, any word of the caller's, such as a form that was
    sent twice. The job's own limit holds too. Raises CannotDo.
    """
    require_targets_of([job_id])
    if since > until:
        raise CannotDo("The range ends before it begins.")
    if not 1 <= max_running <= 1000:
        raise CannotDo(f"Run 1 to 1000 side by side, not {max_running}.")

    def key_of(job: Job) -> uuid.UUID:
        # Not the version: a pause or another priority makes no other work of it.
        spec = job.spec()
        meant = json.dumps([plain(getattr(spec, name)) for name in MEANT], sort_keys=True)
        asked = f"{job_id} {meant} {since.astimezone(UTC)} {until.astimezone(UTC)}"
        if only_missing:
            asked = f"{job_id} missing {request or uuid.uuid4()}"
        return uuid.uuid5(_NAMESPACE, asked)

    def runs() -> int:
        job = Job.objects.filter(pk=job_id).first()
        if job is None or Backfill.objects.filter(pk=key_of(job)).exists():
            return 0
        return len(fire_times_to_fill(job, since, until, only_missing=only_missing))

    spend_up_to_all(RUNS, runs)
    with transaction_on_psycopg() as connection:
        connection.execute(LOCK_PLANS_SQL, {"job_ids": [job_id]})
        job = Job.objects.filter(pk=job_id).first()
        if job is None:
            raise CannotDo("There is no such job; it may have been deleted.")
        moments = fire_times_to_fill(job, since, until, only_missing=only_missing)
        return _create(
            connection, job, key_of(job), since, until, moments, by, only_missing, max_running
        )


def run_fire_times(
    connection: psycopg.Connection[Any],
    wanted: Sequence[tuple[Job, Sequence[datetime]]],
    *,
    by: str,
) -> None:
    """Run these fire times of each job, one after another; the caller's transaction has locked the jobs' plans."""
    asked = Backfill.objects.bulk_create(
        Backfill(
            pk=uuid.uuid4(),
            job=job,
            since=moments[0],
            until=moments[-1],
            only_missing=True,
            max_running=1,
            count=len(moments),
            requested_by=by,
        )
        for job, moments in wanted
    )
    _insert(connection, [(one, moments) for one, (_, moments) in zip(asked, wanted, strict=True)])


def _timetable(job: Job) -> Timetable:
    try:
        return Timetable.of(job.spec())
    except Invalid as error:
        raise CannotDo(f"{job.name} has no fire times: {error}", error.problems) from error


def _create(
    connection: psycopg.Connection[Any],
    job: Job,
    key: uuid.UUID,
    since: datetime,
    until: datetime,
    moments: Sequence[datetime],
    by: str,
    only_missing: bool,
    max_running: int,
) -> Backfill:
    asked, created = Backfill.objects.get_or_create(
        pk=key,
        defaults={
            "job": job,
            "since": since,
            "until": until,
            "only_missing": only_missing,
            "max_running": max_running,
            "count": len(moments),
            "requested_by": by,
        },
    )
    if created and moments:
        _insert(connection, [(asked, moments)])
    asked.refresh_from_db()
    return asked


def _insert(
    connection: psycopg.Connection[Any], asked: Sequence[tuple[Backfill, Sequence[datetime]]]
) -> None:
    """The executions of new backfills of one person, in the same few statements however many there are."""
    rows = [(one.pk, one.job_id, moment) for one, moments in asked for moment in moments]
    if not rows:
        return
    by = asked[0][0].requested_by
    backfills, job_ids, moments = map(list, zip(*rows, strict=True))
    connection.execute(
        INSERT_SQL, {"backfills": backfills, "job_ids": job_ids, "moments": moments, "by": by}
    )
    promote_locked(connection, _specs, sorted({one.job_id for one, _ in asked}))
    record(
        Verb.JOB_BACKFILL,
        [of_job(one.job, differences({}, _told(one))) for one, _ in asked],
        by=by,
    )


def _told(asked: Backfill) -> dict[str, Any]:
    return {
        "backfill": str(asked.pk),
        "since": asked.since.isoformat(),
        "until": asked.until.isoformat(),
        "only_missing": asked.only_missing,
        "max_running": asked.max_running,
        "count": asked.count,
    }
