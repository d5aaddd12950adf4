"""The systems that are compared: each a folder with an `app.py`, run in a virtual environment of its own.

Those from npm have an `app.mjs` and run in node. `app.py COMMAND` reads the database's URL from BENCH_URL and knows the commands

    setup                   create tables
    work                    run tasks and fire schedules until SIGTERM; prints "ready" when it can
    enqueue N               N no-op tasks, as fast as it can
    pickup N                N tasks one by one on an idle system; prints the moment of each commit, a line each
    every_second N SECONDS  N jobs, each firing every second from the next one on
    at MOMENT N             N jobs that fire once, at that Unix second

and its tasks call `starts.record(number, fire_time)`. What it cannot do it leaves out of `can`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.contenders import environments

ROOT = environments.ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One system in its own best sensible configuration."""

    name: str
    can: tuple[str, ...]
    """Commands besides setup and work."""
    finished: str = ""
    """SQL that counts outcomes that are stored; empty where none are."""
    unfinished: str = ""
    """SQL that counts what is not done, where what is done is deleted."""
    note: str = ""
    """How it is configured, for the table's foot."""
    runtime: Literal["own", "python", "node"] = "python"
    """`own`: the interpreter that runs the harness."""
    redis: bool = False
    """Whether it needs a Redis server, whose socket is in BENCH_REDIS."""
    schedules_first: bool = False
    """Whether its jobs must be stored before its workers start, as these would not notice them, or not at once."""
    several_nodes: bool = True
    """Whether it is made for several workers on one store."""

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / self.name.replace("-", "_")

    def can_run(self, command: str, shared_store: bool = False) -> bool:
        """Whether it knows a command, and may have several workers on one store where that is asked."""
        return command in self.can and (self.several_nodes or not shared_store)

    def prepare(self) -> None:
        """Install what it needs; raises Unavailable with the reason where that cannot be."""
        self.command()
        if self.redis:
            environments.redis_server()

    def command(self, *arguments: object) -> list[str]:
        """What runs a command of the contender; raises Unavailable when it cannot be installed."""
        return [*self._program(), *map(str, arguments)]

    def _program(self) -> list[str]:
        if self.runtime == "node":
            return environments.node(self.name, self.folder)
        python = Path(sys.executable)
        if self.runtime == "python":
            python = environments.python(self.name, self.folder / "requirements.txt")
        return [str(python), str(self.folder / "app.py")]

    def environment(self, url: str, starts: Path) -> dict[str, str]:
        return os.environ | {
            "BENCH_URL": url,
            "BENCH_STARTS": str(starts),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }


SCHEDULER = Contender(
    name="scheduler",
    can=("enqueue", "pickup", "every_second", "at"),
    finished="SELECT count(*) FROM scheduler_app_execution WHERE status = 'succeeded'",
    note="one node, 10 threads, defaults; history kept",
    runtime="own",
)

PEERS = (
    Contender(
        name="procrastinate",
        can=("enqueue", "pickup", "every_second", "at"),
        finished="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
        note="asynchronous task, concurrency 20, LISTEN and a poll every 0.1 s; cron of six fields; history kept",
        schedules_first=True,
    ),
    Contender(
        name="pgqueuer",
        can=("enqueue", "pickup", "every_second", "at"),
        finished="SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'",
        note="asyncpg pool and uvloop, batches of 500, LISTEN, durable tables with its autovacuum settings; cron of six fields, which its scheduler"
        " runs itself; a log kept",
        schedules_first=True,
    ),
    Contender(
        name="django-tasks-db",
        can=("enqueue", "pickup", "at"),
        finished="SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'",
        note="one db_worker, which polls every 0.1 s; has no schedules; history kept",
    ),
    Contender(
        name="django-q2",
        can=("enqueue", "pickup", "at"),
        finished="SELECT count(*) FROM django_q_task WHERE success",
        note="ORM broker, a worker process a core, bulk 50, poll every 0.05 s; looks at schedules every 30 s, none"
        " finer than a minute; history kept",
    ),
    Contender(
        name="celery",
        can=("enqueue", "pickup", "every_second", "at"),
        note="Redis with appendfsync always, a prefork process a core, acks_late, prefetch 64; one-off jobs by eta,"
        " repeated ones by beat with django-celery-beat, of which its manual allows one; keeps no outcomes",
        redis=True,
        schedules_first=True,
    ),
    Contender(
        name="apscheduler",
        can=("enqueue", "every_second", "at"),
        note="3.x, SQLAlchemyJobStore in PostgreSQL, 10 threads, all missed runs made up for; a running scheduler takes"
        " no jobs from other processes, and its manual allows one; keeps no outcomes",
        schedules_first=True,
        several_nodes=False,
    ),
    Contender(
        name="huey",
        can=("enqueue", "pickup", "at"),
        note="Redis with appendfsync always, 10 threads, blocking pop; looks at what is due every second, none of its"
        " schedules finer than a minute; keeps no outcomes",
        redis=True,
    ),
    Contender(
        name="graphile-worker",
        can=("enqueue", "pickup", "at"),
        unfinished="SELECT count(*) FROM graphile_worker._private_jobs",
        note="24 jobs at once, local queue of 500, completions in batches, LISTEN and a poll every 0.1 s; cron by the"
        " minute; deletes what is done",
        runtime="node",
    ),
    Contender(
        name="pg-boss",
        can=("enqueue", "pickup", "at"),
        finished="SELECT count(*) FROM pgboss.job WHERE state = 'completed' AND name = 'start'",
        note="batches of 500 with a result for each, NOTIFY and a poll every 0.5 s, the least that it allows; cron by"
        " the minute; history kept",
        runtime="node",
    ),
)

CONTENDERS = {contender.name: contender for contender in (SCHEDULER, *PEERS)}
