"""Cancel and retry of all that match a list: counted and asked, then done, with progress that needs no script."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import pytest

from scheduler_app.lifecycle import bulk
from scheduler_app.models import BulkOperation, Execution, Job, Status, database_now

from .admin_support import EXECUTIONS, OPERATOR, VIEWER, Browser, make_execution, make_job

pytestmark = pytest.mark.django_db

ASK = f"{EXECUTIONS}bulk/"


@pytest.fixture
def operator() -> Browser:
    return Browser(*OPERATOR)


def make_failures(job: Job, count: int, **fields: object) -> None:
    now = database_now()
    for number in range(count):
        make_execution(
            job,
            status=Status.FAILED,
            error="ConnectionError: no paper",
            scheduled_for=now - timedelta(seconds=number + 1),
            trigger="manual",
            **fields,
        )


def test_the_list_leads_to_the_question_and_the_question_to_the_end(operator: Browser) -> None:
    job, other = make_job(name="mails", on_overlap="allow"), make_job()
    make_failures(job, 60)
    make_failures(other, 2)
    make_execution(job, scheduled_for=database_now())

    page = operator.open(f"{EXECUTIONS}?job={job.pk}&when=1h&q=error:paper")
    page = operator.open(page.links["Retry…"])
    assert "60 will be tried again" in page.main
    assert "Job mails" in page.main and "Error contains paper" in page.main
    assert Execution.objects.filter(status="failed").count() == 62

    page = operator.press("Retry 60 executions", reason="paper is here")

    assert "Done" in page.main and "Retried 60" in page.main and "paper is here" in page.main
    assert Execution.objects.filter(job=job, status="ready").count() == 60
    assert Execution.objects.filter(job=other, status="failed").count() == 2
    back = operator.open(page.links["Back to the executions"])
    assert f"job={job.pk}" in back.address and "error%3Apaper" in back.address


def test_a_search_by_name_means_all_jobs_that_it_finds(operator: Browser) -> None:
    for number in range(15):
        make_failures(make_job(name=f"nightly mails {number}"), 1)
    make_failures(make_job(name="mails of the day"), 1)

    page = operator.open(f"{EXECUTIONS}?q=nightly+mails")
    assert page.main.count("All of one job: nightly mails 0") == 1
    page = operator.open(page.links["Retry…"])
    assert "Name of the job has nightly, mails" in page.main

    operator.press("Retry 15 executions")
    assert Execution.objects.filter(status="failed").count() == 1


def test_the_question_says_what_cannot_be(operator: Browser) -> None:
    make_execution(make_job(name="mails"))

    page = operator.open(f"{ASK}?verb=cancel&status=succeeded")

    assert "None of these can be cancelled" in page.main
    assert "1 succeeded" in page.main
    assert not [button for button in page.own_buttons if "Cancel" in button.text]


def test_pressed_twice_it_is_done_once(operator: Browser) -> None:
    make_failures(make_job(on_overlap="allow"), 3)
    question = operator.open(f"{ASK}?verb=retry")
    operator.press("Retry 3 executions")
    Execution.objects.update(status="failed", finished_at=database_now())
    operator.page = question

    page = operator.press("Retry 3 executions")

    assert "Done" in page.main
    assert Execution.objects.filter(status="failed").count() == 3
    assert BulkOperation.objects.count() == 1


def test_a_large_one_shows_its_progress_and_can_go_on_here_or_stop(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_failures(make_job(on_overlap="allow"), 5)
    monkeypatch.setattr(bulk, "CHUNK", 2)
    monkeypatch.setattr(bulk, "BUDGET_S", 0)
    operator.open(f"{ASK}?verb=retry")

    page = operator.press("Retry 5 executions")
    assert "At work" in page.main and "Retried 0 of 5" in page.main
    assert ("meta", {"http-equiv": "refresh", "content": "2"}) in page.elements
    assert ("progress", "5") in [(tag, given.get("max")) for tag, given in page.elements]
    BulkOperation.objects.update(created_at=database_now() - timedelta(minutes=1))
    assert "Nobody is at work on it" in operator.open(page.address).main

    monkeypatch.setattr(bulk, "BUDGET_S", 30)
    page = operator.press("Continue here")
    assert "Done" in page.main and "refresh" not in str(page.elements)

    monkeypatch.setattr(bulk, "BUDGET_S", 0)
    Execution.objects.update(status="failed", finished_at=database_now())
    operator.open(f"{ASK}?verb=retry")
    operator.press("Retry 5 executions")
    page = operator.press("Stop")
    assert "Stopped by ana" in page.main
    assert Execution.objects.filter(status="failed").count() == 5


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"verb": "delete"}, 400),
        ({"key": "x"}, 400),
        ({"selection": "{"}, 400),
        ({"selection": "[]"}, 400),
        ({"selection": json.dumps({"statuses": ["dead"]})}, 302),
        ({"selection": "[" * 100_000}, 400),
    ],
)
def test_what_no_page_sends_is_refused(
    operator: Browser, changes: dict[str, str], status: int
) -> None:
    make_failures(make_job(), 1)
    given = {"verb": "retry", "key": str(uuid4()), "selection": "{}", **changes}

    assert operator.post(ASK, **given).status_code == status
    assert not BulkOperation.objects.exists()


def test_a_question_without_a_verb_is_refused(operator: Browser) -> None:
    operator.open(ASK)
    assert operator.status == 400
    operator.open(f"{ASK}{uuid4()}/")
    assert operator.status == 404


def test_what_would_be_refused_is_said_before_anybody_presses() -> None:
    job, other = make_job(name="mails"), make_job(kind="http", target="https://example.org/")
    make_failures(job, 2)
    browser = Browser(*VIEWER, "run_job", "use_task")

    page = browser.open(f"{ASK}?verb=retry&job={other.pk}")
    assert "use_http" in page.main
    assert not [button for button in page.own_buttons if "Retry" in button.text]
    page = browser.open(f"{ASK}?verb=retry&job={job.pk}")
    assert "Retry 2 executions" in [button.text for button in page.own_buttons]
    # To stop something needs no right to what it does.
    make_execution(other, status=Status.READY)
    page = browser.open(f"{ASK}?verb=cancel&job={other.pk}")
    assert "Cancel 1 execution" in [button.text for button in page.own_buttons]


def test_who_may_use_no_target_is_offered_no_retry() -> None:
    make_failures(make_job(), 1)
    page = Browser(*VIEWER, "run_job").open(f"{EXECUTIONS}?status=failed")

    assert "Cancel…" in page.links and "Retry…" not in page.links
    assert ("option", {"value": "retry_selected"}) not in page.elements
    assert ("option", {"value": "cancel_selected"}) in page.elements


def test_it_is_for_those_who_may_run_jobs() -> None:
    make_failures(make_job(), 1)
    viewer = Browser(*VIEWER)
    assert "All that match" not in viewer.open(f"{EXECUTIONS}?status=failed").main
    viewer.open(f"{ASK}?verb=retry")
    assert viewer.status == 403
    assert viewer.post(ASK, verb="retry", key=str(uuid4()), selection="{}").status_code == 403
    # Whoever may not see executions learns nothing of how many there are.
    runner = Browser("run_job", name="ben")
    runner.open(f"{ASK}?verb=retry")
    assert runner.status == 403
