"""What pages ask of the tables in one statement, however many rows they show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from scheduler_app.conf import get_config

LAST_RUNS_SQL = """
SELECT
    wanted.job_id, last.id, COALESCE(last.status, ''), COALESCE(last.reason, ''),
    COALESCE(last.error, ''), last.scheduled_for, last.started_at, last.finished_at,
    live.running, live.waiting
FROM unnest(%(job_ids)s::bigint[]) AS wanted (job_id)
LEFT JOIN LATERAL (
    SELECT id, status, reason, left(error, 300) AS error, scheduled_for, started_at, finished_at
    FROM scheduler_app_execution
    WHERE job_id = wanted.job_id AND status IN ('succeeded', 'failed', 'cancelled', 'lost')
    ORDER BY scheduled_for DESC
    LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status <> 'running') AS waiting
    FROM scheduler_app_execution
    WHERE job_id = wanted.job_id AND status IN ('ready', 'blocked', 'running')
) AS live ON true
"""

PULSE_SQL = """
SELECT scheduler_now(), max(last_tick_at), count(*)
FROM scheduler_app_node
WHERE state IN ('active', 'draining')
"""

RECENT_COUNTS_SQL = """
SELECT status, count(*)
FROM (
    SELECT status
    FROM scheduler_app_execution
    WHERE scheduled_for > scheduler_now() - %(window)s AND scheduled_for <= scheduler_now()
    ORDER BY scheduled_for DESC
    LIMIT %(limit)s
) AS recent
GROUP BY status
"""

FAILING_SQL = """
SELECT recent.job_id, job.name, job.timezone, count(*), max(recent.scheduled_for),
    (array_agg(recent.error ORDER BY recent.scheduled_for DESC))[1]
FROM (
    SELECT job_id, scheduled_for, left(error, 300) AS error
    FROM scheduler_app_execution
    WHERE status IN ('failed', 'cancelled', 'lost')   -- as in the index that holds them
      AND status <> 'cancelled'
      AND scheduled_for > scheduler_now() - %(window)s
    ORDER BY scheduled_for DESC, id DESC
    LIMIT %(limit)s
) AS recent
JOIN scheduler_app_job AS job ON job.id = recent.job_id AND job.deleted_at IS NULL
GROUP BY recent.job_id, job.name, job.timezone
ORDER BY max(recent.scheduled_for) DESC
LIMIT %(jobs)s
"""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest finished execution of a job, if there is one, and how many of its executions live."""

    job_id: int
    id: int | None
    status: str
    reason: str
    error: str
    scheduled_for: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    running: int
    waiting: int

    @property
    def duration(self) -> timedelta | None:
        """How long its last attempt took."""
        if self.started_at and self.finished_at:
            return self.finished_at - self.started_at
        return None


@dataclass(frozen=True, slots=True)
class Pulse:
    """Whether the scheduler lives: the database's time, the last tick of any node, nodes that call themselves alive."""

    now: datetime
    last_tick_at: datetime | None
    nodes: int

    @property
    def silent_for(self) -> timedelta | None:
        """How long no node has ticked; None when none ever did, or none is registered as alive."""
        return None if self.last_tick_at is None else self.now - self.last_tick_at

    @property
    def ticks(self) -> bool:
        """Whether some node fires jobs."""
        silent = self.silent_for
        return silent is not None and silent < timedelta(seconds=get_config().lease)


@dataclass(frozen=True, slots=True)
class FailingJob:
    """A job with failures, how many, and the last."""

    job_id: int
    name: str
    timezone: str
    failures: int
    last_at: datetime
    error: str


def last_runs(job_ids: Iterable[int]) -> dict[int, LastRun]:
    """By job id; every wanted job has an entry."""
    with _cursor() as cursor:
        cursor.execute(LAST_RUNS_SQL, {"job_ids": list(job_ids)})
        return {row[0]: LastRun(*row) for row in cursor.fetchall()}


def pulse() -> Pulse:
    """One look at the node table."""
    with _cursor() as cursor:
        cursor.execute(PULSE_SQL)
        return Pulse(*cursor.fetchone())


def recent_counts(window: timedelta, *, limit: int) -> dict[str, int]:
    """Executions by status whose fire times lie in the last `window`; of the newest `limit` at most."""
    with _cursor() as cursor:
        cursor.execute(RECENT_COUNTS_SQL, {"window": window, "limit": limit})
        return dict(cursor.fetchall())


def failing_jobs(window: timedelta, *, jobs: int, limit: int = 1000) -> list[FailingJob]:
    """The jobs that failed last, from the newest `limit` failures of the last `window`."""
    with _cursor() as cursor:
        cursor.execute(FAILING_SQL, {"window": window, "jobs": jobs, "limit": limit})
        return [FailingJob(*row) for row in cursor.fetchall()]


@contextmanager
def _cursor() -> Iterator[Any]:
    with connections[get_config().database].cursor() as cursor:
        yield cursor
