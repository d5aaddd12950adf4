"""The API's pages in a real browser: buttons and forms work, and break no policy."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Job

from .support import OpenPage, Trap


@pytest.fixture
def job(transactional_db: None) -> Job:
    return lifecycle.save_job(Job(name="a", target="tests.testapp.tasks.echo"), by="somebody")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_button_runs_the_job(open_page: OpenPage, job: Job, javascript: bool) -> None:
    page = open_page(f"/api/v1/jobs/{job.pk}", javascript=javascript)

    page.get_by_role("button", name="Run", exact=True).click()

    expect(page.locator(".response-info")).to_contain_text("HTTP 202")
    assert Execution.objects.get().requested_by == "ana"


def test_an_action_takes_words_in_its_form(open_page: OpenPage, job: Job, trap: Trap) -> None:
    # The page of an action is the answer to a method that it lacks.
    trap.forgive("status of 405")
    page = open_page(f"/api/v1/jobs/{job.pk}")

    page.get_by_title("Pause, with more to say").click()
    page.locator("input[name=reason]").fill("migration")
    page.get_by_role("button", name="POST").first.click()

    expect(page.locator(".response-info")).to_contain_text("migration")
    job.refresh_from_db()
    assert job.pause_reason == "migration"


def test_a_job_is_edited_and_deleted_on_its_page(open_page: OpenPage, job: Job) -> None:
    page = open_page(f"/api/v1/jobs/{job.pk}")
    raw = page.locator(
        "#put-raw-data-form textarea[name=_content], #put-generic-content-form textarea"
    )

    page.get_by_role("link", name="Raw data").click()
    content = json.loads(raw.first.input_value())
    raw.first.fill(json.dumps({**content, "description": "edited", "target": job.target}))
    page.get_by_role("button", name="PUT").last.click()
    expect(page.locator(".response-info")).to_contain_text("edited")

    page.goto(f"/api/v1/jobs/{job.pk}")
    page.get_by_role("button", name="DELETE").first.click()
    page.locator("#deleteModal .btn-danger").click()
    expect(page.locator(".response-info")).to_contain_text("HTTP 204")
    assert not Job.objects.filter(name="a").exists()
