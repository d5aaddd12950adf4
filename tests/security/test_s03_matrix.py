"""S2, S3: the third dimension of the matrix of S2: one's own object, or another's.

Where `SCHEDULER_OWNERSHIP` is on, an address with another's object in it answers as if there were none. A new address
with an object in it and without a row here fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client

from scheduler_app.models import (
    AuditEntry,
    BulkOperation,
    Execution,
    Gap,
    Job,
    Pause,
)

from .ownership_support import CANARY, OURS, THEIRS, World, make_world
from .routes_support import Route
from .test_s02_matrix import ADMIN, ALL, QUERIES, ROLES, address, is_allowed, person, row_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ownership")]

HIDDEN, SHARED, LIST = "hidden", "shared", "list"
"""A 404; the same for everybody, without a word of whose jobs it is about; it leads to the list whatever it is of."""

WITHOUT_OBJECT = frozenset(
    # What the parameters of these name is no row that anybody owns.
    {"api:task-detail", "admin:app_list", "admin:view_on_site", "api:unknown"}
)

API_ROWS = {
    **dict.fromkeys(
        [
            *("job-detail", "job-backfill", "job-executions", "job-explain", "job-pause"),
            *("job-resume", "job-run", "job-skip-next", "job-unskip-next", "job-timeline"),
            *("job-stats", "execution-cancel", "execution-log", "execution-retry"),
            *("execution-detail", "audit-detail", "pause-detail", "pause-resume"),
            *("bulk-executions-detail", "bulk-executions-stop"),
        ],
        HIDDEN,
    ),
    **dict.fromkeys(["node-detail", "node-drain", "calendar-detail"], SHARED),
}
ADMIN_ROWS = {
    **dict.fromkeys(
        [
            *(f"job_{word}" for word in ("detail", "run", "pause", "resume", "skip", "unskip")),
            *("job_timeline", "job_backfill", "job_change", "job_delete", "job_history"),
            *(f"execution_{word}" for word in ("cancel", "retry", "again", "log", "log_more")),
            *("execution_change", "execution_delete", "execution_history"),
            *(f"execution_bulk_{word}" for word in ("progress", "continue", "stop")),
            *("pause_resume", "pause_history", "pause_delete"),
            *("gap_history", "gap_delete", "auditentry_history", "auditentry_delete"),
            *("apitoken_revoke", "apitoken_history", "apitoken_delete"),
        ],
        HIDDEN,
    ),
    **dict.fromkeys(["gap_change", "auditentry_change", "pause_change", "apitoken_change"], LIST),
    **dict.fromkeys(
        [
            *("node_drain", "node_change", "node_delete", "node_history"),
            *("calendar_change", "calendar_delete", "calendar_history"),
        ],
        SHARED,
    ),
}
OTHER_ROWS = {"scheduler:failures": HIDDEN}

BODIES = {
    "api:job-backfill": {"since": "2030-01-01T00:00:00Z", "until": "2030-01-01T02:00:00Z"},
}
"""What is read before the object is looked up."""


def expected(route: Route) -> str | None:
    """The row of a route with an object in it."""
    name = route.name
    if route.is_api:
        return API_ROWS.get(name.removeprefix("api:"))
    if name.startswith("admin:auth_"):
        # Users and groups are Django's own, and belong to nobody.
        return SHARED
    if name.startswith("admin:"):
        return ADMIN_ROWS.get(name.removeprefix("admin:").removeprefix("scheduler_app_"))
    return OTHER_ROWS.get(name)


def has_object(route: Route) -> bool:
    return bool(route.parameters) and route.name not in WITHOUT_OBJECT and row_of(route) != {}


def test_s03_every_address_with_an_object_in_it_has_a_row() -> None:
    assert not [route.name for route in ALL if has_object(route) and expected(route) is None]
    names = {route.name for route in ALL if has_object(route)}
    assert {f"api:{name}" for name in API_ROWS} <= names
    assert {f"admin:scheduler_app_{name}" for name in ADMIN_ROWS} <= names
    assert {f"admin:scheduler_app_{name}" for name in ADMIN_ROWS} <= {
        f"admin:{row}" for row in ADMIN
    }
    assert set(OTHER_ROWS) <= names


@pytest.fixture
def worlds() -> tuple[World, World]:
    """What the person's group has, and what another one has."""
    return make_world(OURS), make_world(THEIRS)


def asked(
    role: str, world: World, kind: str
) -> Iterator[tuple[str, Route, str, Any, HttpResponseBase]]:
    """What each method of each route with an object says to somebody of our group, each undone afterwards."""
    client, user = person(role)
    if user is not None:
        user.groups.add(Group.objects.get(name=OURS))
    for route in ALL:
        if route.is_api != (kind == "api") or not has_object(route):
            continue
        for method, need in (row_of(route) or {}).items():
            with transaction.atomic():
                found = send(client, method, route, world)
                if found.streaming:
                    list(found.streaming_content)  # type: ignore[attr-defined]
                changed = trace(world)
                transaction.set_rollback(True)
            if user is not None:
                client.force_login(user)
            yield method, route, changed, need, found


def send(client: Client, method: str, route: Route, world: World) -> HttpResponseBase:
    where = address(route, world.ids) + QUERIES.get(route.name, "")
    if not route.is_api:
        # To where it leads: an edit that one may not make leads to the page.
        return (client.get if method == "GET" else client.post)(where, follow=True)
    body = BODIES.get(route.name, {})
    if method == "GET":
        return client.get(where)
    return client.generic(method, where, client._encode_json(body, "application/json"), "application/json")  # type: ignore[attr-defined]  # fmt: skip


def trace(world: World) -> str:
    """Everything about the world's job that somebody could have changed."""
    job = Job.including_deleted.filter(pk=world.job.pk).values().first()
    return repr(
        (
            job,
            list(Execution.objects.filter(job=world.job).order_by("pk").values()),
            AuditEntry.objects.filter(job=world.job).count(),
            list(Pause.objects.order_by("pk").values_list("pk", "ended_at")),
            list(BulkOperation.objects.order_by("pk").values_list("pk", "finished_at")),
            Gap.objects.filter(job=world.job).count(),
        )
    )


@pytest.mark.parametrize("kind", ["api", "admin"])
@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("anonymous", "admin")])
def test_s02_s03_another_s_object_is_not_there(
    role: str, kind: str, worlds: tuple[World, World]
) -> None:
    _, theirs = worlds
    before = trace(theirs)
    wrong = []
    for method, route, after, need, found in asked(role, theirs, kind):
        what, code = f"{method} {route.name}", found.status_code
        allowed = is_allowed(role, need)
        match expected(route):
            case "hidden":
                right = code == 404 if allowed else code in (403, 404)
                right = right and after == before
            case "list":
                right = code == 200 if allowed else code in (200, 403, 404)
            case _:
                right = code < 400 or code in (400, 403, 404, 409)
        if CANARY in text_of(found):
            right = False
        if not right:
            wrong.append(f"{what}: {code}")
    assert wrong == []


@pytest.mark.parametrize("kind", ["api", "admin"])
@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("anonymous", "admin")])
def test_s02_s03_one_s_own_object_is_as_ever(
    role: str, kind: str, worlds: tuple[World, World]
) -> None:
    ours, _ = worlds
    wrong = []
    for method, route, _, need, found in asked(role, ours, kind):
        what, code = f"{method} {route.name}", found.status_code
        if expected(route) == SHARED or not is_allowed(role, need):
            continue
        if code >= 500 or code in (401, 403, 404, 405, 429):
            wrong.append(f"{what}: {code}")
    # What one has not made oneself is another's, whosever jobs it is about.
    mine_alone = ("apitoken", "bulk")
    assert [one for one in wrong if not any(word in one for word in mine_alone)] == []


@pytest.mark.parametrize("kind", ["api", "admin"])
def test_s03_who_may_see_all_jobs_sees_another_s_object(
    kind: str, worlds: tuple[World, World]
) -> None:
    _, theirs = worlds
    hidden = [
        f"{method} {route.name}"
        for method, route, _, need, found in asked("admin", theirs, kind)
        if is_allowed("admin", need) and found.status_code in (403, 404)
    ]
    assert hidden == []


def text_of(found: HttpResponseBase) -> str:
    return "" if found.streaming else bytes(found.content).decode(errors="replace")  # type: ignore[attr-defined]
