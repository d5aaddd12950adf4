"""What a transaction that decides writes: executions, some of them begun at once, gaps, and the plans ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.tallies import Tallies

from .arrays import moments, numbers, texts
from .claiming import Claimed

WRITE_SQL = """
WITH taker AS MATERIALIZED (   -- a node that was declared dead, or drains, takes nothing
    SELECT id FROM scheduler_app_node WHERE id = %(node_id)s AND state = 'active'
), fired AS (
    INSERT INTO scheduler_app_execution (
        job_id, revision_id, trigger, scheduled_for, run_after, queue, priority, reason, finished_at,
        status, node_id, token, attempt, claimed_at, release
    )
    SELECT
        fire.job_id, fire.revision_id, 'schedule', fire.scheduled_for, fire.scheduled_for, fire.queue, fire.priority,
        fire.reason, CASE WHEN fire.status = 'cancelled' THEN scheduler_now() END,
        CASE WHEN fire.status = 'running' AND taker.id IS NULL THEN 'ready' ELSE fire.status END,
        taker.id, (taker.id IS NOT NULL)::int, (taker.id IS NOT NULL)::int,
        CASE WHEN taker.id IS NOT NULL THEN scheduler_now() END,
        CASE WHEN taker.id IS NOT NULL THEN %(release)s ELSE '' END
    FROM unnest(
        %(fire_jobs)s::bigint[], %(fire_revisions)s::bigint[], %(fire_at)s::timestamptz[],
        %(fire_queues)s::text[], %(fire_priorities)s::smallint[], %(fire_statuses)s::text[],
        %(fire_reasons)s::text[]
    ) AS fire (job_id, revision_id, scheduled_for, queue, priority, status, reason)
    LEFT JOIN taker ON fire.status = 'running'
    -- Never happens while plans are only written here; a plan set back by hand must not stop the others.
    ON CONFLICT (job_id, scheduled_for) WHERE trigger = 'schedule' DO NOTHING
    RETURNING id, job_id, scheduled_for, status
), extended AS (
    UPDATE scheduler_app_gap AS gap
    SET last_at = more.last_at, count = gap.count + more.count
    FROM unnest(
        %(extend_gaps)s::bigint[], %(extend_last)s::timestamptz[], %(extend_counts)s::bigint[]
    ) AS more (gap_id, last_at, count)
    WHERE gap.id = more.gap_id
), opened AS (
    INSERT INTO scheduler_app_gap (job_id, first_at, last_at, count, reason, who, detail)
    SELECT *
    FROM unnest(
        %(gap_jobs)s::bigint[], %(gap_first)s::timestamptz[], %(gap_last)s::timestamptz[],
        %(gap_counts)s::bigint[], %(gap_reasons)s::text[], %(gap_who)s::text[], %(gap_details)s::text[]
    )
    ON CONFLICT (job_id, first_at) DO NOTHING
    RETURNING id, job_id, first_at
), planned AS (
    UPDATE scheduler_app_jobplan AS plan
    SET
        revision_id = new.revision_id,
        next_fire_at = new.next_fire_at,
        decided_until = new.decided_until,
        runs = new.runs,
        dirty = false,
        open_gap = COALESCE(opened.id, new.open_gap),
        problem = new.problem
    FROM unnest(
        %(jobs)s::bigint[], %(revisions)s::bigint[], %(next)s::timestamptz[],
        %(decided)s::timestamptz[], %(runs)s::bigint[], %(open_gaps)s::bigint[],
        %(open_first)s::timestamptz[], %(problems)s::text[]
    ) AS new (job_id, revision_id, next_fire_at, decided_until, runs, open_gap, open_first, problem)
    LEFT JOIN opened ON opened.job_id = new.job_id AND opened.first_at = new.open_first
    WHERE plan.job_id = new.job_id
)
SELECT
    id, job_id, scheduled_for, status,
    CASE WHEN status = 'running' THEN (SELECT owner_id FROM scheduler_app_job WHERE id = fired.job_id) END
FROM fired
"""


class NewExecution(NamedTuple):
    """A fire time that is run, without the status; in the order of FIRE_ARRAYS."""

    job_id: int
    revision_id: int
    scheduled_for: datetime
    queue: str
    priority: int
    reason: str


Arrays = Mapping[str, Callable[[Iterable[Any]], str]]

FIRE_ARRAYS: Arrays = {
    "fire_jobs": numbers,
    "fire_revisions": numbers,
    "fire_at": moments,
    "fire_queues": texts,
    "fire_priorities": numbers,
    "fire_reasons": texts,
}
EXTENSION_ARRAYS: Arrays = {
    "extend_gaps": numbers,
    "extend_last": moments,
    "extend_counts": numbers,
}
GAP_ARRAYS: Arrays = {
    "gap_jobs": numbers,
    "gap_first": moments,
    "gap_last": moments,
    "gap_counts": numbers,
    "gap_reasons": texts,
    "gap_who": texts,
    "gap_details": texts,
}
PLAN_ARRAYS: Arrays = {
    "jobs": numbers,
    "revisions": numbers,
    "next": moments,
    "decided": moments,
    "runs": numbers,
    "open_gaps": numbers,
    "open_first": moments,
    "problems": texts,
}


@dataclass(slots=True)
class Rows:
    """Rows of executions, gaps and plans, and what follows from them."""

    fires: list[NewExecution] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    """Of the new executions, one each."""
    specs: list[JobSpec] = field(default_factory=list)
    """Of the new executions, one each."""
    extensions: list[tuple[Any, ...]] = field(default_factory=list)
    gaps: list[tuple[Any, ...]] = field(default_factory=list)
    plans: list[tuple[Any, ...]] = field(default_factory=list)
    cancel_running: set[int] = field(default_factory=set)
    """Jobs whose running executions make room for the next one."""
    zones: set[str] = field(default_factory=set)
    """Those that the new plans were made in."""
    tallies: Tallies = field(default_factory=Tallies)

    def parameters(self) -> dict[str, str]:
        return {
            **_columns(FIRE_ARRAYS, self.fires),
            "fire_statuses": texts(self.statuses),
            **_columns(EXTENSION_ARRAYS, self.extensions),
            **_columns(GAP_ARRAYS, self.gaps),
            **_columns(PLAN_ARRAYS, self.plans),
        }


def _columns(arrays: Arrays, rows: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    columns = zip(*rows, strict=True) if rows else [()] * len(arrays)
    return {
        name: array(column) for (name, array), column in zip(arrays.items(), columns, strict=True)
    }


def _nothing() -> None:
    """Nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """A node that has nothing else waiting, and starts what it fires without claiming it first."""

    node_id: int
    room: int
    """How many it can take on."""
    queues: Sequence[str] = ()
    """Those it serves; none: all."""
    release: str = ""
    on_decided: Callable[[], None] = _nothing
    """Called when all is decided, and only the database has work from then on."""

    def chosen_of(self, rows: Rows, is_paused: Callable[[JobSpec], bool]) -> list[int]:
        """The places of those that it starts: what a claim would take, in its order."""
        able = [
            place
            for place, fire in enumerate(rows.fires)
            if rows.statuses[place] == "ready"
            and (not self.queues or fire.queue in self.queues)
            # The one that has to end for the next must have begun: it waits in line like all the others.
            and fire.job_id not in rows.cancel_running
            and not is_paused(rows.specs[place])
        ]
        if len(able) > self.room:
            able.sort(key=lambda place: -rows.fires[place].priority)
        return able[: self.room]


class Written(NamedTuple):
    """What became of the new executions."""

    executions: int
    ready: int
    """Those that wait for a node to claim them."""
    started: list[Claimed]
    """Those that the taker holds."""


def write(
    connection: psycopg.Connection[Any],
    rows: Rows,
    taker: Taker | None,
    is_paused: Callable[[JobSpec], bool],
) -> Written:
    """Write all rows in one statement; `is_paused` says whose executions no node takes now."""
    begun: dict[tuple[int, datetime], int] = {}
    if taker is not None and taker.room:
        for place in taker.chosen_of(rows, is_paused):
            rows.statuses[place] = "running"
            fire = rows.fires[place]
            begun[fire.job_id, fire.scheduled_for] = place
    parameters = {
        **rows.parameters(),
        "node_id": taker.node_id if taker else None,
        "release": taker.release if taker else "",
    }
    if taker is not None:
        taker.on_decided()
    written = connection.execute(WRITE_SQL, parameters).fetchall()
    return Written(
        executions=len(written),
        ready=sum(status == "ready" for _, _, _, status, _ in written),
        started=[
            _held(rows, begun[job_id, scheduled_for], execution_id, owner_id)
            for execution_id, job_id, scheduled_for, status, owner_id in written
            if status == "running"
        ],
    )


def _held(rows: Rows, place: int, execution_id: int, owner_id: Any) -> Claimed:
    fire, spec = rows.fires[place], rows.specs[place]
    return Claimed(
        id=execution_id,
        token=1,
        attempt=1,
        crashes=0,
        job_id=fire.job_id,
        spec=spec,
        arguments=spec.arguments,
        scheduled_for=fire.scheduled_for,
        run_after=fire.scheduled_for,
        priority=fire.priority,
        reason=fire.reason,
        failures=[],
        owner_id=owner_id,
    )
