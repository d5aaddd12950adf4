"""Cancel and retry of all that match, over the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler_app.models import BulkOperation, Execution, Status

from .api_support import (
    API,
    NOON,
    ApiClient,
    client_of,
    errors_of,
    make_execution,
    make_job,
    make_node,
)

pytestmark = pytest.mark.django_db

BULK = f"{API}/bulk/executions"


@pytest.fixture
def operator() -> ApiClient:
    return client_of("operator")


def statuses() -> list[str]:
    return list(Execution.objects.order_by("id").values_list("status", flat=True))


def test_all_that_wait_of_some_jobs_are_cancelled(operator: ApiClient) -> None:
    a, b, c = (make_job(name=name) for name in "abc")
    for job in (a, b, c):
        make_execution(job, status=Status.READY)
    body = {"filter": {"job": ["a", b.pk], "status": ["ready"]}, "reason": "not_needed"}

    counted = operator.post(f"{BULK}/cancel", {**body, "dry_run": True})
    assert counted.json() == {"suitable": 2, "is_capped": False, "refused": {}}
    assert statuses() == ["ready"] * 3

    done = operator.post(f"{BULK}/cancel", body)
    assert done.status_code == 202, done.content
    assert statuses() == ["cancelled", "cancelled", "ready"]
    assert (done.json()["changed"], done.json()["verb"]) == (2, "cancel")
    assert done.json()["finished_at"] is not None
    assert operator.get(done["Location"]).json() == done.json()
    assert operator.get(BULK).json()["results"] == [done.json()]
    assert operator.post(f"{done['Location']}/stop").status_code == 409


def test_all_failures_of_a_time_are_tried_again(operator: ApiClient) -> None:
    job = make_job(name="a", on_overlap="allow")
    for hour in range(4):
        at = NOON + timedelta(hours=hour)
        make_execution(job, status=Status.FAILED, scheduled_for=at, error=f"boom {hour % 2}")
    make_execution(job, status=Status.SUCCEEDED, scheduled_for=NOON, trigger="manual")
    wanted = {
        "status": ["failed"],
        "since": NOON.isoformat(),
        "until": (NOON + timedelta(hours=3)).isoformat(),
        "error": "BOOM 0",
    }

    done = operator.post(f"{BULK}/retry", {"filter": wanted})

    assert done.json()["changed"] == 2
    assert statuses() == ["ready", "failed", "ready", "failed", "succeeded"]


@pytest.mark.parametrize(
    ("wanted", "field", "words"),
    [
        ({}, "filter", "An empty filter is every execution"),
        (None, "filter", "must be a JSON object"),
        ({"status": ["odd"]}, "filter.status.0", "odd"),
        ({"status": []}, "filter.status", "at least 1"),
        ({"job": ["nobody"]}, "filter.job", "There is no job nobody"),
        ({"node": ["nobody"]}, "filter.node", "no nodes of these names"),
        ({"stauts": ["failed"]}, "filter.stauts", "is not a field of a filter of executions"),
        ({"since": "soon"}, "filter.since", "ISO 8601"),
        ({"arguments": {str(n): "x" for n in range(6)}}, "arguments", "5 at most"),
        (
            {"since": "2030-01-02T00:00:00Z", "until": "2030-01-01T00:00:00Z"},
            "until",
            "must come after since",
        ),
    ],
)
def test_what_is_no_filter_changes_nothing(
    operator: ApiClient, wanted: Any, field: str, words: str
) -> None:
    make_execution(make_job(), status=Status.READY)

    errors = errors_of(operator.post(f"{BULK}/cancel", {"filter": wanted}))

    assert words in errors[field]["message"]
    assert (statuses(), BulkOperation.objects.count()) == (["ready"], 0)


def test_nodes_are_named_and_arguments_compared(operator: ApiClient) -> None:
    job = make_job(name="a", arguments={"value": 42})
    node = make_node(name="n-1")
    make_execution(job, status=Status.FAILED, node=node)
    make_execution(job, status=Status.FAILED)
    make_execution(job, status=Status.FAILED, node=node, spec={"arguments": {"value": 7}})

    counted = operator.post(
        f"{BULK}/retry",
        {"filter": {"node": ["n-1"], "arguments": {"value": "42"}}, "dry_run": True},
    )

    assert counted.json()["suitable"] == 1


def test_pages_of_operations_hold_each_once(operator: ApiClient) -> None:
    make_job(name="a")
    made = [operator.post(f"{BULK}/cancel", {"filter": {"job": ["a"]}}).json()["id"] for _ in "123"]

    first = operator.get(f"{BULK}?page_size=2").json()
    second = operator.get(first["next"]).json()

    assert [row["id"] for row in first["results"] + second["results"]] == made[::-1]
    assert operator.get(second["previous"]).json()["results"] == first["results"]
    assert set(errors_of(operator.get(f"{BULK}?cursor=nope"))) == {"cursor"}
