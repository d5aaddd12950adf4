"""The load test of the API: real HTTP, gunicorn with two processes, one node, PostgreSQL durable, all on this machine.

    make loadtest                      offers 1,000 "run now" calls a second for half a minute
    make loadtest ARGS="--seconds 10 --offered 500"
    make loadtest ARGS="--strict"      fails also where the machine is slower than two free cores are

The client is one asyncio process with connections that stay open. It is an open loop: calls are due by the clock, not
when the one before is answered. A call that finds all connections busy is turned away here, as a proxy with a full
queue would, and counted. At the end every answer is held against the database: what was accepted exists and ran once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.cluster import Cluster, cluster

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
JOBS = 50
CONNECTIONS = 64
BULK = 1000
STEADY = 50.0
"""Calls a second whose latency counts."""
PATIENCE_S = 300

LEAST_ACCEPTED = 150.0
LEAST_IN_BULK = 1000.0
MOST_P99_MS = 100.0
"""What `--strict` expects: single calls and runs in bulk a second, and the latency of calls at the steady rate."""

PREPARE = """
import json
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from scheduler_app import lifecycle
from scheduler_app.models import Job

user = get_user_model().objects.create_superuser("load")
client = Client()
client.force_login(user)
jobs = [
    lifecycle.save_job(
        Job(name=f"load {n}", target="jobscheduler.tasks.tick", on_overlap="allow"), by="load test"
    ).pk
    for n in range(%d)
]
print(json.dumps({"session": client.session.session_key, "jobs": jobs}))
"""

CHECK = """
SELECT
    count(*),
    count(*) FILTER (WHERE status = 'succeeded' AND attempt = 1 AND token = 1 AND crashes = 0),
    count(*) FILTER (WHERE status IN ('ready', 'blocked', 'running')),
    (SELECT COALESCE(sum(count), 0) FROM scheduler_app_tally WHERE name = 'finished')
FROM scheduler_app_execution
"""


@dataclass
class Tally:
    """What came of the calls of one phase."""

    offered: int = 0
    turned_away: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    """Connections that ended without an answer."""
    took_s: list[float] = field(default_factory=list)
    executions: set[int] = field(default_factory=set)

    @property
    def accepted(self) -> int:
        return self.statuses[202]

    @property
    def server_errors(self) -> int:
        return sum(number for status, number in self.statuses.items() if status >= 500)

    def percentile_ms(self, percent: int) -> float:
        return quantiles(self.took_s, n=100)[percent - 1] * 1000


class Connection:
    """HTTP/1.1 over one socket that stays open: just enough for answers with a Content-Length."""

    def __init__(self, port: int, session: str) -> None:
        self._port = port
        token = "0" * 32
        self._head = (
            f"Host: {HOST}\r\nCookie: sessionid={session}; csrftoken={token}\r\nX-CSRFToken: {token}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\n"
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and body; raises OSError when the connection ends without an answer."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(content)}\r\n\r\n"
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        try:
            writer.write(head.encode() + content)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            answer = await reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError, asyncio.IncompleteReadError) as error:
            self._streams = None
            writer.close()
            raise OSError(str(error)) from error
        if headers.get("connection") == "close":
            self._streams = None
            writer.close()
        return int(lines[0].split(" ")[1]), json.loads(answer or b"null")


class Load:
    """Some connections, and calls that are due by the clock."""

    def __init__(self, port: int, session: str, jobs: list[int]) -> None:
        self._jobs = jobs
        self._idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(Connection(port, session))

    async def single(self, rate: float, seconds: float) -> Tally:
        """`rate` calls a second, each for one job."""
        tally, calls = Tally(), set()
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            tally.offered += 1
            if self._idle.empty():
                tally.turned_away += 1
                # Lets answers come in when the clock is behind and nothing is waited for.
                await asyncio.sleep(0)
                continue
            path = f"/api/v1/jobs/{self._jobs[number % JOBS]}/run"
            call = asyncio.create_task(self._call(self._idle.get_nowait(), path, {}, tally, due))
            calls.add(call)
            call.add_done_callback(calls.discard)
        await asyncio.gather(*calls)
        return tally

    async def bulk(self, seconds: float, side_by_side: int) -> tuple[Tally, float]:
        """Requests with a thousand runs each, one after another; with the seconds it took."""
        tally = Tally()
        runs = [{"job": self._jobs[number % JOBS]} for number in range(BULK)]
        began = time.perf_counter()

        async def work() -> None:
            while time.perf_counter() - began < seconds:
                tally.offered += 1
                connection = await self._idle.get()
                now = time.perf_counter()
                await self._call(connection, "/api/v1/bulk/jobs/run", {"runs": runs}, tally, now)

        await asyncio.gather(*(work() for _ in range(side_by_side)))
        return tally, time.perf_counter() - began

    async def _call(
        self, connection: Connection, path: str, body: Any, tally: Tally, due: float
    ) -> None:
        try:
            status, answer = await connection.post(path, body)
        except OSError:
            tally.broken += 1
        else:
            tally.statuses[status] += 1
            # From when it was due, so that a client that is behind does not flatter the server.
            tally.took_s.append(time.perf_counter() - due)
            if status == 202:
                tally.executions.update(answer.get("executions") or [answer["id"]])
        finally:
            self._idle.put_nowait(connection)


@contextmanager
def served(url: str, port: int, directory: Path) -> Iterator[dict[str, Any]]:
    """The project as it is deployed, on an empty database: gunicorn and one node."""
    (directory / "static").mkdir()
    environment = os.environ | {
        "DATABASE_URL": url,
        "DEBUG": "0",
        "SECRET_KEY": "only-for-the-load-test-0123456789-abcdefghijklmnopqrstuvwxyz",
        "ALLOWED_HOSTS": HOST,
        "SECURE_SSL_REDIRECT": "0",
        "PORT": str(port),
        "DATA_DIR": str(directory),
        "WEB_CONCURRENCY": "2",
        # No throttle: what is measured is what the machine can do.
        "SCHEDULER_WRITES_PER_MINUTE": "0",
        "SCHEDULER_RUNS_PER_MINUTE": "0",
        "LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "jobscheduler.settings",
    }

    def manage(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    manage("migrate", "--verbosity", "0")
    prepared = json.loads(manage("shell", "-c", PREPARE % JOBS).splitlines()[-1])
    commands = (
        [sys.executable, "-m", "gunicorn", "jobscheduler.wsgi"],
        [sys.executable, "manage.py", "runscheduler"],
    )
    processes = [subprocess.Popen(words, cwd=ROOT, env=environment) for words in commands]
    try:
        wait_for(lambda: can_connect(port), "the web process")
        yield prepared | {"web": processes[0].pid, "node": processes[1].pid}
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(120)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and its children."""
    process = psutil.Process(pid)
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children())]
    return float(sum(each.user + each.system for each in times))


def can_connect(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def wait_for(question: Callable[[], bool], what: str) -> None:
    """Until it is so; exits when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not question():
        if time.monotonic() > deadline:
            sys.exit(f"Waited {PATIENCE_S} s for {what}.")
        time.sleep(0.1)


def checked(found: Cluster, accepted: set[int]) -> list[str]:
    """What is wrong, once everything has run; nothing, if all is well."""
    with found.connect() as connection:

        def row() -> tuple[int, ...]:
            return tuple(int(str(value)) for value in connection.execute(CHECK).fetchone() or ())

        wait_for(lambda: row()[2] == 0, "the executions to end")
        total, once, _, finished = row()
        ids = [(number,) for number in accepted]
        connection.execute("CREATE TEMPORARY TABLE accepted (id bigint)")
        with connection.cursor().copy("COPY accepted FROM STDIN") as copy:
            for each in ids:
                copy.write_row(each)
        missing = connection.execute(
            "SELECT count(*) FROM accepted WHERE id NOT IN (SELECT id FROM scheduler_app_execution)"
        ).fetchone()
    wrong = []
    if missing and missing[0]:
        wrong.append(f"{missing[0]} accepted executions do not exist.")
    if total != len(accepted):
        wrong.append(f"{len(accepted)} were accepted, {total} exist.")
    if once != total:
        wrong.append(f"{total - once} did not run exactly once, or failed.")
    if finished != total:
        wrong.append(f"Nodes counted {finished} ends, not {total}.")
    return wrong


def too_slow(*, accepted: float, in_bulk: float, p99_ms: float) -> list[str]:
    """A sentence for each figure that falls short; nothing, if all is well."""
    wrong = []
    if accepted < LEAST_ACCEPTED:
        wrong.append(f"{accepted:.0f} single calls a second, not {LEAST_ACCEPTED:.0f}.")
    if in_bulk < LEAST_IN_BULK:
        wrong.append(f"{in_bulk:,.0f} runs a second in bulk, not {LEAST_IN_BULK:,.0f}.")
    if p99_ms >= MOST_P99_MS:
        wrong.append(f"p99 {p99_ms:.0f} ms at {STEADY:.0f} a second, not below {MOST_P99_MS:.0f}.")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--offered", type=float, default=1000, help="single calls a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--strict", action="store_true", help="fail where it is too slow, too")
    options = parser.parse_args()
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    with (
        TemporaryDirectory(prefix="loadtest-") as directory,
        cluster() as found,
        served(found.fresh_database(), port, Path(directory)) as prepared,
    ):
        load = Load(port, prepared["session"], prepared["jobs"])

        spent: dict[str, float] = {}

        def cpu_s() -> dict[str, float]:
            return {
                "web": cpu_of(prepared["web"]),
                "node": cpu_of(prepared["node"]),
                "PostgreSQL": found.cost().postgres_cpu_s,
                "client": cpu_of(os.getpid()),
            }

        async def phases() -> tuple[list[Tally], float]:
            warm = await load.single(20, 3)  # what is read and cached at first is no part of it
            steady = await load.single(STEADY, min(20, options.seconds))
            before = cpu_s()
            flood = await load.single(options.offered, options.seconds)
            spent.update({name: after - before[name] for name, after in cpu_s().items()})
            bulk, bulk_s = await load.bulk(min(10, options.seconds), side_by_side=2)
            return [warm, steady, flood, bulk], bulk_s

        tallies, bulk_s = asyncio.run(phases())
        wrong = checked(found, set().union(*(tally.executions for tally in tallies)))
    _, steady, flood, bulk = tallies
    for rate, tally in ((STEADY, steady), (options.offered, flood)):
        print(
            f"{rate:.0f} a second: {tally.offered:,} offered, {tally.accepted:,} accepted"
            f" ({tally.accepted * rate / tally.offered:.0f}/s), {tally.turned_away:,} turned away by the"
            f" client, {dict(tally.statuses)}; p50 {tally.percentile_ms(50):.0f} ms,"
            f" p99 {tally.percentile_ms(99):.0f} ms"
        )
    each = ", ".join(
        f"{name} {seconds / flood.accepted * 1000:.1f}" for name, seconds in spent.items()
    )
    print(f"CPU milliseconds for each accepted call of the flood, its run included: {each}")
    print(
        f"bulk: {bulk.accepted} requests of {BULK:,} runs in {bulk_s:.1f} s,"
        f" {len(bulk.executions) / bulk_s:,.0f} runs/s, {dict(bulk.statuses)}"
    )
    errors = sum(tally.server_errors + tally.broken for tally in tallies)
    if errors:
        wrong.append(f"{errors} answers were 5xx, or missing.")
    if options.strict:
        wrong += too_slow(
            accepted=flood.accepted * options.offered / flood.offered,
            in_bulk=len(bulk.executions) / bulk_s,
            p99_ms=steady.percentile_ms(99),
        )
    print("\n".join(wrong) or "Every accepted execution exists and ran once; no 5xx.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
