"""The database that all contenders share: PostgreSQL with its default settings, durable, on this machine's disk."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg
from psycopg import sql

from jobscheduler.embeddeddb.server import EmbeddedServer

SETTLE_S = 0.3
"""In which backends that end are reaped, so that their time is the postmaster's and counted once."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: CPU seconds, and transactions of one database."""

    postgres_cpu_s: float
    transactions: int

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(
            self.postgres_cpu_s - earlier.postgres_cpu_s, self.transactions - earlier.transactions
        )


class Cluster:
    """One server for a run of benchmarks; each round gets an empty database."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedServer(directory / "postgresql")
        self._server.start()
        self._rounds = 0

    @property
    def binaries(self) -> Path:
        """Where `pgbench` lies."""
        return self._server.place.binaries

    @property
    def socket_directory(self) -> Path:
        return self._server.socket_directory

    @property
    def database(self) -> str:
        """The name of the round's database."""
        return f"round_{self._rounds}"

    def fresh_database(self) -> str:
        """The URL of a new, empty database; the one before is dropped."""
        self._rounds += 1
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS round_{self._rounds - 1} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {self.database}")
            # What a round left to write is not the next one's to wait for.
            connection.execute("CHECKPOINT")
        return self._server.url(self.database)

    def connect(self, database: str = "") -> psycopg.Connection[tuple[object, ...]]:
        """An autocommit connection, to the round's database unless told otherwise."""
        return psycopg.connect(self._server.url(database or self.database), autocommit=True)

    def analyze(self) -> None:
        """Know what the tables hold, as autovacuum makes sure of within a minute."""
        with self.connect() as connection:
            connection.execute("ANALYZE")

    def number(self, statement: str) -> int:
        """The one number that a statement of ours gives."""
        with self.connect() as connection:
            row = connection.execute(sql.SQL(statement)).fetchone()  # type: ignore[arg-type]
        return int(str(row[0])) if row else 0

    def cost(self) -> Cost:
        """All that the server has cost so far; differences are what counts."""
        time.sleep(SETTLE_S)
        with self.connect() as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        return Cost(self._cpu_s(), int(str(row[0])) if row else 0)

    @contextmanager
    def without_autovacuum(self) -> Iterator[None]:
        """What it costs comes by chance, and is not asked about where a minute is measured in which nothing happens."""
        self._configure("ALTER SYSTEM SET autovacuum = off")
        try:
            yield
        finally:
            self._configure("ALTER SYSTEM RESET autovacuum")

    def _configure(self, statement: LiteralString) -> None:
        with self.connect("postgres") as connection:
            connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")

    def _cpu_s(self) -> float:
        """Of the postmaster, the children that live and those that have ended."""
        pid = int((self._server.place.data / "postmaster.pid").read_text().split("\n")[0])
        postmaster = psutil.Process(pid)
        own = postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in postmaster.children():
            try:
                spent = child.cpu_times()
            except psutil.NoSuchProcess:
                continue  # counted among those that have ended
            total += spent.user + spent.system
        return float(total)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A server of its own, gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    os.chmod(directory, 0o711)  # for the server's unprivileged user, when this runs as root
    found = Cluster(directory)
    try:
        yield found
    finally:
        found._server.destroy()
        shutil.rmtree(directory, ignore_errors=True)
