"""Pauses of queues, tags and everything over the API: begun, listed, ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler_app.models import Pause, database_now

from .api_support import API, ApiClient, client_of, errors_of, statements

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
