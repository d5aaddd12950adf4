"""Executions in a real browser: a log that is followed, cancel, retry of all that match, and what hostile output may do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from scheduler_app.models import Execution, LogChunk, Status, database_now
from tests.web.admin_support import EXECUTIONS, GAPS, JOBS, make_execution, make_job, make_node
from tests.web.test_admin_hostile import make_everything_hostile

from .support import OpenPage, scrolls_sideways


def page_of(execution: Execution) -> str:
    return f"{EXECUTIONS}{execution.pk}/change/"


def make_running() -> Execution:
    now = database_now()
    return make_execution(
        make_job(name="imports"),
        status=Status.RUNNING,
        node=make_node(),
        scheduled_for=now,
        started_at=now,
        attempt=1,
    )


def make_failures(count: int) -> None:
    job, now = make_job(name="mails", on_overlap="allow"), database_now()
    for number in range(count):
        make_execution(
            job,
            status=Status.FAILED,
            error="ConnectionError: no paper",
            scheduled_for=now - timedelta(seconds=number + 1),
            trigger="manual",
        )


def write(execution: Execution, text: str) -> None:
    seq = LogChunk.objects.filter(execution=execution).count()
    LogChunk.objects.create(execution=execution, attempt=1, token=1, seq=seq, text=text)


def test_a_log_is_followed_until_the_end(page: Page):
    execution = make_running()
    page.goto(page_of(execution))
    log = page.locator("#log")
    expect(log).to_contain_text("Nothing yet.")
    expect(log).to_contain_text("follows as it runs")
    page.evaluate("window.isTheSamePage = true")

    write(execution, "begin \x1b[31m")
    expect(log.locator("pre")).to_have_text("begin ")
    write(execution, "<img src=x onerror=alert(1)> red\x1b[0m")
    expect(log.locator("pre .sch-ansi-red")).to_have_text("<img src=x onerror=alert(1)> red")
    assert page.evaluate("window.isTheSamePage")

    Execution.objects.update(status=Status.SUCCEEDED, finished_at=database_now())
    expect(page.locator(".sch-job-head .sch-badge")).to_have_text("Succeeded")
    expect(log.locator("pre .sch-ansi-red")).to_be_visible()
    expect(log).not_to_contain_text("follows")


def test_what_waits_is_cancelled_from_its_page(page: Page):
    execution = make_execution(make_job(), status=Status.READY)
    page.goto(page_of(execution))

    page.get_by_role("button", name="Cancel").click()

    expect(page.locator(".sch-job-head .sch-badge")).to_have_text("Cancelled")
    execution.refresh_from_db()
    assert execution.cancelled_by == "ana"


@pytest.mark.parametrize("javascript", [True, False])
def test_all_that_match_are_retried(open_page: OpenPage, javascript: bool):
    make_failures(60)
    page = open_page(EXECUTIONS, javascript=javascript)
    page.get_by_role("link", name="Failed", exact=True).click()
    page.locator("summary", has_text="Time:").click()
    page.get_by_role("link", name="Last hour").click()

    page.get_by_role("link", name="Retry…").click()
    expect(page.locator("#content-main")).to_contain_text("60 will be tried again")
    page.get_by_label("Reason").fill("paper is here")
    page.get_by_role("button", name="Retry 60 executions").click()

    expect(page.get_by_role("status")).to_contain_text("Done")
    page.get_by_role("link", name="Back to the executions").click()
    expect(page.locator("#content-main")).to_contain_text("Nothing fits")
    assert Execution.objects.filter(status="ready").count() == 60


def test_other_moments_and_older_pages_need_no_script(open_page: OpenPage):
    make_failures(60)
    page = open_page(EXECUTIONS, javascript=False)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(10)
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(50)

    page.locator("summary", has_text="Time:").click()
    page.get_by_label("Before (UTC)").fill("2020-01-01T00:00:00")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#content-main")).to_contain_text("Nothing fits")
    expect(page.locator("summary.sch-chosen")).to_contain_text("2020-01-01")

    running = make_running()
    page.goto(page_of(running))
    write(running, "a line")
    page.get_by_role("link", name="refresh").click()
    expect(page.locator("#log pre")).to_have_text("a line")


@pytest.mark.parametrize("narrow", [False, True])
def test_ten_megabytes_of_hostile_output_stay_text(open_page: OpenPage, narrow: bool):
    job, execution, _, _ = make_everything_hostile()
    noise = "\x1b[31m<script>alert(1)</script>\u202e\x1b]8;;javascript:alert(1)\x07x\x1b[0m\n"
    chunk = noise * (1024 * 1024 // len(noise))
    for seq in range(1, 11):
        LogChunk.objects.create(execution=execution, attempt=1, token=1, seq=seq, text=chunk)
    Execution.objects.update(status=Status.RUNNING, finished_at=None)

    page = open_page(narrow=narrow)
    for path in (
        page_of(execution),
        f"{page_of(execution)}?before=1.1.5.400000",
        EXECUTIONS,
        f"{EXECUTIONS}?q=<script>alert(1)</script>&node=<b>&since=<i>",
        f"{EXECUTIONS}bulk/?verb=cancel&job={job.pk}&q=error:<script>",
        JOBS,
        f"{JOBS}{job.pk}/",
        GAPS,
    ):
        page.goto(path)
        expect(page.locator("#content-main")).to_be_visible()
        assert not scrolls_sideways(page), path
        assert "\u202e" not in page.locator("#content-main").inner_text()


def test_a_printed_list_is_a_table_without_controls(page: Page) -> None:
    job = make_job(name="letters")
    for _ in range(3):
        make_execution(job)
    page.set_viewport_size({"width": 718, "height": 1046})
    page.emulate_media(media="print")

    page.goto(EXECUTIONS)

    row = page.locator("#result_list tbody tr").first
    assert row.evaluate("row => getComputedStyle(row).display") == "table-row"
    for control in ("#result_list input", ".sch .sch-button", ".sch-pages", ".sch-filters"):
        assert page.locator(control).filter(visible=True).count() == 0, control
    assert not scrolls_sideways(page)
