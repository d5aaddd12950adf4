"""One request for many jobs: chosen by list or filter, done whole or not at all, at a fixed cost."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler_app.models import Execution, Job, Trigger
from scheduler_app.rules.masking import MASK

from .api_support import API, ApiClient, client_of, errors_of, make_job, statements

pytestmark = pytest.mark.django_db

ADD = "tests.testapp.tasks.add"


@pytest.fixture
def operator() -> ApiClient:
    return client_of("operator")


def paused() -> list[str]:
    return list(Job.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


def test_jobs_are_paused_and_resumed_by_names_ids_and_filters(operator: ApiClient) -> None:
    a, b = make_job(name="a", tags=["x"]), make_job(name="b", tags=["x"])
    make_job(name="c")

    # 7.0 is a whole number to JSON.
    refs = ["a", float(b.pk)]
    by_list = operator.post(f"{API}/bulk/jobs/pause", {"jobs": refs, "reason": "why"})

    assert by_list.json() == {
        "count": 2,
        "names": ["a", "b"],
        "changed": [a.pk, b.pk],
        "executions": [],
    }
    assert paused() == ["a", "b"]
    assert Job.objects.get(name="a").pause_reason == "why"
    by_filter = operator.post(f"{API}/bulk/jobs/resume", {"filter": {"paused": True}})
    assert by_filter.json()["changed"] == [a.pk, b.pk]
    assert paused() == []
    again = operator.post(f"{API}/bulk/jobs/resume", {"filter": {"tag": "x"}})
    assert (again.json()["count"], again.json()["changed"]) == (2, [])


@pytest.mark.parametrize("verb", ["pause", "resume", "run"])
def test_a_dry_run_says_which_jobs_and_changes_nothing(operator: ApiClient, verb: str) -> None:
    for number in range(12):
        make_job(name=f"job {number:02}", queue="slow")
    make_job(name="other")

    answer = operator.post(
        f"{API}/bulk/jobs/{verb}", {"filter": {"queue": "slow"}, "dry_run": True}
    )

    assert answer.status_code == 200
    assert (answer.json()["count"], len(answer.json()["names"])) == (12, 10)
    assert (paused(), Execution.objects.count()) == ([], 0)


def test_jobs_are_run_once_each(operator: ApiClient) -> None:
    jobs = [make_job(name=f"job {number}") for number in range(3)]

    answer = operator.post(f"{API}/bulk/jobs/run", {"jobs": ["job 2", "job 0", "job 2"]})

    assert answer.status_code == 202
    executions = Execution.objects.in_bulk(answer.json()["executions"])
    ran = [executions[pk].job_id for pk in answer.json()["executions"]]
    assert ran == [jobs[2].pk, jobs[0].pk]
    assert {run.trigger for run in executions.values()} == {Trigger.API}


def test_runs_may_name_a_job_several_times_with_arguments_of_their_own(
    operator: ApiClient,
) -> None:
    make_job(name="a", target=ADD, arguments={"a": 1}, on_overlap="allow")
    runs = [
        {"job": "a", "arguments": {"a": n}, "scheduled_for": "2020-01-01T00:00:00Z"}
        for n in range(3)
    ]

    answer = operator.post(f"{API}/bulk/jobs/run", {"runs": runs})

    found = Execution.objects.in_bulk(answer.json()["executions"])
    specs = [found[pk].spec for pk in answer.json()["executions"]]
    assert specs == [{"arguments": {"a": n}} for n in range(3)]
    assert {run.scheduled_for.year for run in found.values()} == {2020}


def test_the_cost_does_not_grow_with_the_number_of_runs(operator: ApiClient) -> None:
    make_job(name="a", target=ADD, arguments={"a": 1}, on_overlap="allow")
    counts = []
    for size in (2, 1000):
        runs = [{"job": "a", "arguments": {"a": n}} for n in range(size)]
        with statements() as sent:
            assert operator.post(f"{API}/bulk/jobs/run", {"runs": runs}).status_code == 202
        counts.append(len(sent))

    assert counts[0] == counts[1] <= 10, sent
    assert Execution.objects.count() == 1002


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "jobs", "either jobs or a filter"),
        ({"jobs": [], "dry_run": True}, "jobs", "at least 1"),
        ({"jobs": ["a"], "filter": {"tag": "x"}}, "jobs", "either jobs or a filter"),
        ({"filter": {}}, "filter", "An empty filter is every job"),
        ({"filter": {"tga": "x"}}, "filter.tga", "is not a parameter of a filter of jobs"),
        ({"filter": {"enabled": "yes"}}, "filter.enabled", "true or false"),
        ({"jobs": ["a", "nobody", 77]}, "jobs.1", "There is no job nobody"),
        ({"jobs": [True]}, "jobs.0", "id or the name"),
        ({"jobs": [""]}, "jobs.0", "id or the name"),
        ({"jobs": [-1]}, "jobs.0", "id or the name"),
        ({"jobs": ["a"] * 1001}, "jobs", "1000"),
        ({"runs": [{"job": "a"}], "jobs": ["a"]}, "runs", "Give one of"),
        ({"runs": [{"job": "nobody"}]}, "runs.0.job", "There is no job"),
        ({"runs": [{"job": "a", "argument": 1}]}, "runs.0.argument", "is not a field of a run"),
        ({"runs": [{"job": "a", "arguments": {"c": 1}}]}, "runs.0.arguments", "fit add"),
        (
            {"runs": [{"job": "a", "arguments": {"a": {"token": MASK}}}]},
            "runs.0.arguments.a.token",
            "Give the value itself",
        ),
        ({"runs": {"job": "a"}}, "runs", "list"),
    ],
)
def test_what_cannot_be_chosen_or_run_is_refused_whole(
    operator: ApiClient, body: dict[str, Any], field: str, words: str
) -> None:
    make_job(name="a", target=ADD, arguments={"a": 1})

    errors = errors_of(operator.post(f"{API}/bulk/jobs/run", body))

    assert words in errors[field]["message"]
    assert not Execution.objects.exists()
    assert (Job.objects.get().version, paused()) == (1, [])


def test_a_filter_that_lets_too_many_through_is_refused(
    operator: ApiClient, monkeypatch: Any
) -> None:
    monkeypatch.setattr("scheduler_app.api.bulk.MOST_JOBS", 2)
    for number in range(3):
        make_job(name=f"job {number}")

    response = operator.post(f"{API}/bulk/jobs/pause", {"filter": {"search": "job"}})

    assert response.status_code == 409
    assert paused() == []
