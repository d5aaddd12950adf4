"""A node takes ready executions, and gives back those it cannot start."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import psycopg

from scheduler_app.models.pause import SCOPE_IS_PAUSED
from scheduler_app.rules.spec import JobSpec

from . import locks
from .arrays import numbers, texts
from .fences import JOB_IS_GONE, JOB_IS_PAUSED
from .promoting import LOCK_PLANS_SQL
from .specs import UNREADABLE, SpecCache

logger = logging.getLogger(__name__)

NOTHING = "{}"
"""An execution's own definition that holds its arguments alone, which are read by themselves."""

CLAIM_SQL = f"""
WITH next_up AS MATERIALIZED (   -- a fence: the planner must not run the lock again
    SELECT execution.id
    FROM scheduler_app_execution AS execution
    WHERE execution.status = 'ready'
      AND execution.run_after <= scheduler_now()
      AND (%(queues)s::text[] = '{{}}' OR execution.queue = ANY(%(queues)s::text[]))
      AND NOT {SCOPE_IS_PAUSED}
      -- A node that was declared dead, or drains, takes nothing.
      AND EXISTS (SELECT FROM scheduler_app_node WHERE id = %(node_id)s AND state = 'active')
    ORDER BY execution.priority DESC, execution.run_after, execution.id
    LIMIT %(limit)s
    FOR UPDATE OF execution SKIP LOCKED   -- another node's rows are not worth waiting for
)
UPDATE scheduler_app_execution AS execution
SET
    status = 'running',
    node_id = %(node_id)s,
    token = execution.token + 1,
    attempt = execution.attempt + 1,
    claimed_at = scheduler_now(),
    started_at = NULL,
    release = %(release)s
FROM next_up
WHERE execution.id = next_up.id
RETURNING
    execution.id, execution.token, execution.attempt, execution.crashes, execution.job_id,
    execution.revision_id,
    CASE jsonb_typeof(execution.spec) WHEN 'object' THEN execution.spec - 'arguments' ELSE execution.spec END::text,
    (execution.spec -> 'arguments')::text,
    execution.scheduled_for, execution.run_after, execution.priority, execution.reason, execution.failures::text,
    execution.backfill IS NOT NULL,
    (SELECT job.owner_id FROM scheduler_app_job AS job WHERE job.id = execution.job_id)
"""

HELD_BACK_SQL = f"""
SELECT execution.id
FROM scheduler_app_execution AS execution
LEFT JOIN scheduler_app_job AS job ON job.id = execution.job_id
WHERE execution.id = ANY(%(ids)s::bigint[])
  AND (execution.cancel_requested_at IS NOT NULL OR {JOB_IS_GONE} OR {JOB_IS_PAUSED} OR {SCOPE_IS_PAUSED})
"""

# Neither distinct nor sorted here: the engine's planner settings would read a whole index for its order.
JOBS_OF_SQL = """
SELECT job_id
FROM scheduler_app_execution
WHERE id = ANY(%(ids)s::bigint[]) AND job_id IS NOT NULL
"""

HAND_BACK_SQL = f"""
UPDATE scheduler_app_execution AS execution
SET
    status = CASE
        WHEN execution.cancel_requested_at IS NOT NULL OR {JOB_IS_GONE} THEN 'cancelled'
        WHEN {JOB_IS_PAUSED} THEN 'blocked'
        ELSE 'ready'
    END,
    reason = CASE
        WHEN execution.cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN {JOB_IS_GONE} THEN 'job_deleted'
        WHEN {JOB_IS_PAUSED} THEN 'paused'
        ELSE given.reason
    END,
    finished_at = CASE
        WHEN execution.cancel_requested_at IS NOT NULL OR {JOB_IS_GONE} THEN scheduler_now()
    END,
    node_id = NULL,
    token = execution.token + 1,
    attempt = execution.attempt - 1,    -- it never began, so it does not count
    claimed_at = NULL,
    started_at = NULL,
    run_after = CASE
        WHEN given.delay_s > 0 THEN scheduler_now() + make_interval(secs => given.delay_s)
        ELSE execution.run_after
    END,
    failures = CASE
        WHEN given.failure IS NULL THEN execution.failures
        ELSE execution.failures || given.failure
    END
FROM unnest(
    %(ids)s::bigint[], %(tokens)s::bigint[], %(reasons)s::text[], %(delays)s::float8[],
    %(failures)s::text[]::jsonb[]
) AS given (id, token, reason, delay_s, failure)
LEFT JOIN scheduler_app_execution AS same ON same.id = given.id   -- the updated row cannot be joined to its job
LEFT JOIN scheduler_app_job AS job ON job.id = same.job_id
WHERE execution.id = given.id
  AND execution.token = given.token
  AND execution.status = %(expected)s   -- a value, for the planner's sake; see FINISH_SQL
RETURNING execution.id
"""


@dataclass(slots=True)  # not frozen: made for each execution, which would take three times as long
class Claimed:
    """An execution that this node holds until its token moves; nobody changes it."""

    id: int
    token: int
    attempt: int
    crashes: int
    job_id: int | None
    spec: JobSpec
    arguments: Any
    """Of the spec, unless the execution has its own."""
    scheduled_for: datetime
    run_after: datetime
    priority: int
    reason: str
    failures: list[dict[str, Any]]
    is_backfill: bool = False
    owner_id: Any = None
    """Of the job at this moment: in whose name it runs. None: in nobody's, without a question."""


@dataclass(frozen=True, slots=True)
class HandBack:
    """A claimed execution that did not begin here; `failure` is kept in its history when given."""

    id: int
    token: int
    reason: str = ""
    delay_s: float = 0
    failure: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """Roughly the bytes that writing it takes."""
        return 500


def claim(
    connection: psycopg.Connection[Any],
    specs: SpecCache,
    *,
    node_id: int,
    limit: int,
    queues: Sequence[str] = (),
    release: str = "",
) -> list[Claimed]:
    """Take up to `limit` ready executions, highest priority first, then oldest; none for a node given up."""
    if limit < 1:
        return []
    parameters = {"node_id": node_id, "limit": limit, "queues": list(queues), "release": release}
    # The commit is sent along: a node that freezes here holds no rows.
    with connection.pipeline(), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [locks.PAUSES])
        cursor = connection.execute(CLAIM_SQL, parameters)
    rows = cursor.fetchall()
    known = specs.get_many(connection, {row[5] for row in rows if row[5] is not None})
    claimed = []
    for row in rows:
        spec, arguments = _definition(known.get(row[5]), row[6], row[7])
        claimed.append(
            Claimed(
                id=row[0],
                token=row[1],
                attempt=row[2],
                crashes=row[3],
                job_id=row[4],
                spec=spec,
                arguments=arguments,
                scheduled_for=row[8],
                run_after=row[9],
                priority=row[10],
                reason=row[11],
                failures=[] if row[12] == "[]" else json.loads(row[12]),
                is_backfill=row[13],
                owner_id=row[14],
            )
        )
    # RETURNING keeps no order.
    return sorted(claimed, key=lambda one: (-one.priority, one.run_after, one.id))


def held_back(connection: psycopg.Connection[Any], execution_ids: Sequence[int]) -> set[int]:
    """Of executions that were claimed and have not begun, those that must not: paused, cancelled or deleted since."""
    rows = connection.execute(HELD_BACK_SQL, {"ids": numbers(execution_ids)})
    return {execution_id for (execution_id,) in rows}


def hand_back(connection: psycopg.Connection[Any], given: Sequence[HandBack]) -> set[int]:
    """Make them ready again, uncounted, unless they were cancelled or their job was paused or deleted meanwhile.

    Returns the ids that were still this node's to give.
    """
    if not given:
        return set()
    parameters = {
        "ids": numbers(item.id for item in given),
        "tokens": numbers(item.token for item in given),
        "reasons": texts(item.reason for item in given),
        "delays": numbers(item.delay_s for item in given),
        "failures": texts(json.dumps(item.failure) if item.failure else None for item in given),
        "expected": "running",
    }
    with connection.transaction():
        job_ids = {job_id for (job_id,) in connection.execute(JOBS_OF_SQL, parameters)}
        connection.execute(LOCK_PLANS_SQL, {"job_ids": list(job_ids)})
        return {row[0] for row in connection.execute(HAND_BACK_SQL, parameters)}


def _definition(
    spec: JobSpec | None, override: str | None, arguments: str | None
) -> tuple[JobSpec, Any]:
    """The revision's definition with what the execution changes, and the arguments.

    UNREADABLE, which fails, rather than half of it.
    """
    try:
        if override is None:
            spec = spec or UNREADABLE
        elif spec is None:
            spec = _of_task(override)
        elif override != NOTHING:
            spec = JobSpec.from_json(_as_json(spec), json.loads(override))
        return spec, spec.arguments if arguments is None else json.loads(arguments)
    except (ValueError, TypeError, RecursionError):
        # Raised, it would leave all that were claimed together running for nobody.
        logger.exception("an execution's own definition cannot be read")
        return UNREADABLE, UNREADABLE.arguments


@lru_cache(maxsize=1000)
def _of_task(text: str) -> JobSpec:
    """What calls of a task have in common; without their arguments few texts differ."""
    return JobSpec.from_json(json.loads(text))


def _as_json(spec: JobSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.field_names()}
