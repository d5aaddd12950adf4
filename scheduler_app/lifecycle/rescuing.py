"""Give back what dead nodes held."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from scheduler_app.rules.tallies import FINISHED, RESCUED, Tallies, outcome_of

from . import notices
from .fences import JOB_IS_GONE, JOB_IS_PAUSED
from .promoting import LOCK_FREE_PLANS_SQL
from .tallying import write_tallies

LEAP_S = 2.0
"""By so much the database's clock and a node's monotonic one may disagree from one answer to the next."""

BURY_SQL = """
UPDATE scheduler_app_node
SET
    state = 'dead',
    finished_at = scheduler_now(),
    state_reason = 'no heartbeat since ' || to_char(heartbeat_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
WHERE id IN (
    SELECT id
    FROM scheduler_app_node
    WHERE state IN ('active', 'draining')
      -- Its own lease, where that is longer: during a deploy that shortens the lease there are both.
      AND heartbeat_at < scheduler_now() - make_interval(secs => GREATEST(lease_s, %(lease_s)s))
      AND abs(extract(epoch FROM scheduler_now() - COALESCE(%(believed_now)s, scheduler_now()))) < %(leap_s)s
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
RETURNING name
"""

# Every running row whose node is not alive, not only those of the nodes just buried: a claim of a dead node may
# commit late, and is found by the next sweep.
ORPHANS_SQL = """
SELECT execution.id, execution.job_id, plan.job_id IS NOT NULL
FROM scheduler_app_execution AS execution
LEFT JOIN scheduler_app_node AS node ON node.id = execution.node_id
LEFT JOIN scheduler_app_jobplan AS plan ON plan.job_id = execution.job_id
WHERE execution.status = 'running'
  AND (node.state IS NULL OR node.state NOT IN ('active', 'draining'))
ORDER BY execution.node_id   -- leads the planner to the index of running rows, and past those of all or all live
LIMIT %(limit)s
"""

RESCUE_SQL = f"""
WITH orphan AS MATERIALIZED (
    SELECT
        execution.id,
        node.name AS node,
        {JOB_IS_GONE} AS job_deleted,
        {JOB_IS_PAUSED} AS held,
        execution.cancel_requested_at IS NOT NULL AS cancelled,
        execution.crashes + 1 >= %(max_crashes)s AS poisoned,
        COALESCE(execution.spec ->> 'guarantee', revision.spec ->> 'guarantee') = 'at_most_once' AS once
    FROM scheduler_app_execution AS execution
    LEFT JOIN scheduler_app_node AS node ON node.id = execution.node_id
    LEFT JOIN scheduler_app_jobrevision AS revision ON revision.id = execution.revision_id
    LEFT JOIN scheduler_app_job AS job ON job.id = execution.job_id
    WHERE execution.id = ANY(%(ids)s)
      AND execution.status = 'running'
      AND (node.state IS NULL OR node.state NOT IN ('active', 'draining'))
    ORDER BY execution.id
    FOR UPDATE OF execution SKIP LOCKED
), fate AS (
    SELECT
        id, node,
        CASE
            WHEN cancelled THEN 'cancelled'
            WHEN once THEN 'lost'
            WHEN poisoned THEN 'failed'
            WHEN job_deleted THEN 'cancelled'
            WHEN held THEN 'blocked'
            ELSE 'ready'
        END AS status,
        CASE
            WHEN cancelled THEN 'cancelled'
            WHEN once THEN 'node_died'
            WHEN poisoned THEN 'poisoned'
            WHEN job_deleted THEN 'job_deleted'
            WHEN held THEN 'paused'
            ELSE 'rescued'
        END AS reason
    FROM orphan
)
UPDATE scheduler_app_execution AS execution
SET
    status = fate.status,
    reason = fate.reason,
    token = execution.token + 1,
    crashes = execution.crashes + 1,
    -- A crash is counted as a crash; the attempt is given back to the retry rule.
    attempt = CASE WHEN fate.status IN ('ready', 'blocked') THEN execution.attempt - 1 ELSE execution.attempt END,
    node_id = CASE WHEN fate.status IN ('ready', 'blocked') THEN NULL ELSE execution.node_id END,
    claimed_at = CASE WHEN fate.status IN ('ready', 'blocked') THEN NULL ELSE execution.claimed_at END,
    started_at = CASE WHEN fate.status IN ('ready', 'blocked') THEN NULL ELSE execution.started_at END,
    finished_at = CASE WHEN fate.status NOT IN ('ready', 'blocked') THEN scheduler_now() END,
    error = CASE
        WHEN fate.status IN ('lost', 'failed') THEN 'The node ' || COALESCE(fate.node, '') || ' died while this ran.'
        ELSE execution.error
    END,
    failures = CASE
        WHEN fate.status IN ('ready', 'blocked') THEN execution.failures || jsonb_build_object(
            'attempt', execution.attempt,
            'reason', 'node_died',
            'error', 'The node ' || COALESCE(fate.node, '') || ' died while this ran.',
            'node', fate.node,
            'started_at', COALESCE(execution.started_at, execution.claimed_at),
            'finished_at', scheduler_now()
        )
        ELSE execution.failures
    END
FROM fate
WHERE execution.id = fate.id
RETURNING execution.id, execution.status, execution.reason
"""


@dataclass(slots=True)
class Rescued:
    """What one sweep found."""

    nodes: list[str] = field(default_factory=list)
    """Names of the nodes declared dead."""
    ready: int = 0
    given_up: int = 0
    """Executions that ended: lost, poisoned, cancelled."""


def rescue(
    connection: psycopg.Connection[Any],
    *,
    lease_s: float,
    max_crashes: int,
    limit: int = 500,
    believed_now: datetime | None = None,
) -> Rescued:
    """Declare silent nodes dead and give their executions a new token, and most of them a new chance.

    Nobody is declared dead while the database's clock is far from `believed_now`: it has leapt a moment ago.
    """
    found = Rescued()
    bury = {"lease_s": lease_s, "believed_now": believed_now, "leap_s": LEAP_S}
    found.nodes = [row[0] for row in connection.execute(BURY_SQL, bury)]
    orphans = connection.execute(ORPHANS_SQL, {"limit": limit}).fetchall()
    if not orphans:
        return found
    with connection.transaction():
        # Those of a job that is being paused, edited or deleted at this moment are left to the next sweep.
        plans = connection.execute(
            LOCK_FREE_PLANS_SQL, {"job_ids": [job_id for _, job_id, planned in orphans if planned]}
        )
        locked = {job_id for (job_id,) in plans}
        ids = [id for id, job_id, planned in orphans if not planned or job_id in locked]
        rows = connection.execute(RESCUE_SQL, {"max_crashes": max_crashes, "ids": ids}).fetchall()
        found.ready = sum(status in ("ready", "blocked") for _, status, _ in rows)
        found.given_up = len(rows) - found.ready
        if found.ready:
            notices.notify(connection, notices.READY)
        tallies = Tallies()
        for _, status, reason in rows:
            if status in ("ready", "blocked"):
                tallies.add(RESCUED)
            else:
                tallies.add(FINISHED, outcome_of(status, reason))
        write_tallies(connection, tallies)
    return found
