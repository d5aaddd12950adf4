"""Swagger's page in a real browser: it works from the site's own files, and breaks no policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from scheduler_app import lifecycle
from scheduler_app.models import Job

from .support import OpenPage


@pytest.mark.parametrize("dark", [False, True])
def test_swagger_shows_the_operations_and_tries_one(open_page: OpenPage, dark: bool) -> None:
    lifecycle.save_job(
        Job(name="shown by swagger", target="tests.testapp.tasks.echo"), by="somebody"
    )
    page = open_page("/api/v1/docs", dark=dark)

    expect(page.get_by_role("heading", name="Job scheduler API")).to_be_visible()
    operation = page.locator("#operations-jobs-job_list")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table")).to_contain_text("shown by swagger")


def test_swagger_changes_things_with_the_session_and_its_csrf_token(open_page: OpenPage) -> None:
    job = lifecycle.save_job(Job(name="a", target="tests.testapp.tasks.echo"), by="somebody")
    page = open_page("/api/v1/docs")

    operation = page.locator("#operations-jobs-job_pause")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("job").fill("a")
    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table")).to_contain_text("pause_reason")
    job.refresh_from_db()
    assert (job.paused_at is None, job.pause_reason) == (False, "migration")
