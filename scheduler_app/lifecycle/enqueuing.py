"""Enqueue tasks: executions without a job, each carrying its whole definition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from scheduler_app.targets import target_problems

from . import notices
from .transactions import CannotDo, execute_prepared, statement_on_psycopg

# One statement with the notification in it, so that outside of a transaction it is one round trip.
ENQUEUE_SQL = """
WITH enqueued AS (
    INSERT INTO scheduler_app_execution
        (trigger, spec, scheduled_for, run_after, queue, priority, status, requested_by)
    SELECT
        'task', call.spec, COALESCE(call.run_after, scheduler_now()), COALESCE(call.run_after, scheduler_now()),
        call.queue, call.priority, 'ready', %(by)s
    FROM ROWS FROM (
        json_to_recordset(%(calls)s) AS (spec jsonb, run_after timestamptz, queue text, priority smallint)
    ) WITH ORDINALITY AS call (spec, run_after, queue, priority, place)
    ORDER BY call.place   -- so that ids grow in the order of the calls
    RETURNING id, created_at
), told AS MATERIALIZED (   -- once for all of them
    SELECT pg_notify(%(channel)s, %(notice)s)
)
SELECT array_agg(enqueued.id), min(enqueued.created_at)   -- all at one moment
FROM enqueued, told
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCall:
    """One task to run once, with its arguments as a job has them."""

    target: str
    arguments: Any = field(default_factory=dict)
    queue: str = "default"
    priority: int = 0
    run_after: datetime | None = None
    """Not before this moment; None: at once."""
    policies: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `JobSpec` that differ from its defaults, such as `timeout_s` and `max_attempts`."""

    def as_json(self) -> dict[str, Any]:
        """The columns of its execution, the definition that it carries among them."""
        spec = {
            **self.policies,
            "name": self.target,
            "kind": "task",
            "target": self.target,
            "arguments": self.arguments,
            "queue": self.queue,
        }
        run_after = self.run_after and self.run_after.isoformat()
        return {
            "spec": spec,
            "run_after": run_after,
            "queue": self.queue,
            "priority": self.priority,
        }


class Enqueued(NamedTuple):
    """The execution that a call became."""

    id: int
    at: datetime


def enqueue(calls: Sequence[TaskCall], *, by: str = "") -> list[Enqueued]:
    """Run each call once, as soon as a thread is free; returns the executions in the order of the calls.

    One statement in the caller's transaction, however many there are: nothing runs before that commits, and nothing
    if it does not. Raises CannotDo when a task is unknown or arguments do not fit it, and enqueues none then.
    """
    for call in calls:
        problems = target_problems("task", call.target, call.arguments)
        if problems:
            raise CannotDo(" ".join(problem.message for problem in problems), problems)
    if not calls:
        return []
    with statement_on_psycopg() as connection:
        row = execute_prepared(
            connection,
            ENQUEUE_SQL,
            {
                "calls": json.dumps([call.as_json() for call in calls]),
                "by": by,
                "channel": notices.CHANNEL,
                "notice": notices.READY,
            },
        ).fetchone()
    assert row is not None
    ids, at = row
    # RETURNING promises no order; the ids were drawn in that of the calls.
    return [Enqueued(id_, at) for id_ in sorted(ids)]
