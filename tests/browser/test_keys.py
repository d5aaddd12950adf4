"""Keys: everything on the list of `?` does what it says, and none of it in a field."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from scheduler_app.models import database_now
from tests.web.admin_support import JOBS, make_execution, make_job

from .support import OpenPage


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.textContent.trim()")


def test_a_question_mark_lists_the_keys(page: Page):
    page.goto("/admin/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next row, previous row")
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_one_walks_through_rows_and_pages_by_keys(page: Page):
    for name in ("alpha", "beta", "gamma"):
        make_job(name=name)
    page.goto("/admin/scheduler_app/job/")

    page.keyboard.press("j")
    assert focused(page) == "alpha"
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert focused(page) == "beta"
    page.keyboard.press("x")
    assert page.evaluate("document.querySelectorAll('.action-select:checked').length") == 1
    page.keyboard.press("/")
    page.keyboard.type("gj?")
    expect(page.locator("#searchbar")).to_have_value("gj?")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/timeline/")
    page.keyboard.press("[")
    page.wait_for_url("**/timeline/?*at=*")
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_url("**/admin/")


def test_the_timeline_works_without_javascript_and_where_it_is_narrow(open_page: OpenPage):
    at = database_now() - timedelta(minutes=5)
    execution = make_execution(
        make_job(name="letters"),
        scheduled_for=at,
        started_at=at,
        finished_at=at + timedelta(minutes=2),
    )
    page = open_page("/admin/scheduler_app/timeline/", javascript=False, narrow=True)

    page.get_by_role("link", name="10 minutes").click()
    page.locator(
        f"a[href='/admin/scheduler_app/execution/{execution.pk}/change/'] rect"
    ).first.click()

    page.wait_for_url(f"**/execution/{execution.pk}/change/")


@pytest.mark.parametrize("narrow", [False, True])
def test_slash_searches_the_jobs_where_a_page_has_no_search(
    open_page: OpenPage, narrow: bool
) -> None:
    job = make_job(name="alpha")
    for address in ("/admin/", f"{JOBS}{job.pk}/"):
        page = open_page(address, narrow=narrow)
        page.locator("h1").first.wait_for()

        page.keyboard.press("/")

        page.wait_for_url("**/job/#searchbar")
        expect(page.locator("#searchbar")).to_be_focused()
