"""What the database says, read with plain SQL, and the journal that it keeps of every change of an execution.

The journal is a table and a trigger of the drill's own. It sees what no final state shows: who changed what when,
and whether an outcome was written over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import psycopg

from .ledger import Ledger
from .sidelog import Run

JOURNAL_SQL = """
CREATE TABLE drill_change (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    execution_id bigint NOT NULL,
    old_status text, new_status text NOT NULL,
    old_token bigint, new_token bigint NOT NULL,
    old_node bigint, new_node bigint,
    reason text NOT NULL,
    outcome text NOT NULL
);
CREATE FUNCTION drill_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO drill_change (execution_id, new_status, new_token, new_node, reason, outcome)
        VALUES (NEW.id, NEW.status, NEW.token, NEW.node_id, NEW.reason, '');
    ELSE
        INSERT INTO drill_change
            (execution_id, old_status, new_status, old_token, new_token, old_node, new_node, reason, outcome)
        VALUES (
            NEW.id, OLD.status, NEW.status, OLD.token, NEW.token, OLD.node_id, NEW.node_id, NEW.reason,
            left(concat(NEW.result, ' ', NEW.error, ' ', NEW.failures -> -1 ->> 'error'), 2000)
        );
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER drill_note_insert AFTER INSERT ON scheduler_app_execution
FOR EACH ROW EXECUTE FUNCTION drill_note();
CREATE TRIGGER drill_note_update AFTER UPDATE ON scheduler_app_execution
FOR EACH ROW WHEN (
    (OLD.status, OLD.token, OLD.result, OLD.error, OLD.finished_at)
    IS DISTINCT FROM (NEW.status, NEW.token, NEW.result, NEW.error, NEW.finished_at)
) EXECUTE FUNCTION drill_note();
"""

EXECUTIONS_SQL = """
SELECT id, COALESCE(job_id, 0), trigger, extract(epoch FROM scheduled_for)::float8, status, reason, token, COALESCE(node_id, 0)
FROM scheduler_app_execution
ORDER BY id
"""
GAPS_SQL = """
SELECT job_id, extract(epoch FROM first_at)::float8, extract(epoch FROM last_at)::float8, count, reason
FROM scheduler_app_gap
ORDER BY job_id, first_at
"""
NODES_SQL = """
SELECT id, name, pid, state, extract(epoch FROM started_at)::float8
FROM scheduler_app_node
ORDER BY id
"""
CHANGES_SQL = """
SELECT
    execution_id, extract(epoch FROM at)::float8, old_status, new_status, COALESCE(old_token, 0), new_token,
    COALESCE(old_node, 0), COALESCE(new_node, 0), reason, outcome
FROM drill_change
ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Definition:
    """A job's schedule from one edit to the next; `asked` to `done` is when the edit was under way."""

    schedule: str | None
    """None: the job does not fire: disabled, or deleted."""
    asked: float
    done: float


@dataclass(slots=True)
class PlannedJob:
    """What a job was made to do; the checker expects this of it."""

    id: int
    name: str
    definitions: list[Definition]
    raises: bool = False
    """Every run ends with an error."""
    max_attempts: int = 1
    overlap: str = "skip"
    at_most_once: bool = False
    writes: bool = True
    """Its runs are in the side log."""
    keyed: bool = True
    """Its outcomes carry the keys of its runs."""
    max_runs: int | None = None
    moments: Callable[[float, float], Iterable[int]] | None = None
    """Its fire times in a stretch, where the schedule is not one that `fire_times` reads."""
    kills: bool = False
    """It may take the process that runs it down."""
    may_fail: bool = False
    """Failing is what it is for, in ways that are not foreseen one by one."""


@dataclass(frozen=True, slots=True)
class Row:
    """An execution as it is at the end."""

    id: int
    job: int
    trigger: str
    fire_time: float
    status: str
    reason: str
    token: int
    node: int


@dataclass(frozen=True, slots=True)
class GapRow:
    job: int
    first: float
    last: float
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class NodeRow:
    id: int
    name: str
    pid: int
    state: str
    began: float


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one execution, by the journal."""

    execution: int
    at: float
    old_status: str | None
    status: str
    old_token: int
    token: int
    old_node: int
    node: int
    reason: str
    outcome: str


@dataclass(frozen=True, slots=True)
class ClockStep:
    """From `at` on the cluster's clock shows real time + `offset`."""

    at: float
    offset: float


@dataclass(slots=True)
class Evidence:
    """All that the checker believes."""

    jobs: list[PlannedJob]
    ledger: Ledger
    runs: list[Run]
    rows: list[Row] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)
    nodes: list[NodeRow] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    clock: list[ClockStep] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """When the machine itself stood still."""
    lease: float = 15.0
    misfire_after: float = 5.0
    acknowledged: list[int] = field(default_factory=list)
    """Executions that somebody was told of, and relies on."""
    patience: float = 0.0
    """Seconds that a busy machine may add to what is promised in seconds."""
    ended: float = inf
    """When the system was asked to be at rest: nothing may be live after that."""


def install_journal(connection: psycopg.Connection[Any]) -> None:
    """Let the database note every change of an execution from now on."""
    connection.execute(JOURNAL_SQL)


def read_tables(connection: psycopg.Connection[Any], evidence: Evidence) -> None:
    """Take what the tables say at this moment into the evidence."""
    evidence.rows = [Row(*row) for row in connection.execute(EXECUTIONS_SQL)]
    evidence.gaps = [GapRow(*row) for row in connection.execute(GAPS_SQL)]
    evidence.nodes = [NodeRow(*row) for row in connection.execute(NODES_SQL)]
    evidence.changes = [Change(*row) for row in connection.execute(CHANGES_SQL)]
