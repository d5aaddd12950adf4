"""What pages cost: a bounded number of statements, none for each row, and no statement that reads a whole table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler_app.models import Gap, LogChunk, Status, database_now

from .admin_support import (
    AUTHOR,
    EXECUTIONS,
    GAPS,
    JOBS,
    NODES,
    OPERATOR,
    PAUSES,
    Browser,
    make_execution,
    make_job,
    make_node,
)

pytestmark = pytest.mark.django_db

MOST = 12


def fill(rows: int) -> None:
    """As many of everything, with tags, queues, failures, logs and edits."""
    now = database_now()
    for number in range(rows):
        job = make_job(
            schedule="@every 1h", tags=[f"tag {number}", "all"], queue=f"queue {number % 60}"
        )
        node = make_node()
        for status in (Status.FAILED, Status.RUNNING):
            make_execution(
                job,
                status=status,
                node=node,
                error="no paper",
                scheduled_for=now - timedelta(seconds=number + 1, microseconds=job.pk),
                trigger="manual",
            )
        Gap.objects.create(
            job=job, first_at=now - timedelta(hours=number), last_at=now, count=1, reason="overlap"
        )


def cost(browser: Browser, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        browser.open(address)
    assert browser.status == 200
    return len(captured)


@pytest.mark.parametrize(
    "path",
    [
        JOBS,
        f"{JOBS}?state=failing",
        f"{JOBS}?state=paused&tag=all&q=job",
        EXECUTIONS,
        f"{EXECUTIONS}?status=failed&when=24h",
        f"{EXECUTIONS}?trigger=manual&q=job",
        NODES,
        PAUSES,
        GAPS,
        "/admin/",
    ],
)
def test_a_list_costs_the_same_with_five_rows_and_with_fifty(path: str) -> None:
    browser = Browser(*OPERATOR, *AUTHOR)
    fill(5)
    few = cost(browser, path)
    fill(45)
    many = cost(browser, path)

    assert few == many
    assert many <= MOST


@pytest.mark.parametrize("make", [lambda job, _: JOBS, lambda _, execution: EXECUTIONS])
def test_a_page_costs_the_same_however_much_happened(make: Callable[..., str]) -> None:
    browser = Browser(*OPERATOR, *AUTHOR)
    fill(1)
    job = make_job(schedule="@every 1h")
    execution = make_execution(job, status=Status.FAILED)
    base = make(job, execution)
    address = f"{base}{job.pk}/" if base == JOBS else f"{base}{execution.pk}/change/"
    few = cost(browser, address)
    for number in range(30):
        make_execution(job, node=make_node())
        LogChunk.objects.create(execution=execution, attempt=number, seq=0, text="text\n")
        job.description = f"edit {number}"
        job.save()

    assert cost(browser, address) == few
    assert few <= MOST


def test_no_list_of_executions_counts_them_all_or_reads_large_columns() -> None:
    fill(3)
    browser = Browser(*OPERATOR)
    for query in ("", "?status=failed", "?status=succeeded", "?job=1", "?when=24h", "?q=job"):
        with CaptureQueriesContext(connection) as captured:
            browser.open(EXECUTIONS + query)
        ours = [
            one["sql"]
            for one in captured.captured_queries
            if 'FROM "scheduler_app_execution"' in one["sql"]
        ]
        assert any("COUNT(*)" in sql for sql in ours)
        for sql in ours:
            # A list without a limit is one that was counted and fits one page.
            assert "COUNT(*)" not in sql or "LIMIT 10001" in sql, sql
            assert "DISTINCT" not in sql
            for column in ("traceback", "result", "failures", '"spec"', "arguments", "description"):
                assert column not in sql, sql


def test_the_order_of_the_list_is_exactly_the_index() -> None:
    fill(1)
    browser = Browser(*OPERATOR)
    with CaptureQueriesContext(connection) as captured:
        browser.open(EXECUTIONS)

    order = '"scheduler_app_execution"."scheduled_for" DESC, "scheduler_app_execution"."id" DESC'
    orders = [
        one["sql"].rpartition("ORDER BY ")[2].partition(" LIMIT")[0]
        for one in captured.captured_queries
        if "ORDER BY" in one["sql"] and 'FROM "scheduler_app_execution"' in one["sql"]
    ]
    assert orders and all(found.replace("1 DESC, 2 DESC", order) == order for found in orders)
