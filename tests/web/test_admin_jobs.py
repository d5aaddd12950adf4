"""The jobs list, the page of a job, and its verbs, as an operator without JavaScript uses them."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client

from scheduler_app import lifecycle
from scheduler_app.admin import job_filters
from scheduler_app.models import Execution, Gap, Job, JobPlan, Pause, Status, Trigger, database_now

from .admin_support import (
    AUTHOR,
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


def plan(job: Job, **values: object) -> None:
    """The job as the scheduler has planned it."""
    JobPlan.objects.filter(job=job).update(dirty=False, **values)


def names(browser: Browser, query: str) -> set[str]:
    page = browser.open(f"{JOBS}?{query}")
    return {job.name for job in Job.objects.all() if job.name in page.links}


# --- The list ---------------------------------------------------------------------------------


def test_the_list_says_how_each_job_stands() -> None:
    make_node()
    now = database_now()
    berlin = make_job(name="nightly", schedule="30 2 * * *", timezone="Europe/Berlin", tags=["ops"])
    plan(berlin, next_fire_at=now - timedelta(minutes=3))
    make_execution(
        berlin,
        status=Status.FAILED,
        reason="timed_out",
        scheduled_for=now - timedelta(hours=2),
        finished_at=now - timedelta(hours=1, minutes=59),
    )
    held = make_job(name="held", schedule="@every 1h")
    lifecycle.pause([held.pk], by="ben", reason="moving the database")

    page = Browser(*VIEWER).open(JOBS)

    for text in (
        "At 02:30 every day",
        "overdue 3 min",
        "Failed",
        "timed out",
        "1 h 59 min ago",
        "ops",
        "Paused",
        "moving the database",
        "ben",
    ):
        assert text in page.main


def test_a_pause_of_a_queue_shows_at_its_jobs() -> None:
    make_job(name="covered", schedule="@every 1h", queue="imports")
    make_job(name="free", schedule="@every 1h")
    at = database_now() + timedelta(minutes=30, seconds=30)
    JobPlan.objects.update(next_fire_at=at, dirty=False)
    lifecycle.pause_scope("queue", "imports", by="ben", reason="supplier is down")
    browser = Browser(*VIEWER)

    text = browser.open(JOBS).main
    assert "Paused with queue imports: supplier is down" in text
    # Only what will fire is counted down to.
    assert text.count("held while paused") == text.count("in 30 min") == 1
    Pause.objects.update(paused_until=at - timedelta(minutes=1))
    assert browser.open(JOBS).main.count("in 30 min") == 2
    assert names(browser, "state=paused") == {"covered"}


def test_filters_answer_real_questions() -> None:
    now = database_now()
    fine = make_job(name="fine", schedule="@every 1h", queue="imports", tags=["a", "b"])
    plan(fine, next_fire_at=now + timedelta(hours=1))
    make_execution(fine, status=Status.FAILED, scheduled_for=now - timedelta(hours=2))
    make_execution(fine, status=Status.SUCCEEDED, scheduled_for=now - timedelta(hours=1))
    failing = make_job(name="failing", schedule="@every 1h", tags=["b"])
    plan(failing, next_fire_at=now - timedelta(minutes=1))
    make_execution(failing, status=Status.LOST, scheduled_for=now - timedelta(hours=1))
    off = make_job(name="off", enabled=False)
    plan(off)
    done = make_job(name="done", schedule="@at 2020-01-01T00:00:00")
    plan(done, next_fire_at=None)
    broken = make_job(name="broken")
    plan(broken, problem="61 is not a minute")
    browser = Browser(*VIEWER)

    assert names(browser, "state=failing") == {"failing"}
    assert names(browser, "state=overdue") == {"failing"}
    assert names(browser, "state=disabled") == {"off"}
    assert names(browser, "state=never") == {"off", "done", "broken"}
    assert names(browser, "state=over") == {"done"}
    assert names(browser, "state=problem") == {"broken"}
    assert names(browser, "queue=imports") == {"fine"}
    assert names(browser, "tag=b") == {"fine", "failing"}
    assert names(browser, "kind=http") == set()
    assert names(browser, "state=nonsense") == {"fine", "failing", "off", "done", "broken"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("NIGHT", {"nightly report"}),
        ("report night", {"nightly report"}),
        ("finance", {"nightly report"}),
        ("tasks.add", {"adder"}),
        ("%", set()),
        ("' OR 1=1 --", set()),
        ("\x00", {"nightly report", "adder"}),
    ],
)
def test_search_looks_at_name_target_and_tags(words: str, found: set[str]) -> None:
    make_job(name="nightly report", tags=["finance"])
    make_job(name="adder", target="tests.testapp.tasks.add", arguments={"a": 1})
    browser = Browser(*VIEWER)

    response = browser.client.get(JOBS, {"q": words})

    assert response.status_code == 200
    assert {job.name for job in Job.objects.all() if job.name in response.content.decode()} == found


@pytest.mark.parametrize(("word", "found"), [("hooks.example", True), ("token=canary", False)])
def test_search_does_not_find_out_what_is_masked(word: str, found: bool) -> None:
    make_job(name="hook", kind="http", target="https://hooks.example/x?token=canary")

    assert (">hook<" in Browser(*VIEWER).open(f"{JOBS}?q={word}").html) is found


def test_the_list_sorts_by_the_next_fire_time() -> None:
    now = database_now()
    for name, hours in (("late", 5), ("soon", 1), ("middle", 3)):
        plan(make_job(name=name), next_fire_at=now + timedelta(hours=hours))
    plan(make_job(name="never"), next_fire_at=None)
    browser = Browser(*VIEWER)

    browser.open(JOBS)
    text = browser.open(JOBS + browser.page.links["Next fire time"]).main

    assert (
        text.index("soon ")
        < text.index("middle ")
        < text.index("late ")
        < text.index("never tests")
    )


def test_deleted_jobs_are_not_listed() -> None:
    job = make_job(name="gone")
    lifecycle.delete_jobs([job.pk], by="ben")
    browser = Browser(*VIEWER)

    assert "gone" not in browser.open(JOBS).links
    assert browser.open(f"{JOBS}{job.pk}/") and browser.status == 404


# --- Verbs ------------------------------------------------------------------------------------


def test_run_now_from_the_row_leads_back_to_the_filtered_list() -> None:
    job = make_job(name="by hand", queue="imports")
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}?queue=imports")

    page = browser.press("Run now", title="Run by hand now")

    execution = Execution.objects.get()
    assert (execution.job, execution.trigger, execution.requested_by) == (job, "manual", "ana")
    assert page.address.endswith("?queue=imports")
    assert f"execution {execution.pk}" in page.main
    assert log_of(job) == ["ana: job.run"]


def test_pause_asks_why_and_until_when() -> None:
    job = make_job(name="nightly", schedule="@daily", timezone="Europe/Berlin")
    browser = Browser(*OPERATOR)
    browser.open(JOBS)

    browser.open(browser.page.links["Pause…"])
    assert not Job.objects.get().paused_at
    page = browser.press("Pause", reason="disk is full", until="2h30m")

    job.refresh_from_db()
    assert (job.paused_by, job.pause_reason) == ("ana", "disk is full")
    assert job.paused_until is not None and job.paused_at is not None
    assert abs(job.paused_until - job.paused_at - timedelta(hours=2.5)) < timedelta(minutes=1)
    assert page.address == JOBS
    assert log_of(job) == ["ana: job.pause: disk is full"]


def test_the_end_of_a_pause_is_read_in_the_jobs_zone() -> None:
    job = make_job(timezone="Asia/Tokyo")
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/pause/")

    browser.press("Pause", until="2099-01-01 09:00")

    job.refresh_from_db()
    assert job.paused_until is not None
    assert job.paused_until.isoformat() == "2099-01-01T00:00:00+00:00"


@pytest.mark.parametrize("until", ["2001-01-01 00:00", "tomorrow", "0s", "9999-99-99", "1" * 60])
def test_an_end_that_is_over_or_unreadable_is_refused_at_its_field(until: str) -> None:
    job = make_job()
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/pause/")

    page = browser.press("Pause", until=until)

    assert browser.errors["until"][0] in page.main
    assert not Job.objects.get().paused_at


def test_resuming_a_job_says_which_other_pause_still_holds_it() -> None:
    job = make_job(tags=["nightly"])
    lifecycle.pause([job.pk], by="ben")
    lifecycle.pause_scope("tag", "nightly", by="ben")
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/resume/")

    page = browser.press("Resume")

    assert "tag nightly" in page.main


def test_bulk_verbs_act_on_what_was_chosen() -> None:
    first, second, third = (make_job(name=name) for name in ("one", "two", "three"))
    browser = Browser(*OPERATOR)

    browser.open(JOBS)
    page = browser.choose("run_selected", first, second)
    assert "Run 2 jobs now" in page.main and not Execution.objects.exists()
    browser.press("Run 2 now")
    assert {execution.job for execution in Execution.objects.all()} == {first, second}

    browser.open(JOBS)
    page = browser.choose("pause_selected", first, second)
    assert "one" in page.main and not Job.objects.paused().exists()
    browser.press("Pause", reason="maintenance")
    assert set(Job.objects.paused()) == {first, second}
    assert log_of(second) == ["ana: job.run", "ana: job.pause: maintenance"]

    browser.open(JOBS)
    browser.choose("resume_selected", first, second, third)
    assert not Job.objects.paused().exists()
    assert log_of(third) == []


def test_a_bulk_run_says_before_what_runs_all_the_same_what_waits_and_what_is_left_out() -> None:
    plain, held, busy = make_job(), make_job(enabled=False), make_job(name="busy")
    make_execution(busy, status=Status.RUNNING)
    foreign = make_job(name="foreign", kind="http", target="https://example.org/")
    browser = Browser(*VIEWER, "run_job", "use_task")
    browser.open(JOBS)

    page = browser.choose("run_selected", plain, held, busy, foreign, select_across="1")

    for part in (
        "Run 3 jobs now",
        "1 of them is paused or disabled. Run by hand, they run all the same.",
        "1 of them is under way as often as allowed",
        "1 of them is left out: you may not use what they do.",
    ):
        assert part in page.main
    before = set(Execution.objects.values_list("pk", flat=True))
    browser.press("Run 3 now")
    started = Execution.objects.exclude(pk__in=before)
    assert {one.job for one in started} == {plain, held, busy}


def test_one_job_is_run_at_once_and_none_of_those_that_one_may_not() -> None:
    job, other = make_job(), make_job()
    browser = Browser(*OPERATOR)
    browser.open(JOBS)
    browser.choose("run_selected", job)
    assert Execution.objects.count() == 1

    stranger = Browser(*VIEWER, "run_job", name="ben")
    stranger.open(JOBS)
    page = stranger.choose("run_selected", job, other)
    assert "2 of them are left out" in page.main
    assert not [button for button in page.buttons if button.text.startswith("Run")]


def test_a_bulk_pause_of_all_that_match_keeps_to_the_filter() -> None:
    covered = [make_job(queue="imports") for _ in range(3)]
    other = make_job()
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}?queue=imports")

    browser.choose("pause_selected", covered[0], select_across="1")
    browser.press("Pause")

    assert set(Job.objects.paused()) == set(covered)
    assert other not in Job.objects.paused()


def test_deleting_keeps_the_history_and_has_an_author() -> None:
    job = make_job(name="old")
    execution = make_execution(job)
    browser = Browser(*AUTHOR)
    browser.open(f"{JOBS}{job.pk}/delete/")

    browser.press("Delete")

    assert not Job.objects.exists()
    deleted = Job.including_deleted.get()
    assert deleted.deleted_at is not None
    assert deleted.revisions.first().created_by == "ana"
    assert Execution.objects.get() == execution
    assert len(log_of(job)) == 1


def test_the_log_of_a_job_has_24_hour_times_and_who_did_what() -> None:
    job = make_job()
    browser = Browser(*OPERATOR, "view_auditentry")
    browser.open(f"{JOBS}{job.pk}/")
    browser.press("Run now")

    text = browser.open(f"{JOBS}{job.pk}/history/").main

    assert "ana by Admin, 127.0.0.1 Ran the job" in text
    assert re.search(r"UTC (now|\d+ s ago)", text)
    assert "p.m." not in text and "a.m." not in text


def test_bulk_deleting_of_all_that_match_keeps_to_the_filter() -> None:
    covered = [make_job(queue="imports") for _ in range(3)]
    other = make_job()
    browser = Browser(*AUTHOR)
    browser.open(f"{JOBS}?queue=imports")

    browser.choose("delete_selected", covered[0], select_across="1")
    browser.press("Delete")

    assert list(Job.objects.all()) == [other]


def test_bulk_deleting_goes_the_same_way() -> None:
    jobs = [make_job(), make_job()]
    browser = Browser(*AUTHOR)
    browser.open(JOBS)

    browser.choose("delete_selected", *jobs)
    browser.press("Delete")

    assert Job.including_deleted.exclude(deleted_at=None).count() == 2
    assert {job.revisions.first().created_by for job in Job.including_deleted.all()} == {"ana"}


# --- Rights -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("run/", "run_job"),
        ("pause/", "pause_job"),
        ("resume/", "pause_job"),
        ("change/", "change_job"),
        ("delete/", "delete_job"),
    ],
)
def test_each_verb_needs_its_permission(path: str, right: str) -> None:
    job = make_job()
    everything_else = {*VIEWER, *OPERATOR, *AUTHOR} - {right}
    browser = Browser(*everything_else)
    before = Job.objects.values().get()

    response = browser.post(f"{JOBS}{job.pk}/{path}", post="yes")

    assert response.status_code in (302, 403)
    assert Job.objects.values().get() == before
    assert not Execution.objects.exists()


def test_buttons_are_shown_to_those_who_may_press_them() -> None:
    job = make_job()
    verbs = {"Run now", "Pause…", "Run with…", "Edit"}
    pages = (JOBS, f"{JOBS}{job.pk}/")

    viewer = Browser(*VIEWER, name="viewer")
    for address in pages:
        page = viewer.open(address)
        assert not verbs & ({button.text for button in page.buttons} | set(page.links))
    author = Browser(*AUTHOR, name="author").open(pages[1])
    assert "Edit" in author.links and "Pause…" not in author.links
    operator = Browser(*OPERATOR, name="operator").open(pages[1])
    assert "Pause…" in operator.links and "Edit" not in operator.links


def test_those_who_may_only_look_are_shown_the_page_in_place_of_the_form() -> None:
    job = make_job()

    page = Browser(*VIEWER).open(f"{JOBS}{job.pk}/change/")

    assert page.address == f"{JOBS}{job.pk}/"


def test_strangers_and_anonymous_people_see_nothing() -> None:
    job = make_job(name="secret plan")
    stranger = Browser()

    for path in ("", f"{job.pk}/", f"{job.pk}/run/", f"{job.pk}/change/"):
        assert "secret plan" not in stranger.open(JOBS + path).html
        assert stranger.status == 403
        assert Client().get(JOBS + path).status_code == 302


@pytest.mark.parametrize("verb", ["run", "pause", "resume"])
def test_nothing_changes_by_get_or_without_a_csrf_token(verb: str) -> None:
    job = make_job()
    browser = Browser(*OPERATOR)
    before = Job.objects.values().get()

    browser.open(f"{JOBS}{job.pk}/{verb}/")
    assert browser.client.post(f"{JOBS}{job.pk}/{verb}/", {"reason": "x"}).status_code == 403

    assert Job.objects.values().get() == before
    assert not Execution.objects.exists()


def test_enter_in_the_list_presses_no_row_button() -> None:
    make_job()
    page = Browser(*OPERATOR).open(JOBS)

    rows = [button for button in page.buttons if button.action]

    assert rows
    assert {button.form for button in rows} == {"sch-verbs"}
    assert {name for name, _ in page.forms["sch-verbs"].values} == {"csrfmiddlewaretoken", "from"}


# --- The page ---------------------------------------------------------------------------------


def test_the_page_tells_the_story_of_the_job() -> None:
    now = database_now()
    job = make_job(
        name="report",
        description="For the board.",
        schedule="0 6 * * *",
        timezone="America/New_York",
        arguments={"value": {"password": "hunter2", "size": 3}},
    )
    plan(job, next_fire_at=now + timedelta(hours=1))
    execution = make_execution(job, status=Status.FAILED, error="RuntimeError: no paper")
    Gap.objects.create(job=job, first_at=now, last_at=now, count=3, reason="overlap")
    job.schedule = "0 7 * * *"
    lifecycle.save_job(job, by="carl")

    page = Browser(*VIEWER).open(f"{JOBS}{job.pk}/")

    for text in (
        "For the board.",
        "At 07:00 every day (America/New_York)",
        "-05:00" if "-05:00" in page.main else "-04:00",
        "RuntimeError: no paper",
        "3 fire times from",
        "did not run: the one before still ran.",
        "v2 carl",
        "Schedule: 0 6 * * * → 0 7 * * *",
        '"size": 3',
    ):
        assert text in page.main
    assert "hunter2" not in page.html
    assert str(execution.pk) in page.links


def test_ten_fire_times_ahead_are_shown_in_the_zone_and_in_utc() -> None:
    job = make_job(schedule="0 12 1 1 *", timezone="Asia/Tokyo")

    page = Browser(*VIEWER).open(f"{JOBS}{job.pk}/")

    assert page.main.count("-01-01 12:00:00 +09:00") == 10
    assert page.main.count("-01-01 03:00:00 UTC") == 10


def test_a_job_without_runs_left_has_no_fire_times_ahead() -> None:
    job = make_job(schedule="@every 1h", max_runs=3)
    plan(job, runs=1)
    browser = Browser(*VIEWER)

    assert browser.open(f"{JOBS}{job.pk}/").html.count("<time") >= 2
    plan(job, runs=3)

    assert "There is no fire time from now on." in browser.open(f"{JOBS}{job.pk}/").main


def test_a_definition_written_past_the_validation_does_not_break_the_pages() -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(schedule="61 * * * *", timezone="Nowhere/Land")
    plan(job, problem="61 is not a minute")
    browser = Browser(*VIEWER, *AUTHOR)

    for path in ("", f"{job.pk}/", f"{job.pk}/change/"):
        page = browser.open(JOBS + path)
        assert browser.status == 200
        assert "61 * * * *" in page.html


def test_run_with_other_arguments_leaves_the_job_as_it_is() -> None:
    job = make_job(arguments={"value": {"token": "abc", "n": 1}})
    browser = Browser(*OPERATOR)
    page = browser.open(f"{JOBS}{job.pk}/run/")
    assert "abc" not in page.html

    form = page.form_of("arguments")
    changed = dict(form.values)["arguments"].replace('"n": 1', '"n": 2')
    browser.press("Run now", arguments_as="json", arguments=changed)

    execution = Execution.objects.get()
    assert execution.spec == {"arguments": {"value": {"token": "abc", "n": 2}}}
    assert browser.page.address.endswith(f"execution/{execution.pk}/change/")
    job.refresh_from_db()
    assert job.arguments == {"value": {"token": "abc", "n": 1}}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{", "This is not JSON"),
        ('{"value": NaN}', "NaN"),
        ('{"value": 1, "value": 2}', "twice"),
        ('{"wrong": 1}', "wrong"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_their_field(arguments: str, problem: str) -> None:
    job = make_job()
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/run/")

    page = browser.press("Run now", arguments_as="json", arguments=arguments)

    assert problem in page.main
    assert not Execution.objects.exists()


def test_a_run_that_waits_for_the_jobs_limit_says_so() -> None:
    job = make_job(on_overlap="skip")
    lifecycle.run_now([job.pk], by="ben")
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/")

    page = browser.press("Run now")

    assert "waits until the job's limit allows it" in page.main
    assert Execution.objects.filter(trigger=Trigger.MANUAL).count() == 2


def test_the_admin_never_writes_a_plan() -> None:
    """Proves that the form's table is not the plan's: saving marks it dirty, by the trigger alone."""
    job = make_job(schedule="@every 1h")
    moment = database_now() + timedelta(hours=1)
    plan(job, next_fire_at=moment)
    browser = Browser(*AUTHOR)
    browser.open(f"{JOBS}{job.pk}/change/")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE scheduler_app_jobplan SET runs = 7 WHERE job_id = %s", [job.pk])

    browser.press("Save", description="new")

    saved = JobPlan.objects.get(job=job)
    assert (saved.next_fire_at, saved.runs, saved.dirty) == (moment, 7, True)


@pytest.mark.parametrize("name", ["tag", "queue", "zone"])
def test_a_menu_that_does_not_hold_all_says_so_and_takes_what_is_typed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_filters, "CHOICES_SHOWN", 2)
    values = ["Asia/Tokyo", "Europe/Berlin", "Europe/Paris"]
    for value in values:
        make_job(
            name=f"in {value}",
            **{"tag": {"tags": [value]}, "queue": {"queue": value}, "zone": {"timezone": value}}[
                name
            ],
        )
    browser = Browser(*VIEWER)
    page = browser.open(f"{JOBS}?state=never")

    form = page.form_of(name)
    page = browser.open(f"{JOBS}?{urlencode([*form.values, (name, values[-1])])}")

    assert ("state", "never") in form.values
    assert f"in {values[-1]}" in page.links and f"in {values[0]}" not in page.links
    assert f": {values[-1]}" in page.main
    assert "There are more" in page.main


def test_a_menu_that_holds_all_offers_nothing_to_type() -> None:
    make_job(tags=["a", "b"])

    assert "There are more" not in Browser(*VIEWER).open(JOBS).main
