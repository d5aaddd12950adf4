"""Look what there is to do: one statement a turn, so that an idle node costs one transaction a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from .promoting import MAY_BE_PROMOTED

AHEAD_COLUMNS = """
    scheduler_now(),
    (
        SELECT next_fire_at
        FROM scheduler_app_jobplan
        WHERE next_fire_at IS NOT NULL
        ORDER BY next_fire_at
        LIMIT 1
    ),
    EXISTS (SELECT FROM scheduler_app_jobplan WHERE dirty),
    COALESCE((
        SELECT true
        FROM scheduler_app_execution
        WHERE status = 'ready'
          AND run_after <= scheduler_now()
          AND (%(queues)s::text[] = '{}' OR queue = ANY(%(queues)s::text[]))
        ORDER BY priority DESC, run_after, id   -- leads the planner to their own index: EXISTS may read all that live
        LIMIT 1
    ), false)
"""

LOOK_AHEAD_SQL = f"SELECT {AHEAD_COLUMNS}"

# What the chores' own statements would find; they run where this says that they would find something.
LOOK_ROUND_SQL = f"""
SELECT
    {AHEAD_COLUMNS},
    EXISTS (
        SELECT
        FROM scheduler_app_node
        WHERE state IN ('active', 'draining')
          AND heartbeat_at < scheduler_now() - make_interval(secs => GREATEST(lease_s, %(lease_s)s))
    ),
    COALESCE((
        SELECT true
        FROM scheduler_app_execution AS execution
        LEFT JOIN scheduler_app_node AS node ON node.id = execution.node_id
        WHERE execution.status = 'running'
          AND (node.state IS NULL OR node.state NOT IN ('active', 'draining'))
        ORDER BY execution.node_id   -- as above
        LIMIT 1
    ), false),
    EXISTS (SELECT FROM scheduler_app_job WHERE paused_until <= scheduler_now()),
    EXISTS (SELECT FROM scheduler_app_execution WHERE {MAY_BE_PROMOTED}),
    ARRAY(
        SELECT ARRAY[id, token, (cancel_requested_at IS NOT NULL)::int]
        FROM scheduler_app_execution
        WHERE node_id = %(node_id)s AND status = 'running'
    )
"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The database's time, when something is due next, whether jobs were edited, whether something is ready."""

    now: datetime
    next_fire_at: datetime | None
    edited: bool
    ready: bool = False
    """There are executions that could start now; a pause may hold them back."""


@dataclass(frozen=True, slots=True)
class Chores:
    """What a node does for all of them, where there is something to do."""

    silent_nodes: bool
    orphans: bool
    """Running executions of nodes that are not alive."""
    expired_pauses: bool
    blocked: bool
    """Executions that wait for the limit of their job."""
    held: list[tuple[int, int, bool]]
    """What the database believes that this node runs: id, token, and whether somebody wants it cancelled."""


def look_ahead(connection: psycopg.Connection[Any], queues: Sequence[str] = ()) -> Outlook:
    """What is due, and when to look again; a few index look-ups however many jobs there are."""
    row = connection.execute(LOOK_AHEAD_SQL, {"queues": list(queues)}).fetchone()
    assert row is not None
    return Outlook(*row)


def look_round(
    connection: psycopg.Connection[Any],
    *,
    node_id: int,
    lease_s: float,
    queues: Sequence[str] = (),
) -> tuple[Outlook, Chores]:
    """As `look_ahead`, and which chores there are."""
    row = connection.execute(
        LOOK_ROUND_SQL, {"node_id": node_id, "lease_s": lease_s, "queues": list(queues)}
    ).fetchone()
    assert row is not None
    *outlook, silent, orphans, expired, blocked, held = row
    rows = [(id_, token, bool(cancelled)) for id_, token, cancelled in held]
    return Outlook(*outlook), Chores(silent, orphans, expired, blocked, rows)
