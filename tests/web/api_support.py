"""What the tests of the API are told with: people with different rights, rows to begin from, a look at the SQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Job, JobPlan, Node, Status, Trigger, database_now
from scheduler_app.models.execution import FINISHED
from scheduler_app.rules.timetable import Timetable

API = "/api/v1"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
PASSWORD = "a password for tests"

VIEW = ("view_job", "view_execution", "view_node", "view_calendar", "view_pause")
USE = ("use_task", "use_http", "use_management", "use_shell")
ROLES: dict[str, tuple[str, ...]] = {
    "stranger": (),
    "viewer": VIEW,
    "operator": (*VIEW, *USE, "run_job", "pause_job", "add_pause", "change_pause"),
    "editor": (
        *VIEW,
        *USE,
        *("add_job", "change_job", "delete_job"),
        *("add_calendar", "change_calendar", "delete_calendar"),
    ),
}

_numbers = itertools.count(1)


def make_user(role: str, name: str = "") -> Any:
    """Somebody with the rights of a role; "admin" has all."""
    users = get_user_model().objects
    name = name or f"{role} {next(_numbers)}"
    if role == "admin":
        return users.create_superuser(name, password=PASSWORD)
    user = users.create_user(name, password=PASSWORD)
    user.user_permissions.set(Permission.objects.filter(codename__in=ROLES[role]))
    return user


class ApiClient(APIClient):
    """Sends JSON unless told otherwise."""

    default_format = "json"


def client_of(role: str, **options: Any) -> ApiClient:
    """A browser or program of somebody who is logged in; "anonymous" is not."""
    client = ApiClient(**options)
    if role != "anonymous":
        client.force_login(make_user(role))
    return client


def make_job(**fields: Any) -> Job:
    fields.setdefault("name", f"job {next(_numbers)}")
    fields.setdefault("schedule", "@manual")
    fields.setdefault("target", "tests.testapp.tasks.echo")
    return lifecycle.save_job(Job(**fields), by="somebody")


def make_planned_job(*, skipped: bool = False, **fields: Any) -> Job:
    """A job as a node leaves it behind: its next fire time is known, and maybe to be skipped."""
    fields.setdefault("schedule", "@hourly")
    job = make_job(**fields)
    job.refresh_from_db()
    now = database_now()
    moment = Timetable.of(job.spec()).next_after(now)
    JobPlan.objects.filter(pk=job.pk).update(next_fire_at=moment, decided_until=now, dirty=False)
    if skipped:
        lifecycle.skip_next(job.pk, by="somebody")
    return job


def make_node(**fields: Any) -> Node:
    """A node that ticked a moment ago."""
    fields.setdefault("name", f"node {next(_numbers)}")
    fields.setdefault("last_tick_at", database_now())
    return Node.objects.create(host="here", pid=1, threads=10, **fields)


def make_execution(job: Job | None, **fields: Any) -> Execution:
    fields.setdefault("scheduled_for", NOON + timedelta(seconds=next(_numbers)))
    fields.setdefault("run_after", fields["scheduled_for"])
    fields.setdefault("trigger", Trigger.SCHEDULE)
    fields.setdefault("status", Status.SUCCEEDED)
    if fields["status"] in FINISHED:
        fields.setdefault("finished_at", fields["scheduled_for"] + timedelta(seconds=1))
    if fields["status"] == Status.RUNNING:
        fields.setdefault("node", make_node())
    if job is not None:
        fields.setdefault("revision", job.revisions.get(version=job.version))
    return Execution.objects.create(job=job, **fields)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that is sent meanwhile, save what finds out who asks."""
    found: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield found
    found += [
        query["sql"]
        for query in captured.captured_queries
        if not any(f'FROM "{who}_' in query["sql"] for who in ("auth", "django"))
    ]


def errors_of(response: Any) -> dict[str, dict[str, Any]]:
    """The entries of a refusal by the field that they name."""
    assert response.status_code == 400, response.content
    assert response["Content-Type"] == "application/problem+json"
    return {entry.get("field", ""): entry for entry in response.json()["errors"]}
