"""A PostgreSQL of the suite's own, and one fresh database, three nodes and three proxies for each fault."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from jobscheduler.embeddeddb.server import PORT, EmbeddedServer
from scheduler_app.management.drill import sidelog
from scheduler_app.management.drill.evidence import (
    ClockStep,
    Definition,
    Evidence,
    PlannedJob,
    install_journal,
    read_tables,
)
from scheduler_app.management.drill.ledger import Band, Ledger
from scheduler_app.management.drill.nodes import NodeKeeper, wait_until
from scheduler_app.management.drill.probe import Probe
from scheduler_app.management.drill.proxy import Proxy

from .plan import Wanted, ten_jobs
from .webhook import Webhook

ROOT = Path(__file__).resolve().parents[2]
LEASE_S = 6.0
X_S = 3.0
"""What a rescue may take beyond the lease."""
WARM_UP_S = 3.0
AFTER_S = 3.0
"""How long the jobs go on firing after everything is well again."""
PATIENCE_S = 60.0
"""How long the suite waits for what should take a second, on a machine that is busy with other things."""

NODE_SETTINGS = {
    "SCHEDULER_LEASE": f"{LEASE_S:g}",
    "SCHEDULER_THREADS": "8",
    "SCHEDULER_DRAIN_TIMEOUT": "8",
    "SCHEDULER_KILL_GRACE": "1",
}


class Cluster:
    """The PostgreSQL server, durable as in production, with a migrated database to copy."""

    TEMPLATE = "drill_template"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = EmbeddedServer(directory / "postgresql", durable=True)
        self.server.start()
        self.webhook = Webhook()
        self.wanted = ten_jobs(self.webhook.port)
        self._numbers = iter(range(1, 1_000_000))
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {self.TEMPLATE}")
        self.ids = self.prepare(self.TEMPLATE, self.wanted, "migrate")
        with self.connect(self.TEMPLATE) as connection:
            install_journal(connection)

    @property
    def socket(self) -> str:
        return str(self.server.socket_directory / f".s.PGSQL.{PORT}")

    def connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self.server.url(database), autocommit=True, application_name="drill", connect_timeout=10
        )

    def prepare(self, database: str, wanted: Sequence[Wanted], *words: str) -> dict[str, int]:
        """Make the tables or jobs in a process of its own; ids by name."""
        done = subprocess.run(
            [sys.executable, "-m", "scheduler_app.management.drill.prepare", *words],
            cwd=ROOT,
            env=self.environment() | {"DATABASE_URL": self.server.url(database)},
            input=json.dumps([each.as_fields() for each in wanted]),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"The jobs could not be made: {done.stderr}")
        ids: dict[str, int] = json.loads(done.stdout)
        return ids

    def environment(self) -> dict[str, str]:
        """That of every process of the suite; nothing of a developer's own settings."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SCHEDULER_", "PG", "DATABASE_", "DJANGO_", "TEST_"))
        }
        return kept | {
            "DJANGO_SETTINGS_MODULE": "tests.faults.node_settings",
            "DATA_DIR": str(self.directory / "data"),
            "ENV_FILE": os.devnull,
            "DEBUG": "1",
            "PYTHONUNBUFFERED": "1",
            "SCHEDULER_HTTP_ALLOWED_HOSTS": f"127.0.0.1:{self.webhook.port}",
            **NODE_SETTINGS,
        }

    def new_database(self) -> str:
        name = f"drill_{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {self.TEMPLATE}")
        return name

    def drop(self, database: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def close(self) -> None:
        self.webhook.close()
        self.server.destroy()


class Stage:
    """One fault's world: a database, nodes behind proxies, a ledger, a side log, and a seeded chance."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        nodes: int = 3,
        seed: int = 1,
        more_jobs: Sequence[Wanted] = (),
        only_more: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.directory = Path(tempfile.mkdtemp(prefix="stage-", dir=cluster.directory))
        self.database = cluster.new_database()
        self.ledger = Ledger()
        self.probe = Probe()
        self.clock: list[ClockStep] = []
        self.side_log = self.directory / "side.log"
        self.side_log.touch()
        cluster.webhook.side_log = self.side_log
        ids = dict(cluster.ids)
        wanted = list(cluster.wanted)
        if more_jobs:
            ids |= cluster.prepare(self.database, more_jobs)
            wanted = list(more_jobs) if only_more else [*wanted, *more_jobs]
        self.ids = {each.name: ids[each.name] for each in wanted}
        self.wanted = {ids[each.name]: each for each in wanted}
        self.definitions: dict[int, list[Definition]] = {id_: [] for id_ in self.wanted}
        self.connection = cluster.connect(self.database)
        self.proxies: dict[str, Proxy] = {}
        self.nodes: dict[str, NodeKeeper] = {}
        for number in range(1, nodes + 1):
            self.add_node(f"node-{number}", settings or {})

    def add_node(self, name: str, settings: Mapping[str, str]) -> NodeKeeper:
        """One more node, behind a proxy of its own; not started yet."""
        proxy = self.proxies[name] = Proxy(self.cluster.socket)
        self.nodes[name] = NodeKeeper(
            name,
            self.ledger,
            command=["manage.py", "runscheduler"],
            environment=self.cluster.environment()
            | {
                "DATABASE_URL": (
                    f"postgresql://postgres@127.0.0.1:{proxy.port}/{self.database}?sslmode=disable"
                ),
                sidelog.VARIABLE: str(self.side_log),
                "DRILL_FILES": str(self.directory),
                **settings,
            },
            directory=ROOT,
            log=self.directory / f"{name}.log",
        )
        return self.nodes[name]

    # --- The course of a fault ---

    def begin(self) -> None:
        """Nodes up, jobs on, and some seconds of peace."""
        self.probe.__enter__()
        for keeper in self.nodes.values():
            keeper.start()
        self.wait(lambda: self.active_nodes() >= len(self.nodes), "all nodes to be there")
        self.switch_on()
        time.sleep(WARM_UP_S)

    def switch_on(self) -> None:
        """Enable the jobs; from here on their fire times count."""
        self._edit_all("UPDATE scheduler_app_job SET enabled = true WHERE id = ANY(%s)", on=True)

    def switch_off(self) -> None:
        """Disable the jobs; after this nothing more fires."""
        self._edit_all("UPDATE scheduler_app_job SET enabled = false WHERE id = ANY(%s)", on=False)

    def _edit_all(self, statement: str, *, on: bool) -> None:
        asked = time.time()
        self.sql(statement, list(self.wanted))
        done = time.time()
        for id_, wanted in self.wanted.items():
            if self.definitions[id_] and self.definitions[id_][-1].schedule is None:
                continue
            schedule = wanted.schedule if on else None
            self.definitions[id_].append(Definition(schedule, asked, done))

    def finish(self) -> Evidence:
        """Let everything come to rest, stop the nodes, and collect what there is to believe."""
        time.sleep(AFTER_S)
        self.switch_off()
        wait_until(self.at_rest, LEASE_S + X_S + PATIENCE_S, 0.1)
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
            jobs=[self.planned(id_) for id_ in self.wanted],
            ledger=self.ledger,
            runs=sidelog.read(self.side_log),
            clock=self.clock,
            stalls=self.probe.stalls,
            lease=LEASE_S,
            ended=ended,
        )
        read_tables(self.connection, evidence)
        return evidence

    def planned(self, id_: int) -> PlannedJob:
        wanted = self.wanted[id_]
        return PlannedJob(
            id=id_,
            name=wanted.name,
            definitions=self.definitions[id_],
            raises=wanted.raises,
            max_attempts=int(wanted.fields.get("max_attempts", 1)),
            overlap=wanted.overlap,
            writes=wanted.writes,
            may_fail=wanted.may_fail,
            at_most_once=wanted.fields.get("guarantee") == "at_most_once",
        )

    def close(self, *, keep: bool = False) -> None:
        """Leave nothing behind; the files stay when somebody is to read them."""
        for keeper in self.nodes.values():
            keeper.kill()
        for proxy in self.proxies.values():
            proxy.close()
        with suppress(psycopg.Error):
            self.connection.close()
        self.cluster.drop(self.database)
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

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
                    self.connection = self.cluster.connect(self.database)
                cursor = self.connection.execute(statement, parameters or None)  # type: ignore[arg-type]
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                self.connection.close()
                time.sleep(0.1)

    def wait(self, question: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
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
        found: list[NodeKeeper] = []

        def look() -> bool:
            rows = self.sql(
                """
                SELECT node.name, node.pid
                FROM scheduler_app_execution AS execution
                JOIN scheduler_app_node AS node ON node.id = execution.node_id
                WHERE execution.status = 'running' AND execution.job_id = %s
                  AND execution.claimed_at > scheduler_now() - interval '1 second'
                """,
                self.ids["long"],
            )
            found.extend(
                self.nodes[name]
                for name, pid in rows
                if name in self.nodes and self.nodes[name].pid == pid
            )
            return bool(found)

        self.wait(look, "a node that runs something long")
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
    def database_away(self, mode: str = "fast") -> Iterator[Band]:
        """PostgreSQL is stopped before the block and started after it."""
        with self.ledger.band(f"database stopped ({mode})") as band:
            self.cluster.server.stop(mode=mode)
            try:
                yield band
            finally:
                self.cluster.server.start()

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
