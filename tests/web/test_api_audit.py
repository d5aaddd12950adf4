"""The audit trail over the API, and the statistics of a job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler_app.models import AuditEntry, Status, database_now

from .api_support import (
    API,
    ApiClient,
    client_of,
    errors_of,
    make_execution,
    make_job,
    make_node,
    statements,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> ApiClient:
    return client_of("admin")


def listed(client: ApiClient, query: str = "") -> list[dict[str, Any]]:
    with statements() as sent:
        response = client.get(f"{API}/audit{query}")
    assert response.status_code == 200, response.content
    assert len(sent) == (2 if "job=" in query else 1), sent
    found: list[dict[str, Any]] = response.json()["results"]
    return found


def test_what_was_done_by_the_api_is_in_the_trail(admin: ApiClient) -> None:
    job = admin.post(f"{API}/jobs", {"name": "a", "target": "tests.testapp.tasks.echo"}).json()
    admin.patch(f"{API}/jobs/a", {"priority": 7}, REMOTE_ADDR="192.0.2.7")

    edited, created = listed(admin)

    assert (created["verb"], edited["verb"]) == ("job.create", "job.edit")
    assert edited["changes"]["priority"] == {"old": 0, "new": 7}
    assert (edited["object_name"], edited["job"], edited["source"]) == ("a", job["url"], "api")
    assert edited["words"] == "Edited the job"
    assert admin.get(f"{API}/audit/{edited['id']}").json() == edited


def test_a_secret_is_not_in_the_trail(admin: ApiClient) -> None:
    arguments = {"headers": {"Authorization": "Bearer canary"}}
    body = {"name": "a", "kind": "http", "target": "https://example.com/", "arguments": arguments}
    admin.post(f"{API}/jobs", body)
    admin.post(f"{API}/jobs/a/run", {"arguments": {"headers": {"Authorization": "canary 2"}}})

    assert "canary" not in admin.get(f"{API}/audit").content.decode()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?verb=job.create", 2),
        ("?verb=job.create,job.pause", 3),
        ("?verb=job.create&verb=job.pause", 3),
        ("?who=somebody", 2),
        ("?who=nobody", 0),
        ("?source=api", 1),
        ("?job=a", 2),
        ("?object_kind=job&object_id=x", 0),
        ("?since=2001-01-01T00:00:00Z", 3),
        ("?until=2001-01-01T00:00:00Z", 0),
        ("?page_size=2&fields=verb", 2),
    ],
)
def test_the_trail_is_filtered(admin: ApiClient, query: str, count: int) -> None:
    make_job(name="a"), make_job(name="b")
    admin.post(f"{API}/jobs/a/pause")

    assert len(listed(admin, query)) == count


@pytest.mark.parametrize("query", ["verb=explode", "source=x", "sinse=1", "since=soon"])
def test_what_is_no_filter_of_the_trail_is_refused(admin: ApiClient, query: str) -> None:
    [field] = errors_of(admin.get(f"{API}/audit?{query}"))

    assert field.partition(".")[0] == query.partition("=")[0]


def test_the_trail_cannot_be_changed_over_the_api(admin: ApiClient) -> None:
    make_job()
    entry = AuditEntry.objects.get()

    for method in ("put", "patch", "delete", "post"):
        assert getattr(admin, method)(f"{API}/audit/{entry.pk}").status_code == 405


def test_a_job_tells_how_it_fares(admin: ApiClient) -> None:
    job = make_job(name="a")
    now = database_now()
    for number in range(10):
        at = now - timedelta(minutes=number)
        make_execution(
            job,
            scheduled_for=at,
            started_at=at + timedelta(seconds=number),
            finished_at=at + timedelta(seconds=number + 2),
            status=Status.FAILED if number % 5 == 0 else Status.SUCCEEDED,
        )

    with statements() as sent:
        stats = admin.get(f"{API}/jobs/a/stats").json()

    assert len(sent) == 2
    assert (stats["finished"], stats["failed"], stats["success_rate"]) == (10, 2, 0.8)
    assert (stats["duration"]["p50_s"], stats["drift"]["p50_s"]) == (2.0, 4.5)
    assert admin.get(f"{API}/jobs/a/stats?last=3").json()["finished"] == 3
    assert admin.get(f"{API}/jobs/a/stats?hours=0.05").json()["finished"] <= 4


def test_a_job_that_never_ran_has_no_rates(admin: ApiClient) -> None:
    make_job(name="a")

    stats = admin.get(f"{API}/jobs/a/stats").json()

    assert (stats["finished"], stats["success_rate"], stats["drift"]["p99_s"]) == (0, None, None)
    assert set(errors_of(admin.get(f"{API}/jobs/a/stats?last=0"))) == {"last"}


def test_a_node_is_drained_and_asked_again_it_stays_so(admin: ApiClient) -> None:
    node = make_node()

    first = admin.post(f"{API}/nodes/{node.pk}/drain")
    again = admin.post(f"{API}/nodes/{node.pk}/drain")

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["drain_requested_at"] == again.json()["drain_requested_at"] is not None


def test_a_node_that_ended_cannot_be_drained(admin: ApiClient) -> None:
    node = make_node(state="stopped", finished_at=database_now())

    response = admin.post(f"{API}/nodes/{node.pk}/drain")

    assert response.status_code == 409
    assert "is stopped already" in response.json()["detail"]
    assert admin.post(f"{API}/nodes/12345/drain").status_code == 404
