"""PUT by name: the same request, sent as often as you like, leaves the same job."""

from __future__ import annotations

import pytest

from scheduler_app.models import Calendar, Job, JobRevision

from .api_support import API, ApiClient, client_of, errors_of, make_job

pytestmark = pytest.mark.django_db

ECHO = "tests.testapp.tasks.echo"
BODY = {"target": ECHO, "schedule": "@daily", "arguments": {"value": 1}, "tags": ["x"]}


@pytest.fixture
def editor() -> ApiClient:
    return client_of("editor")


def test_put_by_a_free_name_creates_the_job_and_again_changes_nothing(editor: ApiClient) -> None:
    first = editor.put(f"{API}/jobs/nightly report", BODY)
    second = editor.put(f"{API}/jobs/nightly report", BODY)

    assert (first.status_code, second.status_code) == (201, 200), first.content
    assert first["Location"] == first.json()["url"]
    assert first.json()["name"] == "nightly report"
    assert first.json()["owner"] is not None
    assert second.json() == first.json()
    assert JobRevision.objects.count() == 1


def test_put_by_name_replaces_what_there_is(editor: ApiClient) -> None:
    make_job(name="a", description="old", priority=3)

    response = editor.put(f"{API}/jobs/a", BODY)

    job = Job.objects.get()
    assert response.status_code == 200
    assert (job.name, job.description, job.priority, job.tags) == ("a", "", 0, ["x"])


def test_a_name_in_the_body_renames_but_never_creates_under_another_name(editor: ApiClient) -> None:
    make_job(name="a")

    renamed = editor.put(f"{API}/jobs/a", {**BODY, "name": "b"})
    again = errors_of(editor.put(f"{API}/jobs/a", {**BODY, "name": "b"}))

    assert renamed.json()["name"] == "b"
    assert again["name"]["allowed"] == "a"
    assert Job.objects.count() == 1


def test_put_by_an_id_creates_nothing(editor: ApiClient) -> None:
    assert editor.put(f"{API}/jobs/12345", BODY).status_code == 404
    assert not Job.objects.exists()


@pytest.mark.parametrize("name", ["x" * 201, "a%00b"])
def test_a_name_that_no_job_can_have_is_refused(editor: ApiClient, name: str) -> None:
    assert editor.put(f"{API}/jobs/{name}", BODY).status_code == 400
    assert not Job.objects.exists()


def test_a_name_with_blanks_around_it_creates_no_job_of_another_name(editor: ApiClient) -> None:
    for body in (BODY, {**BODY, "name": " sp "}, {**BODY, "name": "sp"}):
        errors = errors_of(editor.put(f"{API}/jobs/%20sp%20", body))
        assert errors["name"]["allowed"] == "sp"
    assert not Job.objects.exists()


def test_what_is_wrong_with_a_new_job_is_said_as_by_a_post(editor: ApiClient) -> None:
    errors = errors_of(editor.put(f"{API}/jobs/a", {**BODY, "schedule": "nope", "priority": 500}))

    assert {"schedule", "priority"} & set(errors)
    assert not Job.objects.exists()


def test_who_may_change_but_not_add_jobs_creates_none(editor: ApiClient) -> None:
    user = editor.get(f"{API}/jobs").wsgi_request.user
    user.user_permissions.remove(user.user_permissions.get(codename="add_job"))

    response = editor.put(f"{API}/jobs/a", BODY)

    assert response.status_code == 403
    assert "scheduler_app.add_job" in response.json()["detail"]
    assert not Job.objects.exists()


def test_conditions_say_whether_there_must_be_a_job_or_must_be_none(editor: ApiClient) -> None:
    no_job = editor.put(f"{API}/jobs/a", BODY, HTTP_IF_MATCH='"1"')
    created = editor.put(f"{API}/jobs/a", BODY, HTTP_IF_NONE_MATCH="*")
    taken = editor.put(f"{API}/jobs/a", BODY, HTTP_IF_NONE_MATCH="*")
    stale = editor.put(f"{API}/jobs/a", BODY, HTTP_IF_MATCH='"7"')
    same = editor.put(f"{API}/jobs/a", BODY, HTTP_IF_NONE_MATCH='"1"')
    other = editor.put(f"{API}/jobs/a", BODY, HTTP_IF_NONE_MATCH='"7", "8"')

    assert [r.status_code for r in (no_job, created, taken, stale)] == [412, 201, 412, 412]
    assert [r.status_code for r in (same, other)] == [412, 200]
    assert no_job.json()["code"] == "precondition_failed"


# --- Only some fields -------------------------------------------------------------------------


def test_only_the_fields_that_are_asked_for_are_shown(editor: ApiClient) -> None:
    job = make_job(name="a", calendar=Calendar.objects.create(name="c"), schedule="@daily")

    one = editor.get(f"{API}/jobs/a?fields=name,calendar,next_fire_at").json()
    many = editor.get(f"{API}/jobs?fields=id").json()

    assert set(one) == {"name", "calendar", "next_fire_at"}
    assert many["results"] == [{"id": job.pk}]


@pytest.mark.parametrize("path", ["jobs", "jobs/a", "executions", "nodes", "calendars", "pauses"])
def test_a_field_that_there_is_not_is_refused_with_those_that_there_are(
    editor: ApiClient, path: str
) -> None:
    make_job(name="a")

    errors = errors_of(editor.get(f"{API}/{path}?fields=id,nam"))

    assert errors["fields"]["given"] == "nam"
    assert "id, url" in errors["fields"]["allowed"]
