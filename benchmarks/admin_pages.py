"""Measure the operator's pages on a large database: time, statements, size, and whether any plan reads all executions.

    python -m benchmarks.admin_pages                          2,000,000 executions and 5,000 jobs, a few minutes
    python -m benchmarks.admin_pages --executions 100000      a smaller week
    python -m benchmarks.admin_pages --directory DIR          keep the database in DIR, and use it again
    python -m benchmarks.admin_pages list bulk                only pages whose name has one of these words

Exits with 1 when a page misses its budget.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from jobscheduler.embeddeddb.server import EmbeddedServer

LIST_MS = 100.0
PAGE_MS = 150.0
MOST_QUERIES = 12
MOST_KB = 150.0
WARM_UPS = 2

BIG_TABLES = ("scheduler_app_execution", "scheduler_app_logchunk")


@dataclass
class Measured:
    """One page."""

    name: str
    path: str
    budget_ms: float
    status: int = 0
    times_ms: list[float] = field(default_factory=list)
    cpu_ms: float = 0.0
    """Of Python and of its PostgreSQL backend: what a page costs, also on a machine that is busy with other things."""
    queries: int = 0
    kb: float = 0.0
    scans: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    @property
    def ms(self) -> float:
        return median(self.times_ms)

    @property
    def misses(self) -> list[str]:
        found = []
        if self.status != 200:
            found.append(f"status {self.status}")
        if self.ms > self.budget_ms:
            found.append(f"slower than {self.budget_ms:g} ms")
        if self.queries > MOST_QUERIES:
            found.append(f"more than {MOST_QUERIES} statements")
        if self.kb > MOST_KB:
            found.append(f"more than {MOST_KB:g} KB")
        return found + [f"reads all of {scan}" for scan in self.scans]


def pages() -> list[tuple[str, str, float]]:
    """Names, addresses and budgets; needs the filled database to know what is there."""
    from scheduler_app.models import Execution, Job, LogChunk, Node

    busy = Execution.objects.filter(status="succeeded").order_by("-scheduled_for", "-id")[5]
    huge = LogChunk.objects.filter(seq=2).values_list("execution", flat=True)[0]
    quiet = Job.objects.order_by("-id").values_list("pk", flat=True)[3]
    old_node = Node.objects.order_by("id").values_list("pk", flat=True)[3]
    jobs, executions = "/admin/scheduler_app/job/", "/admin/scheduler_app/execution/"
    lists = {
        "executions": "",
        "executions: failed": "status=failed",
        "executions: live": "status=live",
        "executions: succeeded": "status=succeeded",
        "executions: lost, a week": "status=lost&when=7d",
        "executions: a busy job": f"job={busy.job_id}",
        "executions: a quiet job": f"job={quiet}",
        "executions: node of today": f"node={busy.node_id}",
        "executions: node of last week": f"node={old_node}",
        "executions: trigger api": "trigger=api",
        "executions: trigger none has": "trigger=task",
        "executions: queue": "queue=reports",
        "executions: last 10 minutes": "when=10m",
        "executions: last week": "when=7d",
        "executions: argument": "q=customer:42&when=24h",
        "executions: argument none has": "q=customer:nobody",
        "executions: error text": "q=error:refused&when=24h",
        "executions: error none has": "q=error:nowhere",
        "executions: name of many jobs": "q=import",
        "executions: name of one job": "q=%22shop+4711%22",
        "executions: far back": f"before={busy.scheduled_for:%Y-%m-%dT%H:%M:%S}Z~1",
    }
    job_lists = {
        "jobs": "",
        "jobs: failing": "state=failing",
        "jobs: overdue": "state=overdue",
        "jobs: paused": "state=paused",
        "jobs: never ran": "state=never",
        "jobs: tag and queue": "tag=team+3&queue=mail",
        "jobs: by next fire time": "o=1",
        "jobs: search": "q=shop+47",
        "jobs: page 60": "p=60",
    }
    return [
        ("overview", "/admin/", PAGE_MS),
        *((name, f"{jobs}?{query}", PAGE_MS) for name, query in job_lists.items()),
        *((name, f"{executions}?{query}", LIST_MS) for name, query in lists.items()),
        ("job page, busy", f"{jobs}{busy.job_id}/", PAGE_MS),
        ("job page, quiet", f"{jobs}{quiet}/", PAGE_MS),
        ("execution page", f"{executions}{busy.pk}/change/", PAGE_MS),
        ("execution page, 10 MB log", f"{executions}{huge}/change/", PAGE_MS),
        ("bulk retry, asked", f"{executions}bulk/?verb=retry&when=7d", PAGE_MS),
        ("bulk cancel, asked", f"{executions}bulk/?verb=cancel&q=error:nowhere", 2 * PAGE_MS),
        ("gaps", "/admin/scheduler_app/gap/", LIST_MS),
        ("nodes", "/admin/scheduler_app/node/", LIST_MS),
    ]


def measure(page: Measured, get: Callable[[str], Any], rounds: int) -> None:
    """Open the page until it is warm, then a few times more with a clock."""
    from django.db import connection

    seen: list[tuple[float, str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            seen.append(((time.perf_counter() - began) * 1000, sql, params))

    for _ in range(WARM_UPS):
        get(page.path)
    cpu_before = cpu_s()
    for _ in range(rounds):
        began = time.perf_counter()
        response = get(page.path)
        page.times_ms.append((time.perf_counter() - began) * 1000)
    page.cpu_ms = (cpu_s() - cpu_before) * 1000 / rounds
    with connection.execute_wrapper(note):
        response = get(page.path)
    page.status = response.status_code
    page.kb = len(response.content) / 1000
    page.queries = len(seen)
    page.slowest = max(((ms, sql) for ms, sql, _ in seen), default=(0.0, ""))
    page.scans = sorted({scan for _, sql, params in seen for scan in scans_of(sql, params)})


def cpu_s() -> float:
    """CPU seconds of this process and its database session so far, by Linux's own count of the latter."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    on_cpu_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return time.process_time() + on_cpu_ns / 1e9


def scans_of(sql: str, params: Any) -> list[str]:
    """The big tables that the plan of a statement reads from end to end."""
    from django.db import connection

    if not re.match(r"\s*(SELECT|WITH)\b", sql):
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    return [table for table in BIG_TABLES if re.search(rf"Seq Scan on {table}\b", plan)]


def print_table(measured: list[Measured], *, verbose: bool) -> None:
    """A row for each page."""
    print(f"{'page':34} {'ms':>7} {'CPU ms':>7} {'budget':>7} {'queries':>8} {'KB':>7}  remarks")
    for page in measured:
        remarks = "; ".join(page.misses)
        print(
            f"{page.name:34} {page.ms:7.1f} {page.cpu_ms:7.1f} {page.budget_ms:7.0f} {page.queries:8} {page.kb:7.1f}  {remarks}"
        )
        if verbose or page.misses:
            print(
                f"{'':34} {page.slowest[0]:7.1f} of it: {' '.join(page.slowest[1].split())[:300]}"
            )


@contextmanager
def database(directory: str) -> Iterator[str]:
    """The URL of a database that is there already, or of a new one that goes at the end."""
    place = Path(directory) if directory else Path(tempfile.mkdtemp(prefix="pages-"))
    place.mkdir(parents=True, exist_ok=True)
    os.chmod(place, 0o711)  # for the server's unprivileged user, when this runs as root
    server = EmbeddedServer(place / "postgresql")
    server.start()
    try:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = 'pages'").fetchone()
            if known is None:
                connection.execute("CREATE DATABASE pages")
        yield server.url("pages")
    finally:
        if directory:
            server.stop()
        else:
            server.destroy()
            shutil.rmtree(place, ignore_errors=True)


def set_up(url: str, arguments: argparse.Namespace) -> Callable[[str], Any]:
    """Django on this database, filled; returns how to open a page as an administrator."""
    os.environ |= {
        "DATABASE_URL": url,
        "DEBUG": "0",
        "ENV_FILE": os.devnull,
        "SECRET_KEY": "only-for-measuring-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGH",
        "ALLOWED_HOSTS": "testserver",
        "DJANGO_SETTINGS_MODULE": "benchmarks.page_settings",
    }
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from scheduler_app.models import Job

    call_command("migrate", verbosity=0)
    if not Job.objects.exists():
        began = time.monotonic()
        from benchmarks.page_data import fill

        fill(jobs=arguments.jobs, executions=arguments.executions)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
        print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
    users = get_user_model().objects
    person = users.filter(username="ana").first() or users.create_superuser("ana")
    client = Client()
    client.force_login(person)
    return lambda path: client.get(path, secure=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only pages whose name has one of these words")
    parser.add_argument("--executions", type=int, default=2_000_000)
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", default="", help="keep the database here, and use it again")
    parser.add_argument("--verbose", action="store_true", help="show each page's slowest statement")
    arguments = parser.parse_args()
    with database(arguments.directory) as url:
        get = set_up(url, arguments)
        measured = [
            Measured(*page)
            for page in pages()
            if not arguments.words or any(word in page[0] for word in arguments.words)
        ]
        for page in measured:
            measure(page, get, arguments.rounds)
        print_table(measured, verbose=arguments.verbose)
    return int(any(page.misses for page in measured))


if __name__ == "__main__":
    sys.exit(main())
