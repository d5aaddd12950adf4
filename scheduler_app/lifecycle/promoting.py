"""Let blocked executions go when their job's limit allows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg

from . import notices
from .specs import SpecCache

SHORT_LOCK_TIMEOUT = "50ms"

LOCK_PLANS_SQL = """
SELECT job_id
FROM scheduler_app_jobplan
WHERE job_id = ANY(%(job_ids)s)
ORDER BY job_id              -- one order for everyone, so that nobody deadlocks
FOR UPDATE
"""

LOCK_FREE_PLANS_SQL = f"{LOCK_PLANS_SQL} SKIP LOCKED"

ROOM_SQL = """
SELECT plan.job_id, plan.revision_id, (
    SELECT count(*)
    FROM scheduler_app_execution AS live
    WHERE live.job_id = plan.job_id AND live.status IN ('ready', 'running')
)
FROM scheduler_app_jobplan AS plan
WHERE plan.job_id = ANY(%(job_ids)s)
"""

PROMOTE_SQL = """
WITH RECURSIVE free AS MATERIALIZED (
    SELECT * FROM unnest(%(job_ids)s::bigint[], %(rooms)s::bigint[]) AS free (job_id, room)
), present AS (
    SELECT waiting.id, waiting.job_id, 1 AS turn, waiting.scheduled_for
    FROM free
    CROSS JOIN LATERAL (
        SELECT id, job_id, scheduled_for
        FROM scheduler_app_execution
        WHERE job_id = free.job_id AND status = 'blocked' AND reason <> 'paused' AND backfill IS NULL
        ORDER BY backfill, scheduled_for, id   -- all of an index's columns, as it is not known that IS NULL is one value
        LIMIT free.room
    ) AS waiting
), asked AS (   -- from one backfill to the next by the same index, past all that waits for each
    SELECT free.job_id, (
        SELECT backfill
        FROM scheduler_app_execution
        WHERE job_id = free.job_id AND status = 'blocked' AND backfill IS NOT NULL
        ORDER BY backfill
        LIMIT 1
    ) AS backfill
    FROM free
    UNION ALL
    SELECT asked.job_id, (
        SELECT backfill
        FROM scheduler_app_execution
        WHERE job_id = asked.job_id AND status = 'blocked' AND backfill > asked.backfill
        ORDER BY backfill
        LIMIT 1
    )
    FROM asked
    WHERE asked.backfill IS NOT NULL
), past AS (   -- of each backfill the next few, in the order of an index: there may be thousands
    SELECT waiting.id, waiting.job_id, 2 AS turn, waiting.scheduled_for
    FROM asked
    JOIN scheduler_app_backfill AS request ON request.id = asked.backfill
    JOIN free ON free.job_id = request.job_id
    CROSS JOIN LATERAL (
        SELECT id, job_id, scheduled_for
        FROM scheduler_app_execution
        WHERE job_id = free.job_id AND status = 'blocked' AND reason <> 'paused'
          AND backfill = request.id
        ORDER BY scheduled_for, id
        LIMIT LEAST(free.room, GREATEST(0, request.max_running - (
            SELECT count(*)
            FROM scheduler_app_execution AS live
            WHERE live.job_id = free.job_id
              -- Not `=`, by which the planner would find all that the backfill ever ran.
              AND live.backfill IS NOT DISTINCT FROM request.id
              AND live.status IN ('ready', 'running')
        )))
    ) AS waiting
)
UPDATE scheduler_app_execution
SET
    status = 'ready',
    reason = '',
    run_after = GREATEST(run_after, scheduler_now())   -- late is what could have begun; before, it could not
WHERE id IN (
    SELECT waiting.id
    FROM (
        SELECT
            id, job_id,
            -- What the schedule asks for now goes before what somebody wants of the past.
            row_number() OVER (PARTITION BY job_id ORDER BY turn, scheduled_for, id) AS place
        FROM (SELECT * FROM present UNION ALL SELECT * FROM past) AS either
    ) AS waiting
    JOIN free ON free.job_id = waiting.job_id
    WHERE waiting.place <= free.room
)
"""

MAY_BE_PROMOTED = "status = 'blocked' AND reason <> 'paused'"

JOBS_WITH_BLOCKED_SQL = f"""
SELECT DISTINCT job_id
FROM scheduler_app_execution
WHERE {MAY_BE_PROMOTED}
LIMIT 1000
"""


def promote_locked(
    connection: psycopg.Connection[Any], specs: SpecCache, job_ids: Sequence[int]
) -> int:
    """Make blocked executions of these jobs ready, oldest first, as many as the limits allow, and tell the nodes.

    The caller's transaction holds the jobs' plans, so that nobody else counts at the same time.
    """
    if not job_ids:
        return 0
    plans = connection.execute(ROOM_SQL, {"job_ids": list(job_ids)}).fetchall()
    known = specs.get_many(connection, {revision_id for _, revision_id, _ in plans})
    rooms = {}
    for job_id, revision_id, unblocked in plans:
        limit = known[revision_id].limit
        rooms[job_id] = 2**31 if limit is None else limit - unblocked
    free = {job_id: room for job_id, room in rooms.items() if room > 0}
    if not free:
        return 0
    promoted = connection.execute(
        PROMOTE_SQL, {"job_ids": list(free), "rooms": list(free.values())}
    ).rowcount
    if promoted:
        notices.notify(connection, notices.READY)
    return promoted


def promote(connection: psycopg.Connection[Any], specs: SpecCache, job_ids: Sequence[int]) -> int:
    """`promote_locked` of the jobs whose plans are free, or soon are; the others are left to a tick.

    Whoever waits for this must not wait long for one job, nor hold a plan while waiting for another.
    """
    with connection.transaction():
        locked = connection.execute(LOCK_FREE_PLANS_SQL, {"job_ids": list(job_ids)}).fetchall()
        free = [job_id for (job_id,) in locked]
        promoted = promote_locked(connection, specs, free)
    missed = sorted(set(job_ids).difference(free))
    if missed:
        # To fire the job, or to promote for another outcome, takes some milliseconds; a tick may be a second away.
        with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{SHORT_LOCK_TIMEOUT}'")
            connection.execute(LOCK_PLANS_SQL, {"job_ids": missed})
            promoted += promote_locked(connection, specs, missed)
    return promoted


def promote_blocked(connection: psycopg.Connection[Any], specs: SpecCache) -> int:
    """Every tick: promote what nobody promoted, because a node died or a policy was edited."""
    job_ids = sorted(row[0] for row in connection.execute(JOBS_WITH_BLOCKED_SQL))
    if not job_ids:
        return 0
    with connection.transaction():
        # Whoever holds a plan for long, in a transaction left open, must not hold up the node: next time, then.
        locked = connection.execute(LOCK_FREE_PLANS_SQL, {"job_ids": job_ids}).fetchall()
        return promote_locked(connection, specs, [job_id for (job_id,) in locked])
