"""The list of executions, the page of one, its log; cancel, retry and run again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler_app import lifecycle
from scheduler_app.admin.base import CappedPaginator
from scheduler_app.admin.execution_log import LOG_SHOWN, shown_log
from scheduler_app.lifecycle import selecting
from scheduler_app.models import Execution, LogChunk, Status, Trigger, database_now

from .admin_support import (
    EXECUTIONS,
    JOBS,
    OPERATOR,
    VIEWER,
    Browser,
    log_of,
    make_execution,
    make_job,
    make_node,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Browser:
    return Browser(*OPERATOR)


def page_of(execution: Execution) -> str:
    return f"{EXECUTIONS}{execution.pk}/change/"


def found(browser: Browser, query: str) -> set[int]:
    page = browser.open(f"{EXECUTIONS}?{query}")
    return {pk for pk in Execution.objects.values_list("pk", flat=True) if str(pk) in page.links}


# --- The list ---------------------------------------------------------------------------------


def test_every_filter_finds_what_it_says(operator: Browser) -> None:
    now = database_now()
    job, other = make_job(name="imports"), make_job(name="exports")
    node = make_node(name="web-1")
    ok = make_execution(job, scheduled_for=now - timedelta(minutes=5))
    bad = make_execution(
        job, status=Status.FAILED, scheduled_for=now - timedelta(hours=3), node=node
    )
    lost = make_execution(other, status=Status.LOST, scheduled_for=now - timedelta(days=3))
    runs = make_execution(
        other,
        status=Status.RUNNING,
        trigger=Trigger.MANUAL,
        scheduled_for=now - timedelta(minutes=1),
        node=node,
    )
    waits = make_execution(other, status=Status.READY, scheduled_for=now - timedelta(minutes=2))
    everything = {one.pk for one in (ok, bad, lost, runs, waits)}

    expected = {
        "": everything,
        "status=failed": {bad.pk},
        "status=lost": {lost.pk},
        "status=succeeded": {ok.pk},
        "status=running": {runs.pk},
        "status=live": {runs.pk, waits.pk},
        "status=unsuccessful": {bad.pk, lost.pk},
        "when=1h": {ok.pk, runs.pk, waits.pk},
        "when=24h": everything - {lost.pk},
        "when=7d": everything,
        f"job={job.pk}": {ok.pk, bad.pk},
        "job=999999": set(),
        "job=x'--": set(),
        "trigger=manual": {runs.pk},
        f"node={node.pk}": {bad.pk, runs.pk},
        f"node={node.pk}&status=failed": {bad.pk},
        "q=import": {ok.pk, bad.pk},
        f"q=={lost.pk}": {lost.pk},
        "q==99999999999999999999999": set(),
        "q=nothing": set(),
    }

    assert {query: found(operator, query) for query in expected} == expected


def test_what_no_index_finds_is_tried_on_so_many_rows_and_goes_on_from_there(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selecting, "TRIED", 3)
    now = database_now()
    node, job = make_node(), make_job()
    executions = [
        make_execution(
            job, node=node if number == 4 else None, scheduled_for=now - timedelta(hours=number)
        )
        for number in range(5)
    ]

    assert found(operator, f"node={node.pk}") == set()
    assert "executions were looked at, as far as" in operator.page.main
    page = operator.open(EXECUTIONS + operator.page.links["Look further back"])

    assert str(executions[4].pk) in page.links
    assert "Look further back" not in page.links


def test_the_newest_are_first_and_the_status_is_a_word(operator: Browser) -> None:
    now = database_now()
    make_execution(
        make_job(name="imports"),
        status=Status.FAILED,
        reason="timed_out",
        error="TimeoutError: Timed out after 5 s.",
        scheduled_for=now - timedelta(minutes=2),
        started_at=now - timedelta(minutes=2) + timedelta(milliseconds=12),
        finished_at=now - timedelta(minutes=1),
        attempt=1,
    )
    make_execution(make_job(name="exports"), scheduled_for=now - timedelta(minutes=1))

    text = operator.open(EXECUTIONS).main

    assert text.index("exports") < text.index("imports")
    for part in ("Failed", "timed out", "Timed out after 5 s.", "12 ms", "1 min", "Succeeded"):
        assert part in text


def test_pages_go_on_by_key_there_and_back(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "CAP", 80)
    job, at = make_job(), database_now()
    # All of one fire time, so that the id decides.
    pks = sorted(
        (make_execution(job, scheduled_for=at, trigger="manual").pk for _ in range(120)),
        reverse=True,
    )

    def shown() -> list[int]:
        return [int(text) for text in operator.page.links if text.isdigit()]

    page = operator.open(f"{EXECUTIONS}?job={job.pk}")
    assert "80+" in page.main
    assert shown() == pks[:50]
    operator.open(EXECUTIONS + page.links["Older"])
    assert shown() == pks[50:100]
    page = operator.open(EXECUTIONS + operator.page.links["Older"])
    assert shown() == pks[100:]
    assert "Older" not in page.links
    operator.open(EXECUTIONS + page.links["Newer"])
    assert shown() == pks[50:100]
    page = operator.open(EXECUTIONS + operator.page.links["Newer"])
    assert shown() == pks[:50]
    operator.open(EXECUTIONS + page.links["Newest"])
    assert "80+" in operator.page.main


# --- The page ---------------------------------------------------------------------------------


def test_the_page_has_everything_that_is_known() -> None:
    job = make_job(
        name="imports",
        timezone="Europe/Berlin",
        arguments={"value": {"password": "hunter2", "rows": 7}},
        max_attempts=3,
    )
    node = make_node(name="web-1")
    execution = make_execution(
        job,
        node=node,
        status=Status.FAILED,
        reason="raised",
        error="ValueError: bad row",
        traceback="Traceback (most recent call last):\nValueError: bad row",
        result={"partial": True, "token": "t0k3n"},
        attempt=2,
        release="2030.1",
        requested_by="ben",
        trigger=Trigger.MANUAL,
        failures=[
            {
                "attempt": 1,
                "reason": "timed_out",
                "error": "TimeoutError: Timed out after 5 s.",
                "traceback": "first traceback",
                "node": "web-0",
                "started_at": "2030-01-01T12:00:00+00:00",
                "finished_at": "2030-01-01T12:00:05+00:00",
            }
        ],
    )
    LogChunk.objects.create(execution=execution, attempt=1, seq=0, text="first attempt\n")
    LogChunk.objects.create(execution=execution, attempt=2, seq=0, text="second ")
    LogChunk.objects.create(execution=execution, attempt=2, seq=1, text="attempt\n")

    page = Browser(*VIEWER).open(page_of(execution))

    for text in (
        "imports",
        "Failed raised an exception",
        "ValueError: bad row",
        "Traceback (most recent call last):",
        "+01:00",
        "2 of 3",
        "web-1",
        "2030.1",
        "by ben",
        '"rows": 7',
        '"partial": true',
        "first attempt",
        "second attempt",
        "timed out Attempt 1 on web-0",
        "first traceback",
    ):
        assert text in page.main
    assert "hunter2" not in page.html and "t0k3n" not in page.html


def test_a_failure_tells_what_changed_since_the_last_green_run_and_leads_to_its_kind() -> None:
    job = make_job(name="letters", timeout_s=5)
    now = database_now()

    def ran(minutes: int, status: Status, **fields: object) -> Execution:
        at = now - timedelta(minutes=minutes)
        return make_execution(
            job,
            status=status,
            scheduled_for=at,
            started_at=at,
            finished_at=at + timedelta(seconds=minutes),
            node=make_node(name=f"node of {minutes}"),
            error="" if status == Status.SUCCEEDED else "no paper",
            **fields,
        )

    green = ran(30, Status.SUCCEEDED, release="1.0")
    job.timeout_s = 9
    lifecycle.save_job(job, by="ana")
    job.refresh_from_db()
    ran(20, Status.FAILED, release="1.1")
    failed = ran(10, Status.FAILED, release="1.1")
    ran(5, Status.SUCCEEDED, release="2.0")
    browser = Browser(*VIEWER)

    page = browser.open(page_of(failed))

    text = page.main.partition("What changed since the last green run")[2]
    assert "2 times in a row" in text and f"execution {green.pk}" in text
    for change in ("5 → 9", "1.0 → 1.1", "node of 30 → node of 10"):
        assert change in text
    assert "The same arguments" in text
    page = browser.open(page.links["Everything that failed like this in the last 24 hours"])
    assert "2 × the same failure" in page.main
    assert "What changed" not in browser.open(page_of(green)).main


def test_what_failed_long_ago_or_for_no_job_leads_to_no_page_that_is_gone() -> None:
    old = make_execution(
        None, status=Status.FAILED, error="x", scheduled_for=database_now() - timedelta(days=2)
    )
    browser = Browser(*VIEWER)

    page = browser.open(page_of(old))

    assert browser.status == 200
    assert "failures/" not in page.html and "green run" not in page.main


def test_the_arguments_are_those_that_it_ran_with() -> None:
    job = make_job(arguments={"value": "old"})
    [with_own] = lifecycle.run_now([job.pk], by="ana", arguments={"value": "other"})
    [with_jobs] = lifecycle.run_now([job.pk], by="ana")
    job.arguments = {"value": "new"}
    lifecycle.save_job(job, by="ana")
    browser = Browser(*VIEWER)

    assert '"value": "other"' in browser.open(page_of(with_own)).main
    page = browser.open(page_of(with_jobs))
    assert '"value": "old"' in page.main
    assert "the job is at v2 now" in page.main


def test_the_drift_of_a_retried_execution_is_that_of_its_first_attempt() -> None:
    fire_time = database_now() - timedelta(hours=1)
    execution = make_execution(
        make_job(max_attempts=2),
        scheduled_for=fire_time,
        started_at=fire_time + timedelta(seconds=40),
        attempt=2,
        failures=[{"attempt": 1, "started_at": (fire_time + timedelta(seconds=2)).isoformat()}],
    )
    browser = Browser(*VIEWER)

    assert "Drift 2.0 s of the first attempt" in browser.open(page_of(execution)).main
    assert "retried" in browser.open(EXECUTIONS).main
    Execution.objects.update(failures=[{"attempt": 1}, 7])
    assert "Drift – of the first attempt" in browser.open(page_of(execution)).main


def test_an_http_exchange_reads_as_one() -> None:
    job = make_job(kind="http", target="https://example.org/hook?token=abc", arguments={})
    execution = make_execution(
        job,
        status=Status.FAILED,
        result={
            "method": "POST",
            "url": "https://example.org/hook?token=abc",
            "duration_ms": 123.4,
            "address": "192.0.2.1",
            "status": 503,
            "reason": "Service Unavailable",
            "headers": {"retry-after": "30"},
            "body_bytes": 11,
            "body_truncated": False,
            "body": "come later ",
        },
    )
    browser = Browser(*VIEWER)

    page = browser.open(page_of(execution))

    assert "POST https://example.org/hook?token=******** → 503 Service Unavailable" in page.main
    assert "in 123 ms from 192.0.2.1, 11 bytes" in page.main
    assert "retry-after 30" in page.main and "come later" in page.main
    assert "abc" not in page.html

    Execution.objects.update(result={"method": 1, "url": None, "headers": [1], "body": {"a": 1}})
    browser.open(page_of(execution))
    assert browser.status == 200


def test_an_execution_of_which_everything_else_is_gone_still_opens() -> None:
    execution = make_execution(
        None, trigger=Trigger.TASK, spec={"name": "mail", "target": "shop.send"}
    )
    pruned = make_execution(make_job())
    Execution.objects.filter(pk=pruned.pk).update(job=987654, revision=987654, node=987654)
    browser = Browser(*OPERATOR)

    assert "shop.send" in browser.open(page_of(execution)).main
    for address in (page_of(pruned), EXECUTIONS):
        browser.open(address)
        assert browser.status == 200


@pytest.mark.parametrize("path", ["x/change/", "99999999999999999999/change/", "7/change/"])
def test_what_does_not_exist_is_a_404(operator: Browser, path: str) -> None:
    operator.open(EXECUTIONS + path)

    assert operator.status == 404


def test_a_long_log_is_shown_from_its_end_and_downloaded_whole(operator: Browser) -> None:
    execution = make_execution(make_job())
    line = "x" * 99 + "\n"
    for seq in range(6):
        text = f"part {seq}\n" + line * 200
        LogChunk.objects.create(execution=execution, attempt=1, seq=seq, text=text)

    log = shown_log(execution.pk)
    assert log.is_cut
    assert sum(len(part.text) for part in log.attempts) <= LOG_SHOWN
    assert "part 5" in log.attempts[-1].text and "part 0" not in log.attempts[0].text

    page = operator.open(page_of(execution))
    assert "part 5" in page.main and "part 0" not in page.main
    response = operator.client.get(page.links["download"])
    whole = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    assert [f"part {seq}\n" in whole for seq in range(6)] == [True] * 6
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"].startswith("attachment")


def test_a_short_log_is_shown_whole() -> None:
    execution = make_execution(make_job())
    for attempt in (1, 2):
        LogChunk.objects.create(
            execution=execution, attempt=attempt, seq=0, text=f"attempt {attempt}\n"
        )

    log = shown_log(execution.pk)

    assert [(part.attempt, part.text) for part in log.attempts] == [
        (1, "attempt 1\n"),
        (2, "attempt 2\n"),
    ]
    assert not log.is_cut


# --- Verbs ------------------------------------------------------------------------------------


def test_cancel_ends_what_waits_and_asks_what_runs(operator: Browser) -> None:
    waits = make_execution(make_job(), status=Status.READY)
    runs = make_execution(make_job(), status=Status.RUNNING)

    operator.open(page_of(waits))
    operator.press("Cancel")
    operator.open(page_of(runs))
    page = operator.press("Cancel")

    waits.refresh_from_db()
    runs.refresh_from_db()
    assert (waits.status, waits.cancelled_by) == (Status.CANCELLED, "ana")
    assert runs.status == Status.RUNNING and runs.cancel_requested_at is not None
    assert "asked to stop" in page.main
    assert "Cancel" not in {button.text for button in page.buttons}
    assert log_of(waits) == log_of(runs) == ["ana: execution.cancel"]


def test_retry_is_the_same_execution_again(operator: Browser) -> None:
    execution = make_execution(make_job(), status=Status.FAILED, error="no", attempt=1)
    operator.open(page_of(execution))

    operator.press("Retry")

    execution.refresh_from_db()
    assert (execution.status, execution.requested_by) == (Status.READY, "ana")
    assert log_of(execution) == ["ana: execution.retry"]


def test_run_again_is_a_new_execution_with_the_same_arguments(operator: Browser) -> None:
    job = make_job(arguments={"value": "jobs"}, on_overlap="allow")
    [first] = lifecycle.run_now([job.pk], by="ben", arguments={"value": "own"})
    operator.open(page_of(first))

    operator.press("Run again")

    again = Execution.objects.exclude(pk=first.pk).get()
    assert again.spec == {"arguments": {"value": "own"}}
    assert again.requested_by == "ana"
    assert operator.page.address == page_of(again)

    operator.open(page_of(first))
    operator.open(operator.page.links["Run again with…"])
    assert '"own"' in dict(operator.page.form_of("arguments").values)["arguments"]


HOOK = "https://hooks.example/x?token=canary"


def test_lists_mask_the_secrets_in_errors(operator: Browser) -> None:
    job = make_job(kind="http", target=HOOK)
    make_execution(job, status=Status.FAILED, error=f"{HOOK} does not answer")

    for address in (EXECUTIONS, f"{JOBS}{job.pk}/"):
        page = operator.open(address)
        assert "does not answer" in page.main, address
        assert "canary" not in page.html, address


def test_run_again_does_not_send_old_secrets_to_a_new_target(operator: Browser) -> None:
    secret = {"headers": {"Authorization": "Bearer canary"}}
    job = make_job(kind="http", target="https://old.example/", arguments=secret)
    first = make_execution(job)
    job.target, job.arguments = "https://new.example/", {}
    lifecycle.save_job(job, by="eve")
    operator.open(page_of(first))

    operator.press("Run again")

    assert Execution.objects.count() == 1
    assert "not sent there" in operator.page.main
    operator.open(operator.page.links["Run again with…"])
    assert "canary" not in operator.page.html
    operator.press("Run now")
    assert Execution.objects.count() == 1
    assert "type the value itself" in operator.errors["arguments"][0]


def test_run_again_keeps_secrets_while_the_server_is_the_same(operator: Browser) -> None:
    secret = {"headers": {"Authorization": "Bearer canary"}}
    job = make_job(kind="http", target="https://old.example/", arguments=secret)
    first = make_execution(job)
    job.target, job.arguments = "https://old.example/other", {}
    lifecycle.save_job(job, by="eve")
    operator.open(page_of(first))

    operator.press("Run again")

    assert Execution.objects.exclude(pk=first.pk).get().spec == {"arguments": secret}


def test_bulk_cancel_and_retry_say_what_could_not_be_done(operator: Browser) -> None:
    job = make_job(on_overlap="allow")
    waits = make_execution(job, status=Status.READY)
    failed = make_execution(job, status=Status.FAILED)
    fine = make_execution(job, status=Status.SUCCEEDED)

    operator.open(EXECUTIONS)
    page = operator.choose("cancel_selected", waits, fine)
    assert "1 execution cancelled." in page.main
    assert "1 execution finished before." in page.main

    operator.open(EXECUTIONS)
    page = operator.choose("retry_selected", failed, fine)
    assert "1 execution will be tried again." in page.main
    assert "1 execution cannot be retried" in page.main
    fine.refresh_from_db()
    assert fine.status == Status.SUCCEEDED
    assert log_of(fine) == []


def test_a_row_button_leads_back_to_the_filtered_list(operator: Browser) -> None:
    execution = make_execution(make_job(), status=Status.FAILED)
    operator.open(f"{EXECUTIONS}?status=failed")

    page = operator.press("Retry")

    assert page.address.endswith("?status=failed")
    execution.refresh_from_db()
    assert execution.status == Status.READY


# --- Rights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["cancel", "retry", "again"])
def test_verbs_need_the_right_to_run_post_and_a_csrf_token(verb: str) -> None:
    execution = make_execution(make_job(), status=Status.FAILED)
    address = f"{EXECUTIONS}{execution.pk}/{verb}/"
    viewer = Browser(*VIEWER, "change_job", "pause_job", name="viewer")
    operator = Browser(*OPERATOR, name="operator")

    assert viewer.post(address).status_code == 403
    assert operator.client.get(address).status_code == 405
    assert operator.client.post(address).status_code == 403

    execution.refresh_from_db()
    assert execution.status == Status.FAILED
    assert Execution.objects.count() == 1
    page = viewer.open(page_of(execution))
    assert not {"Retry", "Run again", "Cancel"} & {button.text for button in page.buttons}


def test_nobody_adds_edits_or_deletes_an_execution() -> None:
    execution = make_execution(make_job())
    boss = Browser(superuser=True)

    assert boss.post(f"{EXECUTIONS}add/").status_code == 403
    assert boss.post(f"{EXECUTIONS}{execution.pk}/delete/", post="yes").status_code == 403
    boss.post(page_of(execution), status="failed")
    boss.open(EXECUTIONS)
    assert "delete_selected" not in boss.page.html

    assert Execution.objects.get().status == Status.SUCCEEDED
