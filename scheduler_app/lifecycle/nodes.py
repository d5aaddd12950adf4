"""The row of a node: its life, its heartbeat, its ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

REGISTER_SQL = """
INSERT INTO scheduler_app_node (name, host, pid, release, queues, threads, state)
VALUES (%(name)s, %(host)s, %(pid)s, %(release)s, %(queues)s, %(threads)s, 'active')
RETURNING id
"""

HEARTBEAT_SQL = """
UPDATE scheduler_app_node
SET heartbeat_at = scheduler_now(), busy = %(busy)s, listening = %(listening)s,
    state = CASE WHEN %(draining)s THEN 'draining' ELSE state END
WHERE id = %(node_id)s AND state IN ('active', 'draining')
RETURNING scheduler_now()
"""

TICK_SQL = """
UPDATE scheduler_app_node
SET last_tick_at = scheduler_now()
WHERE id = %(node_id)s AND state IN ('active', 'draining')
"""

STOP_SQL = """
UPDATE scheduler_app_node
SET state = 'stopped', finished_at = scheduler_now(), heartbeat_at = scheduler_now(), busy = 0,
    state_reason = %(reason)s
WHERE id = %(node_id)s AND state IN ('active', 'draining')
"""

HELD_SQL = """
SELECT id, token, cancel_requested_at IS NOT NULL
FROM scheduler_app_execution
WHERE node_id = %(node_id)s AND status = 'running'
"""


@dataclass(frozen=True, slots=True)
class Contact:
    """The database's answer to a heartbeat."""

    now: datetime


def register_node(
    connection: psycopg.Connection[Any],
    *,
    name: str,
    host: str,
    pid: int,
    release: str,
    queues: Sequence[str],
    threads: int,
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
        },
    ).fetchone()
    assert row is not None
    node_id: int = row[0]
    return node_id


def heartbeat(
    connection: psycopg.Connection[Any],
    node_id: int,
    *,
    busy: int,
    listening: bool,
    draining: bool,
) -> Contact | None:
    """Say that the node lives; None when it was declared dead or stopped meanwhile."""
    row = connection.execute(
        HEARTBEAT_SQL,
        {"node_id": node_id, "busy": busy, "listening": listening, "draining": draining},
    ).fetchone()
    return None if row is None else Contact(row[0])


def tick(connection: psycopg.Connection[Any], node_id: int) -> None:
    """Say that the scheduler loop completed a turn."""
    connection.execute(TICK_SQL, {"node_id": node_id})


def stop_node(connection: psycopg.Connection[Any], node_id: int, *, reason: str = "") -> None:
    """The last word of a node; it holds nothing any more."""
    connection.execute(STOP_SQL, {"node_id": node_id, "reason": reason})


def held_by(connection: psycopg.Connection[Any], node_id: int) -> list[tuple[int, int, bool]]:
    """What the database believes that this node runs: id, token, and whether somebody wants it cancelled."""
    return connection.execute(HELD_SQL, {"node_id": node_id}).fetchall()
