"""Calendars over the API: written like jobs, and kept while a job uses them."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler_app import lifecycle
from scheduler_app.models import Calendar, Job, JobPlan, JobRevision

from .api_support import API, ApiClient, client_of, errors_of, make_job, statements

pytestmark = pytest.mark.django_db

HOLIDAYS = "2030-01-01  # New Year\n2030-12-24 - 2030-12-26"


@pytest.fixture
def editor() -> ApiClient:
    return client_of("editor")


def test_a_calendar_is_created_read_edited_and_deleted(editor: ApiClient) -> None:
    created = editor.post(f"{API}/calendars", {"name": "holidays", "days": HOLIDAYS})

    assert created.status_code == 201, created.content
    assert created.json()["ranges"] == [["2030-01-01", "2030-01-01"], ["2030-12-24", "2030-12-26"]]
    assert created["Location"] == created.json()["url"]
    assert editor.get(f"{API}/calendars/holidays").json() == created.json()

    patched = editor.patch(f"{API}/calendars/holidays", {"description": "Of the city."})
    assert (patched.json()["description"], patched.json()["days"]) == ("Of the city.", HOLIDAYS)
    put = editor.put(f"{API}/calendars/holidays", {"name": "holidays"})
    assert (put.json()["description"], put.json()["days"], put.json()["ranges"]) == ("", "", [])

    assert editor.delete(f"{API}/calendars/holidays").status_code == 204
    assert editor.get(f"{API}/calendars/holidays").status_code == 404


def test_what_was_read_can_be_sent_back(editor: ApiClient) -> None:
    read = editor.post(f"{API}/calendars", {"name": "holidays", "days": HOLIDAYS}).json()

    again = editor.put(read["url"], read)

    assert again.status_code == 200, again.content
    assert {**again.json(), "updated_at": ""} == {**read, "updated_at": ""}


def test_a_new_day_is_an_edit_of_the_jobs_by_who_wrote_it(editor: ApiClient) -> None:
    calendar = Calendar.objects.create(name="holidays")
    job = make_job(schedule="@daily", calendar=calendar)
    JobPlan.objects.filter(job=job).update(dirty=False)
    who = editor.get(f"{API}/calendars/holidays").wsgi_request.user.get_username()

    editor.patch(f"{API}/calendars/holidays", {"days": "2030-01-01"})

    job.refresh_from_db()
    assert (job.version, job.calendar_days) == (2, [["2030-01-01", "2030-01-01"]])
    assert JobPlan.objects.get(job=job).dirty
    assert JobRevision.objects.get(job=job, version=2).created_by == who


def test_a_calendar_in_use_is_not_deleted_and_the_jobs_are_named(editor: ApiClient) -> None:
    calendar = Calendar.objects.create(name="holidays")
    for number in range(12):
        make_job(name=f"job {number:02}", calendar=calendar)

    refused = editor.delete(f"{API}/calendars/holidays")

    assert refused.status_code == 409
    assert "job 00, job 01" in refused.json()["detail"]
    assert "job 09 and 2 other jobs" in refused.json()["detail"]
    assert editor.get(f"{API}/calendars/holidays").json()["jobs"][-1] == "job 11"


def test_a_calendar_that_only_deleted_jobs_used_can_go(editor: ApiClient) -> None:
    calendar = Calendar.objects.create(name="holidays", days=HOLIDAYS)
    job = make_job(calendar=calendar)
    lifecycle.delete_jobs([job.pk], by="somebody")

    assert editor.delete(f"{API}/calendars/holidays").status_code == 204

    assert Job.including_deleted.get(pk=job.pk).calendar is None
    assert len(JobRevision.objects.get(job=job, version=1).spec["calendar_days"]) == 2


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"days": "2030-13-01"}, "days", "Line 1: '2030-13-01' is not a day"),
        ({"days": "2030-01-02 - 2030-01-01"}, "days", "swap the two"),
        ({"days": ["2030-01-01"]}, "days", "must be a text"),
        ({"name": "taken"}, "name", "already exists"),
        ({"name": ""}, "name", "blank"),
        ({"name": "x" * 101}, "name", "100"),
        ({"dates": ""}, "dates", "is not a field of a calendar"),
    ],
)
def test_what_cannot_be_a_calendar_is_refused_by_its_field(
    editor: ApiClient, changed: dict[str, Any], field: str, words: str
) -> None:
    Calendar.objects.create(name="taken")

    response = editor.post(f"{API}/calendars", {"name": "new", **changed})

    errors = errors_of(response)
    assert set(errors) == {field}
    assert len(response.json()["errors"]) == 1
    assert words in errors[field]["message"]
    assert Calendar.objects.count() == 1


def test_a_list_of_calendars_is_paged_filtered_and_costs_one_statement(editor: ApiClient) -> None:
    for number in range(25):
        calendar = Calendar.objects.create(name=f"days {number:02}", days=HOLIDAYS)
        make_job(calendar=calendar)

    with statements() as sent:
        page = editor.get(f"{API}/calendars?page_size=20&ordering=-name").json()

    assert len(sent) == 1, sent
    assert [page["results"][0]["name"], len(page["results"])] == ["days 24", 20]
    assert len(editor.get(page["next"]).json()["results"]) == 5
    found = editor.get(f"{API}/calendars?search=days 1&fields=name").json()["results"]
    assert found == [{"name": f"days {number}"} for number in range(10, 20)]


def test_a_job_planned_by_a_calendar_follows_it_in_a_preview(editor: ApiClient) -> None:
    editor.post(f"{API}/calendars", {"name": "never", "days": "1970-01-01 - 2100-12-31"})

    answer = editor.post(
        f"{API}/schedules/preview", {"schedule": "@daily", "calendar": "never"}
    ).json()

    assert [fire_time["runs"] for fire_time in answer["fire_times"]] == [False]
    assert answer["runs_per_day"] == 0
