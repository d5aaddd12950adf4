"""Jobs over the API: found, listed, created, edited, deleted, paused, resumed and run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import models
from django.db.models import F

from scheduler_app import lifecycle
from scheduler_app.api.job_serializers import JobSerializer
from scheduler_app.lifecycle.definitions import WRITABLE
from scheduler_app.models import (
    Calendar,
    Execution,
    Job,
    JobRevision,
    Status,
    Trigger,
    database_now,
)
from scheduler_app.rules.masking import MASK

from .api_support import (
    API,
    NOON,
    ApiClient,
    errors_of,
    make_execution,
    make_job,
    make_user,
    statements,
)

pytestmark = pytest.mark.django_db

ECHO = "tests.testapp.tasks.echo"
HTTP_JOB = {
    "name": "call",
    "kind": "http",
    "target": "https://example.com/a?x=1",
    "arguments": {"headers": {"Authorization": "Bearer canary", "Accept": "text/plain"}},
}


@pytest.fixture
def admin() -> ApiClient:
    client = ApiClient()
    client.force_login(make_user("admin", name="ana"))
    return client


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [job["name"] for job in response.json()["results"]]


# --- One job ----------------------------------------------------------------------------------


def test_a_created_job_comes_back_whole(admin: ApiClient) -> None:
    body = {
        "name": "nightly report",
        "description": "For the board.",
        "tags": ["finance", "night"],
        "schedule": "0 3 * * *",
        "timezone": "Europe/Paris",
        "target": ECHO,
        "arguments": {"value": [1, {"a": None}]},
        "queue": "reports",
        "priority": -7,
        "on_overlap": "queue_one",
        "max_attempts": 3,
        "timeout_s": 12.5,
        "start_at": "2030-01-01T00:00:00+02:00",
    }

    response = admin.post(f"{API}/jobs", body)

    assert response.status_code == 201, response.content
    found = response.json()
    job = Job.objects.get()
    assert response["Location"] == found["url"] == f"http://testserver{API}/jobs/{job.pk}"
    assert response["ETag"] == '"1"'
    assert {name: found[name] for name in body} == {**body, "start_at": "2029-12-31T22:00:00Z"}
    assert (found["provenance"], found["owner"], found["version"]) == ("api", "ana", 1)
    assert found["schedule_description"].startswith("At 03:00 every day")
    assert admin.get(response["Location"]).json() == found
    assert JobRevision.objects.get().created_by == "ana"


def test_a_new_job_says_when_it_fires_next_before_any_node_planned_it(admin: ApiClient) -> None:
    before = database_now()

    found = admin.post(f"{API}/jobs", {"name": "a", "target": ECHO, "schedule": "@hourly"}).json()

    moment = datetime.fromisoformat(found["next_fire_at"])
    assert (moment.minute, moment.second) == (0, 0)
    assert before < moment <= database_now() + timedelta(hours=1)


def test_a_calendar_is_given_by_its_name(admin: ApiClient) -> None:
    Calendar.objects.create(name="holidays", days="2030-12-25")
    body = {"name": "a", "target": ECHO, "calendar": "holidays", "on_closed": "shift"}

    created = admin.post(f"{API}/jobs", body).json()

    assert (created["calendar"], created["on_closed"]) == ("holidays", "shift")
    assert admin.patch(created["url"], {"calendar": None}).json()["calendar"] is None


def test_the_next_fire_time_is_that_of_the_plan(admin: ApiClient) -> None:
    job = make_job(schedule="@hourly")
    job.plan.__class__.objects.filter(job=job).update(dirty=False, next_fire_at=NOON)

    found = admin.get(f"{API}/jobs/{job.pk}").json()

    assert found["next_fire_at"] == "2030-01-01T12:00:00Z"


@pytest.mark.parametrize("changed", [{"enabled": False}, {"schedule": "@manual"}])
def test_a_job_that_does_not_fire_has_no_next_fire_time(
    admin: ApiClient, changed: dict[str, Any]
) -> None:
    job = make_job(**{"schedule": "@hourly", **changed})

    assert admin.get(f"{API}/jobs/{job.pk}").json()["next_fire_at"] is None


@pytest.mark.parametrize(
    "name",
    ["plain", "two words", "reports/daily", "a/run/b", "100%", "naïve – ü", "x?y#z", "12a", "a.b"],
)
def test_a_job_is_found_by_its_name(admin: ApiClient, name: str) -> None:
    job = make_job(name=name)
    path = f"{API}/jobs/{quote(name, safe='')}"

    assert admin.get(path).json()["id"] == job.pk
    assert admin.get(path + "/").json()["id"] == job.pk
    assert admin.get(path + "/executions").status_code == 200
    assert admin.post(path + "/run").status_code == 202


def test_a_number_is_an_id_and_never_a_name(admin: ApiClient) -> None:
    one = make_job(name="one")
    make_job(name=str(one.pk))

    assert admin.get(f"{API}/jobs/{one.pk}").json()["name"] == "one"


@pytest.mark.parametrize(
    "lookup",
    ["0", "99999", "9" * 25, "9" * 5000, "nobody", "%00", "a%00b", "%ff", "%0A", "é" * 300],
)
def test_an_unknown_job_is_404_in_words(admin: ApiClient, lookup: str) -> None:
    for path in (lookup, f"{lookup}/executions"):
        response = admin.get(f"{API}/jobs/{path}")
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"
    assert admin.post(f"{API}/jobs/{lookup}/run").status_code == 404


def test_a_deleted_job_is_gone_and_its_name_is_free(admin: ApiClient) -> None:
    job = make_job(name="again")
    execution = make_execution(job)

    assert admin.delete(f"{API}/jobs/again").status_code == 204

    assert admin.get(f"{API}/jobs/{job.pk}").status_code == 404
    assert admin.get(f"{API}/jobs/again").status_code == 404
    assert names(admin.get(f"{API}/jobs")) == []
    assert Job.including_deleted.get(pk=job.pk).deleted_at is not None
    assert admin.post(f"{API}/jobs", {"name": "again", "target": ECHO}).status_code == 201
    # Its history stays.
    assert admin.get(f"{API}/executions/{execution.pk}").json()["job"]["name"] == "again"


def test_the_last_execution_is_told_in_short(admin: ApiClient) -> None:
    job = make_job()
    make_execution(job, status=Status.SUCCEEDED)
    newest = make_execution(job, status=Status.FAILED, error="boom", reason="timed_out")
    make_execution(make_job())

    last = admin.get(f"{API}/jobs/{job.pk}").json()["last_execution"]

    assert (last["id"], last["status"], last["error"]) == (newest.pk, "failed", "boom")
    assert admin.get(last["url"]).json()["id"] == newest.pk


# --- Editing ----------------------------------------------------------------------------------


def test_a_patch_changes_what_is_given_and_nothing_else(admin: ApiClient) -> None:
    job = make_job(priority=5, tags=["a"], schedule="@hourly")
    before = admin.get(f"{API}/jobs/{job.pk}").json()

    after = admin.patch(f"{API}/jobs/{job.pk}", {"schedule": "@yearly"}).json()

    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "schedule",
        "schedule_description",
        "version",
        "updated_at",
        "next_fire_at",
    }
    assert JobRevision.objects.get(job=job, version=2).created_by == "ana"


def test_a_put_sets_what_is_left_out_to_its_default(admin: ApiClient) -> None:
    job = make_job(name="old", priority=5, tags=["a"], arguments={"value": 1}, max_runs=3)

    after = admin.put(f"{API}/jobs/old", {"name": "new", "target": ECHO}).json()

    assert after["id"] == job.pk
    assert (after["name"], after["priority"], after["tags"]) == ("new", 0, [])
    assert (after["arguments"], after["max_runs"]) == ({}, None)


def test_a_put_needs_what_a_new_job_needs(admin: ApiClient) -> None:
    job = make_job(name="old")

    assert set(errors_of(admin.put(f"{API}/jobs/{job.pk}", {"priority": 1}))) == {"name", "target"}
    # The address says the name.
    assert set(errors_of(admin.put(f"{API}/jobs/old", {"priority": 1}))) == {"target"}


def test_what_was_read_can_be_sent_back_as_it_is(admin: ApiClient) -> None:
    created = admin.post(f"{API}/jobs", HTTP_JOB).json()

    response = admin.put(created["url"], created)

    assert response.status_code == 200, response.content
    assert response.json() == created
    assert Job.objects.get().arguments == HTTP_JOB["arguments"]


def test_an_edit_never_touches_pauses_or_plans(admin: ApiClient) -> None:
    job = make_job(schedule="@hourly")
    lifecycle.pause([job.pk], by="ben", reason="because")

    after = admin.put(f"{API}/jobs/{job.pk}", {"name": "new", "target": ECHO}).json()

    assert (after["paused"], after["paused_by"], after["pause_reason"]) == (True, "ben", "because")


def test_s04_only_what_is_declared_can_be_written(admin: ApiClient) -> None:
    """Every column of the table is tried, by name and by column name."""
    other = make_user("viewer")
    job = make_job()
    columns = {field.name for field in Job._meta.concrete_fields}
    columns |= {field.attname for field in Job._meta.concrete_fields}
    for column in sorted(columns - set(WRITABLE) - {"version"}):
        before = Job.objects.values().get(pk=job.pk)
        for value in (other.pk, "2031-01-01T00:00:00Z", "code", True):
            body = {"name": f"n {column}", "target": ECHO, column: value}
            created = admin.post(f"{API}/jobs", body)
            admin.patch(f"{API}/jobs/{job.pk}", {column: value})
            if created.status_code == 201:
                fresh = Job.objects.get(name=f"n {column}")
                assert (fresh.provenance, fresh.owner.username) == ("api", "ana")
                assert (fresh.version, fresh.deleted_at, fresh.paused_at) == (1, None, None)
                fresh.delete()
        assert Job.objects.values().get(pk=job.pk) == before, column


def test_each_column_that_people_edit_can_be_written() -> None:
    editable = {f.name for f in Job._meta.concrete_fields if f.editable and not f.primary_key}

    assert set(WRITABLE) == editable
    fields = JobSerializer().fields
    assert {name for name in fields if not fields[name].read_only} == editable | {"version"}
    for name in WRITABLE:
        assert isinstance(Job._meta.get_field(name), models.Field)


# --- Who was first ----------------------------------------------------------------------------


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', "1", '"7", "1"', "*"])
def test_an_edit_that_names_the_version_passes(admin: ApiClient, etag: str) -> None:
    job = make_job()

    response = admin.patch(f"{API}/jobs/{job.pk}", {"priority": 1}, HTTP_IF_MATCH=etag)

    assert response.status_code == 200
    assert response["ETag"] == '"2"'


@pytest.mark.parametrize(
    ("etag", "status"),
    [('"2"', 412), ("0", 412), ('"1x"', 412), ("", 400), ("nonsense", 400), ('"*"x', 400)],
)
def test_an_edit_of_another_version_changes_nothing(
    admin: ApiClient, etag: str, status: int
) -> None:
    job = make_job()

    for method, body in (("patch", {"priority": 1}), ("put", {}), ("delete", {})):
        response = getattr(admin, method)(f"{API}/jobs/{job.pk}", body, HTTP_IF_MATCH=etag)
        assert response.status_code == status
        if status == 412:
            assert response.json()["code"] == "stale"
            assert "has version 1 now" in response.json()["detail"]
        else:
            assert errors_of(response)["If-Match"]["allowed"] == '*, or ETags such as "3"'

    assert Job.objects.get().version == 1


def test_a_version_in_the_body_is_a_lock_too(admin: ApiClient) -> None:
    job = make_job()
    path = f"{API}/jobs/{job.pk}"

    assert admin.patch(path, {"priority": 1, "version": 1}).status_code == 200
    stale = admin.patch(path, {"priority": 2, "version": 1})

    assert stale.status_code == 409
    assert stale.json()["code"] == "stale"
    assert Job.objects.get().priority == 1
    assert "version" in errors_of(admin.patch(path, {"version": "x"}))


# --- Secrets ----------------------------------------------------------------------------------


def test_secrets_are_masked_and_stay_when_the_mask_comes_back(admin: ApiClient) -> None:
    created = admin.post(f"{API}/jobs", HTTP_JOB).json()
    assert created["arguments"]["headers"] == {"Authorization": MASK, "Accept": "text/plain"}
    headers = {"Authorization": MASK, "Accept": "text/html"}

    response = admin.patch(created["url"], {"arguments": {"headers": headers}})

    assert response.json()["arguments"]["headers"] == headers
    assert Job.objects.get().arguments["headers"] == {
        "Authorization": "Bearer canary",
        "Accept": "text/html",
    }
    for path in ("jobs", "jobs/call", "jobs/call/run", "executions", "executions/latest"):
        method = admin.post if path.endswith("run") else admin.get
        assert b"canary" not in method(f"{API}/{path}").content


@pytest.mark.parametrize(
    "body",
    [
        {"target": "https://evil.example/"},
        {"target": "https://evil.example/", "arguments": {"headers": {"Authorization": MASK}}},
        {"arguments": {"headers": {"X-Token": MASK}}},
    ],
)
def test_a_secret_is_not_told_to_another_place(admin: ApiClient, body: dict[str, Any]) -> None:
    url = admin.post(f"{API}/jobs", HTTP_JOB).json()["url"]

    errors = errors_of(admin.patch(url, body))

    assert any(field.startswith("arguments.headers.") for field in errors)
    assert Job.objects.get().target == HTTP_JOB["target"]


def test_a_mask_is_no_value_for_a_new_job(admin: ApiClient) -> None:
    body = HTTP_JOB | {"arguments": {"headers": {"Authorization": MASK}}}

    assert set(errors_of(admin.post(f"{API}/jobs", body))) == {"arguments.headers.Authorization"}


def test_a_refusal_does_not_repeat_a_secret_of_the_target(admin: ApiClient) -> None:
    response = admin.post(
        f"{API}/jobs", {"name": "x", "target": "https://hooks.example/x?token=canary"}
    )

    assert "hooks.example" in errors_of(response)["target"]["given"]
    assert b"canary" not in response.content


def test_a_refusal_does_not_repeat_a_secret_of_the_arguments(admin: ApiClient) -> None:
    body = {"name": "x", "target": "tests.testapp.tasks.echo", "arguments": {"password": "canary"}}

    response = admin.post(f"{API}/jobs", body)

    assert "arguments" in errors_of(response)
    assert b"canary" not in response.content


def test_search_does_not_find_out_what_is_masked(admin: ApiClient) -> None:
    admin.post(f"{API}/jobs", HTTP_JOB | {"target": "https://hooks.example/x?token=canary"})

    assert [job["name"] for job in admin.get(f"{API}/jobs?search=hooks").json()["results"]]
    for word in ("canary", "token", "c"):
        found = admin.get(f"{API}/jobs?search=token={word}").json()["results"]
        assert not found, word


def test_a_refusal_does_not_repeat_a_secret(admin: ApiClient) -> None:
    body = HTTP_JOB | {"arguments": {"headers": {"Authorization": "canary\n"}}}

    response = admin.post(f"{API}/jobs", body)

    assert response.status_code == 400
    assert b"canary" not in response.content


# --- Verbs ------------------------------------------------------------------------------------


def test_pausing_says_who_why_and_until_when(admin: ApiClient) -> None:
    make_job(name="a")

    paused = admin.post(
        f"{API}/jobs/a/pause", {"reason": "migration", "until": "2031-01-01T00:00:00Z"}
    ).json()

    assert (paused["paused"], paused["paused_by"], paused["pause_reason"]) == (
        True,
        "ana",
        "migration",
    )
    assert paused["paused_until"] == "2031-01-01T00:00:00Z"
    assert paused["next_fire_at"] is None


def test_pausing_twice_is_fine_unless_the_second_asks_for_something_else(admin: ApiClient) -> None:
    make_job(name="a")
    first = admin.post(f"{API}/jobs/a/pause", {"reason": "x"}).json()

    for body in ({}, {"reason": "x"}):
        again = admin.post(f"{API}/jobs/a/pause", body)
        assert (again.status_code, again.json()["paused_at"]) == (200, first["paused_at"])

    other = admin.post(f"{API}/jobs/a/pause", {"until": "2031-01-01T00:00:00Z"})
    assert other.status_code == 409
    assert "was paused before, by ana" in other.json()["detail"]


def test_resuming_ends_the_pause_and_can_be_repeated(admin: ApiClient) -> None:
    make_job(name="a")
    admin.post(f"{API}/jobs/a/pause")

    for _ in range(2):
        response = admin.post(f"{API}/jobs/a/resume")
        assert (response.status_code, response.json()["paused"]) == (200, False)


def test_resuming_can_make_up_for_what_was_missed(admin: ApiClient) -> None:
    job = make_job(name="a", schedule="* * * * * *")
    admin.post(f"{API}/jobs/a/pause")
    an_hour_ago = database_now() - timedelta(hours=1)
    Job.objects.filter(pk=job.pk).update(paused_at=an_hour_ago)
    Job.objects.filter(pk=job.pk).update(updated_at=F("paused_at"))

    assert admin.post(f"{API}/jobs/a/resume", {"run": "last"}).status_code == 200

    assert Execution.objects.get().trigger == Trigger.BACKFILL


@pytest.mark.parametrize(("run", "would_run"), [("none", 0), ("last", 1), ("all", 3)])
def test_what_a_resume_would_run_is_said_before(admin: ApiClient, run: str, would_run: int) -> None:
    now = database_now()
    job = make_job(name="a", schedule="@every 1h", anchor_at=now - timedelta(minutes=30))
    admin.post(f"{API}/jobs/a/pause")
    Job.objects.filter(pk=job.pk).update(paused_at=now - timedelta(hours=3))
    Job.objects.filter(pk=job.pk).update(updated_at=F("paused_at"))

    answer = admin.post(f"{API}/jobs/a/resume", {"run": run, "dry_run": True})

    assert answer.json() == {"paused": True, "missed": 3, "would_run": would_run}
    job.refresh_from_db()
    assert job.paused_at is not None
    assert not Execution.objects.exists()
    admin.post(f"{API}/jobs/a/resume", {"run": run})
    assert Execution.objects.count() == would_run
    answer = admin.post(f"{API}/jobs/a/resume", {"dry_run": True})
    assert answer.json() == {"paused": False, "missed": 0, "would_run": 0}


def test_a_run_is_an_execution_that_can_be_followed(admin: ApiClient) -> None:
    job = make_job(arguments={"value": 1})

    response = admin.post(f"{API}/jobs/{job.pk}/run")

    execution = Execution.objects.get()
    assert response.status_code == 202
    assert response["Location"] == response.json()["url"]
    assert admin.get(response["Location"]).json() == response.json()
    assert (execution.trigger, execution.requested_by) == (Trigger.API, "ana")
    assert response.json()["arguments"] == {"value": 1}


def test_a_run_takes_other_arguments_and_another_fire_time(admin: ApiClient) -> None:
    job = make_job(arguments={"value": 1})

    response = admin.post(
        f"{API}/jobs/{job.pk}/run",
        {"arguments": {"value": 2}, "scheduled_for": "2019-12-31T23:00:00-01:00"},
    )

    assert response.json()["arguments"] == {"value": 2}
    assert response.json()["scheduled_for"] == "2020-01-01T00:00:00Z"
    job.refresh_from_db()
    assert job.arguments == {"value": 1}


def test_a_run_can_keep_secrets_that_it_was_shown(admin: ApiClient) -> None:
    admin.post(f"{API}/jobs", HTTP_JOB)

    admin.post(f"{API}/jobs/call/run", {"arguments": {"headers": {"Authorization": MASK}}})
    errors = errors_of(
        admin.post(f"{API}/jobs/call/run", {"arguments": {"headers": {"X-Token": MASK}}})
    )

    assert Execution.objects.get().spec["arguments"]["headers"]["Authorization"] == "Bearer canary"
    assert set(errors) == {"arguments.headers.X-Token"}


def test_a_run_with_arguments_that_do_not_fit_says_so(admin: ApiClient) -> None:
    job = make_job(target="tests.testapp.tasks.add", arguments={"a": 1})

    errors = errors_of(admin.post(f"{API}/jobs/{job.pk}/run", {"arguments": {"c": 1}}))

    assert set(errors) == {"arguments"}
    assert not Execution.objects.exists()


# --- Lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["alpha", "beta", "gamma"]),
        ("name=beta", ["beta"]),
        ("name=bet", []),
        ("tag=x", ["alpha", "beta"]),
        ("tag=x&queue=slow", ["beta"]),
        ("queue=slow", ["beta", "gamma"]),
        ("kind=http", ["gamma"]),
        ("enabled=false", ["gamma"]),
        ("enabled=true", ["alpha", "beta"]),
        ("paused=true", ["beta"]),
        ("paused=0", ["alpha", "gamma"]),
        ("search=ET", ["beta"]),
        ("search=example.com", ["gamma"]),
        ("search=%25", ["alpha"]),
        ("search=_", ["alpha"]),
        ("ordering=-name", ["gamma", "beta", "alpha"]),
        ("ordering=id", ["alpha", "beta", "gamma"]),
        ("ordering=-priority", ["gamma", "beta", "alpha"]),
        ("ordering=next_fire_at", ["beta", "alpha", "gamma"]),
        ("ordering=-next_fire_at", ["alpha", "beta", "gamma"]),
    ],
)
def test_a_list_is_filtered_and_ordered(admin: ApiClient, query: str, expected: list[str]) -> None:
    alpha = make_job(name="alpha", tags=["x", "y"], description="100%_")
    beta = make_job(name="beta", tags=["x"], queue="slow", priority=1)
    make_job(
        name="gamma",
        queue="slow",
        priority=2,
        enabled=False,
        kind="http",
        target="https://example.com/",
    )
    lifecycle.pause([beta.pk], by="ana")
    plans = alpha.plan.__class__.objects
    plans.filter(job=alpha).update(next_fire_at=NOON + timedelta(hours=1))
    plans.filter(job=beta).update(next_fire_at=NOON)

    assert names(admin.get(f"{API}/jobs?{query}")) == expected


@pytest.mark.parametrize(
    "ordering", ["name", "-name", "id", "-created_at", "updated_at", "-priority", "-next_fire_at"]
)
def test_pages_hold_every_job_once_in_either_direction(admin: ApiClient, ordering: str) -> None:
    for n in range(11):
        make_job(name=f"job {n:02}", priority=n % 3)
    whole = names(admin.get(f"{API}/jobs?ordering={ordering}"))

    pages = [admin.get(f"{API}/jobs?ordering={ordering}&page_size=4").json()]
    while pages[-1]["next"]:
        pages.append(admin.get(pages[-1]["next"]).json())
    back = [pages[-1]]
    while back[-1]["previous"]:
        back.append(admin.get(back[-1]["previous"]).json())

    assert [job["name"] for page in pages for job in page["results"]] == whole
    assert [len(page["results"]) for page in pages] == [4, 4, 3]
    assert pages[0]["previous"] is None
    assert [page["results"] for page in back] == [page["results"] for page in reversed(pages)]


def test_a_list_asks_the_same_of_the_database_for_5_rows_and_for_50(admin: ApiClient) -> None:
    calendar = Calendar.objects.create(name="holidays")
    counts = []
    for size in (5, 45):
        for _ in range(size):
            job = make_job(schedule="@hourly", owner=make_user("stranger"), calendar=calendar)
            make_execution(job)
            make_execution(job)
        with statements() as sent:
            response = admin.get(f"{API}/jobs?page_size=200")
        counts.append((len(response.json()["results"]), len(sent)))

    # The jobs, their newest executions, and the time for those that are not planned yet.
    assert counts == [(5, 3), (50, 3)]


def test_one_job_costs_two_statements(admin: ApiClient) -> None:
    job = make_job()
    job.plan.__class__.objects.filter(job=job).update(dirty=False)

    with statements() as sent:
        admin.get(f"{API}/jobs/{job.pk}")

    assert len(sent) == 2, sent


def test_moments_are_written_in_utc_wherever_the_site_lives(
    admin: ApiClient, settings: Any
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    job = make_job(start_at=datetime(2030, 1, 1, tzinfo=UTC))

    assert admin.get(f"{API}/jobs/{job.pk}").json()["start_at"] == "2030-01-01T00:00:00Z"


def test_two_creations_of_one_name_are_one_job(admin: ApiClient, monkeypatch: Any) -> None:
    """The second passed its validation before the first was stored."""
    make_job(name="a")
    monkeypatch.setattr(Job, "validate_constraints", lambda *args, **kwargs: None)

    response = admin.post(f"{API}/jobs", {"name": "a", "target": ECHO})

    assert response.status_code == 409
    assert response.json()["detail"] == "There is a job 'a' already."
