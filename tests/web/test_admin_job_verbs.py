"""Resume with a choice, skip the next, run with a pretended fire time, backfill: as operators without JavaScript use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from scheduler_app import lifecycle
from scheduler_app.models import (
    Backfill,
    Execution,
    Job,
    JobPlan,
    Pause,
    Status,
    Trigger,
    database_now,
)

from .admin_support import (
    EXECUTIONS,
    JOBS,
    OPERATOR,
    VIEWER,
    Browser,
    log_of,
    make_execution,
    make_job,
)

pytestmark = pytest.mark.django_db


def every_ten_minutes(**fields: object) -> Job:
    """A job whose last fire time was five minutes ago."""
    return make_job(
        schedule="@every 10m", anchor_at=database_now() - timedelta(minutes=5), **fields
    )


def paused(minutes: float, **fields: object) -> Job:
    """A job that ben paused so long ago, with a fire time every ten minutes, the last five minutes ago."""
    job = every_ten_minutes(**fields)
    lifecycle.pause([job.pk], by="ben", reason="DB work")
    Job.objects.filter(pk=job.pk).update(paused_at=database_now() - timedelta(minutes=minutes))
    Job.objects.filter(pk=job.pk).update(updated_at=F("paused_at"))
    job.refresh_from_db()
    return job


def made_up(job: Job) -> int:
    return job.executions.filter(trigger=Trigger.BACKFILL).count()


# --- Resume with a choice ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "executions", "told"),
    [
        ("none", 0, ["ana: job.resume"]),
        ("last", 1, ["ana: job.backfill", "ana: job.resume"]),
        ("all", 6, ["ana: job.backfill", "ana: job.resume"]),
    ],
)
def test_a_resume_tells_what_was_missed_and_runs_what_is_chosen(
    run: str, executions: int, told: list[str]
) -> None:
    job = paused(60)
    browser = Browser(*OPERATOR)
    page = browser.open(f"{JOBS}{job.pk}/")

    page = browser.open(page.links["Resume…"])
    assert "Paused for 1 h by ben: DB work. 6 fire times were missed." in page.main
    browser.press("Resume", run=run)

    job.refresh_from_db()
    assert job.paused_at is None
    assert made_up(job) == executions
    assert log_of(job) == told


def test_without_a_choice_nothing_is_resumed_while_there_is_one() -> None:
    job = paused(60)
    browser = Browser(*OPERATOR)

    answer = browser.post(f"{JOBS}{job.pk}/resume/")

    assert answer.status_code == 200 and b"6 fire times were missed" in answer.content
    job.refresh_from_db()
    assert job.paused_at is not None
    browser.open(f"{JOBS}{job.pk}/resume/")
    browser.press("Resume", run="some")
    assert browser.errors["run"]


def test_where_nothing_was_missed_there_is_nothing_to_choose() -> None:
    job = make_job()
    lifecycle.pause([job.pk], by="ben")
    browser = Browser(*OPERATOR)

    page = browser.open(f"{JOBS}{job.pk}/resume/")
    assert "0 fire times were missed." in page.main and "oldest first" not in page.main
    browser.press("Resume")

    job.refresh_from_db()
    assert job.paused_at is None
    assert log_of(job) == ["ana: job.resume"]


def test_more_than_can_be_run_are_not_offered() -> None:
    job = paused(60 * 24 * 100)
    browser = Browser(*OPERATOR)

    page = browser.open(f"{JOBS}{job.pk}/resume/")
    assert "more than the 10,000 that can be run" in page.main
    browser.press("Resume", run="all")

    assert browser.errors["run"]


def test_many_are_resumed_with_one_choice() -> None:
    first, second = paused(30), paused(30)
    browser = Browser(*OPERATOR)
    browser.open(JOBS)

    page = browser.choose("resume_selected", first, second)
    assert "6 fire times were missed." in page.main and first.name in page.main
    browser.press("Resume", run="last")

    assert not Job.objects.paused().exists()
    assert (made_up(first), made_up(second)) == (1, 1)


# --- Skip the next ----------------------------------------------------------------------------


def test_the_next_fire_time_is_skipped_and_the_skip_is_taken_back() -> None:
    job = make_job(schedule="0 12 * * *", timezone="Asia/Tokyo")
    moment = database_now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    JobPlan.objects.filter(job=job).update(dirty=False, next_fire_at=moment)
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/")

    page = browser.press("Skip the next")

    plan = JobPlan.objects.get(job=job)
    assert (plan.skip_at, plan.skip_by) == (moment, "ana")
    assert "+09:00 will be skipped" in page.main
    browser.press("Do not skip it")
    assert JobPlan.objects.get(job=job).skip_at is None
    assert len(log_of(job)) == 2
    browser.post(f"{JOBS}{job.pk}/unskip/")
    assert "nothing to skip" in browser.open(f"{JOBS}{job.pk}/").main


def test_who_saw_an_older_page_skips_nothing() -> None:
    job = make_job(schedule="@every 1h")
    moment = database_now() + timedelta(hours=1)
    JobPlan.objects.filter(job=job).update(dirty=False, next_fire_at=moment)
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/")
    later = moment + timedelta(hours=1)
    JobPlan.objects.filter(job=job).update(next_fire_at=later)

    page = browser.press("Skip the next")

    assert "Nothing is skipped." in page.main
    assert JobPlan.objects.get(job=job).skip_at is None


def test_what_a_pause_of_many_takes_away_is_not_offered_to_be_skipped() -> None:
    job = make_job(schedule="0 * * * *", tags=["db"])
    hour = database_now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    JobPlan.objects.filter(job=job).update(dirty=False, next_fire_at=hour)
    pause = lifecycle.pause_scope("tag", "db", by="carl", until=hour + timedelta(hours=3))
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/")

    browser.press("Skip the next")

    assert JobPlan.objects.get(job=job).skip_at == hour + timedelta(hours=3)
    lifecycle.unskip_next(job.pk, by="ana")
    JobPlan.objects.filter(job=job).update(dirty=False)
    Pause.objects.filter(pk=pause.pk).update(paused_until=None)
    assert "Skip the next" not in browser.open(f"{JOBS}{job.pk}/").text


def test_a_fire_time_that_will_not_run_says_why_among_the_next() -> None:
    job = make_job(schedule="0 * * * *", tags=["db"])
    moment = database_now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=3)
    JobPlan.objects.filter(job=job).update(dirty=False, skip_at=moment, skip_by="ben")
    lifecycle.pause_scope("tag", "db", by="carl", reason="DB work", until=moment)

    page = Browser(*VIEWER).open(f"{JOBS}{job.pk}/")

    assert "does not run: paused by carl (DB work)" in page.main
    assert "does not run: skipped by hand by ben" in page.main


# --- Run with a pretended fire time -----------------------------------------------------------


def test_a_run_is_told_the_fire_time_that_was_typed_in_the_zone_of_the_job() -> None:
    job = make_job(timezone="Asia/Tokyo")
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/run/")

    browser.press("Run now", scheduled_for="2026-01-31 09:00")

    execution = Execution.objects.get()
    assert execution.scheduled_for == datetime(2026, 1, 31, tzinfo=UTC)
    assert execution.spec is None
    assert log_of(job) == ["ana: job.run"]
    browser.open(f"{JOBS}{job.pk}/run/")
    browser.press("Run now", scheduled_for="soon")
    assert "is not a moment" in browser.errors["scheduled_for"][0]
    browser.press("Run now", scheduled_for="2100-01-01 09:00")
    assert "still to come" in browser.errors["scheduled_for"][0]
    assert Execution.objects.count() == 1


def test_a_run_asks_for_its_arguments_as_the_form_of_the_job_does() -> None:
    job = make_job(name="sums", target="tests.testapp.tasks.add", arguments={"a": 1, "b": 2})
    browser = Browser(*OPERATOR)

    page = browser.open(f"{JOBS}{job.pk}/run/")

    assert "(a: int, b: int = 1)" in page.main and "The sum of two numbers." in page.main
    assert page.links["sums"] == f"{JOBS}{job.pk}/"
    browser.press("Run now", arg_a="many")
    assert "is not a whole number" in browser.errors["arg_a"][0]
    browser.press("Run now", arg_a="7", arg_b="")
    assert Execution.objects.get().spec["arguments"] == {"a": 7}
    browser.open(f"{JOBS}{job.pk}/run/")
    browser.press("Run now", arguments_as="json", arguments="[3, 4]")
    assert Execution.objects.latest("pk").spec["arguments"] == [3, 4]


def test_a_run_keeps_the_secrets_that_its_fields_do_not_show() -> None:
    headers = {"Authorization": "Bearer s3cr3t"}
    job = make_job(kind="http", target="https://example.org/", arguments={"headers": headers})
    browser = Browser(*OPERATOR)
    page = browser.open(f"{JOBS}{job.pk}/run/")
    assert "s3cr3t" not in page.html

    browser.press("Run now", arg_method="POST")

    assert Execution.objects.get().spec["arguments"] == {"headers": headers, "method": "POST"}


# --- Backfill ---------------------------------------------------------------------------------


def backfill_page(browser: Browser, job: Job, **values: object) -> str:
    browser.open(f"{JOBS}{job.pk}/backfill/")
    return browser.press("Count them", **values).main


RANGE = {"since": "2026-01-01 00:00", "until": "2026-01-01 03:00"}


def test_a_backfill_is_counted_before_it_runs_and_pressing_twice_runs_nothing_twice() -> None:
    job = make_job(schedule="0 * * * *")
    make_execution(job, status=Status.SUCCEEDED, scheduled_for=datetime(2026, 1, 1, 1, tzinfo=UTC))
    browser = Browser(*OPERATOR)

    text = backfill_page(browser, job, **RANGE, max_running=3)
    assert "3 fire times; 1 with a success or under way is left out" in text
    assert not Backfill.objects.exists()
    counted = browser.page
    browser.press("Run 3")
    job.executions.filter(trigger=Trigger.BACKFILL).update(
        status=Status.FAILED, finished_at=database_now()
    )
    browser.page = counted
    browser.press("Run 3")

    assert made_up(job) == 3
    assert Backfill.objects.get().max_running == 3
    assert "3 fire times from 2026-01-01 00:00:00 UTC" in browser.page.main
    assert "0 succeeded, 3 did not, 0 to come" in browser.page.main


def test_every_fire_time_can_be_run_again() -> None:
    job = make_job(schedule="0 * * * *")
    make_execution(job, status=Status.SUCCEEDED, scheduled_for=datetime(2026, 1, 1, 1, tzinfo=UTC))
    browser = Browser(*OPERATOR)

    assert "4 fire times" in backfill_page(browser, job, **RANGE, what="every")
    browser.press("Run 4")

    assert made_up(job) == 4


def test_what_was_changed_after_the_count_is_counted_again_and_not_run() -> None:
    job = make_job(schedule="0 * * * *")
    browser = Browser(*OPERATOR)
    backfill_page(browser, job, **RANGE)

    page = browser.press("Run 4", until="2026-01-05 00:00")

    assert "changed after it was counted" in page.main and "97 fire times" in page.main
    assert not Backfill.objects.exists()


@pytest.mark.parametrize(
    ("values", "field", "problem"),
    [
        ({"since": "2026-01-02", "until": "2026-01-01"}, "until", "ends before it begins"),
        ({"since": "", "until": "2026-01-01"}, "since", "required"),
        ({**RANGE, "max_running": "0"}, "max_running", "greater than or equal to 1"),
        ({"since": "2001-01-01", "until": "2026-01-01"}, "__all__", "more than 10,000 fire times"),
    ],
)
def test_a_range_that_cannot_be_run_is_refused(
    values: dict[str, str], field: str, problem: str
) -> None:
    job = make_job(schedule="0 * * * *")
    browser = Browser(*OPERATOR)

    backfill_page(browser, job, **values)

    assert problem in browser.errors[field][0]


def test_a_range_without_fire_times_says_so() -> None:
    job = make_job(schedule="@manual")

    assert "no fire time in this range" in backfill_page(Browser(*OPERATOR), job, **RANGE)


# --- The timeline -----------------------------------------------------------------------------


def test_the_timeline_tells_every_verdict_page_by_page() -> None:
    job = make_job(schedule="@every 1h")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for hour in range(60):
        make_execution(
            job,
            status=Status.SUCCEEDED,
            trigger=Trigger.MANUAL,
            scheduled_for=start + timedelta(hours=hour // 3),
        )
    browser = Browser(*VIEWER)

    page = browser.open(f"{JOBS}{job.pk}/timeline/")
    seen = [text for text in page.links if text.startswith("Execution ")]
    assert "is still to come" in page.main
    # What lies at one moment is not cut in two.
    assert len(seen) == 48
    page = browser.open(f"{JOBS}{job.pk}/timeline/{page.links['Older']}")

    assert len(seen) + sum(text.startswith("Execution ") for text in page.links) == 60
    assert "Older" not in page.links


def test_any_moment_can_be_asked_for() -> None:
    job = make_job(name="report", schedule="0 * * * *", timezone="Asia/Tokyo")
    browser = Browser(*VIEWER)

    page = browser.open(f"{JOBS}{job.pk}/timeline/?at=2001-01-01+09:00")
    assert "report did not exist at 2001-01-01 09:00:00 JST" in page.main
    browser.open(f"{JOBS}{job.pk}/timeline/?at=yesterday")
    assert "is not a moment" in browser.page.main


@pytest.mark.parametrize("rights", [("view_job",), ("view_job", "view_execution")])
def test_who_may_not_see_executions_and_gaps_sees_no_timeline(rights: tuple[str, ...]) -> None:
    job = make_job()
    browser = Browser(*rights)

    # The timeline across all jobs, in the header, is another page with rights of its own.
    assert f"{JOBS}{job.pk}/timeline/" not in browser.open(f"{JOBS}{job.pk}/").links.values()
    browser.open(f"{JOBS}{job.pk}/timeline/")
    assert browser.status == 403


@pytest.mark.parametrize("verb", ["resume", "skip", "unskip", "backfill"])
def test_the_verbs_need_their_rights(verb: str) -> None:
    job = paused(60)
    browser = Browser(*VIEWER)

    assert browser.client.get(f"{JOBS}{job.pk}/{verb}/").status_code in (403, 405)
    assert browser.post(f"{JOBS}{job.pk}/{verb}/", run="all").status_code == 403
    page = browser.open(f"{JOBS}{job.pk}/")
    assert not {"Resume…", "Backfill…", "Run with…"} & set(page.links)
    assert not page.own_buttons


@pytest.mark.parametrize(
    ("rights", "shown"),
    [
        (("run_job",), False),
        (("run_job", "use_http"), False),
        (("run_job", "use_task"), True),
        (("use_task",), False),
    ],
)
def test_only_who_may_use_the_target_is_offered_to_run_it(
    rights: tuple[str, ...], shown: bool
) -> None:
    job = make_job(schedule="@manual")
    failed = make_execution(job, status=Status.FAILED)
    browser = Browser(*VIEWER, *rights)

    for address in (JOBS, f"{JOBS}{job.pk}/"):
        page = browser.client.get(address).content.decode()
        assert (f'formaction="{JOBS}{job.pk}/run/' in page) is shown
    for address in (EXECUTIONS, f"{EXECUTIONS}{failed.pk}/change/"):
        page = browser.open(address)
        assert ("Retry" in [button.text for button in page.buttons]) is shown, address


@pytest.mark.parametrize("verb", ["run", "backfill"])
def test_a_form_that_would_be_refused_says_so_before_it_is_filled_in(verb: str) -> None:
    job = make_job()
    browser = Browser(*VIEWER, "run_job", "use_http")

    page = browser.open(f"{JOBS}{job.pk}/{verb}/")

    assert browser.status == 403 and "use_task" in page.text


def test_who_may_not_use_the_target_is_not_offered_to_run_what_was_missed() -> None:
    job = paused(60)
    browser = Browser(*VIEWER, "run_job", "pause_job", "use_http")

    browser.open(f"{JOBS}{job.pk}/resume/")
    assert 'value="all"' not in browser.page.html
