"""The form of a job: what it refuses and where, secrets, stale edits, moments in the job's zone, the preview."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from scheduler_app import lifecycle
from scheduler_app.models import Job

from .admin_support import AUTHOR, JOBS, Browser, Page, log_of, make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def author() -> Browser:
    return Browser(*AUTHOR)


def fill_in(author: Browser, **values: Any) -> Page:
    """Add a job by the form."""
    author.open(f"{JOBS}add/")
    given = {"name": "nightly", "target": "tests.testapp.tasks.echo", "schedule": "@daily"}
    return author.press("Save", **{**given, **values})


def edit(author: Browser, job: Job, button: str = "Save", **values: Any) -> Page:
    author.open(f"{JOBS}{job.pk}/change/")
    return author.press(button, **values)


# --- Saving -----------------------------------------------------------------------------------


def test_a_job_is_added_with_its_author_and_owner(author: Browser) -> None:
    page = fill_in(
        author,
        tags="finance, nightly,, finance",
        arguments='{"value": [1, 2]}',
        schedule="*/5 * * * *",
        timezone="Europe/Berlin",
        max_attempts="3",
    )

    job = Job.objects.get()
    assert job.tags == ["finance", "nightly"]
    assert job.arguments == {"value": [1, 2]}
    assert (job.provenance, job.owner, job.max_attempts) == ("admin", author.user, 3)
    assert job.revisions.get().created_by == "ana"
    assert page.address == f"{JOBS}{job.pk}/"
    assert "Every 5 minutes (Europe/Berlin)" in page.main
    assert len(log_of(job)) == 1


def test_an_edit_is_a_revision_with_its_author(author: Browser) -> None:
    job = make_job(schedule="@daily")

    page = edit(author, job, schedule="@hourly")

    job.refresh_from_db()
    assert (job.schedule, job.version) == ("@hourly", 2)
    assert job.revisions.first().created_by == "ana"
    assert page.address == f"{JOBS}{job.pk}/"


def test_saving_without_a_change_changes_nothing(author: Browser) -> None:
    job = make_job(
        schedule="@every 90m",
        timezone="Asia/Kathmandu",
        start_at=datetime(2029, 1, 1, 3, 15, 7, 250_000, tzinfo=UTC),
        arguments={"value": {"api_key": "k", "text": "ünïcödé", "n": 1e300}},
        tags=["a"],
        timeout_s=0.25,
        retry_jitter=1 / 3,
        misfire_grace_s=0,
    )
    before = Job.objects.values().get()

    edit(author, job)

    assert Job.objects.values().get() == before


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"schedule": "61 * * * *"}, "schedule", "0-59"),
        ({"schedule": "0 0 30 2 *"}, "schedule", "never"),
        ({"schedule": ""}, "schedule", "required"),
        ({"schedule": "@at 2001-01-01T00:00:00"}, "schedule", "no fire time"),
        ({"schedule": "* " * 5000}, "schedule", "200"),
        ({"timezone": "Europe/Berlinn"}, "timezone", "Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "timezone", "not a known time zone"),
        ({"target": "os.system"}, "target", "No task is registered"),
        ({"target": "tests.testapp.tasks.ecko"}, "target", "tests.testapp.tasks.echo"),
        ({"arguments": '{"wrong": 1}'}, "arguments", "wrong"),
        ({"arguments": "{"}, "arguments", "line 1, column 2"),
        ({"arguments": '"text"'}, "arguments", "JSON object"),
        ({"kind": "shell"}, "kind", "shell"),
        ({"start_at": "tomorrow"}, "start_at", "2030-01-31"),
        ({"priority": "101"}, "priority", "100"),
        ({"timeout_s": "0"}, "timeout_s", "0.1"),
        ({"max_attempts": "0"}, "max_attempts", "1"),
        ({"tags": "x" * 51}, "tags", "50"),
        ({"queue": "q" * 51}, "queue", "50"),
    ],
)
def test_what_cannot_work_is_refused_at_its_field(
    author: Browser, values: dict[str, str], field: str, says: str
) -> None:
    page = fill_in(author, **values)

    assert not Job.objects.exists()
    assert says in " ".join(author.errors[field])
    assert says in page.main
    # What was typed is still there.
    assert dict(page.form_of("schedule").values)["name"] == "nightly"


def test_a_window_that_ends_before_it_begins_is_refused(author: Browser) -> None:
    fill_in(author, start_at="2099-02-01 00:00", end_at="2099-01-01 00:00")

    assert not Job.objects.exists()


def test_arguments_come_back_as_they_were_typed(author: Browser) -> None:
    typed = '{\n  "value": 1,\n\n  "value": 2 }'

    page = fill_in(author, arguments=typed)

    assert dict(page.form_of("schedule").values)["arguments"] == typed


def test_a_name_that_is_taken_is_refused_and_one_that_was_deleted_is_free(author: Browser) -> None:
    job = make_job(name="nightly")

    page = fill_in(author)
    assert author.errors.keys() == {"name"}
    assert "There is a job with this name already." in page.main

    lifecycle.delete_jobs([job.pk], by="ben")
    fill_in(author)
    assert Job.objects.get().pk != job.pk


# --- Moments ----------------------------------------------------------------------------------


def test_moments_are_read_and_shown_in_the_jobs_zone(author: Browser) -> None:
    fill_in(author, timezone="Asia/Tokyo", start_at="2099-01-01 09:00")

    job = Job.objects.get()
    assert job.start_at == datetime(2099, 1, 1, tzinfo=UTC)
    page = author.open(f"{JOBS}{job.pk}/change/")
    assert dict(page.form_of("schedule").values)["start_at"] == "2099-01-01 09:00:00"


@pytest.mark.parametrize(
    ("typed", "hour"),
    [
        ("2099-07-01T12:00", 10),
        ("2099-07-01 12:00:00+00:00", 12),
        ("2099-07-01 12:00:00 +05:00", 7),
        ("2099-07-01T12:00Z", 12),
    ],
)
def test_an_offset_wins_over_the_zone(author: Browser, typed: str, hour: int) -> None:
    fill_in(author, timezone="Europe/Berlin", end_at=typed)

    end_at = Job.objects.get().end_at
    assert end_at is not None
    assert end_at.astimezone(UTC) == datetime(2099, 7, 1, hour, tzinfo=UTC)


def test_the_second_of_two_equal_wall_times_survives_the_form(author: Browser) -> None:
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    job = make_job(schedule="@every 1h", timezone="Europe/Berlin", anchor_at=second)

    edit(author, job, description="touched")

    job.refresh_from_db()
    assert (job.anchor_at, job.description) == (second, "touched")


# --- Secrets ----------------------------------------------------------------------------------


def test_secrets_are_hidden_and_stay_what_they_were(author: Browser) -> None:
    job = make_job(arguments={"value": {"headers": {"Authorization": "Bearer s3cr3t"}, "url": "x"}})

    page = author.open(f"{JOBS}{job.pk}/change/")
    assert "s3cr3t" not in page.html
    typed = dict(page.form_of("schedule").values)["arguments"]
    author.press("Save", arguments_as="json", arguments=typed.replace('"x"', '"y"'))

    job.refresh_from_db()
    assert job.arguments == {"value": {"headers": {"Authorization": "Bearer s3cr3t"}, "url": "y"}}
    assert "s3cr3t" not in author.page.html


def test_a_secret_does_not_follow_to_another_target(author: Browser) -> None:
    job = make_job(arguments={"value": {"token": "s3cr3t"}})

    page = edit(author, job, target="tests.testapp.tasks.hand_on")

    assert "arguments" in author.errors
    assert "s3cr3t" not in page.html
    job.refresh_from_db()
    assert job.target == "tests.testapp.tasks.echo"


def test_asterisks_are_never_stored(author: Browser) -> None:
    job = make_job(arguments={"value": {"token": "s3cr3t"}})

    edit(
        author,
        job,
        arguments_as="json",
        arguments='{"value": {"elsewhere": {"token": "********"}}}',
    )

    assert "arguments" in author.errors
    job.refresh_from_db()
    assert job.arguments == {"value": {"token": "s3cr3t"}}


# --- Others edit too --------------------------------------------------------------------------


def test_a_stale_edit_is_refused_and_says_what_changed_and_who_did_it(author: Browser) -> None:
    """Proves I24."""
    job = make_job(schedule="@daily", description="old")
    author.open(f"{JOBS}{job.pk}/change/")
    theirs = Job.objects.get()
    theirs.schedule = "@hourly"
    lifecycle.save_job(theirs, by="ben")

    page = author.press("Save", description="mine")

    job.refresh_from_db()
    assert (job.schedule, job.description, job.version) == ("@hourly", "old", 2)
    assert "ben changed this job while you edited it." in page.main
    assert "Schedule: it was @daily, and is @hourly now." in page.main

    author.press("Save")

    job.refresh_from_db()
    assert (job.schedule, job.description) == ("@daily", "mine")


def test_a_pause_meanwhile_is_no_conflict_and_is_not_undone(author: Browser) -> None:
    """Proves I24: the form cannot set back what is not on it."""
    job = make_job(schedule="@daily")
    author.open(f"{JOBS}{job.pk}/change/")
    lifecycle.pause([job.pk], by="ben", reason="wait")

    author.press("Save", description="mine")

    job.refresh_from_db()
    assert (job.description, job.paused_by) == ("mine", "ben")


def test_the_same_edit_by_two_people_is_no_conflict(author: Browser) -> None:
    job = make_job(schedule="@daily")
    author.open(f"{JOBS}{job.pk}/change/")
    theirs = Job.objects.get()
    theirs.schedule = "@hourly"
    lifecycle.save_job(theirs, by="ben")

    author.press("Save", schedule="@hourly")

    job.refresh_from_db()
    assert (job.schedule, job.version) == ("@hourly", 2)
    assert author.page.address == f"{JOBS}{job.pk}/"


def test_a_job_that_was_deleted_meanwhile_is_not_brought_back(author: Browser) -> None:
    job = make_job()
    author.open(f"{JOBS}{job.pk}/change/")
    lifecycle.delete_jobs([job.pk], by="ben")

    author.press("Save", description="mine")

    assert not Job.objects.exists()
    assert Job.including_deleted.get().description == ""


# --- The preview ------------------------------------------------------------------------------


def test_a_preview_shows_what_the_schedule_means_and_saves_nothing(author: Browser) -> None:
    author.open(f"{JOBS}add/")

    page = author.press(
        "Preview the schedule",
        name="nightly",
        target="tests.testapp.tasks.echo",
        schedule="30 4 * * *",
        timezone="Asia/Kolkata",
    )

    assert not Job.objects.exists()
    assert "At 04:30 every day (Asia/Kolkata)" in page.main
    assert page.main.count("04:30:00 +05:30") == 10
    assert page.main.count("23:00:00 UTC") == 10
    assert not author.errors
    assert dict(page.form_of("schedule").values)["schedule"] == "30 4 * * *"


def test_the_form_offers_the_registered_tasks_with_what_they_say(author: Browser) -> None:
    page = author.open(f"{JOBS}add/")

    assert ("option", {"value": "tests.testapp.tasks.add"}) in page.elements
    assert "The sum of two numbers." in page.main
    assert "(a: int, b: int = 1)" in page.main


def test_saving_is_the_first_button_so_enter_saves(author: Browser) -> None:
    page = author.open(f"{JOBS}add/")

    own = [button for button in page.own_buttons if button.form == "job_form"]
    assert own[0].value == ("_save", "Save")


def test_the_form_needs_its_permission_when_it_is_sent() -> None:
    job = make_job()
    viewer = Browser("view_job", "add_job")

    response = viewer.post(f"{JOBS}{job.pk}/change/", name="mine")

    assert response.status_code in (302, 403)
    assert get_user_model().objects.count() == 1
    assert Job.objects.get().name == job.name
