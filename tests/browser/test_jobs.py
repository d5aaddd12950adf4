"""A job from its form to its run, in a real browser: previews as one types, pauses, choices, other arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from playwright.sync_api import Page, expect

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Job, Status, database_now

# A real node beside the browser.
from tests.engine.conftest import start_node  # noqa: F401
from tests.web.admin_support import EXECUTIONS, JOBS, make_execution, make_job
from tests.web.test_admin_hostile import make_everything_hostile

from .support import OpenPage

ADD = "tests.testapp.tasks.add"


def test_a_job_is_made_by_its_form_and_watched_as_it_fires(
    page: Page,
    start_node: Callable[..., Any],  # noqa: F811
) -> None:
    page.goto(f"{JOBS}add/")
    page.fill("#id_name", "sums")
    page.fill("#id_target", ADD)
    expect(page.locator("#arguments")).to_contain_text("The sum of two numbers.")
    page.fill("[name=arg_a]", "5")
    page.fill("#id_schedule", "61 * * * *")
    expect(page.locator("#preview")).to_contain_text("minute")
    page.fill("#id_schedule", "30 2 * * *")
    page.fill("#id_timezone", "Europe/Berlin")
    expect(page.locator("#preview")).to_contain_text("At 02:30 every day (Europe/Berlin)")
    expect(page.locator("#preview")).to_contain_text("does not exist in Europe/Berlin")
    expect(page.locator("#preview tbody tr")).to_have_count(10)
    page.fill("#id_schedule", "* * * * * *")
    expect(page.locator("#preview")).to_contain_text("86,400 runs a day")
    assert page.input_value("[name=arg_a]") == "5"
    assert not Job.objects.exists()

    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("h1")).to_have_text("sums")
    assert Job.objects.get().arguments == {"a": 5}
    start_node()

    def shows_success() -> None:
        page.reload()
        expect(page.locator(".sch-verdicts")).to_contain_text("succeeded", timeout=1_000)

    for _ in range(30):
        try:
            shows_success()
            break
        except AssertionError:
            continue
    shows_success()


BEYOND_THEIR_ROW = """
() => {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    return [...document.querySelectorAll("#content :is(input, select, textarea)")]
        .filter((field) => field.getClientRects().length && !field.matches(".visually-hidden"))
        .filter((field) => {
            const row = field.closest(".form-row, .sch-argument-row, .sch-field, form");
            return row && field.getBoundingClientRect().right > row.getBoundingClientRect().right + 1;
        })
        .map((field) => field.name);
}
"""


def test_on_a_phone_every_field_ends_within_its_row(open_page: OpenPage) -> None:
    task = make_job(target=ADD, arguments={"a": 1})
    http = make_job(name="web", kind="http", target="https://example.org/", arguments={})
    make_execution(task)
    page = open_page(narrow=True)

    for address in (
        f"{JOBS}add/",
        *(f"{JOBS}{job.pk}/change/" for job in (task, http)),
        *(f"{JOBS}{task.pk}/{verb}/" for verb in ("run", "pause", "backfill")),
        f"{EXECUTIONS}bulk/?verb=retry",
        "/admin/scheduler_app/calendar/add/",
        "/admin/scheduler_app/pause/add/",
    ):
        page.goto(address)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate(BEYOND_THEIR_ROW) == [], address


def test_the_choice_between_fields_and_json_decides_what_is_shown(page: Page) -> None:
    job = make_job(target=ADD, arguments={"a": 1})
    page.goto(f"{JOBS}{job.pk}/change/")
    expect(page.locator("[name=arg_a]")).to_be_visible()
    expect(page.locator("#id_arguments")).to_be_hidden()

    page.fill("[name=arg_a]", "7")
    page.get_by_label("JSON", exact=True).check()

    expect(page.locator("#id_arguments")).to_be_visible()
    expect(page.locator("#id_arguments")).to_have_value(re.compile('"a": 7'))
    page.fill("#id_target", "tests.testapp.tasks.echo")
    expect(page.locator("#arguments")).to_contain_text("Give back what was given.")


def test_a_preview_that_cannot_be_fetched_says_so_and_loses_nothing(page: Page, trap: Any) -> None:
    trap.forgive("Failed to load resource")
    page.goto(f"{JOBS}add/")
    page.route("**/assist/*", lambda route: route.abort())

    page.fill("#id_schedule", "@daily")

    expect(page.locator("#preview")).to_contain_text("could not be fetched")
    assert page.input_value("#id_schedule") == "@daily"


@pytest.mark.parametrize("javascript", [True, False])
def test_pause_with_a_reason_resume_with_a_choice_and_run_with_other_arguments(
    open_page: OpenPage, javascript: bool
) -> None:
    job = make_job(
        schedule="@every 10m", anchor_at=database_now() - timedelta(minutes=5), target=ADD,
        arguments={"a": 1},
    )  # fmt: skip
    page = open_page(f"{JOBS}{job.pk}/", javascript=javascript)

    page.get_by_role("link", name="Pause…").click()
    page.fill("#id_reason", "DB work")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".sch-state")).to_contain_text("DB work")
    Job.objects.update(paused_at=database_now() - timedelta(hours=1))
    Job.objects.update(updated_at=F("paused_at"))

    page.get_by_role("link", name="Resume…").click()
    expect(page.locator(".sch-lead")).to_contain_text("6 fire times were missed")
    page.get_by_label("the last").check()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator(".sch-state")).not_to_contain_text("DB work")
    assert Execution.objects.filter(trigger="backfill").count() == 1

    page.get_by_role("link", name="Run with…").click()
    page.fill("[name=arg_a]", "40")
    page.fill("[name=arg_b]", "2")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("h1")).to_contain_text("Execution")
    assert Execution.objects.get(trigger="manual").spec == {"arguments": {"a": 40, "b": 2}}


def test_a_job_is_made_and_tried_without_a_script(open_page: OpenPage) -> None:
    page = open_page(f"{JOBS}add/", javascript=False)
    page.fill("#id_name", "sums")
    page.fill("#id_target", ADD)
    page.fill("#id_schedule", "0 9 * * *")
    page.get_by_role("button", name="Show its fields").click()
    page.fill("[name=arg_a]", "5")
    page.get_by_role("button", name="Preview the schedule").click()
    expect(page.locator("#preview")).to_contain_text("At 09:00 every day")
    page.get_by_role("button", name="Test run").click()
    expect(page.locator(".sch-answer")).to_contain_text("The test run is on its way")
    assert Execution.objects.get().spec["arguments"] == {"a": 5}

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.locator("h1")).to_have_text("sums")
    assert Job.objects.get().arguments == {"a": 5}


def test_a_hostile_job_runs_nothing_in_the_browser(page: Page) -> None:
    job, _, _, pause = make_everything_hostile()
    lifecycle.resume([job.pk], by="boss")
    make_execution(job, status=Status.SUCCEEDED, trigger="manual")
    for path in ("", "change/", "timeline/?at=2026-01-01", "backfill/", "resume/", "run/"):
        page.goto(f"{JOBS}{job.pk}/{path}")
        expect(page.locator("body")).to_be_visible()
    page.goto(f"{JOBS}{job.pk}/change/")
    page.fill("#id_schedule", "<img src=x onerror=alert(1)>")
    expect(page.locator("#preview")).to_contain_text("onerror")
    page.goto(f"/admin/scheduler_app/pause/{pause.pk}/resume/")


@pytest.mark.parametrize("dark", [False, True])
def test_no_page_of_a_job_is_wider_than_a_telephone(open_page: OpenPage, dark: bool) -> None:
    job = make_job(name="n" * 150, schedule="0 9 * * *", timezone="America/Argentina/Buenos_Aires")
    make_execution(job, status=Status.FAILED, error="e" * 300, trigger="manual")
    page = open_page(dark=dark, narrow=True)
    for path in (
        *(f"{JOBS}{job.pk}/{path}" for path in ("", "change/", "timeline/", "backfill/", "pause/")),
        "/admin/scheduler_app/calendar/add/",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
