"""S2, S6: who gets which answer from which address. A new address without a row here fails.

Roles: anonymous, viewer, operator, author, admin. A row says what each method of a route needs; the expected answers
follow. What the rights mean for single objects is told by the tests of S3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.test import Client
from django.urls import reverse

from scheduler_app import lifecycle
from scheduler_app.lifecycle import Selection
from scheduler_app.models import AuditEntry, Calendar, Execution, Gap, Job, Pause
from tests.web.api_support import NOON, make_execution, make_job, make_node

from .routes_support import Route, routes

pytestmark = pytest.mark.django_db

VIEW = (
    *("view_job", "view_execution", "view_node", "view_gap", "view_pause", "view_calendar"),
    "view_auditentry",
)
OPERATE = (*VIEW, "run_job", "pause_job", "add_pause", "change_pause", "drain_node", "use_task")
AUTHOR = (
    *(*VIEW, "add_job", "change_job", "delete_job", "use_task", "add_apitoken"),
    *("add_calendar", "change_calendar", "delete_calendar"),
)
ROLES: dict[str, tuple[str, ...] | None] = {
    "anonymous": None,
    "viewer": VIEW,
    "operator": OPERATE,
    "author": AUTHOR,
    "admin": (),
}

PUBLIC, MEMBER, NOBODY = "public", "member", "nobody"
"""For everybody; for whoever is logged in; for nobody at all."""
SEE, RUN, PAUSE = ("view_job",), ("view_job", "run_job"), ("view_job", "pause_job")
RUNS = ("view_job", "view_execution")

Need = str | tuple[str, ...]

API: dict[str, dict[str, Need]] = {
    "root": {"GET": MEMBER},
    "health": {"GET": PUBLIC},
    "unknown": {},
    "schema": {"GET": MEMBER},
    "docs": {"GET": MEMBER},
    "job-list": {"GET": SEE, "POST": ("view_job", "add_job")},
    "job-detail": {
        "GET": SEE,
        "PUT": ("view_job", "change_job"),
        "PATCH": ("view_job", "change_job"),
        "DELETE": ("view_job", "delete_job"),
    },
    "job-backfill": {"POST": RUN},
    "job-executions": {"GET": RUNS},
    "job-explain": {"GET": RUNS},
    "job-pause": {"POST": PAUSE},
    "job-resume": {"POST": PAUSE},
    "job-run": {"POST": RUN},
    "job-skip-next": {"POST": PAUSE},
    "job-unskip-next": {"POST": PAUSE},
    "job-timeline": {"GET": RUNS},
    "job-stats": {"GET": RUNS},
    "metrics": {"GET": ("view_node",)},
    "node-drain": {"POST": ("view_node", "drain_node")},
    "task-list": {"GET": SEE},
    "task-detail": {"GET": SEE},
    "bulk-jobs-pause": {"POST": PAUSE},
    "bulk-jobs-resume": {"POST": PAUSE},
    "bulk-jobs-run": {"POST": RUN},
    "bulk-executions-list": {"GET": ("view_execution",)},
    "bulk-executions-detail": {"GET": ("view_execution",)},
    "bulk-executions-cancel": {"POST": ("view_execution", "run_job")},
    "bulk-executions-retry": {"POST": ("view_execution", "run_job")},
    "bulk-executions-stop": {"POST": ("view_execution", "run_job")},
    "audit-list": {"GET": ("view_auditentry",)},
    "audit-detail": {"GET": ("view_auditentry",)},
    "execution-list": {"GET": ("view_execution",)},
    "execution-latest": {"GET": ("view_execution",)},
    "execution-cancel": {"POST": ("view_execution", "run_job")},
    "execution-log": {"GET": ("view_execution",)},
    "execution-retry": {"POST": ("view_execution", "run_job")},
    "execution-detail": {"GET": ("view_execution",)},
    "node-list": {"GET": ("view_node",)},
    "node-detail": {"GET": ("view_node",)},
    "calendar-list": {"GET": ("view_calendar",), "POST": ("view_calendar", "add_calendar")},
    "calendar-detail": {
        "GET": ("view_calendar",),
        "PUT": ("view_calendar", "change_calendar"),
        "PATCH": ("view_calendar", "change_calendar"),
        "DELETE": ("view_calendar", "delete_calendar"),
    },
    "pause-list": {"GET": ("view_pause",), "POST": ("view_pause", "add_pause")},
    "pause-resume": {"POST": ("view_pause", "change_pause")},
    "pause-detail": {"GET": ("view_pause",)},
    "schedule-describe": {"GET": SEE},
    "schedule-preview": {"POST": SEE},
}

ADMIN: dict[str, dict[str, Need]] = {
    "index": {"GET": MEMBER, "POST": MEMBER},
    "login": {"GET": PUBLIC, "POST": PUBLIC},
    "logout": {"POST": PUBLIC},
    "password_change": {"GET": MEMBER, "POST": MEMBER},
    "password_change_done": {"GET": MEMBER},
    "jsi18n": {"GET": MEMBER},
    "app_list": {"GET": MEMBER},
    # Stock addresses that nothing here uses: they answer nobody.
    "autocomplete": {"GET": NOBODY},
    "view_on_site": {"GET": NOBODY},
    "scheduler_app_job_detail": {"GET": SEE},
    "scheduler_app_job_run": {"GET": RUN, "POST": RUN},
    "scheduler_app_job_pause": {"GET": PAUSE, "POST": PAUSE},
    "scheduler_app_job_resume": {"GET": PAUSE, "POST": PAUSE},
    "scheduler_app_job_skip": {"POST": PAUSE},
    "scheduler_app_job_unskip": {"POST": PAUSE},
    "scheduler_app_job_timeline": {"GET": RUNS},
    "scheduler_app_job_assist": {"POST": ("add_job",)},
    "scheduler_app_job_backfill": {"GET": RUN, "POST": RUN},
    "scheduler_app_execution_cancel": {"POST": ("view_execution", "run_job")},
    "scheduler_app_execution_retry": {"POST": ("view_execution", "run_job")},
    "scheduler_app_execution_again": {"POST": ("view_execution", "run_job")},
    "scheduler_app_execution_log": {"GET": ("view_execution",)},
    "scheduler_app_execution_log_more": {"GET": ("view_execution",)},
    "scheduler_app_execution_bulk": {"GET": ("view_execution", "run_job")},
    "scheduler_app_execution_bulk_progress": {"GET": ("view_execution", "run_job")},
    "scheduler_app_execution_bulk_continue": {"POST": ("view_execution", "run_job")},
    "scheduler_app_execution_bulk_stop": {"POST": ("view_execution", "run_job")},
    "scheduler_app_node_drain": {"GET": ("drain_node",), "POST": ("drain_node",)},
    "scheduler_app_pause_resume": {"GET": ("change_pause",), "POST": ("change_pause",)},
    "scheduler_app_apitoken_revoke": {"POST": ("add_apitoken",)},
    "auth_user_password_change": {"GET": ("change_user",)},
}

OTHER: dict[str, dict[str, Need]] = {
    # The front door leads to the admin.
    "": {"GET": PUBLIC},
    "scheduler:live": {"GET": MEMBER},
    "scheduler:failures": {"GET": ("view_execution",)},
    "scheduler:timeline": {"GET": RUNS},
    "scheduler:agenda": {"GET": SEE},
    "scheduler:heat": {"GET": SEE},
    "metrics": {"GET": ("view_node",)},
}

ACTIONS: dict[str, dict[str, Need]] = {
    "job": {
        "run_selected": ("run_job",),
        "pause_selected": ("pause_job",),
        "resume_selected": ("pause_job",),
        "delete_selected": ("delete_job",),
    },
    "execution": {"cancel_selected": ("run_job",), "retry_selected": ("run_job",)},
    "calendar": {},
    "pause": {},
    "node": {},
    "gap": {},
    "auditentry": {},
    "apitoken": {},
}


def stock(model: str, *, add: Need = NOBODY, change: Need = NOBODY, delete: Need = NOBODY) -> None:
    """The rows of a model's stock pages; who may look reaches what shows, whatever it redirects to."""
    view = (f"view_{model.partition('_')[2] if model.startswith('auth_') else model}",)
    app = model if model.startswith("auth_") else f"scheduler_app_{model}"
    ADMIN[f"{app}_changelist"] = {"GET": view}
    ADMIN[f"{app}_add"] = {"GET": add}
    ADMIN[f"{app}_change"] = {"GET": view if change == NOBODY else change}
    ADMIN[f"{app}_delete"] = {"GET": delete}
    # What was done to the scheduler's own stands in its audit trail.
    trail = () if model.startswith("auth_") else ("view_auditentry",)
    ADMIN[f"{app}_history"] = {"GET": (*view, *trail)}


stock("job", add=("add_job",), change=SEE, delete=("delete_job",))
stock("execution")
stock("gap")
stock("node")
stock("auditentry")
stock("pause", add=("add_pause",))
stock("apitoken", add=("add_apitoken",))
stock(
    "calendar",
    add=("add_calendar",),
    change=("view_calendar",),
    delete=("delete_calendar",),
)
stock("auth_user", add=("add_user", "change_user"), change=("view_user",), delete=("delete_user",))
stock("auth_group", add=("add_group",), change=("view_group",), delete=("delete_group",))
# Who may make tokens sees their own.
ADMIN["scheduler_app_apitoken_changelist"] = {"GET": ("add_apitoken",)}
ADMIN["scheduler_app_apitoken_change"] = {"GET": ("add_apitoken",)}
ADMIN["scheduler_app_apitoken_history"] = {"GET": ("add_apitoken", "view_auditentry")}


def row_of(route: Route) -> dict[str, Need] | None:
    if route.is_api:
        return API.get(route.name.removeprefix("api:"))
    if route.name.startswith("admin:"):
        return ADMIN.get(route.name.removeprefix("admin:"))
    if route.pattern.startswith("admin/"):
        # Old addresses that redirect to new ones, and the catch-all, ask for a login before all.
        return OTHER.get(route.name, {})
    return OTHER.get(route.name)


ALL = routes()


def test_s02_every_address_and_every_method_of_the_api_has_a_row() -> None:
    assert not [route.name for route in ALL if row_of(route) is None]
    for route in ALL:
        if route.is_api and route.name != "api:unknown":
            assert set(row_of(route) or ()) == set(route.methods), route.name
    # And no row is left of an address that is gone.
    names = {route.name for route in ALL}
    assert {f"api:{name}" for name in API} <= names
    assert {f"admin:{name}" for name in ADMIN} <= names
    assert set(OTHER) <= names


def test_s02_every_action_of_every_list_has_a_row() -> None:
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label == "scheduler_app":
            offered = {
                name if isinstance(name, str) else name.__name__
                for name in (model_admin.actions or ())
            }
            stock_actions = {"delete_selected"} if model is Job else set()
            assert offered | stock_actions == set(ACTIONS[str(model._meta.model_name)]), model


@pytest.fixture
def world() -> dict[str, Any]:
    """One of each object, by the names that addresses have for them."""
    job = make_job(schedule="@hourly")
    execution = make_execution(job, status="failed")
    calendar = Calendar.objects.create(name="holidays")
    pause = lifecycle.pause_scope("tag", "x", by="somebody")
    gap = Gap.objects.create(job=job, first_at=NOON, last_at=NOON, count=1, reason="missed")
    return {
        "job": job.pk,
        "execution": execution.pk,
        "node": make_node().pk,
        "calendar": calendar.pk,
        "pause": pause.pk,
        "gap": gap.pk,
        "bulk": lifecycle.start_bulk(
            uuid4(), "cancel", Selection(jobs=(job.pk,)), by="somebody", budget_s=0
        ).pk,
        "auditentry": AuditEntry.objects.latest("id").pk,
        "user": get_user_model().objects.create_user("somebody").pk,
        "group": Group.objects.create(name="some").pk,
    }


ABSENT = {"GET scheduler:failures"}
"""There is no such thing in this world, which who may look is told."""

QUERIES = {
    "admin:scheduler_app_execution_bulk": "?verb=cancel",
    "api:job-explain": "?at=2030-01-01T12:00:00Z",
    "api:schedule-describe": "?schedule=@hourly",
}
"""What an address asks for before it answers."""


def address(route: Route, world: dict[str, Any]) -> str:
    """The route's address with an object's id in it."""
    if not route.name:
        return "/"
    values: dict[str, Any] = {}
    subject = route.name.rpartition(":")[2]
    for parameter in route.parameters:
        match parameter:
            case "app_label":
                values[parameter] = "scheduler_app"
            case "fingerprint":
                values[parameter] = world.get(parameter, "0123456789abcdef")
            case "content_type_id" | "url":
                values[parameter] = "1"
            case "job_id" | "execution_id" | "pause_id" | "node_id":
                values[parameter] = world[parameter.removesuffix("_id")]
            case "key":
                values[parameter] = world["bulk"]
            case "name":
                values[parameter] = "tests.testapp.tasks.echo"
            case "job" | "calendar":
                values[parameter] = world[parameter]
            case "token_id":
                values[parameter] = world["apitoken"]
            case "pk" | "object_id" | "id":
                word = subject.removeprefix("scheduler_app_").removeprefix("auth_")
                word = {"audit": "auditentry"}.get(word.partition("-")[0], word.replace("-", "_"))
                values[parameter] = world.get(word.partition("_")[0], 1)
            case _:
                raise AssertionError(f"What is {parameter} of {route.name}?")
    return reverse(route.name, kwargs=values)


def person(role: str) -> tuple[Client, Any]:
    client = Client(raise_request_exception=True)
    permissions = ROLES[role]
    if permissions is None:
        return client, None
    user = get_user_model().objects.create_user(
        role, is_staff=True, is_superuser=role == "admin", password="pass word 1"
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client, user


def answers(role: str, world: dict[str, Any], kind: str) -> Iterator[tuple[str, Need, Any]]:
    """What each row's method answers to the role, each undone afterwards."""
    client, user = person(role)
    owner = user or get_user_model().objects.get(username="somebody")
    token, _ = lifecycle.create_token(owner, "t", scopes=["read"], by="x")
    world = {**world, "apitoken": token.pk}
    for route in ALL:
        if route.is_api != (kind == "api"):
            continue
        for method, need in (row_of(route) or {}).items():
            with transaction.atomic():
                where = address(route, world) + QUERIES.get(route.name, "")
                found = client.generic(method, where, b"{}", content_type="application/json") \
                    if kind == "api" else client.generic(method, where)  # fmt: skip
                transaction.set_rollback(True)
            if user is not None:
                client.force_login(user)
            yield f"{method} {route.name}", need, found


def is_allowed(role: str, need: Need) -> bool:
    if need in (PUBLIC, NOBODY):
        return need == PUBLIC
    if role == "admin":
        return True
    held = ROLES[role]
    if held is None:
        return False
    return need == MEMBER or set(need) <= set(held)


@pytest.mark.parametrize("role", ROLES)
def test_s02_s06_the_api_answers_each_role_as_its_row_says(role: str, world: dict) -> None:
    wrong = []
    for what, need, found in answers(role, world, "api"):
        code = found.status_code
        if is_allowed(role, need):
            right = code < 500 and code not in (401, 403, 404, 405, 429)
        else:
            right = code == (401 if role == "anonymous" else 403)
            # A person with a browser is sent to log in.
            right |= code == 302 and found["Location"].startswith("/admin/login/")
        if not right:
            wrong.append(f"{what}: {code}")
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_s02_s06_the_admin_answers_each_role_as_its_row_says(role: str, world: dict) -> None:
    wrong = []
    for what, need, found in answers(role, world, "admin"):
        code = found.status_code
        to_login = code == 302 and found["Location"].startswith("/admin/login/")
        if is_allowed(role, need):
            right = (code in (200, 302) and not to_login) or (code == 404 and what in ABSENT)
        elif role == "anonymous":
            right = to_login or (code == 401 and what == "GET metrics")
        else:
            right = code in (403, 404)
        if not right:
            wrong.append(f"{what}: {code}")
    assert wrong == []


@pytest.mark.parametrize("role", [role for role in ROLES if role != "anonymous"])
def test_s02_the_actions_of_lists_are_offered_and_done_by_right_alone(
    role: str, world: dict
) -> None:
    client, _ = person(role)
    for model, rows in ACTIONS.items():
        where = reverse(f"admin:scheduler_app_{model}_changelist")
        for action, need in rows.items():
            page = client.get(where)
            offered = f'value="{action}"' in page.content.decode()
            assert offered == is_allowed(role, need), (model, action)
            before = trace()
            with transaction.atomic():
                client.post(where, {"action": action, "_selected_action": world[model]})
                asked = action in ("pause_selected", "resume_selected", "delete_selected")
                if not is_allowed(role, need):
                    assert trace() == before, (model, action)
                elif not asked:
                    assert trace() != before or action == "cancel_selected", (model, action)
                transaction.set_rollback(True)


def trace() -> tuple[Any, ...]:
    return (
        AuditEntry.objects.count(),
        Execution.objects.count(),
        Job.objects.count(),
        Pause.objects.filter(ended_at=None).count(),
    )


def test_s06_an_anonymous_walk_over_every_address_finds_no_open_door(world: dict) -> None:
    """Whatever the rows say: without a login there is the login page, liveness and the bare word of health."""
    client = Client()
    open_doors = []
    for route in ALL:
        if route.name and route.name != route.pattern and route.name != "api:unknown":
            where = address(route, {**world, "apitoken": 1})
        else:
            where = "/" + route.pattern.split("<")[0].split("(")[0].strip("^$")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            found = client.generic(method, where, b"{}", content_type="application/json")
            to_login = found.status_code == 302 and "/admin/" in found["Location"]
            if not to_login and found.status_code not in (401, 403, 404, 405):
                open_doors.append((method, where))
    doors = {where for _, where in open_doors}
    assert doors <= {"/admin/login/", "/api/v1/health", "/admin/logout/", "/livez", "/readyz"}
    assert client.get("/api/v1/health").json().keys() == {"status"}
