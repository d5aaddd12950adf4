"""The row of a node: its life, its heartbeat, its ticks, and the request to drain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from scheduler_app.models import Verb

from . import notices
from .auditing import Subject, record
from .transactions import CannotDo, transaction_on_psycopg

REGISTER_SQL = """
INSERT INTO scheduler_app_node (name, host, pid, release, queues, threads, lease_s, state)
VALUES (%(name)s, %(host)s, %(pid)s, %(release)s, %(queues)s, %(threads)s, %(lease_s)s, 'active')
RETURNING id
"""

HEARTBEAT_SQL = """
UPDATE scheduler_app_node
SET heartbeat_at = scheduler_now(),
    last_tick_at = COALESCE(scheduler_now() - make_interval(secs => %(tick_age_s)s), last_tick_at),
    state = CASE WHEN %(draining)s THEN 'draining' ELSE state END,
    busy = %(busy)s, children = %(children)s, stuck = %(stuck)s,
    unwritten = %(unwritten)s, unwritten_bytes = %(unwritten_bytes)s,
    listening = %(listening)s, turn_ages = %(turn_ages)s,
    trouble = %(trouble)s, trouble_note = %(trouble_note)s
WHERE id = %(node_id)s AND state IN ('active', 'draining')
RETURNING scheduler_now(), drain_requested_at IS NOT NULL, drain_requested_by
"""

STOP_SQL = """
UPDATE scheduler_app_node
SET state = 'stopped', finished_at = scheduler_now(), heartbeat_at = scheduler_now(), busy = 0,
    state_reason = %(reason)s
WHERE id = %(node_id)s AND state IN ('active', 'draining')
"""

DRAIN_SQL = """
UPDATE scheduler_app_node
SET state = 'draining',   -- from here on it claims nothing, whether it has heard of this or not
    drain_requested_at = scheduler_now(), drain_requested_by = %(by)s
WHERE id = %(node_id)s AND state IN ('active', 'draining') AND drain_requested_at IS NULL
RETURNING name
"""

STATE_SQL = """
SELECT name, state
FROM scheduler_app_node
WHERE id = %(node_id)s
"""

BIRTH_SQL = """
SELECT started_at::text
FROM scheduler_app_node
WHERE id = %(node_id)s
"""

HELD_SQL = """
SELECT id, token, cancel_requested_at IS NOT NULL
FROM scheduler_app_execution
WHERE node_id = %(node_id)s AND status = 'running'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a node says of itself with each heartbeat; the columns of its row say what they mean."""

    draining: bool = False
    busy: int = 0
    children: int = 0
    stuck: int = 0
    unwritten: int = 0
    unwritten_bytes: int = 0
    listening: bool = False
    turn_ages: dict[str, float] = field(default_factory=dict)
    trouble: str = ""
    trouble_note: str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """The database's answer to a heartbeat."""

    now: datetime
    drain_requested: bool = False
    drain_requested_by: str = ""


def register_node(
    connection: psycopg.Connection[Any],
    *,
    name: str,
    host: str,
    pid: int,
    release: str,
    queues: Sequence[str],
    threads: int,
    lease_s: float = 0,
) -> int:
    """A new row for a new process life; returns its id, which is never used again."""
    row = connection.execute(
        REGISTER_SQL,
        {
            "name": name,
            "host": host,
            "pid": pid,
            "release": release,
            "queues": list(queues),
            "threads": threads,
            "lease_s": lease_s,
        },
    ).fetchone()
    assert row is not None
    node_id: int = row[0]
    return node_id


def birth_of(connection: psycopg.Connection[Any], node_id: int) -> str | None:
    """When the node's row was made, as text; with the id, it tells this database from all others."""
    row = connection.execute(BIRTH_SQL, {"node_id": node_id}).fetchone()
    return None if row is None else str(row[0])


def heartbeat(
    connection: psycopg.Connection[Any], node_id: int, condition: Condition
) -> Contact | None:
    """Say that the node lives, and how it is; None when it was declared dead or stopped meanwhile."""
    row = connection.execute(
        HEARTBEAT_SQL,
        {
            "node_id": node_id,
            "draining": condition.draining,
            "busy": condition.busy,
            "children": condition.children,
            "stuck": condition.stuck,
            "unwritten": condition.unwritten,
            "unwritten_bytes": condition.unwritten_bytes,
            "listening": condition.listening,
            "turn_ages": Jsonb(condition.turn_ages),
            "tick_age_s": condition.turn_ages.get("scheduler"),
            "trouble": condition.trouble,
            "trouble_note": condition.trouble_note[:500],
        },
    ).fetchone()
    return None if row is None else Contact(*row)


def drain_node(node_id: int, *, by: str) -> bool:
    """Ask a node to finish what runs, take nothing new and stop; False when it was asked before.

    Once this has returned, the node claims nothing more. Raises CannotDo when it has ended or is not known.
    """
    with transaction_on_psycopg() as connection:
        asked = connection.execute(DRAIN_SQL, {"node_id": node_id, "by": by[:150]}).fetchone()
        if asked:
            record(Verb.NODE_DRAIN, [Subject("node", node_id, asked[0])], by=by)
            notices.notify(connection, notices.NODE)
            return True
        row = connection.execute(STATE_SQL, {"node_id": node_id}).fetchone()
    if row is None:
        raise CannotDo("There is no such node; it may have been pruned.")
    name, state = row
    if state not in ("active", "draining"):
        raise CannotDo(f"The node {name} is {state} already.")
    return False


def stop_node(connection: psycopg.Connection[Any], node_id: int, *, reason: str = "") -> None:
    """The last word of a node; it holds nothing any more."""
    connection.execute(STOP_SQL, {"node_id": node_id, "reason": reason})


def held_by(connection: psycopg.Connection[Any], node_id: int) -> list[tuple[int, int, bool]]:
    """What the database believes that this node runs: id, token, and whether somebody wants it cancelled."""
    return connection.execute(HELD_SQL, {"node_id": node_id}).fetchall()
