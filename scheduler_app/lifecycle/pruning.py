"""Remove history that is older than it needs to be, in small batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from scheduler_app.models.idempotency import KEYS_KEPT

from . import locks

EXECUTIONS_SQL = """
WITH old AS MATERIALIZED (
    SELECT id
    FROM scheduler_app_execution
    WHERE scheduled_for < scheduler_now() - make_interval(secs => %(age_s)s)
      AND finished_at < scheduler_now() - make_interval(secs => %(age_s)s)
    ORDER BY scheduled_for, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), log AS (
    DELETE FROM scheduler_app_logchunk WHERE execution_id IN (SELECT id FROM old)
)
DELETE FROM scheduler_app_execution WHERE id IN (SELECT id FROM old)
"""

GAPS_SQL = """
DELETE FROM scheduler_app_gap
WHERE id IN (
    SELECT id
    FROM scheduler_app_gap
    WHERE last_at < scheduler_now() - make_interval(secs => %(age_s)s)
    ORDER BY last_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
"""

NODES_SQL = """
DELETE FROM scheduler_app_node AS node
WHERE node.state IN ('stopped', 'dead')
  AND node.finished_at < scheduler_now() - make_interval(secs => %(age_s)s)
  -- A claim that commits late must find its node dead, not unknown.
  AND NOT EXISTS (
      SELECT FROM scheduler_app_execution
      WHERE node_id = node.id AND status = 'running'
  )
"""

PAUSES_SQL = """
DELETE FROM scheduler_app_pause
WHERE ended_at < scheduler_now() - make_interval(secs => %(age_s)s)
"""

BACKFILLS_SQL = """
DELETE FROM scheduler_app_backfill AS backfill
WHERE backfill.created_at < scheduler_now() - make_interval(secs => %(age_s)s)
  AND NOT EXISTS (
      SELECT FROM scheduler_app_execution AS execution WHERE execution.backfill = backfill.id
  )
"""

BULK_SQL = """
DELETE FROM scheduler_app_bulkoperation
WHERE finished_at < scheduler_now() - make_interval(secs => %(age_s)s)
"""

JOBS_SQL = """
WITH gone AS MATERIALIZED (
    SELECT job.id
    FROM scheduler_app_job AS job
    WHERE job.deleted_at < scheduler_now() - make_interval(secs => %(age_s)s)
      AND NOT EXISTS (SELECT FROM scheduler_app_execution WHERE job_id = job.id)
    ORDER BY job.deleted_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), plans AS (
    DELETE FROM scheduler_app_jobplan WHERE job_id IN (SELECT id FROM gone)
), revisions AS (
    DELETE FROM scheduler_app_jobrevision WHERE job_id IN (SELECT id FROM gone)
), gaps AS (
    DELETE FROM scheduler_app_gap WHERE job_id IN (SELECT id FROM gone)
)
DELETE FROM scheduler_app_job WHERE id IN (SELECT id FROM gone)
"""

AUDIT_SQL = """
DELETE FROM scheduler_app_auditentry
WHERE id IN (
    SELECT id
    FROM scheduler_app_auditentry
    WHERE at < scheduler_now() - make_interval(secs => %(audit_age_s)s)
    ORDER BY at, id
    LIMIT %(limit)s
)
"""

THROTTLES_SQL = """
DELETE FROM scheduler_app_throttle
WHERE minute < floor(extract(epoch FROM scheduler_now()) / 60) - 1   -- they count for nothing any more
"""


KEYS_SQL = """
DELETE FROM scheduler_app_idempotencykey
WHERE id IN (
    SELECT id
    FROM scheduler_app_idempotencykey
    WHERE created_at < scheduler_now() - %(keys_kept)s
    ORDER BY created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED   -- one that is old enough may be taken anew at this moment
)
"""


@dataclass(slots=True)
class Pruned:
    """What one batch removed."""

    executions: int = 0
    gaps: int = 0
    nodes: int = 0
    jobs: int = 0
    audit_entries: int = 0
    keys: int = 0
    more: bool = False
    """There may be more that is old enough."""


def prune(
    connection: psycopg.Connection[Any], *, age_s: float, audit_age_s: float, limit: int = 1000
) -> Pruned | None:
    """Remove up to `limit` rows of each kind that ended longer than `age_s` seconds ago; audit entries by their own age.

    None while another node prunes.
    """
    parameters = {
        "age_s": age_s,
        "audit_age_s": audit_age_s,
        "keys_kept": KEYS_KEPT,
        "limit": limit,
    }
    with connection.transaction():
        row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [locks.PRUNING]).fetchone()
        if row is None or not row[0]:
            return None
        removed = Pruned(
            executions=connection.execute(EXECUTIONS_SQL, parameters).rowcount,
            gaps=connection.execute(GAPS_SQL, parameters).rowcount,
            nodes=connection.execute(NODES_SQL, parameters).rowcount,
        )
        connection.execute(PAUSES_SQL, parameters)
        connection.execute(BACKFILLS_SQL, parameters)
        connection.execute(THROTTLES_SQL)
        connection.execute(BULK_SQL, parameters)
        removed.jobs = connection.execute(JOBS_SQL, parameters).rowcount
        # Its trigger refuses every other DELETE.
        connection.execute("SELECT set_config('scheduler.pruning', 'on', true)")
        removed.audit_entries = connection.execute(AUDIT_SQL, parameters).rowcount
        removed.keys = connection.execute(KEYS_SQL, parameters).rowcount
        removed.more = limit in (
            removed.executions,
            removed.gaps,
            removed.jobs,
            removed.audit_entries,
            removed.keys,
        )
        return removed
