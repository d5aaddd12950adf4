"""Runs that somebody asks for by hand or by program: one or a thousand, in one statement."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from scheduler_app.access import visible
from scheduler_app.access.ownership import own_job_in_sql
from scheduler_app.access.rights import require_targets
from scheduler_app.access.throttling import RUNS, spend
from scheduler_app.models import Trigger, database_now
from scheduler_app.models.audit import Verb
from scheduler_app.rules.differences import differences
from scheduler_app.rules.problems import Problem
from scheduler_app.targets import target_problems

from . import notices
from .auditing import Subject, record
from .entitling import require_targets_of
from .promoting import LOCK_PLANS_SQL
from .transactions import CannotDo, transaction_on_psycopg

MOST_RUNS = 1000
"""How many runs one request may ask for."""

RUN_SQL = """
WITH wanted AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(job_ids)s::bigint[], %(specs)s::text[], %(moments)s::timestamptz[]
    ) WITH ORDINALITY AS wanted (job_id, spec, scheduled_for, place)
),
live AS MATERIALIZED (   -- once for each job, however many runs of it are asked for
    SELECT job.id AS job_id, (
        SELECT count(*)
        FROM scheduler_app_execution AS execution
        WHERE execution.job_id = job.id
          AND execution.status IN ('ready', 'blocked', 'running')
          AND (execution.status <> 'blocked' OR execution.backfill IS NULL)
    ) AS count
    FROM scheduler_app_job AS job
    WHERE job.id = ANY(%(job_ids)s) AND NOT (job.max_running IS NULL AND job.on_overlap = 'allow')
),
inserted AS (
    INSERT INTO scheduler_app_execution
        (job_id, revision_id, spec, trigger, scheduled_for, run_after, queue, priority, status, requested_by)
    SELECT
        job.id, revision.id, wanted.spec::jsonb, %(trigger)s,
        COALESCE(wanted.scheduled_for, scheduler_now()), scheduler_now(),
        job.queue, job.priority,
        CASE
            WHEN job.max_running IS NULL AND job.on_overlap = 'allow' THEN 'ready'
            WHEN COALESCE(live.count, 0) + row_number() OVER (PARTITION BY job.id ORDER BY wanted.place)
                <= COALESCE(job.max_running, 1) THEN 'ready'
            ELSE 'blocked'
        END,
        %(by)s
    FROM wanted
    JOIN scheduler_app_job AS job ON job.id = wanted.job_id AND job.deleted_at IS NULL{of_the_caller}
    JOIN scheduler_app_jobrevision AS revision
      ON revision.job_id = job.id AND revision.version = job.version
    LEFT JOIN live ON live.job_id = job.id
    ORDER BY wanted.place   -- ids are given out in this order
    RETURNING id, job_id, revision_id, scheduled_for, run_after, queue, priority, status, created_at
),
told AS MATERIALIZED (   -- once for all of them
    SELECT pg_notify(%(channel)s, %(notice)s)
    WHERE EXISTS (SELECT FROM inserted)
)
SELECT inserted.*, job.name, job.kind, job.target
FROM inserted
CROSS JOIN told
JOIN scheduler_app_job AS job ON job.id = inserted.job_id
ORDER BY inserted.id
"""


class Inserted(NamedTuple):
    """An execution that RUN_SQL inserted, and what it is of its job."""

    id: int
    job_id: int
    revision_id: int
    scheduled_for: datetime
    run_after: datetime
    queue: str
    priority: int
    status: str
    created_at: datetime
    job_name: str
    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run that is asked for."""

    job_id: int
    arguments: Any = None
    """None: the job's own."""
    scheduled_for: datetime | None = None
    """The fire time that the job is told, now at the latest; None: now."""


def run_many(runs: Sequence[Run], *, by: str, trigger: str = Trigger.MANUAL) -> list[int]:
    """The executions' ids, in the order of `runs`; all of them or, with CannotDo, none.

    Problems name the run by its place: `runs.3.arguments`.
    """
    if not 1 <= len(runs) <= MOST_RUNS:
        raise CannotDo(f"Ask for 1 to {MOST_RUNS:,} runs at once, not {len(runs):,}.")
    # Before the transaction: nobody waits for the counter of somebody else's.
    spend(RUNS, len(runs))
    # Also before a thousand rows are written that a refusal would take back.
    require_targets_of({run.job_id for run in runs})
    check_arguments(runs, place="runs.{}.")
    check_fire_times(runs, place="runs.{}.")
    with transaction_on_psycopg() as connection:
        rows = insert_runs(connection, runs, by=by, trigger=trigger)
        if len(rows) < len(runs):
            raise CannotDo("Some of the jobs were deleted meanwhile; nothing was run.")
    return [row.id for row in rows]


def check_arguments(runs: Sequence[Run], *, place: str = "") -> None:
    """Raises CannotDo when the arguments of a run do not fit what its job does; NotAllowed first."""
    ids = {run.job_id for run in runs if run.arguments is not None}
    jobs = visible.jobs().only("name", "kind", "target").in_bulk(ids) if ids else {}
    require_targets((job.kind, job.target) for job in jobs.values())
    for number, run in enumerate(runs):
        job = jobs.get(run.job_id)
        if job is None or run.arguments is None:
            continue
        if problems := target_problems(job.kind, job.target, run.arguments):
            sentences = " ".join(problem.message for problem in problems)
            raise CannotDo(
                f"{job.name}: {sentences}",
                [replace(p, field=place.format(number) + p.field) for p in problems],
            )


def check_fire_times(runs: Sequence[Run], *, place: str = "") -> None:
    """Raises CannotDo for one that is still to come: the run would be the job's last execution until then."""
    told = {n: run.scheduled_for for n, run in enumerate(runs) if run.scheduled_for is not None}
    if not told:
        return
    now = database_now()
    problems = [
        Problem(
            place.format(number) + "scheduled_for",
            f"The fire time {moment:%Y-%m-%d %H:%M:%S %Z} is still to come; a run starts now, and is told one up to now.",
            given=f"{moment:%Y-%m-%d %H:%M:%S %Z}",
            allowed="a moment up to now; none stands for now",
        )
        for number, moment in told.items()
        if moment > now
    ]
    if problems:
        raise CannotDo(" ".join(problem.message for problem in problems), problems)


def insert_runs(
    connection: psycopg.Connection[Any], runs: Sequence[Run], *, by: str, trigger: str
) -> list[Inserted]:
    """The executions, oldest request first; runs of deleted jobs, and of others' jobs, are left out. Raises NotAllowed.

    Whether the caller may let the jobs do what they do is asked of the rows that are there now, in one statement with
    them; a refusal takes them back with the transaction.
    """
    job_ids = [run.job_id for run in runs]
    connection.execute(LOCK_PLANS_SQL, {"job_ids": sorted(set(job_ids))})
    of_the_caller, view = own_job_in_sql("job")
    found = connection.execute(
        RUN_SQL.format(of_the_caller=of_the_caller),
        {
            **view,
            "job_ids": job_ids,
            "specs": [
                None if run.arguments is None else json.dumps({"arguments": run.arguments})
                for run in runs
            ],
            "moments": [run.scheduled_for for run in runs],
            "by": by,
            "trigger": str(trigger),
            "channel": notices.CHANNEL,
            "notice": notices.READY,
        },
    ).fetchall()
    rows = [Inserted(*row) for row in found]
    require_targets((row.kind, row.target) for row in rows)
    record(Verb.JOB_RUN, _subjects(rows, runs), by=by)
    return rows


def _subjects(rows: Sequence[Inserted], runs: Sequence[Run]) -> Iterator[Subject]:
    """For the audit trail: each execution with what was asked of it. Both are in one order, less the deleted jobs."""
    asked = iter(runs)
    for row in rows:
        run = next(run for run in asked if run.job_id == row.job_id)
        given: dict[str, Any] = {"execution": row.id}
        if run.arguments is not None:
            given["arguments"] = run.arguments
        if run.scheduled_for is not None:
            given["scheduled_for"] = run.scheduled_for.isoformat()
        yield Subject("job", row.job_id, row.job_name, row.job_id, differences({}, given))
