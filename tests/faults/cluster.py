"""A PostgreSQL of the suite's own, and one fresh database, three nodes and three proxies for each fault."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from jobscheduler.embeddeddb.server import PORT, EmbeddedServer
from scheduler_app.management.drill import sidelog
from scheduler_app.management.drill.course import PATIENCE_S, X_S, Course, Wanted
from scheduler_app.management.drill.evidence import ClockStep, install_journal
from scheduler_app.management.drill.ledger import Band
from scheduler_app.management.drill.nodes import NodeKeeper
from scheduler_app.management.drill.proxy import Address

from .plan import usual_jobs
from .webhook import Webhook

__all__ = ["LEASE_S", "PATIENCE_S", "X_S", "Cluster", "Stage"]

ROOT = Path(__file__).resolve().parents[2]
LEASE_S = 6.0
NODE_SETTINGS = {
    "SCHEDULER_LEASE": f"{LEASE_S:g}",
    "SCHEDULER_THREADS": "8",
    "SCHEDULER_DRAIN_TIMEOUT": "8",
    "SCHEDULER_KILL_GRACE": "1",
    # Some faults let years pass.
    "SCHEDULER_RETENTION_DAYS": "36500",
}


def commands(side_log: Path) -> dict[str, str]:
    """The programs that jobs may run."""
    script = ROOT / "tests" / "faults" / "jobs" / "shell_job.sh"
    mark = {
        "argv": ["/bin/sh", str(script), "{execution_id}", "{attempt}", "{scheduled_for}"],
        "environment": {sidelog.VARIABLE: str(side_log)},
    }
    family = {"argv": ["/bin/sh", "-c", "sleep 86399 & setsid sleep 86398 & sleep 86397"]}
    return {"SCHEDULER_SHELL_COMMANDS": json.dumps({"mark": mark, "family": family})}


class Cluster:
    """The PostgreSQL server, durable as in production, with a migrated database to copy."""

    TEMPLATE = "drill_template"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = EmbeddedServer(directory / "postgresql", durable=True)
        self.server.start()
        self.webhook = Webhook()
        self.wanted = usual_jobs(self.webhook.port)
        self._numbers = iter(range(1, 1_000_000))
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {self.TEMPLATE}")
        self.ids = self.prepare(self.TEMPLATE, self.wanted, "migrate", "operator")
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
            **commands(Path(os.devnull)),
            **NODE_SETTINGS,
        }

    def new_database(self) -> str:
        name = f"drill_{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {self.TEMPLATE}")
            # Before it, a crash sets copied sequences back: PostgreSQL believes their next values to be logged.
            connection.execute("CHECKPOINT")
        return name

    def drop(self, database: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def close(self) -> None:
        self.webhook.close()
        self.server.destroy()


class Stage(Course):
    """One fault's world on the cluster: a fresh database with the usual jobs and those of the fault."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        nodes: int = 3,
        seed: int = 1,
        more_jobs: Sequence[Wanted] = (),
        only_more: bool = False,
        settings: Mapping[str, str] | None = None,
        target: Address | None = None,
    ) -> None:
        self.cluster = cluster
        self.database = cluster.new_database()
        self.problems: list[str] = []
        """What a fault saw by itself and must not be."""
        ids = dict(cluster.ids)
        wanted = list(cluster.wanted)
        if more_jobs:
            ids |= cluster.prepare(self.database, more_jobs)
            wanted = list(more_jobs) if only_more else [*wanted, *more_jobs]
        super().__init__(
            directory=Path(tempfile.mkdtemp(prefix="stage-", dir=cluster.directory)),
            connect=lambda: cluster.connect(self.database),
            target=target or cluster.socket,
            wanted={ids[each.name]: each for each in wanted},
            lease_s=LEASE_S,
            seed=seed,
        )
        cluster.webhook.side_log = self.side_log
        for number in range(1, nodes + 1):
            self.add_node(f"node-{number}", settings or {})

    def add_node(self, name: str, settings: Mapping[str, str]) -> NodeKeeper:
        """One more node, not started yet."""
        return self.add_node_with(
            name,
            command=["manage.py", "runscheduler"],
            cwd=ROOT,
            environment=lambda proxy: {
                **self.cluster.environment(),
                "DATABASE_URL": (
                    f"postgresql://postgres@127.0.0.1:{proxy.port}/{self.database}?sslmode=disable"
                ),
                **commands(self.side_log),
                **settings,
            },
        )

    def drop(self, *, keep: bool) -> None:
        """Leave nothing behind; the files stay when somebody is to read them."""
        self.close()
        self.cluster.drop(self.database)
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def step_clock(self, offset_s: float) -> None:
        """From now on the cluster's clock shows real time and so much more, whatever it showed before."""
        before = time.time()
        self.sql(
            "CREATE OR REPLACE FUNCTION scheduler_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE "
            f"AS $$ SELECT statement_timestamp() + interval '{offset_s} seconds' $$"
        )
        self.clock.append(ClockStep((before + time.time()) / 2, offset_s))

    @contextmanager
    def database_away(self, mode: str = "fast") -> Iterator[Band]:
        """PostgreSQL is stopped before the block and started after it."""
        with self.ledger.band(f"database stopped ({mode})") as band:
            self.cluster.server.stop(mode=mode)
            try:
                yield band
            finally:
                self.cluster.server.start()
