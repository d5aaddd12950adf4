"""Remove history that is older, or more, than is kept, in small batches.

Every pass walks an index from where its last batch ended, so that a batch reads as much as it may remove, whatever is
kept before it: the executions of a job that keeps them for longer, or what is old and still under way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from scheduler_app.models.idempotency import KEYS_KEPT

from . import locks

NODES_KEPT = 1000
"""Of those that ended: a node that a supervisor starts again and again leaves a row each time."""
JOBS_AT_ONCE = 100
_BEGINNING = (datetime(1, 1, 1, tzinfo=UTC), 0)

BOUNDARIES_SQL = """
SELECT
    COALESCE((
        SELECT scheduled_for
        FROM scheduler_app_execution
        ORDER BY scheduled_for DESC, id DESC
        OFFSET %(count)s - 1
        LIMIT 1
    )::text, '-infinity'),
    COALESCE((
        SELECT last_at
        FROM scheduler_app_gap
        ORDER BY last_at DESC
        OFFSET %(count)s - 1
        LIMIT 1
    )::text, '-infinity')
"""

# What goes is asked for as an array, not by a join: planned when a table was empty, a join reads all of it for each row.
EXECUTIONS_SQL = """
WITH seen AS MATERIALIZED (
    SELECT id, job_id, scheduled_for, finished_at
    FROM scheduler_app_execution
    WHERE (scheduled_for, id) > (%(after_at)s, %(after_id)s)
      AND scheduled_for < GREATEST(scheduler_now() - make_interval(secs => %(age_s)s), %(boundary)s::timestamptz)
    ORDER BY scheduled_for, id
    LIMIT %(limit)s
), old AS MATERIALIZED (
    SELECT execution.id
    FROM seen
    JOIN scheduler_app_execution AS execution ON execution.id = seen.id
    LEFT JOIN scheduler_app_job AS job ON job.id = seen.job_id
    WHERE seen.finished_at IS NOT NULL
      AND (
          seen.scheduled_for < %(boundary)s::timestamptz
          OR seen.finished_at < scheduler_now()
              - GREATEST(make_interval(secs => %(age_s)s), make_interval(days => job.keep_days))
      )
    FOR UPDATE OF execution SKIP LOCKED
), log AS (
    DELETE FROM scheduler_app_logchunk WHERE execution_id = ANY(ARRAY(SELECT id FROM old))
), gone AS (
    DELETE FROM scheduler_app_execution WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING id
)
SELECT scheduled_for, id, (SELECT count(*) FROM seen), (SELECT count(*) FROM gone)
FROM seen
ORDER BY scheduled_for DESC, id DESC
LIMIT 1
"""

GAPS_SQL = """
WITH seen AS MATERIALIZED (
    SELECT id, job_id, last_at
    FROM scheduler_app_gap
    WHERE (last_at, id) > (%(after_at)s, %(after_id)s)
      AND last_at < GREATEST(scheduler_now() - make_interval(secs => %(age_s)s), %(boundary)s::timestamptz)
    ORDER BY last_at, id
    LIMIT %(limit)s
), old AS MATERIALIZED (
    SELECT gap.id
    FROM seen
    JOIN scheduler_app_gap AS gap ON gap.id = seen.id
    LEFT JOIN scheduler_app_job AS job ON job.id = seen.job_id
    WHERE seen.last_at < %(boundary)s::timestamptz
       OR seen.last_at < scheduler_now()
           - GREATEST(make_interval(secs => %(age_s)s), make_interval(days => job.keep_days))
    FOR UPDATE OF gap SKIP LOCKED
), gone AS (
    DELETE FROM scheduler_app_gap WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING id
)
SELECT last_at, id, (SELECT count(*) FROM seen), (SELECT count(*) FROM gone)
FROM seen
ORDER BY last_at DESC, id DESC
LIMIT 1
"""

LOGS_SQL = """
WITH seen AS MATERIALIZED (
    SELECT id, scheduled_for, finished_at
    FROM scheduler_app_execution
    WHERE (scheduled_for, id) > (%(after_at)s, %(after_id)s)
      AND scheduled_for < scheduler_now() - make_interval(secs => %(log_age_s)s)
    ORDER BY scheduled_for, id
    LIMIT %(limit)s
), gone AS (
    DELETE FROM scheduler_app_logchunk
    WHERE execution_id = ANY(ARRAY(
        SELECT id FROM seen
        WHERE finished_at < scheduler_now() - make_interval(secs => %(log_age_s)s)
    ))
    RETURNING execution_id
)
SELECT scheduled_for, id, (SELECT count(*) FROM seen), (SELECT count(*) FROM gone)
FROM seen
ORDER BY scheduled_for DESC, id DESC
LIMIT 1
"""

OWN_JOBS_SQL = """
SELECT id
FROM scheduler_app_job
WHERE (keep_days IS NOT NULL OR keep_last IS NOT NULL) AND id > %(after_id)s
ORDER BY id
LIMIT %(jobs)s
"""

OWN_EXECUTIONS_SQL = """
WITH old AS MATERIALIZED (
    SELECT execution.id
    FROM (
        SELECT aged.id
        FROM scheduler_app_job AS job
        CROSS JOIN LATERAL (
            SELECT id
            FROM scheduler_app_execution
            WHERE job_id = job.id
              AND scheduled_for < scheduler_now() - make_interval(days => job.keep_days)
              AND finished_at < scheduler_now() - make_interval(days => job.keep_days)
            ORDER BY scheduled_for
            LIMIT %(limit)s
        ) AS aged
        WHERE job.id = ANY(%(jobs)s)
        UNION
        SELECT surplus.id
        FROM scheduler_app_job AS job
        CROSS JOIN LATERAL (
            SELECT id
            FROM scheduler_app_execution
            WHERE job_id = job.id
              AND finished_at IS NOT NULL
              AND scheduled_for < (
                  SELECT scheduled_for
                  FROM scheduler_app_execution
                  WHERE job_id = job.id AND job.keep_last IS NOT NULL
                  ORDER BY scheduled_for DESC
                  OFFSET GREATEST(job.keep_last - 1, 0)
                  LIMIT 1
              )
            ORDER BY scheduled_for
            LIMIT %(limit)s
        ) AS surplus
        WHERE job.id = ANY(%(jobs)s)
        LIMIT %(limit)s
    ) AS either
    JOIN scheduler_app_execution AS execution ON execution.id = either.id
    FOR UPDATE OF execution SKIP LOCKED
), log AS (
    DELETE FROM scheduler_app_logchunk WHERE execution_id = ANY(ARRAY(SELECT id FROM old))
)
DELETE FROM scheduler_app_execution WHERE id = ANY(ARRAY(SELECT id FROM old))
"""

OWN_GAPS_SQL = """
DELETE FROM scheduler_app_gap
WHERE id IN (
    SELECT aged.id
    FROM scheduler_app_job AS job
    CROSS JOIN LATERAL (
        SELECT id
        FROM scheduler_app_gap
        WHERE job_id = job.id
          AND first_at < scheduler_now() - make_interval(days => job.keep_days)
          AND last_at < scheduler_now() - make_interval(days => job.keep_days)
        ORDER BY first_at
        LIMIT %(limit)s
    ) AS aged
    WHERE job.id = ANY(%(jobs)s)
    UNION
    SELECT surplus.id
    FROM scheduler_app_job AS job
    CROSS JOIN LATERAL (
        SELECT id
        FROM scheduler_app_gap
        WHERE job_id = job.id
          AND first_at < (
              SELECT first_at
              FROM scheduler_app_gap
              WHERE job_id = job.id AND job.keep_last IS NOT NULL
              ORDER BY first_at DESC
              OFFSET GREATEST(job.keep_last - 1, 0)
              LIMIT 1
          )
        ORDER BY first_at
        LIMIT %(limit)s
    ) AS surplus
    WHERE job.id = ANY(%(jobs)s)
    LIMIT %(limit)s
)
"""

NODES_SQL = """
DELETE FROM scheduler_app_node AS node
WHERE node.state IN ('stopped', 'dead')
  AND (
      node.finished_at < scheduler_now() - make_interval(secs => %(age_s)s)
      OR node.id < (
          SELECT id
          FROM scheduler_app_node
          WHERE state IN ('stopped', 'dead')
          ORDER BY id DESC
          OFFSET %(nodes)s - 1
          LIMIT 1
      )
  )
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
    DELETE FROM scheduler_app_jobplan WHERE job_id = ANY(ARRAY(SELECT id FROM gone))
), revisions AS (
    DELETE FROM scheduler_app_jobrevision WHERE job_id = ANY(ARRAY(SELECT id FROM gone))
), gaps AS (
    DELETE FROM scheduler_app_gap WHERE job_id = ANY(ARRAY(SELECT id FROM gone))
)
DELETE FROM scheduler_app_job WHERE id = ANY(ARRAY(SELECT id FROM gone))
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
WHERE minute < floor(extract(epoch FROM scheduler_now()) / 60)::int - 1   -- they count for nothing any more
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much history is kept, where a job does not say otherwise. Ages are seconds."""

    age_s: float
    """Of executions, gaps, nodes, and what else has ended."""
    audit_age_s: float
    log_age_s: float = 0
    """Of logs; 0: as long as their executions."""
    count: int = 0
    """Of executions and of gaps, at most so many of each, whatever jobs say; 0: any number."""


@dataclass(slots=True)
class Position:
    """Where the passes are: a batch goes on where the one before ended."""

    executions: tuple[datetime, int] = _BEGINNING
    gaps: tuple[datetime, int] = _BEGINNING
    logs: tuple[datetime, int] = _BEGINNING
    job: int = 0
    """Of the jobs that keep their history for a time or number of their own."""
    boundaries: tuple[Any, Any] | None = None
    """The oldest moments of executions and of gaps that are among the newest that are kept, once they are known.

    To count to them costs as much as there is to keep, which would be too much for every batch; older than they are,
    they let too little go, and never too much."""


@dataclass(slots=True)
class Pruned:
    """What one batch removed."""

    executions: int = 0
    gaps: int = 0
    logs: int = 0
    nodes: int = 0
    jobs: int = 0
    audit_entries: int = 0
    keys: int = 0
    more: bool = False
    """There may be more that need not be kept."""


@dataclass(slots=True)
class _Batch:
    connection: psycopg.Connection[Any]
    keep: Keep
    limit: int
    removed: Pruned = field(default_factory=Pruned)

    def walk(
        self, statement: str, after: tuple[datetime, int], boundary: object = None
    ) -> tuple[tuple[datetime, int], int]:
        """Look at the next rows of an index; returns the last of them, and how many were removed."""
        row = self.connection.execute(
            statement,
            {
                "after_at": after[0],
                "after_id": after[1],
                "age_s": self.keep.age_s,
                "log_age_s": self.keep.log_age_s,
                "boundary": boundary,
                "limit": self.limit,
            },
        ).fetchone()
        if row is None:
            return after, 0
        at, id_, seen, gone = row
        self.removed.more |= seen == self.limit
        return (at, id_), gone

    def count(self, statement: str, **more: Any) -> int:
        """How many rows a statement removed."""
        parameters = {
            "age_s": self.keep.age_s,
            "audit_age_s": self.keep.audit_age_s,
            "limit": self.limit,
        }
        count = self.connection.execute(statement, parameters | more).rowcount
        self.removed.more |= count == self.limit
        return count


def prune(
    connection: psycopg.Connection[Any],
    keep: Keep,
    position: Position | None = None,
    *,
    limit: int = 1000,
) -> Pruned | None:
    """Remove up to `limit` rows of each kind, and move the position on. None while another node prunes."""
    position = position or Position()
    batch = _Batch(connection, keep, limit)
    removed = batch.removed
    with connection.transaction():
        row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [locks.PRUNING]).fetchone()
        if row is None or not row[0]:
            return None
        removed.executions, removed.gaps = _prune_own(batch, position)
        if position.boundaries is None:
            position.boundaries = _boundaries(connection, keep.count)
        executions, gaps = position.boundaries
        position.executions, gone = batch.walk(EXECUTIONS_SQL, position.executions, executions)
        removed.executions += gone
        position.gaps, gone = batch.walk(GAPS_SQL, position.gaps, gaps)
        removed.gaps += gone
        if keep.log_age_s:
            position.logs, removed.logs = batch.walk(LOGS_SQL, position.logs)
        removed.nodes = batch.count(NODES_SQL, nodes=NODES_KEPT)
        for statement in (PAUSES_SQL, BACKFILLS_SQL, BULK_SQL, THROTTLES_SQL):
            batch.count(statement)
        removed.jobs = batch.count(JOBS_SQL)
        removed.keys = batch.count(KEYS_SQL, keys_kept=KEYS_KEPT)
        # Its trigger refuses every other DELETE.
        connection.execute("SELECT set_config('scheduler.pruning', 'on', true)")
        removed.audit_entries = batch.count(AUDIT_SQL)
    return removed


def _boundaries(connection: psycopg.Connection[Any], count: int) -> tuple[Any, Any]:
    """The oldest moments of executions and of gaps that are among the newest `count`."""
    if not count:
        return "-infinity", "-infinity"
    row = connection.execute(BOUNDARIES_SQL, {"count": count}).fetchone()
    assert row is not None
    return row[0], row[1]


def _prune_own(batch: _Batch, position: Position) -> tuple[int, int]:
    """Of the next jobs that say themselves what is kept, remove what is not: executions and gaps, how many."""
    rows = batch.connection.execute(
        OWN_JOBS_SQL, {"after_id": position.job, "jobs": JOBS_AT_ONCE}
    ).fetchall()
    jobs = [job_id for (job_id,) in rows]
    if not jobs:
        position.job = 0
        return 0, 0
    executions = batch.count(OWN_EXECUTIONS_SQL, jobs=jobs)
    gaps = batch.count(OWN_GAPS_SQL, jobs=jobs)
    if batch.limit not in (executions, gaps):
        is_last = len(jobs) < JOBS_AT_ONCE
        position.job = 0 if is_last else jobs[-1]
        batch.removed.more |= not is_last
    return executions, gaps
