"""What a request may not do, however it is put together: S4, S5, S12, S13, S20, S21, S23, S25, S29, S30."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from django.contrib.admin import site
from django.db import OperationalError, connection, connections
from django.test import Client
from django.urls import reverse

import scheduler_app.middleware  # noqa: F401 - it hears of new connections
from scheduler_app.access import RequestCaller, calling
from scheduler_app.admin.base import SchedulerAdmin
from scheduler_app.models import Calendar, Job, JobRevision
from scheduler_app.models.clock import is_too_slow
from tests.web.admin_support import EXECUTIONS, JOBS
from tests.web.api_support import API, client_of, make_execution, make_job, make_user

from .routes_support import Route, routes
from .test_s02_matrix import address

pytestmark = pytest.mark.django_db

ECHO = "tests.testapp.tasks.echo"
EVIL = ("(a+)+$" * 1700, "%" * 10_000, "\\" * 10_000, "'; DROP TABLE scheduler_app_job; --", "\x00")


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(make_user("admin"))
    return client


# --- S4: only what is offered can be written ----------------------------------------------------


READ_ONLY = (
    *("id", "owner", "owner_id", "version", "created_at", "updated_at", "deleted_at", "provenance"),
    *("paused_at", "paused_by", "paused_until", "pause_reason", "calendar_days", "calendar_name"),
    *("next_fire_at", "plan", "plan_problem", "last_execution", "schedule_description"),
)


@pytest.mark.parametrize("name", READ_ONLY)
def test_s04_what_the_scheduler_writes_cannot_be_given(name: str) -> None:
    job = make_job()
    stranger = make_user("viewer")
    before = Job.objects.filter(pk=job.pk).values().get()
    value = {"owner": stranger.pk, "owner_id": stranger.pk, "calendar_days": [["2030-01-01"] * 2]}
    client = client_of("admin")

    body = {name: value.get(name, "2030-01-01T00:00:00Z")}
    answers = [
        client.patch(f"{API}/jobs/{job.pk}/", body),
        client.post(f"{API}/jobs/", {"name": "new", "target": ECHO, **body}),
        client.post(f"{API}/jobs/", {"name": "plain", "target": ECHO}),
    ]

    # Refused, or ignored where an answer is sent back as it was read; never taken.
    assert all(answer.status_code in (200, 201, 400) for answer in answers)
    after = Job.objects.filter(pk=job.pk).values().get()
    assert after == before
    of_its_own = ("id", "name", "created_at", "updated_at")
    [plain] = (left_out(of_its_own, row) for row in Job.objects.filter(name="plain").values())
    for made in Job.objects.filter(name="new").values():
        assert left_out(of_its_own, made) == plain


def left_out(names: tuple[str, ...], row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def test_s04_the_form_takes_no_field_that_it_does_not_show(boss: Client) -> None:
    job = make_job()
    page = boss.get(f"{JOBS}{job.pk}/change/")
    values = {
        field.html_name: "" if field.value() is None else field.value()
        for field in page.context["adminform"].form
    }
    values |= {"owner": 1, "deleted_at": "2030-01-01", "version": 77, "paused_at": "2030-01-01"}
    values["arguments"], values["tags"], values["priority"] = "{}", "", 5
    if values.get("enabled") is True:
        values["enabled"] = "on"

    assert boss.post(f"{JOBS}{job.pk}/change/", values).status_code == 302

    job.refresh_from_db()
    assert (job.priority, job.owner, job.deleted_at, job.paused_at, job.version) == (
        *(5, None, None, None, 2),
    )


# --- S5: no change by GET, none without the token of the form -------------------------------------


def changing() -> list[Route]:
    return [
        route
        for route in routes()
        if "POST" in route.methods and route.name and route.name not in ("api:unknown", "")
        if route.name != route.pattern
    ]


def world() -> dict[str, Any]:
    job = make_job(schedule="@hourly")
    execution = make_execution(job, status="failed")
    return {"job": job.pk, "execution": execution.pk} | dict.fromkeys(
        ("node", "calendar", "pause", "gap", "auditentry", "user", "group", "apitoken"), 1
    ) | {"bulk": "6f1c1c1e-6a0c-4a57-9a4e-3f5f1f0b7a11"}  # fmt: skip


def test_s05_every_post_of_a_session_needs_the_token_of_a_form() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("admin"))
    things = world()
    for route in changing():
        found = client.post(address(route, things), b"{}", content_type="application/json")
        assert found.status_code in (403, 405), route.name
    assert JobRevision.objects.count() == 1


def test_s05_no_get_changes_anything(boss: Client) -> None:
    things = world()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM scheduler_app_auditentry")
        [before] = cursor.fetchone()
        for route in routes():
            if route.name and route.name != route.pattern and route.name != "api:unknown":
                found = boss.get(address(route, things))
                # Without nodes, health and readiness say 503.
                assert found.status_code < 500 or route.name == "api:health", route.name
                if route.is_api and "GET" not in route.methods:
                    assert found.status_code == 405, route.name
        cursor.execute("SELECT count(*) FROM scheduler_app_auditentry")
        assert cursor.fetchone() == (before,)


# --- S12, S13, S23, S30: texts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("0 0 30 2 *", "0 0 31 4,6,9,11 *", "," * 190, "*/0 * * * *", "1-1000000000 * * * *"),
        *("٠ ٠ * * *", "* * * * *\x00", "*" * 10_000, "0 0 " + "1," * 98 + "1 * *", "@every 0s"),
    ],
)
def test_s12_a_schedule_that_means_harm_is_a_clean_400(text: str) -> None:
    answer = client_of("viewer").post(f"{API}/schedules/preview/", {"schedule": text})

    if text != "0 0 29 2 1":
        assert answer.status_code in (200, 400)
        assert answer.status_code == 400 or answer.json()["fire_times"]


@pytest.mark.parametrize("text", EVIL)
def test_s13_s23_no_filter_search_or_order_is_a_pattern_or_sql(text: str, boss: Client) -> None:
    make_execution(make_job())
    api = client_of("admin")
    for path, names in {
        "jobs": ("search", "name", "tag", "queue", "kind", "ordering", "cursor", "page_size"),
        "executions": ("job", "node", "status", "trigger", "since", "cursor", "ordering"),
        "nodes": ("name", "state"),
        "audit": ("who", "verb", "object_id", "cursor"),
        "calendars": ("search", "name", "ordering"),
    }.items():
        for name in names:
            assert api.get(f"{API}/{path}/", {name: text}).status_code in (200, 400, 404), name
    for where in (JOBS, EXECUTIONS):
        for name in ("q", "o", "state", "status", "job", "tag", "p", "error", "arguments"):
            assert boss.get(where, {name: text}).status_code in (200, 302, 400), (where, name)
    assert Job.objects.count() == 1


def test_s13_a_search_means_what_it_says(boss: Client) -> None:
    make_job(name="a.b"), make_job(name="axb"), Calendar.objects.create(name="axb")
    api = client_of("admin")

    for text, found in (("a.b", ["a.b"]), ("a%b", []), ("a_b", []), ("(", []), ("[a", [])):
        jobs = api.get(f"{API}/jobs", {"search": text}).json()["results"]
        assert [job["name"] for job in jobs] == found, text
        assert not api.get(f"{API}/calendars", {"search": text}).json()["results"], text
        page = boss.get(JOBS, {"q": text}).content.decode()
        assert ("axb" in page, "a.b</" in page) == (False, bool(found)), text


@pytest.mark.parametrize(
    "lookup",
    [
        "arguments__password__startswith",
        "arguments",
        "target__regex",
        "owner__password__startswith",
    ],
)
def test_s16_no_list_can_be_asked_letter_by_letter_for_what_it_hides(
    lookup: str, boss: Client
) -> None:
    make_job(arguments={"value": 1})

    for where in (JOBS, EXECUTIONS, "/admin/scheduler_app/auditentry/"):
        assert boss.get(where, {lookup: "h"}).status_code in (302, 400), where


def ways_into(model_admin: Any) -> set[str]:
    """Every word that a filter of the model's rows can begin with."""
    fields = model_admin.opts.get_fields(include_hidden=True)
    return {"pk", *(field.name for field in fields)} | {
        field.attname for field in fields if getattr(field, "attname", None)
    }


LISTS = [one for one in site._registry.values() if isinstance(one, SchedulerAdmin)]


@pytest.mark.parametrize("model_admin", LISTS, ids=lambda one: one.opts.model_name)
def test_s03_s16_no_list_takes_a_lookup_that_none_of_its_filters_has(
    model_admin: Any, rf: Any
) -> None:
    request = rf.get("/")
    own = {one.parameter_name for one in model_admin.get_list_filter(request)}

    ways = ways_into(model_admin)
    taken = {
        lookup
        for way in ways
        for lookup in (way, f"{way}__name__startswith", f"{way}__exact", f"{way}__password__regex")
        if model_admin.lookup_allowed(lookup, "a", request)
    }

    assert taken == own & ways
    assert model_admin.lookup_allowed("names_nothing", "a", request)


@pytest.mark.parametrize(
    "where",
    [
        "gap/?job_id__executions__node__executions__job__arguments__password__startswith=a",
        "job/?owner_id__password__startswith=a",
        "job/?calendar_id__jobs__arguments__password__startswith=a",
        "apitoken/?user_id__password__startswith=a",
        "auditentry/?job_id__arguments__password__startswith=a",
        "execution/?job_id__arguments__password__startswith=a",
        "calendar/?jobs__name__startswith=a",
    ],
)
def test_s03_s16_no_list_follows_what_a_column_refers_to(where: str, boss: Client) -> None:
    make_execution(make_job(arguments={"value": 1}))
    choice = {"action": "run_selected", "_selected_action": "1"}

    assert boss.get(f"/admin/scheduler_app/{where}").status_code == 400
    assert boss.post(f"/admin/scheduler_app/{where}", choice).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "@at 9999-12-31T00:00:00"},
        {"schedule": "@at 1969-12-31T00:00:00"},
        {"schedule": "@every -5s"},
        {"start_at": "9999-12-31T23:59:59Z"},
        {"end_at": "0001-01-01T00:00:00Z"},
        {"timezone": "../../etc/passwd"},
        {"timezone": "localtime"},
        {"timezone": "/etc/localtime"},
        {"timezone": "posixrules"},
        {"timezone": "UTC\x00"},
    ],
)
def test_s30_games_with_time_are_refused(fields: dict[str, Any]) -> None:
    answer = client_of("admin").post(f"{API}/jobs/", {"name": "x", "target": ECHO, **fields})

    assert answer.status_code == 400, answer.content
    assert not Job.objects.exists()


# --- S20, S21: bodies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"arguments": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"priority": ' + b"9" * 5000 + b"}", 400),
        (b'{"name": "a", "name": "b"}', 400),
        (b'{"priority": NaN}', 400),
        (b'{"arguments": {"a": "\\u0000"}}', 400),
        (b'{"x": "' + b"y" * 2_000_000 + b'"}', 413),
    ],
)
def test_s20_giant_deep_and_odd_json_is_refused(body: bytes, code: int) -> None:
    job = make_job()

    answer = client_of("admin").generic(
        "PATCH", f"{API}/jobs/{job.pk}/", body, content_type="application/json"
    )

    assert answer.status_code == code, answer.content[:300]


def test_s21_no_body_is_unpacked() -> None:
    body = gzip.compress(json.dumps({"name": "packed", "target": ECHO}).encode())

    answer = client_of("admin").generic(
        "POST",
        f"{API}/jobs/",
        body,
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )

    assert answer.status_code in (400, 415)
    assert not Job.objects.exists()


# --- S25: headers ---------------------------------------------------------------------------------


def test_s25_every_answer_carries_the_headers_that_browsers_obey(boss: Client) -> None:
    things = world()
    for client in (boss, Client()):
        for route in routes():
            if route.name and route.name != route.pattern and route.name != "api:unknown":
                found = client.get(address(route, things))
                assert found["X-Frame-Options"] == "DENY", route.name
                assert found["Content-Security-Policy"].startswith("default-src 'self'")
                assert "unsafe" not in found["Content-Security-Policy"]
                assert found["X-Content-Type-Options"] == "nosniff", route.name


@pytest.mark.parametrize("next_page", ["https://evil.example/", "//evil.example/", "javascript:x"])
def test_s25_the_login_page_leads_to_no_other_site(next_page: str, client: Client) -> None:
    user = make_user("admin", "root")
    user.set_password("pass word 1")
    user.save()

    found = client.post(
        f"{reverse('admin:login')}?next={next_page}",
        {"username": "root", "password": "pass word 1", "next": next_page},
    )

    assert found.status_code == 302 and "evil" not in found["Location"]
    assert found["Location"].startswith("/")


def test_s25_cookies_are_kept_from_scripts_and_other_sites(client: Client) -> None:
    user = make_user("admin", "root")
    user.set_password("pass word 1")
    user.save()
    client.get(reverse("admin:login"))
    client.post(reverse("admin:login"), {"username": "root", "password": "pass word 1"})

    session = client.cookies["sessionid"]
    assert session["httponly"] and session["samesite"] == "Lax"
    assert client.cookies["csrftoken"]["samesite"] == "Lax"


# --- S29: no query takes for ever ---------------------------------------------------------------


class Request:
    """As much of a request as its caller needs."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.META: dict[str, str] = {}
        self.resolver_match = None
        self.user = None


def timeout_of_new_connection() -> str:
    fresh = connections.create_connection("default")
    try:
        with fresh.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])
    finally:
        fresh.close()


def test_s29_a_connection_that_a_request_opens_gives_slow_queries_up(settings) -> None:
    assert timeout_of_new_connection() == "0"
    with calling(RequestCaller(Request())):  # type: ignore[arg-type]
        assert timeout_of_new_connection() == "5s"
        settings.SCHEDULER = {**settings.SCHEDULER, "web_statement_timeout": 0}
        assert timeout_of_new_connection() == "0"
        # A pooler would give the setting to whoever comes next.
        settings.SCHEDULER = {**settings.SCHEDULER, "web_statement_timeout": 5, "pooled": True}
        assert timeout_of_new_connection() == "0"


def test_s29_behind_a_pooler_a_request_that_reads_is_bounded_by_its_transaction(
    settings, monkeypatch
) -> None:
    settings.SCHEDULER = {**settings.SCHEDULER, "web_statement_timeout": 7, "pooled": True}
    seen: list[Any] = []

    def look(jobs: Any, query: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            seen.append(cursor.fetchone()[0])
        return jobs

    monkeypatch.setattr("scheduler_app.api.jobs.filter_jobs", look)

    assert client_of("viewer").get(f"{API}/jobs/").status_code == 200

    assert seen == ["7s"]


def test_s29_what_takes_too_long_is_said_with_what_to_do(monkeypatch, boss: Client) -> None:
    def sleep(*_: Any, **__: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(5)")

    monkeypatch.setattr("scheduler_app.api.jobs.filter_jobs", sleep)
    monkeypatch.setattr("scheduler_app.admin.job_list.JobList.get_queryset", sleep)

    for found in (client_of("admin").get(f"{API}/jobs/"),):
        assert found.status_code == 503
        assert found.json()["code"] == "too_slow" and "narrow it" in found.json()["detail"]


def test_s29_only_a_query_that_was_given_up_counts_as_too_slow() -> None:
    assert not is_too_slow(OperationalError("gone"))
