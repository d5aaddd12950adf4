"""Idempotency-Key: the same request sent again gets the same answer, and nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection

from scheduler_app import lifecycle
from scheduler_app.api import idempotency
from scheduler_app.models import (
    Backfill,
    BulkOperation,
    Calendar,
    Execution,
    IdempotencyKey,
    Job,
    Pause,
    Status,
    database_now,
)
from scheduler_app.models.idempotency import KEYS_KEPT
from tests.lifecycle.support import together

from .api_support import API, ApiClient, client_of, errors_of, make_execution, make_job, make_user

ECHO = "tests.testapp.tasks.echo"
RANGE = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T04:00:00Z"}
REQUESTS = [
    ("jobs", {"name": "new", "target": ECHO}, lambda: Job.objects.filter(name="new").count()),
    ("jobs/a/run", {"arguments": {"value": 1}}, Execution.objects.count),
    ("jobs/a/backfill", {**RANGE, "only_missing": True}, Backfill.objects.count),
    ("calendars", {"name": "new"}, Calendar.objects.count),
    ("pauses", {"scope": "queue", "value": "reports"}, Pause.objects.count),
    ("bulk/jobs/run", {"jobs": ["a"]}, Execution.objects.count),
    ("bulk/jobs/pause", {"jobs": ["a"]}, Job.objects.exclude(paused_at=None).count),
    ("bulk/jobs/resume", {"jobs": ["a"]}, Job.objects.filter(paused_at=None).count),
    ("bulk/executions/cancel", {"filter": {"job": ["a"]}}, BulkOperation.objects.count),
    ("bulk/executions/retry", {"filter": {"job": ["a"]}}, BulkOperation.objects.count),
]
OTHER = {
    "jobs": {"name": "other", "target": ECHO},
    "calendars": {"name": "other"},
    "pauses": {"scope": "queue", "value": "mails"},
}
"""Bodies of another one, where the same again is refused."""
each_request = pytest.mark.parametrize(("path", "body", "count"), REQUESTS)


@pytest.fixture
def admin(db: None) -> ApiClient:
    return client_of("admin")


def send(client: ApiClient, path: str, body: Any, key: str = "k-1") -> Any:
    return client.post(f"{API}/{path}", body, HTTP_IDEMPOTENCY_KEY=key)


@each_request
def test_a_repetition_gets_the_same_answer_and_does_nothing(
    admin: ApiClient, path: str, body: Any, count: Callable[[], int]
) -> None:
    make_job(name="a", schedule="@hourly", on_overlap="allow")

    first = send(admin, path, body)
    again = send(admin, path, body)

    assert first.status_code in (200, 201, 202), first.content
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for header in ("Location", "ETag"):
        assert again.get(header) == first.get(header)
    assert ("Idempotency-Replayed" in first, again["Idempotency-Replayed"]) == (False, "true")
    assert count() == 1
    send(admin, path, OTHER.get(path, body), key="k-2")
    assert IdempotencyKey.objects.count() == 2


@each_request
def test_another_body_with_the_key_is_refused(
    admin: ApiClient, path: str, body: Any, count: Callable[[], int]
) -> None:
    make_job(name="a", schedule="@hourly", on_overlap="allow")
    send(admin, path, body)

    refused = send(admin, path, {**body, "dry_run": True})

    assert refused.status_code == 422
    assert refused.json()["code"] == "idempotency_key_reused"
    assert "another body" in refused.json()["detail"]
    assert count() == 1


def test_another_address_with_the_key_is_refused(admin: ApiClient) -> None:
    make_job(name="a"), make_job(name="b")
    send(admin, "jobs/a/run", {})

    refused = send(admin, "jobs/b/run", {})

    assert refused.status_code == 422
    assert "POST /api/v1/jobs/a/run" in refused.json()["detail"]
    assert Execution.objects.count() == 1


def test_what_the_body_says_counts_and_not_how_it_is_written(admin: ApiClient) -> None:
    make_job(name="a")
    texts = ['{"arguments": {"value": 1, "x": 2}}', '{ "arguments":{"x":2,"value":1} }']
    bodies = [json.dumps({"scheduled_for": None}), '{\n"scheduled_for":null }']

    statuses = [
        admin.generic(
            "POST",
            f"{API}/jobs/a/run",
            text,
            content_type="application/json",
            HTTP_IDEMPOTENCY_KEY="k",
        ).status_code
        for text in bodies
    ]

    assert (statuses, Execution.objects.count()) == ([202, 202], 1)
    digests = {idempotency._digest(json.loads(text)) for text in texts}
    assert len(digests) == 1


def test_keys_of_two_people_are_two_keys(admin: ApiClient) -> None:
    make_job(name="a", on_overlap="allow")

    send(admin, "jobs/a/run", {})
    send(client_of("operator"), "jobs/a/run", {})

    assert Execution.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_bulk_operation_with_a_key_is_the_nodes_work(database_url: str) -> None:
    """A chunk is a transaction of its own, and with a key all of a request is one."""
    admin = client_of("admin")
    execution = make_execution(make_job(name="a"), status=Status.READY)

    body = {"filter": {"job": ["a"]}}
    answer = send(admin, "bulk/executions/cancel", body).json()

    assert (answer["expected"], answer["changed"], answer["finished_at"]) == (1, 0, None)
    with psycopg.connect(database_url) as connection:
        assert lifecycle.do_bulk_chunk(connection)
    execution.refresh_from_db()
    assert execution.status == "cancelled"
    again = send(admin, "bulk/executions/cancel", body, key="k-2").json()
    assert (again["expected"], again["changed"]) == (0, 0)


def test_a_repeated_retry_is_one(admin: ApiClient) -> None:
    execution = make_execution(make_job(name="a"), status=Status.FAILED)
    path = f"executions/{execution.pk}/retry"

    first, again = send(admin, path, {}), send(admin, path, {})

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert send(admin, path, {}, key="k-2").status_code == 409


def test_what_was_refused_leaves_its_key_free(admin: ApiClient) -> None:
    assert send(admin, "jobs", {"name": "a", "target": "nope"}).status_code == 400
    assert not IdempotencyKey.objects.exists()

    assert send(admin, "jobs", {"name": "a", "target": ECHO}).status_code == 201


def test_what_failed_half_way_leaves_nothing_and_its_key_free(
    admin: ApiClient, monkeypatch: Any
) -> None:
    make_job(name="a")
    admin.raise_request_exception = False

    with monkeypatch.context() as broken:
        broken.setattr(idempotency, "_store", lambda *_: 1 / 0)
        assert send(admin, "jobs/a/run", {}).status_code == 500

    assert (Execution.objects.count(), IdempotencyKey.objects.count()) == (0, 0)
    assert send(admin, "jobs/a/run", {}).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "zwölf", "a\tb"])
def test_what_cannot_be_a_key_is_refused(admin: ApiClient, key: str) -> None:
    make_job(name="a")

    errors = errors_of(send(admin, "jobs/a/run", {}, key=key))

    assert "printable ASCII" in errors["Idempotency-Key"]["allowed"]
    assert not Execution.objects.exists()


def test_a_key_is_free_again_after_a_day(admin: ApiClient) -> None:
    make_job(name="a", on_overlap="allow")
    make_job(name="b")
    send(admin, "jobs/a/run", {})
    long_ago = database_now() - KEYS_KEPT - timedelta(seconds=1)
    IdempotencyKey.objects.update(created_at=long_ago)

    assert send(admin, "jobs/b/run", {}).status_code == 202
    assert Execution.objects.count() == 2
    assert "Idempotency-Replayed" in send(admin, "jobs/b/run", {})


@pytest.mark.django_db(transaction=True)
def test_old_keys_are_pruned_and_young_ones_stay(database_url: str) -> None:
    admin = client_of("admin")
    make_job(name="a", on_overlap="allow")
    send(admin, "jobs/a/run", {}, key="old")
    IdempotencyKey.objects.update(created_at=database_now() - KEYS_KEPT - timedelta(seconds=1))
    send(admin, "jobs/a/run", {}, key="young")

    with psycopg.connect(database_url, autocommit=True) as connection:
        lifecycle.prune(connection, lifecycle.Keep(age_s=7 * 86_400, audit_age_s=7 * 86_400))

    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["young"]


@pytest.mark.django_db(transaction=True)
@each_request
def test_of_many_at_once_with_one_key_one_is_done_and_all_hear_of_it(
    path: str, body: Any, count: Callable[[], int]
) -> None:
    make_job(name="a", schedule="@hourly", on_overlap="allow")
    user = make_user("admin")
    clients = [ApiClient() for _ in range(6)]
    for client in clients:
        client.force_login(user)

    answers = together(*[lambda _, c=client: send(c, path, body) for client in clients])

    assert {answer.status_code for answer in answers} <= {200, 201, 202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer for answer in answers) == 5
    assert count() == 1


@pytest.fixture
def two_seconds(settings: Any) -> Iterator[None]:
    """For a query of a page."""
    settings.SCHEDULER = {**settings.SCHEDULER, "web_statement_timeout": 2}
    yield
    connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("two_seconds")
def test_who_would_wait_for_longer_than_a_query_may_take_is_told_so(database_url: str) -> None:
    admin = client_of("admin")
    make_job(name="a")
    user_id = str(admin.get(f"{API}/jobs").wsgi_request.user.pk)
    # The next one is opened by a request, and told of the bound.
    connection.close()
    with psycopg.connect(database_url) as other:
        taken = {"user_id": user_id, "key": "k-1", "method": "POST", "path": "x", "digest": "x"}
        other.execute(idempotency.TAKE_SQL, {**taken, "kept_s": 86_400})

        refused = send(admin, "jobs/a/run", {})

        assert refused.status_code == 409
        assert "still being worked on" in refused.json()["detail"]
        other.rollback()
    assert send(admin, "jobs/a/run", {}).status_code == 202
