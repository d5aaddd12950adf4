"""What pages ask of a week of executions: no plan reads all of them, and no page grows with the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from benchmarks.page_data import fill
from scheduler_app.admin.base import CappedPaginator
from scheduler_app.lifecycle import bulk, selecting, statistics
from scheduler_app.models import Execution, Job, Node

from .admin_support import EXECUTIONS, JOBS, OPERATOR, Browser

EXECUTIONS_FILLED = 12_000
MOST_QUERIES = 12
MOST_BYTES = 150_000
TEAM = "team 3"
"""One of the twelve that the jobs are of."""


@pytest.fixture(scope="module")
def week(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A small week, filled once for all tests of this module."""
    with django_db_blocker.unblock():
        fill(jobs=150, executions=EXECUTIONS_FILLED)
        yield
        with connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE scheduler_app_execution, scheduler_app_gap, scheduler_app_logchunk, scheduler_app_node,"
                " scheduler_app_jobplan, scheduler_app_jobrevision, scheduler_app_job"
            )


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far below the size of the table as they are below that of a real one."""
    for module, name in (
        (selecting, "TRIED"),
        (bulk, "TRIED"),
        (bulk, "COUNTED"),
        (CappedPaginator, "CAP"),
    ):
        monkeypatch.setattr(module, name, 200)


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database, with its values."""
    seen: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen


def plan_of(sql: str, params: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", params)
        return "\n".join(row[0] for row in cursor.fetchall())


PATHS = {
    "overview": "/admin/",
    "jobs": JOBS,
    "failing jobs": f"{JOBS}?state=failing",
    "jobs that never ran": f"{JOBS}?state=never",
    "overdue jobs": f"{JOBS}?state=overdue&zone=UTC&tag=nightly&q=shop",
    "job": f"{JOBS}{{job}}/",
    "executions": EXECUTIONS,
    "failed": f"{EXECUTIONS}?status=failed",
    "lost": f"{EXECUTIONS}?status=lost&when=7d",
    "live": f"{EXECUTIONS}?status=live",
    "succeeded": f"{EXECUTIONS}?status=succeeded",
    "of a job": f"{EXECUTIONS}?job={{job}}",
    "of a node": f"{EXECUTIONS}?node={{node}}",
    "of no trigger": f"{EXECUTIONS}?trigger=task",
    "of a queue": f"{EXECUTIONS}?queue=reports&when=24h",
    "with an argument": f"{EXECUTIONS}?q=customer:42",
    "with an error": f"{EXECUTIONS}?q=error:nowhere",
    "by name": f"{EXECUTIONS}?q=import",
    "far back": f"{EXECUTIONS}?before=2020-01-01T00:00:00Z~1",
    "execution": f"{EXECUTIONS}{{execution}}/change/",
    "bulk retry": f"{EXECUTIONS}bulk/?verb=retry&when=7d",
    "bulk cancel": f"{EXECUTIONS}bulk/?verb=cancel&q=error:nowhere",
}


@pytest.mark.django_db
@pytest.mark.usefixtures("week", "bounds")
@pytest.mark.parametrize("name", PATHS)
def test_no_page_reads_all_executions(name: str) -> None:
    look_at(name, Browser(superuser=True), MOST_QUERIES)


@pytest.mark.django_db
@pytest.mark.usefixtures("week", "bounds")
@pytest.mark.parametrize("name", PATHS)
def test_no_page_reads_all_executions_for_who_sees_some_jobs(name: str, settings: Any) -> None:
    settings.SCHEDULER = {**settings.SCHEDULER, "ownership": "tag"}
    browser = Browser(*OPERATOR)
    browser.user.groups.add(Group.objects.create(name=TEAM))

    # Whose they are, and what they may do, which a superuser is not asked.
    look_at(name, browser, MOST_QUERIES + 3)


@pytest.mark.django_db
@pytest.mark.usefixtures("week")
def test_the_first_failure_of_a_kind_is_found_by_its_index() -> None:
    [group, *_] = statistics.error_groups(timedelta(days=7)).groups

    with statements() as seen:
        statistics.first_failure_of(group)

    [(sql, params)] = seen
    assert "execution_by_error" in plan_of(sql, params)


def look_at(name: str, browser: Browser, most_queries: int) -> None:
    failed = Execution.objects.filter(status="failed", job__tags__contains=[TEAM])
    path = PATHS[name].format(
        job=Job.objects.filter(tags__contains=[TEAM]).order_by("id")[0].pk,
        node=Node.objects.order_by("id")[3].pk,
        execution=failed.order_by("-scheduled_for")[0].pk,
    )

    with statements() as seen:
        page = browser.open(path)

    assert browser.status == 200
    assert len(seen) <= most_queries, [sql[:100] for sql, _ in seen]
    assert len(page.html.encode()) < MOST_BYTES
    for sql, params in seen:
        if re.match(r"\s*(SELECT|WITH)\b", sql):
            plan = plan_of(sql, params)
            # The tables beside it are so small here that reading them whole is right.
            assert "Seq Scan on scheduler_app_execution " not in plan, f"{sql}\n{plan}"
