"""S8: limits on writes, runs and guesses, counted by all processes together."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import F

from scheduler_app import lifecycle
from scheduler_app.access import Caller, NotAllowed, calling, throttling
from scheduler_app.api import idempotency
from scheduler_app.lifecycle import Run, Selection
from scheduler_app.models import (
    Execution,
    IdempotencyKey,
    Job,
    Pause,
    Source,
    Throttle,
    database_now,
)
from tests.lifecycle.support import open_connection, replace_clock, together
from tests.web.admin_support import JOBS, Browser
from tests.web.api_support import (
    API,
    PASSWORD,
    ApiClient,
    client_of,
    make_execution,
    make_job,
    make_user,
)

from .support import Somebody

pytestmark = pytest.mark.django_db


@pytest.fixture
def limits(db, settings):
    """Set the limits of one test, at half past twelve and half a minute: no minute ends while it counts."""

    def change(**values):
        settings.SCHEDULER = {**settings.SCHEDULER, **values}

    set_clock(30)
    yield change
    replace_clock("SELECT statement_timestamp()")


def set_clock(second: int) -> None:
    """So many seconds after half past twelve, where it stands still."""
    replace_clock(f"SELECT timestamptz '2030-01-01 12:30+00' + interval '{second} s'")


def test_s08_a_flood_of_runs_is_answered_429_and_makes_no_more_rows(limits) -> None:
    limits(runs_per_minute=5)
    job = make_job(on_overlap="allow")
    client = client_of("operator")

    answers = [client.post(f"{API}/jobs/{job.pk}/run/", {}) for _ in range(9)]

    codes = [answer.status_code for answer in answers]
    assert codes.count(202) == Execution.objects.count() <= 5
    assert set(codes) == {202, 429}
    refused = answers[-1]
    assert refused["Content-Type"] == "application/problem+json"
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused.json()["code"] == "throttled"
    # Somebody else is not held back.
    assert client_of("operator").post(f"{API}/jobs/{job.pk}/run/", {}).status_code == 202


def test_s08_writes_are_bounded_in_the_api_and_in_the_admin_together(limits) -> None:
    limits(writes_per_minute=3)
    job = make_job()
    browser = Browser("view_job", "run_job", "pause_job", "use_task")
    browser.open(f"{JOBS}{job.pk}/")
    browser.press("Run now")
    client = ApiClient()
    client.force_login(browser.user)
    codes = [client.post(f"{API}/jobs/{job.pk}/pause/", {}).status_code for _ in range(4)]
    assert codes[0] == 200 and codes[-1] == 429
    refused = browser.post(f"{JOBS}{job.pk}/run/")
    assert refused.status_code == 429 and refused["Retry-After"]
    # Reading goes on.
    assert client.get(f"{API}/jobs/").status_code == 200


def test_s08_more_tokens_of_one_user_lift_no_limit(limits) -> None:
    limits(writes_per_minute=2)
    job = make_job(on_overlap="allow")
    user = make_user("operator")
    codes = []
    for _ in range(4):
        _, text = lifecycle.create_token(user, "ci", scopes=["read", "run"], by="ana")
        codes.append(bearer(text).post(f"{API}/jobs/{job.pk}/run/", {}).status_code)
    assert codes == [202, 202, 429, 429]
    # Nor does a session beside them; other users are not held back.
    session = ApiClient()
    session.force_login(user)
    assert session.post(f"{API}/jobs/{job.pk}/run/", {}).status_code == 429
    assert client_of("operator").post(f"{API}/jobs/{job.pk}/run/", {}).status_code == 202


def prepared(verb: str) -> Callable[[], Any]:
    """Something that makes three runs when it is called; what it needs is there before anybody counts."""
    job = make_job(schedule="@hourly", on_overlap="allow")
    hours_ago = database_now() - timedelta(hours=3)
    before = hours_ago - timedelta(hours=1)
    Job.objects.filter(pk=job.pk).update(created_at=before, updated_at=before)
    if verb == "retry":
        ids = [make_execution(job, status="failed").pk for _ in range(3)]
        return lambda: lifecycle.retry(ids, by="ana")
    if verb == "bulk retry":
        for _ in range(3):
            make_execution(job, status="failed")
        selection = Selection(jobs=(job.pk,))
        return lambda: lifecycle.start_bulk(uuid4(), "retry", selection, by="ana")
    if verb == "backfill":
        # Two calls for one range are one.
        until = database_now()
        return lambda: lifecycle.backfill(job.pk, hours_ago, until, by="ana", only_missing=True)
    if verb == "resume":
        lifecycle.pause([job.pk], by="ana")
        Job.objects.filter(pk=job.pk).update(paused_at=hours_ago)
        Job.objects.filter(pk=job.pk).update(updated_at=F("paused_at"))
        return lambda: lifecycle.resume([job.pk], by="ana", run="all")
    pause = lifecycle.pause_scope("all", by="ana")
    Pause.objects.filter(pk=pause.pk).update(paused_at=hours_ago)
    return lambda: lifecycle.resume_scope(pause.pk, by="ana", run="all")


VERBS = ["retry", "bulk retry", "backfill", "resume", "end of a pause"]


@pytest.mark.parametrize("verb", VERBS)
def test_s08_whatever_makes_jobs_run_counts_its_runs(limits, verb: str) -> None:
    limits(runs_per_minute=5)
    do = prepared(verb)
    with calling(Somebody(make_user("operator"))):
        throttling.spend(throttling.RUNS, 3)
        with pytest.raises(throttling.TooOften):
            do()
        assert not Execution.objects.exclude(status="failed").exists()
        # What is refused does not count, and nothing is done by halves.
        throttling.spend(throttling.RUNS, 2)
    with calling(Somebody(make_user("operator"))):
        do()
        assert Execution.objects.exclude(status="failed").count() == 3
        with pytest.raises(throttling.TooOften):
            throttling.spend(throttling.RUNS, 3)


@pytest.mark.parametrize("verb", VERBS)
def test_s08_more_than_a_minute_allows_is_one_call_and_takes_the_minute(limits, verb: str) -> None:
    limits(runs_per_minute=2)
    do = prepared(verb)
    with calling(Somebody(make_user("operator"))):
        do()
        assert Execution.objects.exclude(status="failed").count() == 3
        with pytest.raises(throttling.TooOften):
            throttling.spend(throttling.RUNS)


def test_s08_the_same_backfill_again_runs_nothing_and_counts_nothing(limits) -> None:
    limits(runs_per_minute=2)
    job = make_job(schedule="@hourly")
    until = database_now()
    with calling(Somebody(make_user("operator"))):
        first, again = (
            lifecycle.backfill(job.pk, until - timedelta(hours=3), until, by="ana")
            for _ in range(2)
        )

    assert first.pk == again.pk and first.count == 3


def test_s08_an_end_of_a_pause_that_runs_nothing_counts_nothing(limits) -> None:
    limits(runs_per_minute=1)
    job = make_job(schedule="@hourly")
    with calling(Somebody(make_user("operator"))):
        throttling.spend(throttling.RUNS)
        lifecycle.pause([job.pk], by="ana")
        assert lifecycle.resume([job.pk], by="ana") == [job.pk]


def basic(name: str, password: str, **options) -> ApiClient:
    word = base64.b64encode(f"{name}:{password}".encode()).decode()
    return ApiClient(headers={"Authorization": f"Basic {word}"}, **options)


def test_s08_guessing_passwords_ends_after_some_failures(limits) -> None:
    limits(login_failures_per_minute=3)
    make_user("viewer", "vera")
    codes = [basic("vera", f"guess {n}").get(f"{API}/jobs/").status_code for n in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    # Nothing is compared any more, not even what is right; elsewhere the account is not locked.
    assert basic("vera", PASSWORD).get(f"{API}/jobs/").status_code == 429
    assert basic("vera", PASSWORD, REMOTE_ADDR="192.0.2.5").get(f"{API}/jobs/").status_code == 200


def bearer(text: str) -> ApiClient:
    return ApiClient(headers={"Authorization": f"Bearer {text}"})


def test_s08_wrong_tokens_hold_back_nobody_else_at_their_address(limits) -> None:
    """A program with an expired token calls again and again; tokens are not to be guessed."""
    limits(login_failures_per_minute=3)
    vera = make_user("viewer", "vera")
    _, right = lifecycle.create_token(vera, "ci", scopes=["read"], by="ana")

    answers = [bearer("sch_x_y").get(f"{API}/jobs/") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert bearer(right).get(f"{API}/jobs/").status_code == 200
    assert basic("vera", PASSWORD).get(f"{API}/jobs/").status_code == 200
    elsewhere = ApiClient(headers={"Authorization": "Bearer sch_x_y"}, REMOTE_ADDR="192.0.2.5")
    assert elsewhere.get(f"{API}/jobs/").status_code == 401


def test_s08_wrong_passwords_hold_back_no_token(limits) -> None:
    limits(login_failures_per_minute=1)
    vera = make_user("viewer", "vera")
    _, right = lifecycle.create_token(vera, "ci", scopes=["read"], by="ana")
    for _ in range(3):
        basic("vera", "guess").get(f"{API}/jobs/")

    assert bearer(right).get(f"{API}/jobs/").status_code == 200


def test_s08_guessing_on_the_login_page_ends_too(limits, client) -> None:
    limits(login_failures_per_minute=3)
    get_user_model().objects.create_user("ana", password=PASSWORD, is_staff=True)
    for n in range(3):
        client.post("/admin/login/", {"username": "ana", "password": f"guess {n}"})

    page = client.post("/admin/login/", {"username": "ana", "password": PASSWORD})

    assert "Too many logins failed. Try again in " in page.content.decode()
    assert "_auth_user_id" not in client.session


def test_s08_guessing_one_name_from_many_addresses_ends(limits) -> None:
    limits(login_failures_per_minute=1)
    make_user("viewer", "vera")
    codes = [
        basic("vera", "guess", REMOTE_ADDR=f"192.0.2.{n}").get(f"{API}/jobs/").status_code
        for n in range(12)
    ]
    assert codes == [401] * 10 + [429] * 2


def test_s08_a_limit_of_nothing_is_no_limit_and_asks_no_database(
    limits, django_assert_num_queries
) -> None:
    limits(writes_per_minute=0, runs_per_minute=0, login_failures_per_minute=0)
    user = make_user("viewer")
    with calling(Somebody(user)), django_assert_num_queries(0):
        throttling.spend(throttling.RUNS, 10_000)
        throttling.spend(throttling.WRITES)
        throttling.note_failed_login("192.0.2.1", "vera")
        throttling.refuse_guessing("192.0.2.1", "vera")


def test_s08_code_and_commands_are_not_counted(limits, django_assert_num_queries) -> None:
    limits(runs_per_minute=1)
    with django_assert_num_queries(0):
        throttling.spend(throttling.RUNS, 10)
    with calling(Caller(Source.COMMAND)), django_assert_num_queries(0):
        throttling.spend(throttling.RUNS, 10)


def test_s08_a_refused_request_counts_its_runs_with_a_key_as_without(limits) -> None:
    limits(runs_per_minute=10)
    job = make_job(name="a", on_overlap="allow")
    client = client_of("operator")
    body = {"runs": [{"job": "a", "arguments": {"nope": 1}}] * 5}

    codes = [
        client.post(f"{API}/bulk/jobs/run", body, HTTP_IDEMPOTENCY_KEY=f"k-{n}").status_code
        for n in range(3)
    ]

    assert codes == [400, 400, 429]
    assert not Execution.objects.filter(job=job).exists()


def test_s08_a_refused_request_writes_no_rows_that_it_takes_back(limits) -> None:
    """The numbers of rows do not go back."""
    job = make_job(on_overlap="allow")
    make_execution(job)
    before = last_number()
    with (
        calling(Somebody(get_user_model().objects.create_user("nobody in particular"))),
        pytest.raises(NotAllowed, match="use_task"),
    ):
        lifecycle.run_many([Run(job.pk)] * 1000, by="ana")

    assert last_number() == before


def last_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM scheduler_app_execution_id_seq")
        return int(cursor.fetchone()[0])


def test_s08_more_at_once_than_a_minute_allows_is_refused_with_the_number(limits) -> None:
    limits(runs_per_minute=10)
    with (
        calling(Somebody(make_user("viewer"))),
        pytest.raises(throttling.TooOften, match="11 at once are more than the 10"),
    ):
        throttling.spend(throttling.RUNS, 11)


def test_s08_the_window_slides(limits) -> None:
    limits(runs_per_minute=10)
    user = make_user("viewer")

    def at(second: int, count: int) -> int:
        set_clock(second)
        done = 0
        with calling(Somebody(user)), suppress(throttling.TooOften):
            for _ in range(count):
                throttling.spend(throttling.RUNS)
                done += 1
        return done

    assert at(30, 20) == 10
    assert at(59, 5) == 0
    # Three quarters of the minute before still count.
    assert at(75, 20) == 2
    assert at(200, 20) == 10


@pytest.mark.parametrize(("second", "more"), [(75, 1), (80, 1), (100, 2)])
def test_s08_no_guess_goes_uncounted_in_the_minute_after(limits, second: int, more: int) -> None:
    """Of four before, 3, 2.67 or 1.33 still count."""
    limits(login_failures_per_minute=4)

    def guess(times: int) -> int:
        done = 0
        with suppress(throttling.TooOften):
            for _ in range(times):
                throttling.refuse_guessing("192.0.2.1")
                throttling.note_failed_login("192.0.2.1")
                done += 1
        return done

    assert guess(20) == 4
    set_clock(second)
    assert guess(20) == more


def test_s08_what_is_counted_last_is_looked_at_with_the_minute_before(limits) -> None:
    limits(runs_per_minute=10)
    with calling(Somebody(make_user("viewer"))):
        throttling.spend(throttling.RUNS, 10)
        set_clock(90)
        throttling.spend(throttling.RUNS, 5)
        with throttling.counted_last(), pytest.raises(throttling.TooOften):
            throttling.spend(throttling.RUNS)


@pytest.mark.django_db(transaction=True)
def test_s08_processes_count_together(limits) -> None:
    limits(runs_per_minute=20)
    user = make_user("viewer")
    passed: list[int] = []

    def spend_ten(_connection) -> None:
        with calling(Somebody(user)):
            for _ in range(10):
                with suppress(throttling.TooOften):
                    throttling.spend(throttling.RUNS)
                    passed.append(1)

    # Connections of their own share nothing but the table, as processes do.
    together(*[spend_ten] * 4)

    assert len(passed) == 20


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limit", [2, 1])
def test_s08_nobody_waits_for_the_counter_of_a_slow_request(limits, monkeypatch, limit) -> None:
    """Limit 1: who was faster meanwhile leaves nothing for the slow one, of which nothing stays."""
    limits(runs_per_minute=limit)
    job, other = make_job(on_overlap="allow"), make_job(on_overlap="allow")
    slow = client_of("operator")
    quick = ApiClient()
    quick.force_login(slow.get(f"{API}/jobs").wsgi_request.user)
    run = f"{API}/jobs/{job.pk}/run"
    store = idempotency._store
    meanwhile = []

    def store_later(*args: Any) -> None:
        meanwhile.extend(together(lambda _: quick.post(f"{API}/jobs/{other.pk}/run", {})))
        store(*args)

    monkeypatch.setattr(idempotency, "_store", store_later)
    answer = slow.post(run, {}, HTTP_IDEMPOTENCY_KEY="k-1")

    assert meanwhile[0].status_code == 202
    assert answer.status_code == (202 if limit == 2 else 429)
    assert Execution.objects.count() == limit
    assert IdempotencyKey.objects.count() == limit - 1
    # What there is no room for is refused before anything is done for it.
    assert slow.post(run, {}, HTTP_IDEMPOTENCY_KEY="k-2").status_code == 429
    assert len(meanwhile) == 1


@pytest.mark.django_db(transaction=True)
def test_s08_old_counts_are_pruned(limits) -> None:
    limits(runs_per_minute=20)
    with calling(Somebody(make_user("viewer"))):
        throttling.spend(throttling.RUNS)
    Throttle.objects.create(key="old", minute=5, count=1)
    with open_connection() as plain:
        lifecycle.prune(plain, lifecycle.Keep(age_s=86_400, audit_age_s=86_400))

    assert [row.key.partition(":")[0] for row in Throttle.objects.all()] == ["runs"]
