"""Enqueue tasks: executions without a job, each carrying its whole definition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from scheduler_app.targets import target_problems

from . import notices
from .transactions import CannotDo, transaction_on_psycopg

ENQUEUE_SQL = """
INSERT INTO scheduler_app_execution
    (trigger, spec, scheduled_for, run_after, queue, priority, status, requested_by)
SELECT
    'task', call.spec, COALESCE(call.run_after, scheduler_now()), COALESCE(call.run_after, scheduler_now()),
    call.queue, call.priority, 'ready', %(by)s
FROM unnest(
    %(specs)s::text[]::jsonb[], %(run_after)s::timestamptz[], %(queues)s::text[], %(priorities)s::smallint[]
) WITH ORDINALITY AS call (spec, run_after, queue, priority, place)
ORDER BY call.place   -- so that ids grow in the order of the calls
RETURNING id, created_at
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

    def definition(self) -> str:
        """What the execution carries, as JSON text."""
        spec = {**self.policies, "name": self.target, "kind": "task", "target": self.target}
        return json.dumps({**spec, "arguments": self.arguments, "queue": self.queue})


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
    with transaction_on_psycopg() as connection:
        rows = connection.execute(
            ENQUEUE_SQL,
            {
                "specs": [call.definition() for call in calls],
                "run_after": [call.run_after for call in calls],
                "queues": [call.queue for call in calls],
                "priorities": [call.priority for call in calls],
                "by": by,
            },
        ).fetchall()
        notices.notify(connection, notices.READY)
    # RETURNING promises no order; the ids were drawn in that of the calls.
    return sorted(Enqueued(*row) for row in rows)
