"""What pages ask of the tables in one statement, however many rows they show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from scheduler_app.access.ownership import in_sql
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
SELECT
    scheduler_now(), max(last_tick_at), count(*),
    COALESCE(bool_or(
        last_tick_at > scheduler_now() - make_interval(secs => GREATEST(lease_s, %(lease_s)s))
    ), false)
FROM scheduler_app_node
WHERE state IN ('active', 'draining')
"""

# What is paused, by itself or with its queue or tag, or to be skipped, is not up next.
NEXT_UP_SQL = """
SELECT job.id, job.name, job.timezone, plan.next_fire_at
FROM scheduler_app_jobplan AS plan
JOIN scheduler_app_job AS job ON job.id = plan.job_id
WHERE plan.next_fire_at IS NOT NULL
  AND plan.skip_at IS DISTINCT FROM plan.next_fire_at
  AND job.deleted_at IS NULL AND job.paused_at IS NULL
  AND (%(job_ids)s::bigint[] IS NULL OR job.id = ANY(%(job_ids)s))
  AND {visible}
  AND NOT EXISTS (
      SELECT
      FROM scheduler_app_pause AS pause
      WHERE pause.ended_at IS NULL
        AND (pause.paused_until IS NULL OR pause.paused_until > scheduler_now())
        AND (
            pause.scope = 'all'
            OR pause.scope = 'queue' AND pause.value = job.queue
            OR pause.scope = 'tag' AND pause.value = ANY(job.tags)
        )
  )
ORDER BY plan.next_fire_at
LIMIT %(limit)s
"""

CHOICES_SQL = """
(
    SELECT DISTINCT true, queue
    FROM scheduler_app_job
    WHERE deleted_at IS NULL AND {visible}
    ORDER BY queue
    LIMIT %(limit)s
)
UNION ALL
(
    SELECT DISTINCT false, tag
    FROM scheduler_app_job CROSS JOIN LATERAL unnest(tags) AS tag
    WHERE deleted_at IS NULL AND {visible}
    ORDER BY tag
    LIMIT %(limit)s
)
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
    ticks: bool
    """Whether some node fires jobs: it has ticked within its lease."""

    @property
    def silent_for(self) -> timedelta | None:
        """How long no node has ticked; None when none ever did, or none is registered as alive."""
        return None if self.last_tick_at is None else self.now - self.last_tick_at


@dataclass(frozen=True, slots=True)
class NextUp:
    """A job and its next fire time."""

    job_id: int
    name: str
    timezone: str
    at: datetime


def last_runs(job_ids: Iterable[int]) -> dict[int, LastRun]:
    """By job id; every wanted job has an entry."""
    with _cursor() as cursor:
        cursor.execute(LAST_RUNS_SQL, {"job_ids": list(job_ids)})
        return {row[0]: LastRun(*row) for row in cursor.fetchall()}


def pulse() -> Pulse:
    """One look at the node table."""
    with _cursor() as cursor:
        cursor.execute(PULSE_SQL, {"lease_s": get_config().lease})
        return Pulse(*cursor.fetchone())


def next_up(*, limit: int, job_ids: Collection[int] | None = None) -> list[NextUp]:
    """The jobs that fire next, by index however many there are; of those that the caller sees."""
    wanted = None if job_ids is None else list(job_ids)
    visible, view = in_sql("job.id")
    with _cursor() as cursor:
        statement = NEXT_UP_SQL.replace("{visible}", visible)
        cursor.execute(statement, {"limit": limit, "job_ids": wanted, **view})
        return [NextUp(*row) for row in cursor.fetchall()]


def queues_and_tags(*, limit: int) -> tuple[list[str], list[str]]:
    """What the jobs that the caller sees name, by the alphabet."""
    visible, view = in_sql("id")
    with _cursor() as cursor:
        cursor.execute(CHOICES_SQL.replace("{visible}", visible), {"limit": limit, **view})
        rows = cursor.fetchall()
    return [name for is_queue, name in rows if is_queue], [
        name for is_queue, name in rows if not is_queue
    ]


@contextmanager
def _cursor() -> Iterator[Any]:
    with connections[get_config().database].cursor() as cursor:
        yield cursor
