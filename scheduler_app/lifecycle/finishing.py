"""Record outcomes, many in one statement, each fenced by its token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from scheduler_app.rules.tallies import DRIFT, DURATION, FINISHED, RETRIED, Tallies, outcome_of

from .arrays import moments, numbers, texts
from .fences import JOB_IS_GONE, JOB_IS_PAUSED
from .promoting import LOCK_PLANS_SQL, promote_locked
from .specs import SpecCache
from .tallying import write_tallies

ENDS = f"""(
        outcome.retry_s IS NULL OR execution.cancel_requested_at IS NOT NULL OR {JOB_IS_GONE}
    )"""

# The expected status comes as a value: written as a literal it would match the partial index of running rows, which
# the planner believes to be empty and then reads as a whole for each row of the batch.
FINISH_SQL = f"""
UPDATE scheduler_app_execution AS execution
SET
    status = CASE
        WHEN outcome.retry_s IS NULL THEN outcome.status
        WHEN {ENDS} THEN 'cancelled'     -- no new attempt begins
        WHEN {JOB_IS_PAUSED} THEN 'blocked'
        ELSE 'ready'
    END,
    reason = CASE
        WHEN outcome.retry_s IS NULL THEN outcome.reason
        WHEN execution.cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN {ENDS} THEN 'job_deleted'
        WHEN {JOB_IS_PAUSED} THEN 'paused'
        ELSE outcome.reason
    END,
    finished_at = CASE WHEN {ENDS} THEN outcome.finished_at END,
    run_after = CASE
        WHEN {ENDS} THEN execution.run_after
        ELSE scheduler_now() + make_interval(secs => outcome.retry_s)
    END,
    failures = CASE
        WHEN {ENDS} THEN execution.failures
        ELSE execution.failures || outcome.failure
    END,
    started_at = outcome.started_at,
    result = outcome.result,
    error = outcome.error,
    traceback = outcome.traceback,
    crashes = execution.crashes + outcome.crashed
FROM unnest(
    %(ids)s::bigint[], %(tokens)s::bigint[], %(jobs)s::bigint[], %(statuses)s::text[],
    %(reasons)s::text[], %(started)s::timestamptz[], %(finished)s::timestamptz[], %(results)s::text[]::jsonb[],
    %(errors)s::text[], %(tracebacks)s::text[], %(retries)s::float8[],
    %(failures)s::text[]::jsonb[], %(crashed)s::int[], %(limited)s::bigint[]
) AS outcome (
    id, token, job_id, status, reason, started_at, finished_at, result, error, traceback, retry_s, failure, crashed,
    limited
)
LEFT JOIN scheduler_app_job AS job ON outcome.retry_s IS NOT NULL AND job.id = outcome.job_id
WHERE execution.id = outcome.id
  AND execution.token = outcome.token
  AND execution.status = %(expected)s
RETURNING
    execution.id, execution.token, execution.status, execution.reason,
    extract(epoch FROM execution.finished_at - execution.started_at)::float8,
    CASE
        WHEN execution.trigger = 'schedule' AND execution.attempt = 1 AND execution.crashes = 0
        THEN extract(epoch FROM execution.started_at - execution.scheduled_for)::float8
    END,
    (
        SELECT waiting.job_id
        FROM scheduler_app_execution AS waiting
        WHERE waiting.job_id = outcome.limited AND waiting.status = 'blocked' AND waiting.reason <> 'paused'
        ORDER BY waiting.backfill   -- leads the planner to the index of those that are blocked
        LIMIT 1
    )
"""

ALREADY_DONE_SQL = """
SELECT execution.id
FROM scheduler_app_execution AS execution
JOIN unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) AS mine (id, token)
  ON mine.id = execution.id AND mine.token = execution.token
WHERE execution.status <> 'running'
"""

LOG_SQL = """
INSERT INTO scheduler_app_logchunk (execution_id, attempt, token, seq, text)
SELECT part.execution_id, part.attempt, part.token, part.seq, part.text
FROM unnest(
    %(ids)s::bigint[], %(attempts)s::int[], %(tokens)s::bigint[], %(seqs)s::int[], %(texts)s::text[]
) AS part (execution_id, attempt, token, seq, text)
JOIN scheduler_app_execution AS execution
  ON execution.id = part.execution_id AND execution.token = part.token
ON CONFLICT (execution_id, attempt, token, seq) DO NOTHING   -- a repeated write after a lost answer
"""

STARTED_SQL = """
UPDATE scheduler_app_execution AS execution
SET started_at = begun.started_at
FROM unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(started)s::timestamptz[])
    AS begun (id, token, started_at)
WHERE execution.id = begun.id
  AND execution.token = begun.token
  AND execution.status = 'running'
  AND execution.started_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class LogPart:
    """The next piece of an attempt's log."""

    execution_id: int
    token: int
    attempt: int
    seq: int
    text: str


@dataclass(slots=True, kw_only=True)  # not frozen, as Claimed is not
class Finished:
    """What an attempt came to, in a form that can be stored; nobody changes it."""

    id: int
    token: int
    attempt: int
    job_id: int | None
    status: str
    """succeeded, failed or cancelled; of a failed one `retry_s` says whether it is tried again."""
    reason: str = ""
    started_at: datetime
    finished_at: datetime
    result: str | None = None
    """JSON text."""
    error: str = ""
    traceback: str = ""
    retry_s: float | None = None
    failure: str = "{}"
    """JSON text: this attempt as an entry of `Execution.failures`, used when it is tried again."""
    crashed: bool = False
    """The process that it ran in ended without a word."""
    limited: bool = False
    """The job has a limit, which others may wait for when people ask for them."""
    promotes: bool = False
    """Others wait for it as a rule: they are promoted in the same transaction, which waits for the job's plan."""
    log: tuple[LogPart, ...] = ()

    @property
    def needs_plan(self) -> bool:
        """Whether recording it waits for the lock of the job's plan."""
        return self.job_id is not None and (self.promotes or self.retry_s is not None)

    @property
    def size(self) -> int:
        """Roughly the bytes that writing it takes."""
        return (
            500
            + len(self.result or "")
            + len(self.error)
            + len(self.traceback)
            + sum(len(part.text) for part in self.log)
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of outcomes that were to be recorded."""

    ids: set[int] = field(default_factory=set)
    """Recorded now or before. The others were fenced: their token moved, so somebody else answers for them."""
    promoted: int = 0
    """Executions that can begin now, as these have ended."""
    followed: list[int] = field(default_factory=list)
    """Jobs of which others wait for what has ended, and are left to `promote`.

    One that is asked for at the same moment may be missed, as no plan is locked; the tick finds it.
    """


def finish(
    connection: psycopg.Connection[Any], specs: SpecCache, outcomes: Sequence[Finished]
) -> Recorded:
    """Record the outcomes in one transaction; repeating is safe."""
    if not outcomes:
        return Recorded()
    ordered = sorted(outcomes, key=lambda outcome: outcome.id)
    locked = sorted(
        {outcome.job_id for outcome in ordered if outcome.job_id is not None and outcome.needs_plan}
    )
    parameters = {
        "ids": numbers(outcome.id for outcome in ordered),
        "tokens": numbers(outcome.token for outcome in ordered),
        "jobs": numbers(outcome.job_id for outcome in ordered),
        "statuses": texts(outcome.status for outcome in ordered),
        "reasons": texts(outcome.reason for outcome in ordered),
        "started": moments(outcome.started_at for outcome in ordered),
        "finished": moments(outcome.finished_at for outcome in ordered),
        "results": texts(outcome.result for outcome in ordered),
        "errors": texts(outcome.error for outcome in ordered),
        "tracebacks": texts(outcome.traceback for outcome in ordered),
        "retries": numbers(outcome.retry_s for outcome in ordered),
        "failures": texts(outcome.failure for outcome in ordered),
        "crashed": numbers(int(outcome.crashed) for outcome in ordered),
        "limited": numbers(
            outcome.job_id if outcome.limited and not outcome.promotes else None
            for outcome in ordered
        ),
        "expected": "running",
    }
    with connection.transaction():
        if locked:
            # A pause or delete of the job waits for this, or this for it: then the statement below sees it.
            connection.execute(LOCK_PLANS_SQL, {"job_ids": locked})
        rows = connection.execute(FINISH_SQL, parameters).fetchall()
        written = {row[:2] for row in rows}
        _write_log(
            connection,
            [
                part
                for outcome in ordered
                if (outcome.id, outcome.token) in written
                for part in outcome.log
            ],
        )
        promoting = {outcome.job_id for outcome in ordered if outcome.promotes}
        promoted = promote_locked(connection, specs, [job for job in locked if job in promoting])
        write_tallies(connection, _tallied(rows))
    recorded = {execution_id for execution_id, _ in written}
    if len(recorded) < len(ordered):
        recorded |= {row[0] for row in connection.execute(ALREADY_DONE_SQL, parameters)}
    return Recorded(recorded, promoted, sorted({row[6] for row in rows if row[6] is not None}))


def _tallied(rows: Sequence[tuple[Any, ...]]) -> Tallies:
    """What became of the outcomes that were written: of one that is tried again `took_s` is None."""
    tallies = Tallies()
    for _, _, status, reason, took_s, drift_s, _ in rows:
        if took_s is None:
            tallies.add(RETRIED)
        else:
            tallies.add(FINISHED, outcome_of(status, reason))
            tallies.observe(DURATION, took_s)
        if drift_s is not None:
            tallies.observe(DRIFT, drift_s)
    return tallies


def record_progress(
    connection: psycopg.Connection[Any],
    started: Sequence[tuple[int, int, datetime]],
    log: Sequence[LogPart],
) -> None:
    """Show of running executions when they started, as (id, token, moment), and what they logged so far."""
    with connection.transaction():
        if started:
            ids, tokens, begun = zip(*started, strict=True)
            connection.execute(
                STARTED_SQL,
                {"ids": numbers(ids), "tokens": numbers(tokens), "started": moments(begun)},
            )
        _write_log(connection, log)


def _write_log(connection: psycopg.Connection[Any], parts: Sequence[LogPart]) -> None:
    if parts:
        connection.execute(
            LOG_SQL,
            {
                "ids": numbers(part.execution_id for part in parts),
                "tokens": numbers(part.token for part in parts),
                "attempts": numbers(part.attempt for part in parts),
                "seqs": numbers(part.seq for part in parts),
                "texts": texts(part.text for part in parts),
            },
        )
