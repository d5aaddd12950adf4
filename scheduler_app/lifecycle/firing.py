"""Turn due jobs into executions and plan them again, in one transaction however many there are.

The plan's row lock decides between nodes, the unique key on (job, fire time) proves it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from scheduler_app.rules import firing as rules
from scheduler_app.rules.problems import Invalid, Problem
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.tallies import FIRED, WITHHELD
from scheduler_app.rules.timetable import TICK

from . import locks
from .arrays import numbers
from .claiming import Claimed
from .specs import UNREADABLE, SpecCache
from .tallying import write_tallies
from .verdicts import NewExecution, Rows, Taker, write
from .zones import remember_zones

logger = logging.getLogger(__name__)

FROZEN_SQL = "SET LOCAL idle_in_transaction_session_timeout = '3s'"
"""A node that freezes while it decides holds its plans for so long, and then others fire them."""

OF_PLANS = """SELECT
    plan.job_id, plan.revision_id, plan.decided_until, plan.runs,
    plan.open_gap, gap.reason, gap.who, gap.detail, plan.skip_at, plan.skip_by, scheduler_now()
FROM scheduler_app_jobplan AS plan
LEFT JOIN scheduler_app_gap AS gap ON gap.id = plan.open_gap"""

LOCK_DUE_SQL = f"""
{OF_PLANS}
WHERE plan.next_fire_at <= scheduler_now()
  AND NOT plan.dirty             -- an edited job is settled first
ORDER BY plan.next_fire_at
LIMIT %(limit)s
FOR UPDATE OF plan SKIP LOCKED   -- another node decides about those
"""

LOCK_EDITED_SQL = f"""
{OF_PLANS}
WHERE plan.dirty
ORDER BY plan.job_id
LIMIT %(limit)s
FOR UPDATE OF plan SKIP LOCKED
"""

PLANS_SQL = f"""
{OF_PLANS}
WHERE plan.job_id = ANY(%(job_ids)s)
ORDER BY plan.job_id
"""

REVISIONS_SQL = """
SELECT planned.job_id, later.id, later.created_at
FROM unnest(%(job_ids)s::bigint[], %(revision_ids)s::bigint[]) AS planned (job_id, revision_id)
JOIN scheduler_app_jobrevision AS current ON current.id = planned.revision_id
CROSS JOIN LATERAL (   -- ordered job by job: ordered as a whole, the revisions of all jobs are read
    SELECT id, created_at
    FROM scheduler_app_jobrevision
    WHERE job_id = planned.job_id AND version > current.version
    ORDER BY version
) AS later
"""

LIVE_SQL = """
SELECT
    job_id,
    count(*) FILTER (WHERE status = 'running'),
    count(*) FILTER (WHERE status = 'ready' AND attempt = 0),
    count(*) FILTER (WHERE status = 'ready' AND attempt > 0),
    -- Fire times of the past that wait their turn take no room from those of the present.
    count(*) FILTER (WHERE status = 'blocked' AND backfill IS NULL)
FROM scheduler_app_execution
WHERE job_id = ANY(%(job_ids)s::bigint[]) AND status IN ('ready', 'blocked', 'running')
GROUP BY job_id
"""

PAUSES_SQL = """
SELECT scope, value, paused_at, LEAST(paused_until, ended_at), paused_by, reason
FROM scheduler_app_pause
"""

CANCEL_RUNNING_SQL = """
UPDATE scheduler_app_execution
SET
    cancel_requested_at = CASE WHEN status = 'running' THEN scheduler_now() END,
    cancelled_by = 'overlap',
    status = CASE WHEN status = 'running' THEN 'running' ELSE 'cancelled' END,
    finished_at = CASE WHEN status = 'running' THEN NULL ELSE scheduler_now() END,
    reason = CASE WHEN status = 'running' THEN reason ELSE 'overlap' END
WHERE job_id = ANY(%(job_ids)s)
  AND (status = 'running' OR status = 'ready' AND attempt > 0)
  AND cancel_requested_at IS NULL
"""

UNREADABLE_PROBLEM = Problem(
    "schedule",
    "The definition cannot be read, which the nodes' log explains: a date or a number out of range, or "
    "arguments nested too deeply. Save the job again.",
)


@dataclass(slots=True)
class Fired:
    """What one transaction decided."""

    jobs: int = 0
    executions: int = 0
    ready: int = 0
    """Of the executions, those that can start at once and wait for a node to claim them."""
    gaps: int = 0
    more: bool = False
    """There may be more due than one transaction takes."""
    started: list[Claimed] = field(default_factory=list)
    """Of the executions, those that the taker holds; of this transaction alone, also in a sum."""

    def __add__(self, other: Fired) -> Fired:
        return Fired(
            self.jobs + other.jobs,
            self.executions + other.executions,
            self.ready + other.ready,
            self.gaps + other.gaps,
            other.more,
            other.started,
        )


class _Plan(NamedTuple):
    """A locked plan, in the order of the columns of OF_PLANS."""

    job_id: int
    revision_id: int
    decided_until: datetime
    runs: int
    open_gap: int | None
    gap_reason: str | None
    gap_who: str | None
    gap_detail: str | None
    skip_at: datetime | None
    skip_by: str
    now: datetime


def fire_due_jobs(
    connection: psycopg.Connection[Any],
    specs: SpecCache,
    *,
    misfire_after_s: float,
    limit: int = 1000,
    taker: Taker | None = None,
) -> Fired:
    """Give every due fire time of up to `limit` jobs its verdict, and plan the jobs again."""
    return _decide_locked(connection, specs, LOCK_DUE_SQL, misfire_after_s, limit, taker)


def settle_edited_jobs(
    connection: psycopg.Connection[Any],
    specs: SpecCache,
    *,
    misfire_after_s: float,
    limit: int = 1000,
) -> Fired:
    """Plan edited jobs anew, after deciding what was due before each edit by the definition of that time."""
    return _decide_locked(connection, specs, LOCK_EDITED_SQL, misfire_after_s, limit, None)


def _decide_locked(
    connection: psycopg.Connection[Any],
    specs: SpecCache,
    lock_sql: str,
    misfire_after_s: float,
    limit: int,
    taker: Taker | None,
) -> Fired:
    with connection.transaction():
        with connection.pipeline():
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [locks.PAUSES])
            connection.execute(FROZEN_SQL)
            asked = connection.execute(PAUSES_SQL)
        # Not in the pipeline: after one, PostgreSQL's clock for idle transactions does not run, and a node that
        # freezes here would keep the plans for itself.
        locked = connection.execute(lock_sql, {"limit": limit})
        plans = [_Plan(*row) for row in locked.fetchall()]
        if not plans:
            return Fired()
        pauses = asked.fetchall()
        # A plan without the mark of an edit has none: both come in one transaction, which waits for the lock.
        edits = _edits(connection, plans) if lock_sql is LOCK_EDITED_SQL else {}
        decided, zones = _decide_these(
            connection, specs, plans, edits, pauses, misfire_after_s, taker
        )
    specs.zones |= zones
    decided.more = len(plans) == limit
    return decided


def settle_at_once(
    connection: psycopg.Connection[Any],
    specs: SpecCache,
    job_ids: Sequence[int],
    *,
    misfire_after_s: float,
) -> None:
    """Decide about all fire times of these jobs up to now, within the transaction of a verb that goes on from there.

    It has locked the jobs' plans, and before them the pauses.
    """
    plans = [_Plan(*row) for row in connection.execute(PLANS_SQL, {"job_ids": list(job_ids)})]
    if plans:
        pauses = connection.execute(PAUSES_SQL).fetchall()
        edits = _edits(connection, plans)
        _decide_these(connection, specs, plans, edits, pauses, misfire_after_s, None)


def _decide_these(
    connection: psycopg.Connection[Any],
    specs: SpecCache,
    plans: Sequence[_Plan],
    edits: Mapping[int, Sequence[tuple[int, datetime]]],
    pauses: Sequence[tuple[Any, ...]],
    misfire_after_s: float,
    taker: Taker | None,
) -> tuple[Fired, set[str]]:
    """What was decided, and the time zones whose data the database remembers once this is committed."""
    rows = _decide_all(connection, specs, plans, edits, pauses, misfire_after_s)
    now = plans[0].now
    written = write(
        *(connection, rows, taker),
        lambda spec: any(pause.covers(now) for pause in pauses_of(spec, pauses)),
    )
    if rows.cancel_running:
        connection.execute(CANCEL_RUNNING_SQL, {"job_ids": list(rows.cancel_running)})
    fresh_zones = rows.zones - specs.zones
    if fresh_zones:
        remember_zones(connection, fresh_zones)
    if written.executions:
        rows.tallies.add(FIRED, number=written.executions)
    write_tallies(connection, rows.tallies)
    decided = Fired(
        jobs=len(plans),
        executions=written.executions,
        ready=written.ready,
        gaps=len(rows.gaps) + len(rows.extensions),
        started=written.started,
    )
    return decided, fresh_zones


def _edits(
    connection: psycopg.Connection[Any], plans: Sequence[_Plan]
) -> dict[int, list[tuple[int, datetime]]]:
    """By job, the revisions later than the one that its plan was made by, with their moments."""
    edits: dict[int, list[tuple[int, datetime]]] = {}
    parameters = {
        "job_ids": numbers(plan.job_id for plan in plans),
        "revision_ids": numbers(plan.revision_id for plan in plans),
    }
    for job_id, revision_id, created_at in connection.execute(REVISIONS_SQL, parameters):
        edits.setdefault(job_id, []).append((revision_id, created_at))
    return edits


def _decide_all(
    connection: psycopg.Connection[Any],
    specs: SpecCache,
    plans: Sequence[_Plan],
    edits: Mapping[int, Sequence[tuple[int, datetime]]],
    pauses: Sequence[tuple[Any, ...]],
    misfire_after_s: float,
) -> Rows:
    histories = [
        [(plan.revision_id, plan.decided_until), *edits.get(plan.job_id, ())] for plan in plans
    ]
    known = specs.get_many(
        connection, [revision_id for history in histories for revision_id, _ in history]
    )
    limited = [
        plan.job_id
        for plan, history in zip(plans, histories, strict=True)
        if any(known[revision_id].limit is not None for revision_id, _ in history)
    ]
    live = _count_live(connection, limited)
    rows = Rows()
    for plan, history in zip(plans, histories, strict=True):
        _decide_one(rows, plan, history, known, live, pauses, misfire_after_s)
    return rows


def _count_live(
    connection: psycopg.Connection[Any], job_ids: Sequence[int]
) -> dict[int, rules.Live]:
    """What lives of each job that has a limit; a statement of its own, so that it sees what the lock waited for."""
    if not job_ids:
        return {}
    return {
        job_id: rules.Live(running, waiting, retrying, blocked)
        for job_id, running, waiting, retrying, blocked in connection.execute(
            LIVE_SQL, {"job_ids": numbers(job_ids)}
        )
    }


def _decide_one(
    rows: Rows,
    plan: _Plan,
    history: Sequence[tuple[int, datetime]],
    specs: dict[int, JobSpec],
    live_by_job: dict[int, rules.Live],
    pauses: Sequence[tuple[Any, ...]],
    misfire_after_s: float,
) -> None:
    """Decide by each definition for the time that it was in force, then plan by the last."""
    decision = rules.Decision(plan.decided_until, plan.runs)
    live = live_by_job.get(plan.job_id) or rules.Live()
    last_revision = history[-1][0]
    withheld = _withheld(specs[last_revision], plan.now)
    problem = ""
    next_fire_at = None
    until_of = [min(edited_at, plan.now) for _, edited_at in history[1:]] + [plan.now]
    later = _made_up_later(plan, history, until_of, specs, pauses, misfire_after_s)
    for number, (revision_id, _) in enumerate(history):
        spec = specs[revision_id]
        is_last = number + 1 == len(history)
        until = until_of[number]
        decided = len(decision.verdicts)
        problem = ""
        try:
            if spec is UNREADABLE:
                raise Invalid([UNREADABLE_PROBLEM])
            own = _own_suspensions(plan, spec)
            rules.decide(
                decision,
                spec,
                until=until,
                now=plan.now,
                live=live,
                pauses=[*own, *pauses_of(spec, pauses)],
                misfire_after_s=misfire_after_s,
                later=later[number],
            )
            if is_last:
                # A pause that covers many jobs leaves their plans alone: its fire times are decided as they come.
                next_fire_at = rules.next_fire_at(decision, spec, own)
                rows.zones.add(spec.timezone)
        except Exception as error:
            # Written past the validation, most likely. It stops this job and no other, and the job says so.
            is_known = isinstance(error, Invalid)
            problem = (str(error) if is_known else f"{type(error).__name__}: {error}")[:500]
            decision.decided_until = max(decision.decided_until, until)
            logger.error(
                "job cannot be planned job_id=%s problem=%s",
                plan.job_id,
                problem,
                exc_info=not is_known,
            )
        for verdict in decision.verdicts[decided:]:
            if isinstance(verdict, rules.Fire):
                status = withheld[0] or ("blocked" if verdict.blocked else "ready")
                rows.fires.append(
                    NewExecution(
                        *(plan.job_id, revision_id, verdict.scheduled_for),
                        *(spec.queue, spec.priority, withheld[1]),
                    )
                )
                rows.statuses.append(status)
                rows.specs.append(spec)
    if decision.cancel_running:
        rows.cancel_running.add(plan.job_id)
    open_gap, open_first = _add_gaps(rows, plan, decision)
    rows.plans.append(
        (
            *(plan.job_id, last_revision, next_fire_at, decision.decided_until),
            *(decision.runs, open_gap, open_first, problem),
        )
    )


def _made_up_later(
    plan: _Plan,
    history: Sequence[tuple[int, datetime]],
    until_of: Sequence[datetime],
    specs: dict[int, JobSpec],
    pauses: Sequence[tuple[Any, ...]],
    misfire_after_s: float,
) -> list[rules.MadeUp]:
    """For each definition, what those after it make up for of an absence that reaches over edits."""
    found = rules.NOTHING_MADE_UP
    later = [found]
    for number in range(len(history) - 1, 0, -1):
        spec = specs[history[number][0]]
        # One that cannot be read makes up for nothing; whoever decides by it says so.
        with suppress(Exception):
            found = rules.made_up(
                spec,
                max(plan.decided_until, until_of[number - 1]),
                until_of[number],
                now=plan.now,
                pauses=[*_own_suspensions(plan, spec), *pauses_of(spec, pauses)],
                misfire_after_s=misfire_after_s,
                runs=plan.runs,
                later=found,
            )
        later.append(found)
    return later[::-1]


def _own_suspensions(plan: _Plan, spec: JobSpec) -> list[rules.Suspension]:
    """Those that lie on the job itself."""
    return [*rules.own_pause(spec), *rules.own_closures(spec), *_skipped(plan)]


def _withheld(spec: JobSpec, now: datetime) -> tuple[str, str]:
    """Status and reason of what may not begin although it was due before: the job is deleted or paused now."""
    if spec.deleted_at is not None:
        return "cancelled", "job_deleted"
    if spec.paused_at is not None and (spec.paused_until is None or spec.paused_until > now):
        return "blocked", "paused"
    return "", ""


def _add_gaps(
    rows: Rows, plan: _Plan, decision: rules.Decision
) -> tuple[int | None, datetime | None]:
    """Write the skips, the first as part of the open gap if it goes on; returns the gap left open, old or new."""
    open_gap = plan.open_gap
    open_first: datetime | None = None
    earlier = None
    if open_gap is not None and plan.gap_reason is not None:
        earlier = rules.Skip(
            plan.now, plan.now, 0, plan.gap_reason, plan.gap_who or "", plan.gap_detail or ""
        )
    for number, verdict in enumerate(decision.verdicts):
        if isinstance(verdict, rules.Fire):
            open_gap, open_first = None, None
            continue
        rows.tallies.add(WITHHELD, verdict.reason, verdict.count)
        if number == 0 and earlier is not None and verdict.continues(earlier):
            rows.extensions.append((plan.open_gap, verdict.last_at, verdict.count))
        else:
            rows.gaps.append(
                (
                    *(plan.job_id, verdict.first_at, verdict.last_at, verdict.count),
                    *(verdict.reason, verdict.who, verdict.detail),
                )
            )
            open_gap, open_first = None, verdict.first_at
    return open_gap, open_first


def _skipped(plan: _Plan) -> list[rules.Suspension]:
    """The one fire time that somebody wants skipped, if the schedule still has it."""
    if plan.skip_at is None:
        return []
    return [rules.Suspension(plan.skip_at, plan.skip_at + TICK, plan.skip_by, reason="skipped")]


def pauses_of(spec: JobSpec, pauses: Sequence[tuple[Any, ...]]) -> list[rules.Suspension]:
    """Those of the pauses of queues, tags and everything that cover the job."""
    return [
        rules.Suspension(since, until, who, reason)
        for scope, value, since, until, who, reason in pauses
        if scope == "all"
        or (scope == "queue" and value == spec.queue)
        or (scope == "tag" and value in spec.tags)
    ]
