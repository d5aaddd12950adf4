"""The course of a drill: nodes behind proxies, jobs switched on, harm, jobs switched off, and the evidence of it all."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from . import sidelog
from .evidence import ClockStep, Definition, Evidence, PlannedJob, read_tables
from .ledger import Band, Ledger
from .nodes import NodeKeeper, wait_until
from .probe import Probe
from .proxy import Address, Proxy

WORK = "scheduler_app.management.drill.tasks.work"
X_S = 3.0
"""What a rescue may take beyond the lease."""
WARM_UP_S = 3.0
AFTER_S = 3.0
"""How long the jobs go on firing after everything is well again."""
PATIENCE_S = 60.0
"""How long a drill waits for what should take a second, on a machine that is busy with other things."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job to be made, and what the checker has to know of it."""

    name: str
    schedule: str
    fields: dict[str, Any] = field(default_factory=dict)
    raises: bool = False
    writes: bool = True
    keyed: bool = True
    kills: bool = False
    may_fail: bool = False
    moments: Callable[[float, float], Iterable[int]] | None = None

    @property
    def overlap(self) -> str:
        return str(self.fields.get("on_overlap", "skip"))

    def as_fields(self) -> dict[str, Any]:
        """What `Job` takes; not enabled, so that it fires when the nodes are there."""
        return (
            {"target": WORK, "timeout_s": 30, "enabled": False}
            | self.fields
            | {
                "name": self.name,
                "schedule": self.schedule,
            }
        )

    def planned(self, id_: int, definitions: list[Definition]) -> PlannedJob:
        """For the checker."""
        return PlannedJob(
            id=id_,
            name=self.name,
            definitions=definitions,
            raises=self.raises,
            max_attempts=int(self.fields.get("max_attempts", 1)),
            overlap=self.overlap,
            writes=self.writes,
            keyed=self.keyed,
            kills=self.kills,
            may_fail=self.may_fail,
            moments=self.moments,
            max_runs=self.fields.get("max_runs"),
            at_most_once=self.fields.get("guarantee") == "at_most_once",
        )


def work(seconds: float = 0.0, **fields: Any) -> dict[str, Any]:
    """The fields of a job that works for so long."""
    return {"arguments": {"seconds": seconds}, **fields}


class Course:
    """One drill on one database. What it does to the nodes and the database goes into the ledger."""

    def __init__(
        self,
        *,
        directory: Path,
        connect: Callable[[], psycopg.Connection[Any]],
        target: Address,
        wanted: Mapping[int, Wanted],
        lease_s: float,
        seed: int,
    ) -> None:
        self.directory = directory
        self.random = random.Random(seed)
        self.lease_s = lease_s
        self.ledger = Ledger()
        self.probe = Probe()
        self.clock: list[ClockStep] = []
        self.acknowledged: list[int] = []
        self.side_log = directory / "side.log"
        self.side_log.touch()
        self.wanted = dict(wanted)
        self.ids = {each.name: id_ for id_, each in wanted.items()}
        self.definitions: dict[int, list[Definition]] = {id_: [] for id_ in wanted}
        self.proxies: dict[str, Proxy] = {}
        self.nodes: dict[str, NodeKeeper] = {}
        self._target = target
        self._connect = connect
        self.connection = connect()

    def add_node_with(
        self,
        name: str,
        *,
        command: list[str],
        cwd: Path,
        environment: Callable[[Proxy], Mapping[str, str]],
    ) -> NodeKeeper:
        """One more node, behind a proxy of its own; not started yet."""
        proxy = self.proxies[name] = Proxy(self._target)
        self.nodes[name] = NodeKeeper(
            name,
            self.ledger,
            command=command,
            environment={**environment(proxy), sidelog.VARIABLE: str(self.side_log)},
            directory=cwd,
            log=self.directory / f"{name}.log",
        )
        return self.nodes[name]

    # --- From beginning to end ---

    def begin(self) -> None:
        """Nodes up, jobs on, and some seconds of peace."""
        self.probe.__enter__()
        for keeper in self.nodes.values():
            keeper.start()
        self.wait(lambda: self.active_nodes() >= len(self.nodes), "all nodes to be there")
        self.switch_on()
        time.sleep(WARM_UP_S)

    def switch_on(self, ids: Sequence[int] = ()) -> None:
        """Enable these jobs, or all; from here on their fire times count."""
        self._switch(ids or list(self.wanted), on=True)

    def switch_off(self, ids: Sequence[int] = ()) -> None:
        """Disable these jobs, or all; after this they fire no more."""
        self._switch(ids or list(self.wanted), on=False)

    def _switch(self, ids: Sequence[int], *, on: bool) -> None:
        asked = time.time()
        self.sql("UPDATE scheduler_app_job SET enabled = %s WHERE id = ANY(%s)", on, list(ids))
        done = time.time()
        for id_ in ids:
            before = self.definitions[id_][-1].schedule if self.definitions[id_] else None
            if on == (before is None):
                schedule = self.wanted[id_].schedule if on else None
                self.definitions[id_].append(Definition(schedule, asked, done))

    def finish(self) -> Evidence:
        """Let everything come to rest, stop the nodes, and collect what there is to believe."""
        time.sleep(AFTER_S)
        self.switch_off()
        wait_until(self.at_rest, self.lease_s + X_S + PATIENCE_S, 0.1)
        ended = time.time()
        stops = [
            threading.Thread(target=keeper.stop, daemon=True) for keeper in self.nodes.values()
        ]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        self.probe.__exit__()
        evidence = Evidence(
            jobs=[each.planned(id_, self.definitions[id_]) for id_, each in self.wanted.items()],
            ledger=self.ledger,
            runs=sidelog.read(self.side_log),
            clock=self.clock,
            acknowledged=self.acknowledged,
            stalls=self.probe.stalls,
            lease=self.lease_s,
            ended=ended,
        )
        read_tables(self.connection, evidence)
        return evidence

    def close(self) -> None:
        """Leave no process and no connection behind."""
        for keeper in self.nodes.values():
            keeper.kill()
        for proxy in self.proxies.values():
            proxy.close()
        with suppress(psycopg.Error):
            self.connection.close()

    # --- Questions ---

    def active_nodes(self) -> int:
        return self.number(
            "SELECT count(*) FROM scheduler_app_node WHERE last_tick_at IS NOT NULL AND state = 'active'"
        )

    def at_rest(self) -> bool:
        """Nothing lives, nothing is left to decide."""
        return not self.number(
            """
            SELECT count(*) FROM (
                SELECT FROM scheduler_app_execution WHERE status IN ('ready', 'blocked', 'running')
                UNION ALL
                SELECT FROM scheduler_app_jobplan WHERE dirty OR next_fire_at <= scheduler_now()
            ) AS open
            """
        )

    def number(self, statement: str, *parameters: object) -> int:
        """What a statement counts, on a connection that is opened again after trouble of the fault's own making."""
        row = self.sql(statement, *parameters)
        return int(row[0][0])

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a statement, tried again while the database is away."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self.connection.closed:
                    self.connection = self._connect()
                cursor = self.connection.execute(statement.encode(), parameters or None)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                self.connection.close()
                time.sleep(0.1)

    def wait(
        self, question: Callable[[], object], what: str, timeout_s: float = PATIENCE_S
    ) -> None:
        """Wait for it; raises TimeoutError with the ends of the nodes' logs."""
        if not wait_until(question, timeout_s):
            raise TimeoutError(f"waited {timeout_s:g} s for {what}\n{self.last_words()}")

    def last_words(self) -> str:
        """The ends of the nodes' logs."""
        texts = []
        for keeper in self.nodes.values():
            lines = (
                keeper.log.read_text(errors="replace").splitlines() if keeper.log.exists() else []
            )
            texts.append("\n".join([f"--- {keeper.name}", *lines[-15:]]))
        return "\n".join(texts)

    # --- Harm ---

    def any_node(self) -> NodeKeeper:
        return self.random.choice(list(self.nodes.values()))

    def node_amid_long_run(self) -> NodeKeeper:
        """A node that has just begun the job of three seconds."""
        return self.node_amid("long")

    def node_amid(self, job: str) -> NodeKeeper:
        """A node that has just begun an execution of this job.

        It is the node's a moment before it begins; what is frozen in between begins when the node wakes, and no lease
        can help that.
        """
        found: list[NodeKeeper] = []

        def look() -> bool:
            rows = self.sql(
                """
                SELECT node.name, node.pid
                FROM scheduler_app_execution AS execution
                JOIN scheduler_app_node AS node ON node.id = execution.node_id
                WHERE execution.status = 'running' AND execution.job_id = %s
                  AND scheduler_now() - execution.claimed_at BETWEEN interval '0.2 s' AND interval '1.2 s'
                """,
                self.ids[job],
            )
            found.extend(
                self.nodes[name]
                for name, pid in rows
                if name in self.nodes and self.nodes[name].pid == pid
            )
            return bool(found)

        self.wait(look, f"a node that runs {job}")
        return found[0]

    def during(self, seconds: float, low: float, high: float) -> Iterator[float]:
        """Moments some `low` to `high` seconds apart, for so many seconds; each says how much is left."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            pause = self.random.uniform(low, high)
            if left < pause:
                time.sleep(max(0.0, left))
                return
            time.sleep(pause)
            yield left - pause

    @contextmanager
    def cut_off(self, *keepers: NodeKeeper, kind: str = "cut") -> Iterator[None]:
        """These nodes, or all when none is named, reach no database."""
        names = [keeper.name for keeper in keepers] or list(self.nodes)
        bands = [self.ledger.begin(kind, keeper.name) for keeper in keepers] or [
            self.ledger.begin(kind)
        ]
        for name in names:
            self.proxies[name].stall() if kind == "stalled" else self.proxies[name].refuse()
        try:
            yield
        finally:
            for name in names:
                self.proxies[name].flow() if kind == "stalled" else self.proxies[name].accept()
            for band in bands:
                self.ledger.end(band)

    def wait_all_active(self) -> None:
        """Until every node has a process that works."""
        self.wait(
            lambda: all(
                self.number(
                    "SELECT count(*) FROM scheduler_app_node "
                    "WHERE pid = %s AND name = %s AND state = 'active' AND last_tick_at IS NOT NULL",
                    keeper.pid,
                    keeper.name,
                )
                for keeper in self.nodes.values()
            ),
            "all nodes to be active",
        )

    @contextmanager
    def frozen(self, keeper: NodeKeeper) -> Iterator[Band | None]:
        """The node's process stands still; it does not know."""
        pid = keeper.send(signal.SIGSTOP)
        with self.ledger.band("frozen", keeper.name) as band:
            try:
                yield band if pid else None
            finally:
                if pid and keeper.pid == pid:
                    keeper.send(signal.SIGCONT)
