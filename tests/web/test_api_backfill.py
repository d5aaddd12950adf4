"""Fire times of the past and to come: the timeline, its sentences, skipping one, running old ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import F

from scheduler_app import lifecycle
from scheduler_app.models import Backfill, Execution, Gap, Job, JobPlan, Status
from scheduler_app.models import database_now as now
from tests.lifecycle.support import replace_clock

from .api_support import (
    API,
    ApiClient,
    client_of,
    errors_of,
    make_execution,
    make_job,
    make_planned_job,
    make_user,
    statements,
)

pytestmark = pytest.mark.django_db

DAY = datetime(2026, 1, 1, tzinfo=UTC)
RANGE = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T04:00:00Z"}


@pytest.fixture
def operator() -> ApiClient:
    return client_of("operator")


@pytest.fixture
def hourly(db: None) -> Job:
    """At half past noon, which does not pass: its next fire time stays the next."""
    # Taken back with all that a test writes.
    replace_clock("SELECT timestamptz '2030-01-01 12:30+00'")
    return make_planned_job(name="hourly", schedule="@hourly")


def hour(number: int) -> datetime:
    return DAY + timedelta(hours=number)


# --- The timeline -----------------------------------------------------------------------------


def test_the_timeline_tells_what_became_of_each_fire_time(operator: ApiClient, hourly: Job) -> None:
    ran = make_execution(hourly, scheduled_for=hour(1))
    Gap.objects.create(
        job=hourly,
        first_at=hour(2),
        last_at=hour(3),
        count=2,
        reason="paused",
        who="ann",
        detail="migration",
    )

    answer = operator.get(f"{API}/jobs/hourly/timeline", RANGE).json()

    gap, run = answer["verdicts"]
    assert (gap["what"], gap["count"], gap["execution"]) == ("paused", 2, None)
    assert (gap["first_at"], gap["last_at"]) == ("2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z")
    assert "by ann (migration)" in gap["sentence"]
    assert run["what"] == "succeeded"
    assert run["execution"]["id"] == ran.pk
    assert operator.get(run["execution"]["url"]).status_code == 200
    assert answer["complete"]
    assert (answer["since"], answer["until"]) == (RANGE["since"], RANGE["until"])
    assert len(answer["upcoming"]) == 10


def test_the_timeline_is_of_the_last_hour_unless_told_otherwise(
    operator: ApiClient, hourly: Job
) -> None:
    make_execution(hourly, scheduled_for=now() - timedelta(minutes=30))
    make_execution(hourly, scheduled_for=now() - timedelta(minutes=90))

    answer = operator.get(f"{API}/jobs/hourly/timeline").json()

    assert [verdict["what"] for verdict in answer["verdicts"]] == ["succeeded"]


def test_a_timeline_is_bounded_and_says_so(operator: ApiClient, hourly: Job) -> None:
    for number in range(5):
        make_execution(hourly, scheduled_for=hour(number))

    def cost(limit: int) -> tuple[int, Any]:
        with statements() as sent:
            given = {**RANGE, "limit": limit}
            answer = operator.get(f"{API}/jobs/hourly/timeline", given).json()
        return len(sent), answer

    (two, shorter), (many, longer) = cost(2), cost(100)
    assert [verdict["first_at"][11:13] for verdict in shorter["verdicts"]] == ["04", "03"]
    assert (shorter["complete"], longer["complete"]) == (False, True)
    assert two == many


def test_a_paused_or_disabled_job_has_nothing_upcoming(operator: ApiClient) -> None:
    paused, disabled = make_job(schedule="@daily"), make_job(schedule="@daily", enabled=False)
    lifecycle.pause([paused.pk], by="ann")

    for job in (paused, disabled):
        assert operator.get(f"{API}/jobs/{job.pk}/timeline").json()["upcoming"] == []


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"since": RANGE["until"], "until": RANGE["since"]}, "until", "before it begins"),
        ({"since": "2100-01-01T00:00:00Z"}, "until", "before it begins"),
        ({"since": "yesterday"}, "since", "ISO 8601"),
        ({"until": "2026-01-01T00:00:00"}, "until", "no time zone"),
        ({"limit": "501"}, "limit", "500"),
        ({"limit": "0"}, "limit", "1"),
        ({"from": RANGE["since"]}, "from", "is not a parameter"),
    ],
)
def test_a_timeline_that_cannot_be_is_refused(
    operator: ApiClient, hourly: Job, query: dict[str, str], field: str, words: str
) -> None:
    errors = errors_of(operator.get(f"{API}/jobs/hourly/timeline", query))

    assert words in errors[field]["message"] + errors[field].get("allowed", "")


def test_why_it_ran_or_did_not(operator: ApiClient, hourly: Job) -> None:
    at = now().replace(minute=0, second=0, microsecond=0)
    make_execution(hourly, scheduled_for=at, status=Status.FAILED, error="disk full")

    def why(moment: datetime) -> str:
        answer = operator.get(f"{API}/jobs/hourly/explain", {"at": moment.isoformat()})
        assert answer.status_code == 200
        return str(answer.json()["sentence"])

    assert "failed: disk full" in why(at)
    assert "did not exist" in why(DAY)
    assert "still to come" in why(at + timedelta(hours=2))


@pytest.mark.parametrize("query", [{}, {"at": "noon"}, {"at": "2030-01-01"}, {"when": "now"}])
def test_a_question_without_a_moment_is_refused(
    operator: ApiClient, hourly: Job, query: dict[str, str]
) -> None:
    assert errors_of(operator.get(f"{API}/jobs/hourly/explain", query))


# --- Skip the next ----------------------------------------------------------------------------


def test_the_next_fire_time_is_skipped_and_taken_back(operator: ApiClient, hourly: Job) -> None:
    moment = JobPlan.objects.get(pk=hourly.pk).next_fire_at
    assert moment is not None
    written = f"{moment:%Y-%m-%dT%H:%M:%SZ}"

    answer = operator.post(f"{API}/jobs/hourly/skip-next")

    assert answer.status_code == 200
    assert answer.json()["skip_at"] == written
    assert operator.get(f"{API}/jobs/hourly").json()["skip_at"] == written
    [first, second, *_] = operator.get(f"{API}/jobs/hourly/timeline").json()["upcoming"]
    assert (first["utc"], first["runs"], second["runs"]) == (written, False, True)
    assert first["note"].startswith("skipped by hand by operator")
    again = operator.post(f"{API}/jobs/hourly/skip-next")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")

    assert operator.post(f"{API}/jobs/hourly/unskip-next").json()["skip_at"] is None
    assert operator.get(f"{API}/jobs/hourly").json()["skip_at"] is None
    assert operator.post(f"{API}/jobs/hourly/unskip-next").status_code == 409


def test_a_skipped_fire_time_is_none_of_the_runs_that_are_left(operator: ApiClient) -> None:
    job = make_planned_job(schedule="@yearly", max_runs=1)

    operator.post(f"{API}/jobs/{job.pk}/skip-next")

    upcoming = operator.get(f"{API}/jobs/{job.pk}/timeline").json()["upcoming"]
    assert [fire_time["runs"] for fire_time in upcoming] == [False, True]


def test_a_job_without_a_next_fire_time_has_none_to_skip(operator: ApiClient) -> None:
    job = make_job(schedule="@manual")
    JobPlan.objects.filter(pk=job.pk).update(dirty=False)

    response = operator.post(f"{API}/jobs/{job.pk}/skip-next")

    assert response.status_code == 409
    assert "no next fire time" in response.json()["detail"]


@pytest.mark.parametrize("verb", ["skip-next", "unskip-next"])
def test_skipping_takes_nothing(operator: ApiClient, hourly: Job, verb: str) -> None:
    assert errors_of(operator.post(f"{API}/jobs/hourly/{verb}", {"at": "now"}))
    assert JobPlan.objects.get(pk=hourly.pk).skip_at is None


# --- Backfill ---------------------------------------------------------------------------------


def test_a_dry_run_counts_and_runs_nothing(operator: ApiClient, hourly: Job) -> None:
    make_execution(hourly, scheduled_for=hour(1))

    def dry(**more: Any) -> Any:
        given = {**RANGE, "dry_run": True, **more}
        answer = operator.post(f"{API}/jobs/hourly/backfill", given)
        assert answer.status_code == 200
        return answer.json()

    first, last = RANGE["since"], RANGE["until"]
    assert dry() == {"count": 5, "first": first, "last": last}
    assert dry(only_missing=True) == {"count": 4, "first": first, "last": last}
    nothing = {"since": "2026-01-01T00:00:01Z", "until": "2026-01-01T00:00:02Z"}
    assert dry(**nothing) == {"count": 0, "first": None, "last": None}
    assert (Backfill.objects.count(), Execution.objects.count()) == (0, 1)


def test_a_range_runs_once_however_often_it_is_asked_for() -> None:
    user = make_user("operator", name="ann")
    operator = ApiClient()
    operator.force_login(user)
    job = make_planned_job(name="hourly", schedule="@hourly")
    asked = {**RANGE, "max_running": 2}

    first = operator.post(f"{API}/jobs/hourly/backfill", asked)
    again = operator.post(f"{API}/jobs/hourly/backfill", asked)

    assert first.status_code == again.status_code == 202
    record = first.json()
    assert again.json() == record
    assert record["count"] == Execution.objects.filter(backfill=record["id"]).count() == 5
    assert (record["since"], record["until"]) == (RANGE["since"], RANGE["until"])
    assert (record["requested_by"], record["max_running"]) == ("ann", 2)
    assert operator.get(record["job"]).json()["id"] == job.pk


def test_gaps_alone_are_filled(operator: ApiClient, hourly: Job) -> None:
    make_execution(hourly, scheduled_for=hour(1))
    make_execution(hourly, scheduled_for=hour(2), status=Status.FAILED)

    record = operator.post(f"{API}/jobs/hourly/backfill", {**RANGE, "only_missing": True}).json()

    found = Execution.objects.filter(backfill=record["id"]).values_list("scheduled_for", flat=True)
    assert sorted(found) == [hour(0), hour(2), hour(3), hour(4)]


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"since": None}, "since", "null"),
        ({"until": "never"}, "until", "ISO 8601"),
        ({"until": "2025-01-01T00:00:00Z"}, "until", "before it begins"),
        ({"until": "2101-01-01T00:00:00Z"}, "until", "1970 to 2100"),
        ({"max_running": 0}, "max_running", "1 to 1000"),
        ({"max_running": 1001}, "max_running", "1 to 1000"),
        ({"max_running": "2"}, "max_running", "whole number"),
        ({"only_missing": "yes"}, "only_missing", "true or false"),
        ({"dry_run": 1}, "dry_run", "true or false"),
        ({"dryrun": True}, "dryrun", "is not a field"),
    ],
)
def test_a_backfill_that_cannot_be_is_refused(
    operator: ApiClient, hourly: Job, changed: dict[str, Any], field: str, words: str
) -> None:
    errors = errors_of(operator.post(f"{API}/jobs/hourly/backfill", RANGE | changed))

    assert words in errors[field]["message"] + errors[field].get("allowed", "")
    assert not Execution.objects.exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_too_many_fire_times_are_refused_in_words(operator: ApiClient, dry_run: bool) -> None:
    job = make_job(schedule="* * * * * *")

    given = {**RANGE, "since": "1970-01-01T00:00:00Z", "dry_run": dry_run}
    response = operator.post(f"{API}/jobs/{job.pk}/backfill", given)

    assert response.status_code == 409
    assert "more than 10,000 fire times" in response.json()["detail"]
    assert not Execution.objects.exists()


# --- What a pause held back -------------------------------------------------------------------


def test_a_paused_job_tells_how_many_fire_times_it_has_missed(operator: ApiClient) -> None:
    job = make_planned_job(name="a", schedule="@every 1h")
    assert operator.get(f"{API}/jobs/a").json()["missed_while_paused"] is None
    lifecycle.pause([job.pk], by="ann")
    Job.objects.filter(pk=job.pk).update(paused_at=now() - timedelta(hours=5))
    Job.objects.filter(pk=job.pk).update(updated_at=F("paused_at"))

    assert operator.get(f"{API}/jobs/a").json()["missed_while_paused"] == 5
    [listed] = operator.get(f"{API}/jobs").json()["results"]
    assert "missed_while_paused" not in listed
    assert operator.post(f"{API}/jobs/a/resume").json()["missed_while_paused"] is None


def test_a_job_that_was_read_can_be_sent_back_as_it_is() -> None:
    admin = client_of("admin")
    make_planned_job(name="a", skipped=True)
    lifecycle.pause([Job.objects.get().pk], by="ann")

    read = admin.get(f"{API}/jobs/a").json()

    assert admin.put(f"{API}/jobs/a", read).status_code == 200


@pytest.mark.parametrize("broken", [{"schedule": "nonsense"}, {"timezone": "Mars/Base"}])
def test_a_job_that_was_written_past_the_validation_is_answered_in_words(
    operator: ApiClient, broken: dict[str, str]
) -> None:
    job = make_job(name="a", **broken)
    lifecycle.pause([job.pk], by="ann")

    assert operator.get(f"{API}/jobs/a").status_code == 200
    assert operator.get(f"{API}/jobs/a/timeline").status_code in (200, 400)
    at = {"at": RANGE["since"]}
    assert operator.get(f"{API}/jobs/a/explain", at).status_code in (200, 400)
    refused = operator.post(f"{API}/jobs/a/backfill", RANGE)
    assert refused.status_code == 400
