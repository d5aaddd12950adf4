"""The front page: what it tells, to whom, and failures that are retried by their cause."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model

from scheduler_app.admin import charts
from scheduler_app.models import (
    AuditEntry,
    Execution,
    JobPlan,
    Pause,
    Status,
    Trigger,
    database_now,
)

from .admin_support import OPERATOR, VIEWER, Browser, Page, make_execution, make_job, make_node

pytestmark = pytest.mark.django_db

LIVE = "/admin/scheduler_app/live/"
TRACEBACK = 'Traceback:\n  File "/srv/shop/tasks.py", line 12, in pay\n    charge()\n'


def minutes_ago(minutes: float):
    return database_now() - timedelta(minutes=minutes)


def fail(job, minutes: float = 5, error: str = "no paper", **fields) -> Execution:
    return make_execution(
        job, status=Status.FAILED, error=error, scheduled_for=minutes_ago(minutes), **fields
    )


def plan_in(job, minutes: float) -> None:
    JobPlan.objects.filter(pk=job.pk).update(next_fire_at=minutes_ago(-minutes), dirty=False)


# --- What it tells ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin/", LIVE])
def test_it_shows_what_happens_now(path: str) -> None:
    node = make_node(name="web-1")
    plan_in(make_job(name="imports", schedule="@every 1h"), 20.5)
    fail(make_job(name="letters"), node=node, traceback=TRACEBACK)
    slow = make_job(name="slow")
    make_execution(
        slow,
        scheduled_for=minutes_ago(60),
        started_at=minutes_ago(60),
        finished_at=minutes_ago(59.5),
    )
    make_execution(
        slow,
        status=Status.RUNNING,
        node=node,
        scheduled_for=minutes_ago(5),
        started_at=minutes_ago(5),
    )
    make_execution(slow, status=Status.READY, scheduled_for=minutes_ago(2), queue="reports")

    text = Browser(*VIEWER).open(path).text

    for part in (
        "At work",
        "1 Failed",
        "1 Running now",
        "imports in 20 min",
        "slow for 5 min",
        ", usually 30",
        "longer than usual on web-1",
        "no paper 1 × pay in tasks.py · letters · on web-1 · last 5 min",
        "reports 1 2 min",
        "web-1 0 of 10 busy",
    ):
        assert part in text


def test_it_shows_only_what_one_may_see() -> None:
    fail(make_job(name="imports"))

    text = Browser("view_node").open("/admin/").main

    assert "imports" not in text and "Failed" not in text


def test_an_empty_scheduler_says_what_to_do() -> None:
    text = Browser(*VIEWER).open("/admin/").main

    for part in (
        "No job has a fire time ahead. Look at the jobs",
        "Nothing this moment.",
        "Nothing waits and nothing runs.",
        "No node is alive. Start one with manage.py runscheduler",
        "No failure in 24 hours.",
    ):
        assert part in text


def test_what_is_overdue_is_said_to_be_and_what_is_paused_or_skipped_is_not_up_next() -> None:
    plan_in(make_job(name="late", schedule="@hourly"), -5)
    plan_in(make_job(name="held", schedule="@hourly", tags=["db"]), 5)
    plan_in(make_job(name="stopped", schedule="@hourly", queue="mail"), 5)
    passed_over = make_job(name="passed over", schedule="@hourly")
    plan_in(passed_over, 5)
    JobPlan.objects.filter(pk=passed_over.pk).update(
        skip_at=JobPlan.objects.get(pk=passed_over.pk).next_fire_at
    )
    Pause.objects.create(scope="tag", value="db")
    Pause.objects.create(scope="queue", value="mail")

    text = Browser(*VIEWER).open("/admin/").text

    assert "late overdue 5 min" in text
    for name in ("held", "stopped", "passed over"):
        assert name not in text


def test_the_charts_have_a_table_with_the_same_figures() -> None:
    job = make_job()
    # All of them in one minute.
    moment = minutes_ago(7).replace(second=10)
    for number in range(3):
        make_execution(
            job,
            attempt=1,
            scheduled_for=moment + timedelta(seconds=number / 10),
            started_at=moment + timedelta(seconds=number / 10 + 0.5),
        )

    page = Browser(*VIEWER).open("/admin/")

    assert "3 executions, 0 failed or lost" in page.text
    [label] = [
        attrs["aria-label"]
        for _, attrs in page.elements
        if attrs.get("aria-label", "").startswith("Executions per minute, last hour")
    ]
    assert "3 executions" in label
    bars = [attrs for _, attrs in page.elements if attrs.get("class") == "sch-bar-succeeded"]
    assert len(bars) == 2  # of the hour and of the day


@pytest.mark.parametrize(
    ("path", "status"), [(LIVE, 200), ("/admin/scheduler_app/failures/abc/", 403)]
)
def test_the_pages_are_for_those_who_may(path: str, status: int) -> None:
    stranger = Browser()
    stranger.open(path)
    assert stranger.status == status
    stranger.client.logout()
    assert "Log in" in stranger.open(path).html


# --- The same failure -------------------------------------------------------------------------


def group_page(browser: Browser) -> Page:
    front = browser.open("/admin/")
    return browser.open(next(link for link in front.addresses if "/failures/" in link))


def test_failures_of_one_cause_are_retried_together() -> None:
    jobs = [make_job(name=f"letters {number}") for number in range(2)]
    failed = [fail(job, minutes, f"paper jam {minutes}") for minutes in (5, 50) for job in jobs]
    other = fail(jobs[0], error="no toner")
    browser = Browser(*OPERATOR)
    page = group_page(browser)
    while "paper jam" not in page.main:
        other_link = page.address
        page = browser.open(
            next(
                link
                for link in browser.open("/admin/").addresses
                if "/failures/" in link and link != other_link
            )
        )
    assert "4 × the same failure" in page.main
    assert "letters 0" in page.main and "letters 1" in page.main

    page = browser.open(page.links["Retry all 4…"])
    assert "4 will be tried again" in page.main and "Failed with paper jam" in page.main
    assert Execution.objects.filter(status=Status.FAILED).count() == 5
    page = browser.press("Retry 4 executions", reason="paper is here")

    assert "Retried 4" in page.main and "paper is here" in page.main
    assert AuditEntry.objects.filter(reason="paper is here", verb="execution.retry").count() == 4
    assert {one.status for one in Execution.objects.filter(pk__in=[one.pk for one in failed])} <= {
        Status.READY,
        Status.BLOCKED,
    }
    other.refresh_from_db()
    assert other.status == Status.FAILED


def test_what_was_retried_meanwhile_is_left_alone() -> None:
    execution = fail(make_job())
    browser = Browser(*OPERATOR)
    page = group_page(browser)
    Execution.objects.filter(pk=execution.pk).update(status=Status.READY, finished_at=None)

    page = browser.open(page.links["Retry it…"])

    assert "Nothing is left to retry" in page.text


@pytest.mark.parametrize("rights", [(), ("run_job",), ("use_task",)])
def test_a_group_is_retried_by_those_who_may_run_what_failed(rights: tuple[str, ...]) -> None:
    fail(make_job())
    browser = Browser(*VIEWER, *rights)
    page = group_page(browser)

    assert "Retry it…" not in page.links
    assert browser.client.post(page.address).status_code in (403, 405)


def test_a_group_needs_the_rights_of_what_failed_in_it_alone() -> None:
    fail(make_job(name="calls", kind="http", target="https://example.org/"), error="no answer")
    browser = Browser(*VIEWER, "run_job", "use_task")
    page = browser.open(group_page(browser).links["Retry it…"])
    assert "use_http" in page.main and "Retry 1 execution" not in page.main

    Browser(*VIEWER, "run_job", "use_http", name="ben")
    browser = Browser.of(get_user_model().objects.get(username="ben"))
    browser.open(group_page(browser).links["Retry it…"])
    assert "Retried 1" in browser.press("Retry 1 execution").main


def test_the_first_of_a_group_is_that_of_all_that_are_kept() -> None:
    job = make_job()
    old = fail(job, minutes=3 * 24 * 60, error="paper jam 1")
    fail(job, minutes=5, error="paper jam 2")
    browser = Browser(*VIEWER)

    text = group_page(browser).text
    assert (
        f"First seen {old.scheduled_for:%Y-%m-%d %H:%M:%S} UTC 3 d ago of all that are kept" in text
    )
    Execution.objects.filter(pk=old.pk).update(scheduled_for=minutes_ago(7 * 24 * 60))
    assert "7 d ago or earlier" in group_page(browser).text


def test_a_group_that_is_gone_is_not_found() -> None:
    browser = Browser(*VIEWER)
    browser.open("/admin/scheduler_app/failures/0123456789ab/")
    assert browser.status == 404


def test_a_backfill_and_a_retry_are_not_called_late() -> None:
    job = make_job()
    at = minutes_ago(3)
    for fields in ({"trigger": Trigger.BACKFILL, "attempt": 1}, {"attempt": 2}):
        make_execution(
            job,
            scheduled_for=at - timedelta(seconds=fields["attempt"]),
            started_at=at + timedelta(minutes=2),
            **fields,
        )

    assert "nothing started" in Browser(*VIEWER).open("/admin/").html  # fmt: skip


# --- Geometry ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (1, 1), (1.1, 2), (2, 2), (3, 5), (7, 10), (42, 50), (1234, 2000)]
)
def test_the_height_of_a_chart_is_a_round_number(highest, top):
    assert charts.nice_top(highest) == top


def test_bars_stand_on_the_ground_and_the_rare_is_seen():
    [bar, empty] = charts.stacked_bars(
        [
            charts.Column("one", [("failed", 1), ("lost", 0), ("succeeded", 9_999)]),
            charts.Column("two", []),
        ],
        10_000,
    )

    failed, succeeded = bar.parts
    assert failed.y + failed.height == charts.HEIGHT
    assert failed.height >= 1.5
    assert 0 <= succeeded.y == pytest.approx(failed.y - succeeded.height, abs=0.02)
    assert empty.parts == ()


def test_a_line_is_broken_where_nothing_is_known():
    scale = charts.Decades.holding([0.01, 1, None], floor=0.001)

    line = charts.line("p50", [0.01, 1, None, 0.1], scale)

    assert scale.steps == [0.01, 0.1, 1.0]
    assert line.pieces == ("125,100 375,0",)
    assert line.dots == ((875.0, 50.0),)


def test_a_scale_of_nothing_can_be_drawn():
    scale = charts.Decades.holding([None, 0.0], floor=0.001)

    assert scale.y(0) == charts.HEIGHT
    assert len(scale.steps) == 2
