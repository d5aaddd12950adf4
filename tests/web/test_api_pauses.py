"""Pauses of queues, tags and everything over the API: begun, listed, ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from scheduler_app import lifecycle
from scheduler_app.lifecycle import backfilling
from scheduler_app.models import Execution, Job, Pause, Trigger, database_now

from .api_support import API, ApiClient, client_of, errors_of, make_job, make_user, statements

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> ApiClient:
    return client_of("operator")


@pytest.mark.parametrize(
    "what", [{"scope": "queue", "value": "slow"}, {"scope": "tag", "value": "x"}, {"scope": "all"}]
)
def test_a_pause_is_begun_shown_and_ended(operator: ApiClient, what: dict[str, str]) -> None:
    begun = operator.post(
        f"{API}/pauses", {**what, "reason": "migration", "until": "2090-01-01T00:00:00Z"}
    )

    assert begun.status_code == 201, begun.content
    pause = begun.json()
    assert (pause["scope"], pause["value"]) == (what["scope"], what.get("value", ""))
    assert (pause["reason"], pause["paused_until"]) == ("migration", "2090-01-01T00:00:00Z")
    assert pause["paused_by"].startswith("operator")
    assert operator.get(begun["Location"]).json() == pause
    assert operator.get(f"{API}/pauses").json()["results"] == [pause]

    ended = operator.post(f"{begun['Location']}/resume")
    assert ended.status_code == 200
    assert ended.json()["ended_by"] == pause["paused_by"]
    assert operator.get(f"{API}/pauses").json()["results"] == []
    assert operator.post(f"{begun['Location']}/resume").status_code == 409


def test_what_is_paused_already_is_not_paused_again(operator: ApiClient) -> None:
    operator.post(f"{API}/pauses", {"scope": "all"})

    again = operator.post(f"{API}/pauses", {"scope": "all"})

    assert again.status_code == 409
    assert again.json()["detail"] == "everything is paused already."


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "scope", "required"),
        ({"scope": "job"}, "scope", "not one of the words"),
        ({"scope": "queue"}, "value", "Name the queue to pause."),
        ({"scope": "all", "value": "x"}, "value", "Everything has no name"),
        ({"scope": "tag", "value": "x" * 51}, "value", "50"),
        ({"scope": "all", "until": "2001-01-01T00:00:00Z"}, "until", "would end at once"),
        ({"scope": "all", "why": "x"}, "why", "is not a field of a pause"),
    ],
)
def test_what_cannot_be_paused_is_refused(
    operator: ApiClient, body: dict[str, Any], field: str, words: str
) -> None:
    errors = errors_of(operator.post(f"{API}/pauses", body))

    assert words in errors[field]["message"]
    assert not Pause.objects.exists()


def test_pauses_are_listed_by_their_state_in_one_statement(operator: ApiClient) -> None:
    now = database_now()
    for number in range(3):
        Pause.objects.create(scope="queue", value=f"standing {number}")
    Pause.objects.create(scope="queue", value="over", paused_until=now - timedelta(hours=1))
    Pause.objects.create(scope="tag", value="ended", ended_at=now)

    def listed(query: str) -> list[str]:
        with statements() as sent:
            found = operator.get(f"{API}/pauses?{query}").json()["results"]
        assert len(sent) == 1, sent
        return [pause["value"] for pause in found]

    assert listed("") == ["standing 2", "standing 1", "standing 0"]
    assert listed("state=ended") == ["ended", "over"]
    assert len(listed("state=all")) == 5
    assert listed("state=all&scope=tag") == ["ended"]
    assert listed("value=standing 1") == ["standing 1"]


# --- Resume with a choice ---------------------------------------------------------------------


def paused_for_three_hours(scope: str, value: str) -> Pause:
    """A pause that has held back three fire times of each of two jobs, and will hold back no more."""
    now = database_now()
    for _ in range(2):
        make_job(schedule="@hourly", end_at=now, queue="slow", tags=["nightly"])
    three_hours_ago = now - timedelta(hours=3)
    before = three_hours_ago - timedelta(hours=1)
    Job.objects.update(created_at=before, updated_at=before)
    pause = lifecycle.pause_scope(scope, value, by="ann")
    Pause.objects.filter(pk=pause.pk).update(paused_at=three_hours_ago)
    return pause


@pytest.mark.parametrize(("run", "would_run"), [("none", 0), ("last", 2), ("all", 6)])
@pytest.mark.parametrize(("scope", "value"), [("queue", "slow"), ("tag", "nightly"), ("all", "")])
def test_the_end_of_a_pause_runs_what_was_chosen_and_says_it_before(
    operator: ApiClient, scope: str, value: str, run: str, would_run: int
) -> None:
    pause = paused_for_three_hours(scope, value)
    where = f"{API}/pauses/{pause.pk}/resume"

    answer = operator.post(where, {"run": run, "dry_run": True})

    assert answer.status_code == 200, answer.content
    assert answer.json() == {"paused": True, "missed": 6, "would_run": would_run}
    pause.refresh_from_db()
    assert pause.ended_at is None
    assert not Execution.objects.exists()

    ended = operator.post(where, {"run": run})

    assert ended.status_code == 200, ended.content
    assert ended.json()["ended_at"] is not None
    assert list(Execution.objects.values_list("trigger", flat=True)) == (
        [Trigger.BACKFILL] * would_run
    )
    again = operator.post(where, {"run": run, "dry_run": True})
    assert again.json() == {"paused": False, "missed": 0, "would_run": 0}
    assert operator.post(where, {"run": run}).status_code == 409


def test_running_what_a_pause_held_back_needs_the_right_to_run() -> None:
    pause = paused_for_three_hours("all", "")
    where = f"{API}/pauses/{pause.pk}/resume"
    user = make_user("viewer")
    user.user_permissions.add(Permission.objects.get(codename="change_pause"))
    keeper = ApiClient()
    keeper.force_login(user)

    for run in ("last", "all"):
        for dry_run in (True, False):
            refused = keeper.post(where, {"run": run, "dry_run": dry_run})
            assert refused.status_code == 403
            assert "scheduler_app.run_job" in refused.json()["detail"]
    pause.refresh_from_db()
    assert pause.ended_at is None
    assert keeper.post(where, {"dry_run": True}).json()["missed"] == 6
    assert keeper.post(where, {"run": "none"}).status_code == 200


def test_more_than_can_be_run_are_a_conflict_and_the_pause_stands(
    operator: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = paused_for_three_hours("all", "")
    monkeypatch.setattr(backfilling, "MOST_FIRE_TIMES", 5)

    refused = operator.post(f"{API}/pauses/{pause.pk}/resume", {"run": "all"})

    assert refused.status_code == 409
    assert "6 fire times were missed" in refused.json()["detail"]
    pause.refresh_from_db()
    assert pause.ended_at is None


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"run": "some"}, "run", "not one of the words"),
        ({"dry_run": 1}, "dry_run", "true or false"),
        ({"now": True}, "now", "is not a field of resume"),
    ],
)
def test_what_is_no_choice_is_refused(
    operator: ApiClient, body: dict[str, Any], field: str, words: str
) -> None:
    pause = lifecycle.pause_scope("all", by="ann")

    errors = errors_of(operator.post(f"{API}/pauses/{pause.pk}/resume", body))

    assert words in errors[field]["message"]
    pause.refresh_from_db()
    assert pause.ended_at is None
