"""Executions over the API: lists that stay cheap, details, logs, cancel and retry."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from scheduler_app.models import Execution, Job, LogChunk, Node, Status, Trigger
from scheduler_app.rules.masking import MASK

from .api_support import (
    API,
    NOON,
    ApiClient,
    client_of,
    errors_of,
    make_execution,
    make_job,
    make_node,
    statements,
)

pytestmark = pytest.mark.django_db

HEAVY = ("result", "traceback", "failures", "spec", "arguments")


@pytest.fixture
def operator() -> ApiClient:
    return client_of("operator")


def ids(response: Any) -> list[int]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


HOOK = "https://hooks.example/x?token=canary"


def test_nothing_that_an_execution_left_behind_shows_a_secret(operator: ApiClient) -> None:
    job = make_job(kind="http", target=HOOK)
    execution = make_execution(
        job,
        status=Status.FAILED,
        error=f"{HOOK} does not answer",
        result={"url": HOOK, "api_key": "canary", "status": 500},
        traceback=f"ValueError: {HOOK}",
        failures=[{"error": HOOK, "reason": "raised"}],
    )

    found = operator.get(f"{API}/executions/{execution.pk}").json()

    masked = HOOK.replace("canary", MASK)
    assert found["error"] == f"{masked} does not answer"
    assert found["result"] == {"url": masked, "api_key": MASK, "status": 500}
    assert found["traceback"] == f"ValueError: {masked}"
    assert found["failures"] == [{"error": masked, "reason": "raised"}]
    for path in ("executions", "jobs", f"jobs/{job.pk}", f"jobs/{job.pk}/executions"):
        text = operator.get(f"{API}/{path}").content.decode()
        assert "hooks.example" in text, path
        assert "canary" not in text, path
    explained = operator.get(
        f"{API}/jobs/{job.pk}/timeline?since=2029-12-31T00:00:00Z&until=2030-01-02T00:00:00Z"
    ).content.decode()
    assert "does not answer" in explained
    assert "canary" not in explained


# --- Lists ------------------------------------------------------------------------------------


def test_the_newest_fire_time_comes_first(operator: ApiClient) -> None:
    job = make_job()
    late = make_execution(job, scheduled_for=NOON + timedelta(hours=1))
    early = make_execution(job, scheduled_for=NOON)

    assert ids(operator.get(f"{API}/executions")) == [late.pk, early.pk]


def test_pages_hold_every_execution_once_though_hundreds_share_a_fire_time(
    operator: ApiClient,
) -> None:
    job = make_job()
    for n in range(30):
        make_execution(job, scheduled_for=NOON + timedelta(seconds=n // 25), trigger=Trigger.API)
    whole = ids(operator.get(f"{API}/executions?page_size=200"))

    pages = [operator.get(f"{API}/executions?page_size=7").json()]
    while pages[-1]["next"]:
        # What fires meanwhile comes before, and moves nothing.
        make_execution(job, scheduled_for=NOON + timedelta(days=1, seconds=len(pages)))
        pages.append(operator.get(pages[-1]["next"]).json())
    back = operator.get(pages[1]["previous"]).json()

    assert [row["id"] for page in pages for row in page["results"]] == whole
    assert back["results"] == pages[0]["results"]
    assert back["previous"] is not None


@pytest.mark.parametrize("addressed", ["executions?", "jobs/{job}/executions?"])
def test_a_list_is_one_statement_for_5_rows_and_for_50(operator: ApiClient, addressed: str) -> None:
    job = make_job()
    path = addressed.format(job=job.pk)
    counts = []
    for size in (5, 45):
        for _ in range(size):
            make_execution(job, node=make_node(), result={"a": 1}, traceback="t")
        with statements() as sent:
            response = operator.get(f"{API}/{path}page_size=200")
        counts.append((len(ids(response)), len(sent)))

    expected = 1 if addressed.startswith("executions") else 2
    assert counts == [(5, expected), (50, expected)]
    # No COUNT, and nothing that may be large.
    assert "COUNT(" not in sent[-1]
    for column in HEAVY:
        assert f'"{column}"' not in sent[-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=failed", "b"),
        ("status=failed,running", "bc"),
        ("status=failed&status=running", "bc"),
        ("status=lost", ""),
        ("trigger=api", "c"),
        ("trigger=schedule,api", "abcd"),
        ("node=one", "c"),
        ("job=first", "ab"),
        ("job={first}", "ab"),
        ("job={gone}", "d"),
        ("since=2030-01-01T12:00:02Z", "cd"),
        ("until=2030-01-01T13:00:02%2B01:00", "ab"),
        ("since=2030-01-01T12:00:01Z&until=2030-01-01T12:00:03Z", "bc"),
        ("job=first&status=succeeded", "a"),
    ],
)
def test_a_list_is_filtered(operator: ApiClient, query: str, expected: str) -> None:
    first, gone = make_job(name="first"), make_job(name="gone")
    rows = {
        "a": make_execution(first, scheduled_for=NOON),
        "b": make_execution(first, scheduled_for=NOON + timedelta(seconds=1), status=Status.FAILED),
        "c": make_execution(
            gone,
            scheduled_for=NOON + timedelta(seconds=2),
            status=Status.RUNNING,
            trigger=Trigger.API,
            node=make_node(name="one"),
        ),
        "d": make_execution(gone, scheduled_for=NOON + timedelta(seconds=3)),
    }
    gone.delete()
    if query == "job={gone}":
        rows.pop("c").delete()
    path = query.format(first=first.pk, gone=gone.pk)

    found = ids(operator.get(f"{API}/executions?{path}"))

    assert found == [rows[name].pk for name in reversed(expected)]


def test_a_node_is_found_by_its_number_too(operator: ApiClient) -> None:
    node = make_node()
    mine = make_execution(make_job(), node=node)
    make_execution(make_job(), node=make_node())

    assert ids(operator.get(f"{API}/executions?node={node.pk}")) == [mine.pk]


def test_the_executions_of_an_unknown_job_are_404(operator: ApiClient) -> None:
    for path in ("executions?job=nobody", "executions?job=77", "executions/latest?job=nobody"):
        response = operator.get(f"{API}/{path}")
        assert response.status_code == 404
        assert "There is no job" in response.json()["detail"]


def test_the_latest_is_the_newest_that_matches(operator: ApiClient) -> None:
    job = make_job(name="a")
    succeeded = make_execution(job)
    failed = make_execution(job, status=Status.FAILED)
    make_execution(make_job())

    assert operator.get(f"{API}/executions/latest?job=a").json()["id"] == failed.pk
    latest = operator.get(f"{API}/executions/latest?job=a&status=succeeded")
    assert latest.json() == operator.get(f"{API}/executions/{succeeded.pk}").json()
    nothing = operator.get(f"{API}/executions/latest?job=a&status=lost")
    assert (nothing.status_code, nothing.json()["detail"]) == (404, "No execution matches.")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("page_size=2", "execution_newest"),
        ("page_size=2&since=2030-01-01T12:00:03Z", "execution_newest"),
        ("page_size=2&status=failed,lost", "execution_unsuccessful"),
    ],
)
def test_a_later_page_begins_in_the_middle_of_an_index(
    operator: ApiClient, query: str, index: str
) -> None:
    job = make_job()
    for _ in range(20):
        make_execution(job, status=Status.FAILED)
    # What one in a hundred fits is read from its own index, however the pages of the others lie.
    Execution.objects.bulk_create(
        Execution(
            job=job,
            revision=job.revisions.get(version=job.version),
            scheduled_for=NOON + timedelta(days=1, seconds=n),
            run_after=NOON,
            trigger=Trigger.SCHEDULE,
            status=Status.SUCCEEDED,
            finished_at=NOON,
        )
        for n in range(2000)
    )
    following = operator.get(f"{API}/executions?{query}").json()["next"]

    with statements() as sent:
        operator.get(following)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE scheduler_app_execution")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {sent[-1]}")
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert f"using {index} " in plan
    assert re.search(r"Index Cond: .*scheduled_for <= ", plan)


# --- One execution ----------------------------------------------------------------------------


def test_an_execution_tells_all_that_it_left_behind(operator: ApiClient) -> None:
    job = make_job(name="a", arguments={"value": {"password": "canary", "n": 1}})
    node = make_node(name="n1")
    execution = make_execution(
        job,
        scheduled_for=NOON,
        status=Status.FAILED,
        reason="timed_out",
        attempt=2,
        node=node,
        started_at=NOON + timedelta(milliseconds=250),
        finished_at=NOON + timedelta(seconds=2),
        result={"x": 1},
        error="boom",
        traceback="Traceback …",
        failures=[{"attempt": 1, "error": "bang"}],
        release="v7",
        requested_by="ana",
    )

    found = operator.get(f"{API}/executions/{execution.pk}").json()

    assert (found["drift_s"], found["duration_s"]) == (0.25, 1.75)
    assert found["job"] == {
        "id": job.pk,
        "name": "a",
        "url": f"http://testserver{API}/jobs/{job.pk}",
    }
    assert (found["node"]["name"], found["release"], found["attempt"]) == ("n1", "v7", 2)
    assert (found["status"], found["reason"], found["error"]) == ("failed", "timed_out", "boom")
    assert (found["result"], found["failures"]) == ({"x": 1}, [{"attempt": 1, "error": "bang"}])
    assert (found["traceback"], found["job_version"]) == ("Traceback …", 1)
    assert (found["kind"], found["target"]) == ("task", "tests.testapp.tasks.echo")
    assert found["arguments"] == {"value": {"password": MASK, "n": 1}}


def test_the_arguments_are_those_that_it_runs_with(operator: ApiClient) -> None:
    job = make_job(arguments={"value": 1})
    before = make_execution(job)
    job.arguments = {"value": 2}
    job.save()
    after = make_execution(job, spec={"arguments": {"value": 3}})

    assert operator.get(f"{API}/executions/{before.pk}").json()["arguments"] == {"value": 1}
    assert operator.get(f"{API}/executions/{after.pk}").json()["arguments"] == {"value": 3}


def test_history_outlives_what_it_points_at(operator: ApiClient) -> None:
    job = make_job()
    execution = make_execution(job, node=make_node())
    enqueued = make_execution(
        None, trigger=Trigger.TASK, spec={"kind": "task", "target": "t", "arguments": {}}
    )
    Node.objects.all().delete()
    Job.including_deleted.filter(pk=job.pk)._raw_delete("default")

    found = operator.get(f"{API}/executions/{execution.pk}").json()
    assert (found["job"]["id"], found["job"]["name"]) == (job.pk, None)
    assert found["node"]["name"] is None
    assert operator.get(f"{API}/executions/{enqueued.pk}").json()["job"] is None
    assert len(ids(operator.get(f"{API}/executions"))) == 2


@pytest.mark.parametrize("pk", ["0", "77", "9" * 25, "9" * 5000])
def test_an_unknown_execution_is_404(operator: ApiClient, pk: str) -> None:
    for response in (
        operator.get(f"{API}/executions/{pk}"),
        operator.get(f"{API}/executions/{pk}/log"),
        operator.post(f"{API}/executions/{pk}/cancel"),
        operator.post(f"{API}/executions/{pk}/retry"),
    ):
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"


# --- Logs -------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Execution:
    execution = make_execution(make_job())
    for attempt, seq, text in ((1, 0, "one\n"), (2, 1, "<b>three</b>\n"), (2, 0, "two\n")):
        LogChunk.objects.create(execution=execution, attempt=attempt, seq=seq, text=text)
    return execution


def text_of(response: Any) -> str:
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    return b"".join(response.streaming_content).decode()


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/html,*/*;q=0.8"])
def test_a_log_is_plain_text_in_its_order(
    operator: ApiClient, logged: Execution, accept: str
) -> None:
    response = operator.get(f"{API}/executions/{logged.pk}/log", HTTP_ACCEPT=accept)

    assert text_of(response) == "one\n\n--- attempt 2 ---\ntwo\n<b>three</b>\n"


def test_a_log_can_be_that_of_one_attempt(operator: ApiClient, logged: Execution) -> None:
    path = f"{API}/executions/{logged.pk}/log"

    assert text_of(operator.get(f"{path}?attempt=2")) == "two\n<b>three</b>\n"
    assert text_of(operator.get(f"{path}?attempt=3")) == ""
    assert set(errors_of(operator.get(f"{path}?attempt=x"))) == {"attempt"}


# --- Cancel and retry -------------------------------------------------------------------------


def test_what_waits_is_cancelled_at_once(operator: ApiClient) -> None:
    execution = make_execution(make_job(), status=Status.READY)

    response = operator.post(f"{API}/executions/{execution.pk}/cancel", {"reason": "not_needed"})

    found = response.json()
    assert (response.status_code, found["status"], found["reason"]) == (
        200,
        "cancelled",
        "not_needed",
    )
    assert found["cancelled_by"].startswith("operator")


def test_what_runs_is_asked_to_stop(operator: ApiClient) -> None:
    execution = make_execution(make_job(), status=Status.RUNNING)

    response = operator.post(f"{API}/executions/{execution.pk}/cancel")

    assert (response.status_code, response.json()["status"]) == (202, "running")
    assert response.json()["cancel_requested_at"] is not None


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "lost"])
def test_what_is_over_cannot_be_cancelled(operator: ApiClient, status: str) -> None:
    execution = make_execution(make_job(), status=status)

    response = operator.post(f"{API}/executions/{execution.pk}/cancel")

    assert response.status_code == 409
    assert f"is over ({status})" in response.json()["detail"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "lost"])
def test_what_did_not_succeed_is_tried_again(operator: ApiClient, status: str) -> None:
    execution = make_execution(make_job(), status=status, error="boom", attempt=1)

    response = operator.post(f"{API}/executions/{execution.pk}/retry")

    found = response.json()
    assert (response.status_code, found["status"], found["error"]) == (202, "ready", "")
    assert response["Location"] == found["url"]
    assert [failure["error"] for failure in found["failures"]] == ["boom"]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("succeeded", "succeeded; run its job again instead"),
        ("ready", "is ready: it has not come to an end"),
        ("running", "is running: it has not come to an end"),
    ],
)
def test_what_cannot_be_retried_says_why(operator: ApiClient, status: str, why: str) -> None:
    execution = make_execution(make_job(), status=status)

    response = operator.post(f"{API}/executions/{execution.pk}/retry")

    assert response.status_code == 409
    assert why in response.json()["detail"]


def test_what_belongs_to_a_deleted_job_cannot_be_retried(operator: ApiClient) -> None:
    job = make_job()
    execution = make_execution(job, status=Status.FAILED)
    job.delete()

    response = operator.post(f"{API}/executions/{execution.pk}/retry")

    assert response.status_code == 409
    assert "was deleted" in response.json()["detail"]


# --- The other way round ----------------------------------------------------------------------


def test_a_list_can_be_oldest_first_and_paged_so(operator: ApiClient) -> None:
    job = make_job(name="a")
    made = [make_execution(job).pk for _ in range(5)]

    for path in ("executions", "jobs/a/executions"):
        first = operator.get(f"{API}/{path}?ordering=scheduled_for&page_size=3")
        second = operator.get(first.json()["next"])
        assert ids(first) + ids(second) == made
        assert operator.get(second.json()["previous"]).json()["results"] == first.json()["results"]
        assert set(errors_of(operator.get(f"{API}/{path}?ordering=status"))) == {"ordering"}
