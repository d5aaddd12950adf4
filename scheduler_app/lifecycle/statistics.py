"""How executions fare: rates, durations, drift, errors and queues, only read, for pages and programs.

Each function is one statement, by index, and reads a bounded number of rows however large the tables are: the newest
of each job, of each slice of time, of the failures. Where a bound was reached the answer says so. `job_ids` leaves only
these jobs; None means all that the caller sees, enqueued tasks included for who sees everything.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connections

from scheduler_app.access.ownership import current_view, in_sql
from scheduler_app.conf import get_config
from scheduler_app.models import database_now
from scheduler_app.models.pause import SCOPE_IS_PAUSED
from scheduler_app.rules.fingerprints import fingerprint, last_own_place

LAST_RUNS = 100
"""Finished executions that the statistics of a job look at."""

COUNTED_IN_SLICE = 6_000
"""Executions that are counted in one slice of time; in a slice with more, the shares are those of the newest."""

COUNTED_OF_SOME = 200_000
"""Executions of a window that are counted for who does not see all jobs; the shares of older slices are of what did not succeed."""

OTHERS_COUNTED = 50_000
"""Executions of a window that are looked at because they did not succeed, or not yet."""

SAMPLED_IN_SLICE = 200
"""Executions of a slice whose drift is looked at."""

FAILURES_READ = 1_000
"""Failures that are put into groups."""

OLDEST_READ = 200
"""Failures that say the same, of which the first is looked for."""

LOST = "Lost with its node."
"""The error of what has none."""

NEWEST_READ = 3_000
"""Executions of all nodes that tell how each of them fares."""

DEPTH_COUNTED_TO = 10_000

JOB_STATISTICS_SQL = """
SELECT
    wanted.job_id, count(recent.id),
    count(*) FILTER (WHERE recent.status = 'succeeded'),
    count(*) FILTER (WHERE recent.status IN ('failed', 'lost')),
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY recent.took_s)
        FILTER (WHERE recent.status = 'succeeded'),
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY recent.drift_s)
        FILTER (WHERE recent.attempt <= 1 AND recent.trigger = 'schedule'),
    min(recent.scheduled_for), max(recent.scheduled_for)
FROM unnest(%(job_ids)s::bigint[]) AS wanted (job_id)
LEFT JOIN LATERAL (
    SELECT
        id, status, attempt, trigger, scheduled_for,
        extract(epoch FROM finished_at - started_at)::float8 AS took_s,
        extract(epoch FROM started_at - scheduled_for)::float8 AS drift_s
    FROM scheduler_app_execution
    WHERE job_id = wanted.job_id
      AND finished_at IS NOT NULL
      AND scheduled_for > scheduler_now() - %(window)s::interval
    ORDER BY scheduled_for DESC
    LIMIT %(last)s
) AS recent ON true
GROUP BY wanted.job_id
"""

# All executions, slice by slice: an index has them, and they need not be looked at.
COUNT_ALL_SQL = """
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT
        FROM scheduler_app_execution
        WHERE scheduled_for >= slice.start AND scheduled_for < slice.start + %(step)s::interval
          AND {only}
        ORDER BY scheduled_for DESC
        LIMIT %(counted)s + 1
    ) AS counted
) AS everything
"""

# Those of some jobs, all slices at once: slice by slice, each of the jobs would be looked up in each.
COUNT_SOME_SQL = """
LEFT JOIN (
    SELECT date_bin(%(step)s::interval, scheduled_for, %(since)s::timestamptz) AS start, count(*)
    FROM (
        SELECT scheduled_for
        FROM scheduler_app_execution
        WHERE scheduled_for >= %(since)s AND scheduled_for < %(until)s AND {only}
        ORDER BY scheduled_for DESC
        LIMIT %(counted_of_some)s
    ) AS counted
    GROUP BY start
) AS everything ON everything.start = slice.start
"""

# What succeeded is what is left: all are counted in an index, and the others have small indexes of their own.
SLICES_SQL = """
WITH unsuccessful AS MATERIALIZED (
    SELECT
        date_bin(%(step)s::interval, scheduled_for, %(since)s::timestamptz) AS start,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE status = 'lost') AS lost
    FROM (
        SELECT scheduled_for, status
        FROM scheduler_app_execution
        WHERE scheduled_for >= %(since)s AND scheduled_for < %(until)s
          AND status IN ('failed', 'cancelled', 'lost') AND {only}
        ORDER BY scheduled_for DESC
        LIMIT %(others)s
    ) AS newest
    GROUP BY start
), live AS MATERIALIZED (
    SELECT date_bin(%(step)s::interval, scheduled_for, %(since)s::timestamptz) AS start, count(*)
    FROM (
        SELECT scheduled_for
        FROM scheduler_app_execution
        WHERE status IN ('ready', 'blocked', 'running')
          AND scheduled_for >= %(since)s AND scheduled_for < %(until)s AND {only}
        LIMIT %(others)s
    ) AS living
    GROUP BY start
)
SELECT
    slice.start, COALESCE(everything.count, 0), COALESCE(unsuccessful.failed, 0),
    COALESCE(unsuccessful.cancelled, 0), COALESCE(unsuccessful.lost, 0), COALESCE(live.count, 0),
    sample.drift_s
FROM generate_series(
    %(since)s::timestamptz, %(until)s::timestamptz - interval '1 microsecond', %(step)s::interval
) AS slice (start)
{everything}
CROSS JOIN LATERAL (
    SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
        ORDER BY extract(epoch FROM started_at - scheduled_for)::float8
    ) FILTER (WHERE attempt <= 1 AND trigger = 'schedule') AS drift_s
    FROM (
        SELECT started_at, scheduled_for, attempt, trigger
        FROM scheduler_app_execution
        WHERE scheduled_for >= slice.start AND scheduled_for < slice.start + %(step)s::interval
          AND {only}
        ORDER BY scheduled_for DESC
        LIMIT %(sampled)s
    ) AS sampled
) AS sample
LEFT JOIN unsuccessful ON unsuccessful.start = slice.start
LEFT JOIN live ON live.start = slice.start
ORDER BY slice.start
"""

# Of a traceback that is stored elsewhere nothing is read: a thousand of those would cost seconds.
FAILURE_TEXTS = """
        left(error, 400) AS error,
        CASE WHEN pg_column_size(traceback) < 8000 THEN right(traceback, 4000) ELSE '' END AS traceback
"""

FAILURES_SQL = f"""
SELECT
    recent.id, recent.job_id, job.name, node.name, recent.scheduled_for, recent.error, recent.traceback
FROM (
    SELECT
        id, job_id, node_id, scheduled_for, {FAILURE_TEXTS}
    FROM scheduler_app_execution
    WHERE status IN ('failed', 'cancelled', 'lost')   -- as in the index that holds them
      AND status <> 'cancelled'
      AND scheduled_for > scheduler_now() - %(window)s::interval
      AND {{only}}
    ORDER BY scheduled_for DESC, id DESC
    LIMIT %(limit)s
) AS recent
LEFT JOIN scheduler_app_job AS job ON job.id = recent.job_id
LEFT JOIN scheduler_app_node AS node ON node.id = recent.node_id
"""

# What says the same as a group, by an index; where it arose is compared afterwards.
OLDEST_SQL = f"""
SELECT scheduled_for, error, traceback
FROM (
    SELECT job_id, scheduled_for, {FAILURE_TEXTS}
    FROM scheduler_app_execution
    WHERE status IN ('failed', 'lost')
      AND scheduler_error_kind(error) = scheduler_error_kind(%(error)s)
    ORDER BY scheduled_for, id
    LIMIT %(limit)s
) AS oldest
WHERE {{only}}
ORDER BY scheduled_for
"""

ONE_FAILURE_SQL = f"""
SELECT {FAILURE_TEXTS}
FROM scheduler_app_execution
WHERE id = %(id)s
  AND status IN ('failed', 'lost')
  AND scheduled_for > scheduler_now() - %(window)s::interval
  AND {{only}}
"""

# Per queue as far as the count goes; the oldest of each priority stands first in the index.
QUEUES_SQL = f"""
WITH waiting AS MATERIALIZED (
    SELECT queue, job_id, run_after
    FROM scheduler_app_execution
    WHERE status = 'ready' AND run_after <= scheduler_now() AND {{only}}
    ORDER BY priority DESC, run_after, id
    LIMIT %(limit)s
), held AS MATERIALIZED (
    SELECT queue
    FROM scheduler_app_execution
    WHERE status = 'blocked' AND {{only}}
    LIMIT %(limit)s
), busy AS MATERIALIZED (
    SELECT queue
    FROM scheduler_app_execution
    WHERE status = 'running' AND {{only}}
    LIMIT %(limit)s
)
SELECT
    queue, sum(waiting)::int, sum(blocked)::int, sum(running)::int,
    extract(epoch FROM scheduler_now() - min(oldest))::float8
FROM (
    SELECT
        queue, sum(waiting) AS waiting, 0 AS blocked, 0 AS running,
        min(CASE WHEN NOT {SCOPE_IS_PAUSED} THEN oldest END) AS oldest
    FROM (   -- pauses go by queue and by job, and are looked at once for each
        SELECT queue, job_id, count(*) AS waiting, min(run_after) AS oldest
        FROM waiting GROUP BY queue, job_id
    ) AS execution
    GROUP BY queue
    UNION ALL
    SELECT queue, 0, count(*), 0, NULL FROM held GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, count(*), NULL FROM busy GROUP BY queue
) AS parts
GROUP BY queue
ORDER BY queue
"""

RUNNING_SQL = """
SELECT
    running.id, running.job_id, COALESCE(job.name, running.spec ->> 'name', ''), running.node_id,
    node.name, running.started_at, running.attempt, running.cancel_requested_at IS NOT NULL,
    usual.took_s
FROM (
    SELECT id, job_id, spec, node_id, started_at, attempt, cancel_requested_at
    FROM scheduler_app_execution
    WHERE status = 'running' AND {only}
    ORDER BY started_at, id
    LIMIT %(limit)s
) AS running
LEFT JOIN scheduler_app_job AS job ON job.id = running.job_id
LEFT JOIN scheduler_app_node AS node ON node.id = running.node_id
LEFT JOIN LATERAL (
    SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
        ORDER BY extract(epoch FROM finished_at - started_at)::float8
    ) FILTER (WHERE status = 'succeeded') AS took_s
    FROM (
        SELECT status, started_at, finished_at
        FROM scheduler_app_execution
        WHERE job_id = running.job_id
        ORDER BY scheduled_for DESC
        LIMIT %(last)s
    ) AS newest
) AS usual ON true
ORDER BY running.started_at, running.id
"""

DRIFT_OF_NODES_SQL = """
SELECT
    node_id, count(*),
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
        ORDER BY extract(epoch FROM started_at - scheduled_for)::float8
    ) FILTER (WHERE attempt <= 1 AND trigger = 'schedule')
FROM (
    SELECT node_id, started_at, scheduled_for, attempt, trigger
    FROM scheduler_app_execution
    WHERE scheduled_for > scheduler_now() - %(window)s::interval
      AND scheduled_for <= scheduler_now() AND {only}
    ORDER BY scheduled_for DESC
    LIMIT %(limit)s
) AS newest
WHERE node_id = ANY(%(node_ids)s)
GROUP BY node_id
"""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a set of seconds; None where it is empty."""

    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """How the newest finished executions of one job fared."""

    job_id: int
    finished: int
    succeeded: int
    failed: int
    """Lost ones among them; what was cancelled is neither."""
    duration: Percentiles
    """Of those that succeeded."""
    drift: Percentiles
    """Of those that the schedule fired and that took one attempt: others may be told any fire time, and a retry is
    late on purpose."""
    first_at: datetime | None
    last_at: datetime | None

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; None while nothing succeeded or failed."""
        decided = self.succeeded + self.failed
        return self.succeeded / decided if decided else None


@dataclass(frozen=True, slots=True)
class Slice:
    """What became of the fire times in one slice of time."""

    start: datetime
    end: datetime
    succeeded: int
    failed: int
    cancelled: int
    lost: int
    live: int
    drift: Percentiles
    is_capped: bool
    """There are more than were counted."""

    @property
    def total(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.lost + self.live

    @property
    def per_minute(self) -> float:
        return self.total * 60 / (self.end - self.start).total_seconds()


@dataclass(slots=True)
class ErrorGroup:
    """Failures with the same fingerprint."""

    fingerprint: str
    error: str
    """Of the newest."""
    place: str
    """Where in the site's own code it arose; empty where that is not known."""
    first_at: datetime
    """Of those that were read; `first_failure_of` looks at all that are kept."""
    last_at: datetime
    count: int = 0
    jobs: dict[int | None, str] = field(default_factory=dict)
    """Names by id, those that failed last first; None stands for enqueued tasks."""
    nodes: list[str] = field(default_factory=list)
    execution_ids: list[int] = field(default_factory=list)
    """Newest first."""


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The groups, those that grew last first."""

    groups: list[ErrorGroup]
    is_capped: bool
    """There are more failures in the window than were read; the oldest are missing."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What waits in a queue, up to DEPTH_COUNTED_TO."""

    queue: str
    waiting: int
    """Ready, and due; a pause of its queue, a tag or everything may hold it back."""
    blocked: int
    running: int
    oldest_s: float | None
    """For how long the oldest waits that no pause holds back; None when nothing does."""


@dataclass(frozen=True, slots=True)
class Running:
    """An execution that runs, and how long a success of its job takes."""

    id: int
    job_id: int | None
    name: str
    node_id: int
    node_name: str | None
    started_at: datetime | None
    attempt: int
    is_cancelled: bool
    usual: Percentiles


def job_statistics(
    job_ids: Collection[int], *, window: timedelta | None = None, last: int = LAST_RUNS
) -> dict[int, JobStatistics]:
    """Of the newest `last` finished executions of each job, within `window` if one is given; every job has an entry."""
    parameters = {
        "job_ids": list(job_ids),
        # Longer than anything is kept.
        "window": window or timedelta(days=36_500),
        "last": last,
    }
    found = {}
    for row in _rows(JOB_STATISTICS_SQL, parameters):
        job_id, finished, succeeded, failed, duration, drift, first_at, last_at = row
        found[job_id] = JobStatistics(
            job_id,
            finished,
            succeeded,
            failed,
            Percentiles(*(duration or ())),
            Percentiles(*(drift or ())),
            first_at,
            last_at,
        )
    return found


def slices(
    window: timedelta,
    step: timedelta,
    *,
    job_ids: Collection[int] | None = None,
    now: datetime | None = None,
) -> list[Slice]:
    """The window up to now in slices of `step`, oldest first; they begin at whole multiples, so that bars stand still."""
    now = now or database_now()
    epoch = datetime.fromtimestamp(0, now.tzinfo)
    until = now - (now - epoch) % step + step
    parameters = {
        "since": until - window,
        "until": until,
        "step": step,
        "counted": COUNTED_IN_SLICE,
        "counted_of_some": COUNTED_OF_SOME,
        "others": OTHERS_COUNTED,
        "sampled": SAMPLED_IN_SLICE,
    }
    of_some = current_view() is not None
    everything = COUNT_SOME_SQL if of_some else COUNT_ALL_SQL
    rows = _rows(SLICES_SQL.replace("{everything}", everything), parameters, job_ids)
    is_cut = of_some and sum(row[1] for row in rows) >= COUNTED_OF_SOME
    first_counted = next((row[0] for row in rows if row[1]), until)
    found = []
    for row in rows:
        start, counted, failed, cancelled, lost, live, drift = row
        others = failed + cancelled + lost + live
        found.append(
            Slice(
                start=start,
                end=start + step,
                succeeded=max(0, min(counted, COUNTED_IN_SLICE) - others),
                failed=failed,
                cancelled=cancelled,
                lost=lost,
                live=live,
                drift=Percentiles(*(drift or ())),
                is_capped=counted > COUNTED_IN_SLICE or (is_cut and start <= first_counted),
            )
        )
    return found


def error_groups(
    window: timedelta, *, job_ids: Collection[int] | None = None, limit: int = FAILURES_READ
) -> ErrorGroups:
    """The newest `limit` failures of the window by fingerprint: what they say, and where in the own code they arose."""
    rows = _rows(FAILURES_SQL, {"window": window, "limit": limit}, job_ids)
    rows.sort(key=lambda row: (row[4], row[0]), reverse=True)
    groups: dict[str, ErrorGroup] = {}
    for execution_id, job_id, job_name, node_name, at, error, traceback in rows:
        place = last_own_place(traceback)
        key = fingerprint(error, place)
        if key not in groups:
            groups[key] = ErrorGroup(key, error or LOST, place, at, at)
        group = groups[key]
        group.first_at = at
        group.count += 1
        group.jobs.setdefault(job_id, job_name or "")
        if node_name and node_name not in group.nodes:
            group.nodes.append(node_name)
        group.execution_ids.append(execution_id)
    return ErrorGroups(list(groups.values()), is_capped=len(rows) >= limit)


def fingerprint_of(execution_id: int, window: timedelta) -> str:
    """That of the group that holds this failure of the window; empty for anything else."""
    for error, traceback in _rows(ONE_FAILURE_SQL, {"id": execution_id, "window": window}):
        return fingerprint(error, last_own_place(traceback))
    return ""


def first_failure_of(group: ErrorGroup) -> datetime | None:
    """The fire time of the oldest of its failures that is kept; None where it is not certain.

    That is where the oldest OLDEST_READ that say the same arose elsewhere, or are of jobs that the caller does not see.
    """
    error = "" if group.error == LOST else group.error
    for at, said, traceback in _rows(OLDEST_SQL, {"error": error, "limit": OLDEST_READ}):
        if fingerprint(said, last_own_place(traceback)) == group.fingerprint:
            return cast("datetime", at)
    return None


def queue_depths(
    *, job_ids: Collection[int] | None = None, of_all: bool = False
) -> list[QueueDepth]:
    """Every queue in which something waits or runs, by name; `of_all` counts also what the caller does not see."""
    rows = _rows(QUEUES_SQL, {"limit": DEPTH_COUNTED_TO}, job_ids, of_all=of_all)
    return [QueueDepth(*row) for row in rows]


def running_now(*, limit: int, job_ids: Collection[int] | None = None) -> list[Running]:
    """What runs, the longest first, beside how long the job took in its newest executions."""
    rows = _rows(RUNNING_SQL, {"limit": limit, "last": LAST_RUNS}, job_ids)
    return [Running(*(*facts, Percentiles(*(took_s or ())))) for *facts, took_s in rows]


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """What a node did lately, of what was looked at."""

    executions: int = 0
    drift: Percentiles = Percentiles()


def node_statistics(
    node_ids: Collection[int],
    window: timedelta,
    *,
    job_ids: Collection[int] | None = None,
    limit: int = NEWEST_READ,
) -> dict[int, NodeStatistics]:
    """By node, from the newest `limit` executions of the window; those without any have no entry."""
    parameters = {"window": window, "limit": limit, "node_ids": list(node_ids)}
    return {
        node_id: NodeStatistics(count, Percentiles(*(drift or ())))
        for node_id, count, drift in _rows(DRIFT_OF_NODES_SQL, parameters, job_ids)
    }


def _rows(
    statement: str,
    parameters: dict[str, Any],
    job_ids: Collection[int] | None = None,
    *,
    of_all: bool = False,
) -> list[tuple[Any, ...]]:
    """The statement's rows, `{only}` in it filled in: these jobs, of those that the caller sees."""
    only, view = ("true", {}) if of_all else in_sql()
    parameters = {**parameters, **view}
    if job_ids is not None:
        only += " AND job_id = ANY(%(job_ids)s)"
        parameters["job_ids"] = list(job_ids)
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(statement.replace("{only}", only), parameters)
        return list(cursor.fetchall())
