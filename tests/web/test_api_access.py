"""Who may do what, for every address of the API; a new one without an expectation fails here."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from scheduler_app.api import urls
from scheduler_app.models import AuditEntry, BulkOperation, Calendar, Execution, Job, Pause, Status

from .api_support import (
    API,
    PASSWORD,
    ApiClient,
    client_of,
    make_execution,
    make_job,
    make_node,
    make_planned_job,
    make_user,
)

pytestmark = pytest.mark.django_db

WHO = ("anonymous", "stranger", "viewer", "operator", "editor", "admin")

READ = (401, 403, 200, 200, 200, 200)
EXPECTED: dict[tuple[str, str], tuple[int, ...]] = {
    ("root", "GET"): (401, 200, 200, 200, 200, 200),
    ("health", "GET"): (200, 200, 200, 200, 200, 200),
    ("metrics", "GET"): READ,
    ("schema", "GET"): (401, 200, 200, 200, 200, 200),
    ("docs", "GET"): (302, 200, 200, 200, 200, 200),
    ("unknown", "GET"): (401, 404, 404, 404, 404, 404),
    ("job-list", "GET"): READ,
    ("job-list", "POST"): (401, 403, 403, 403, 201, 201),
    ("job-detail", "GET"): READ,
    ("job-detail", "PUT"): (401, 403, 403, 403, 200, 200),
    ("job-detail", "PATCH"): (401, 403, 403, 403, 200, 200),
    ("job-detail", "DELETE"): (401, 403, 403, 403, 204, 204),
    ("job-executions", "GET"): READ,
    ("job-pause", "POST"): (401, 403, 403, 200, 403, 200),
    ("job-resume", "POST"): (401, 403, 403, 200, 403, 200),
    ("job-run", "POST"): (401, 403, 403, 202, 403, 202),
    ("job-timeline", "GET"): READ,
    ("job-explain", "GET"): READ,
    ("job-skip-next", "POST"): (401, 403, 403, 200, 403, 200),
    ("job-unskip-next", "POST"): (401, 403, 403, 200, 403, 200),
    ("job-backfill", "POST"): (401, 403, 403, 202, 403, 202),
    ("execution-list", "GET"): READ,
    ("execution-detail", "GET"): READ,
    ("execution-latest", "GET"): READ,
    ("execution-log", "GET"): READ,
    ("execution-cancel", "POST"): (401, 403, 403, 200, 403, 200),
    ("execution-retry", "POST"): (401, 403, 403, 202, 403, 202),
    ("node-list", "GET"): READ,
    ("node-detail", "GET"): READ,
    ("schedule-preview", "POST"): (401, 403, 200, 200, 200, 200),
    ("schedule-describe", "GET"): READ,
    ("task-list", "GET"): READ,
    ("task-detail", "GET"): READ,
    ("bulk-jobs-pause", "POST"): (401, 403, 403, 200, 403, 200),
    ("bulk-jobs-resume", "POST"): (401, 403, 403, 200, 403, 200),
    ("bulk-jobs-run", "POST"): (401, 403, 403, 202, 403, 202),
    ("job-stats", "GET"): READ,
    ("node-drain", "POST"): (401, 403, 403, 403, 403, 202),
    ("audit-list", "GET"): (401, 403, 403, 403, 403, 200),
    ("audit-detail", "GET"): (401, 403, 403, 403, 403, 200),
    ("bulk-executions-list", "GET"): READ,
    ("bulk-executions-detail", "GET"): READ,
    ("bulk-executions-cancel", "POST"): (401, 403, 403, 202, 403, 202),
    ("bulk-executions-retry", "POST"): (401, 403, 403, 202, 403, 202),
    ("bulk-executions-stop", "POST"): (401, 403, 403, 200, 403, 200),
    ("calendar-list", "GET"): READ,
    ("calendar-list", "POST"): (401, 403, 403, 403, 201, 201),
    ("calendar-detail", "GET"): READ,
    ("calendar-detail", "PUT"): (401, 403, 403, 403, 200, 200),
    ("calendar-detail", "PATCH"): (401, 403, 403, 403, 200, 200),
    ("calendar-detail", "DELETE"): (401, 403, 403, 403, 204, 204),
    ("pause-list", "GET"): READ,
    ("pause-list", "POST"): (401, 403, 403, 201, 403, 201),
    ("pause-detail", "GET"): READ,
    ("pause-resume", "POST"): (401, 403, 403, 200, 403, 200),
}
"""The status for each of WHO."""

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("job-list", "POST"): {"name": "new", "target": "tests.testapp.tasks.echo"},
    ("job-detail", "PUT"): {"name": "put", "target": "tests.testapp.tasks.echo"},
    ("job-detail", "PATCH"): {"description": "patched"},
    ("job-backfill", "POST"): {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
    ("schedule-preview", "POST"): {"schedule": "@daily"},
    ("calendar-list", "POST"): {"name": "days"},
    ("calendar-detail", "PUT"): {"name": "other days"},
    ("calendar-detail", "PATCH"): {"description": "patched"},
    ("pause-list", "POST"): {"scope": "queue", "value": "slow"},
}

VERBS = ("get", "post", "put", "patch", "delete")


def routes() -> list[tuple[str, str]]:
    """Every name and method that the API answers, from its own list of addresses."""
    found = []
    for pattern in urls.urlpatterns:
        view = pattern.callback
        methods = getattr(view, "actions", None) or [
            verb for verb in VERBS if hasattr(view.view_class, verb)
        ]
        found += [(pattern.name, method.upper()) for method in methods if method != "head"]
    return [*found, ("unknown", "GET")]


def action_of(name: str) -> str:
    return name.partition("-")[2]


def address(name: str, job: Job, execution: Execution) -> str:
    kind, _, action = name.partition("-")
    if name == "unknown":
        return f"{API}/nothing/here"
    if name == "root":
        return f"{API}/"
    if name in ("health", "metrics", "schema", "docs"):
        return f"{API}/{name}"
    if name == "node-detail":
        return f"{API}/nodes/{make_node().pk}"
    if name == "audit-list":
        return f"{API}/audit"
    if action == "list":
        return f"{API}/{kind}s"
    if name in ("bulk-executions-detail", "bulk-executions-stop"):
        operation = BulkOperation.objects.create(
            id=uuid.uuid4(), verb="cancel", selection={}, requested_by="ann", source="api"
        )
        return f"{API}/bulk/executions/{operation.pk}" + ("/stop" if "stop" in name else "")
    if name == "bulk-executions-list":
        return f"{API}/bulk/executions"
    if name == "audit-detail":
        return f"{API}/audit/{AuditEntry.objects.latest('at').pk}"
    if name == "node-drain":
        return f"{API}/nodes/{make_node().pk}/drain"
    if kind == "bulk":
        return f"{API}/{name.replace('-', '/')}"
    if name == "task-detail":
        return f"{API}/tasks/tests.testapp.tasks.echo"
    if name == "schedule-describe":
        return f"{API}/schedules/describe?schedule=@daily"
    if kind == "calendar":
        return f"{API}/calendars/{Calendar.objects.get_or_create(name=f'days {job.pk}')[0].pk}"
    if kind == "pause":
        pause = Pause.objects.get_or_create(scope="tag", value=f"tag {job.pk}")[0]
        return f"{API}/pauses/{pause.pk}" + ("" if action == "detail" else f"/{action}")
    if name in ("execution-latest", "schedule-preview"):
        return f"{API}/{kind}s/{action}"
    thing = job if kind == "job" else execution
    query = "?at=2030-01-01T00:00:00Z" if action == "explain" else ""
    return f"{API}/{kind}s/{thing.pk}" + ("" if action == "detail" else f"/{action}{query}")


@pytest.mark.parametrize(("name", "method"), routes())
def test_each_role_gets_what_it_may_do(name: str, method: str) -> None:
    for who, status in zip(WHO, EXPECTED[name, method], strict=True):
        make_node()
        job = make_job()
        if action_of(name) in ("skip-next", "unskip-next"):
            job = make_planned_job(skipped=action_of(name) == "unskip-next")
        waits = name == "execution-cancel"
        execution = make_execution(job, status=Status.READY if waits else Status.FAILED)
        body = dict(BODIES.get((name, method), {}))
        if name in ("bulk-executions-cancel", "bulk-executions-retry"):
            body["filter"] = {"job": [job.pk]}
        if name.startswith("bulk-jobs"):
            body["jobs"] = [job.pk]
        if "value" in body:
            body["value"] += f" of {who}"
        if "name" in body:
            body["name"] += f" by {who}"

        response = client_of(who).generic(
            method,
            address(name, job, execution),
            data=json.dumps(body) if method != "GET" else "",
            content_type="application/json",
        )

        assert response.status_code == status, (who, response.content)
        if status in (401, 403):
            job.refresh_from_db()
            execution.refresh_from_db()
            assert (job.version, job.deleted_at) == (1, None)
            assert execution.token == 0
            assert "WWW-Authenticate" in response or status == 403


def test_each_expectation_has_its_route() -> None:
    assert set(EXPECTED) == set(routes())


def test_each_action_of_each_view_names_what_it_needs() -> None:
    for pattern in urls.urlpatterns:
        actions = getattr(pattern.callback, "actions", None)
        for action in (actions or {}).values():
            assert pattern.callback.cls.needs[action], (pattern.name, action)


def test_a_refusal_names_the_permission_that_is_missing() -> None:
    response = client_of("viewer").post(f"{API}/jobs/{make_job().pk}/run")

    assert response.json()["detail"] == "This needs the permission scheduler_app.run_job."
    assert response.json()["code"] == "permission_denied"


@pytest.mark.parametrize(
    ("name", "method"), [route for route in sorted(EXPECTED) if route[1] != "GET"]
)
def test_s05_a_session_alone_changes_nothing_without_its_csrf_token(name: str, method: str) -> None:
    job = make_job()
    execution = make_execution(job, status=Status.READY)
    client = client_of("admin", enforce_csrf_checks=True)

    for form in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        response = client.generic(
            method, address(name, job, execution), data="{}", content_type=form
        )
        assert response.status_code == 403, response.content
        assert "CSRF" in response.json()["detail"]

    job.refresh_from_db()
    execution.refresh_from_db()
    assert (job.version, execution.status, Job.objects.count()) == (1, Status.READY, 1)


@pytest.mark.parametrize("name", [name for name, method in EXPECTED if method == "POST"])
def test_s05_no_get_changes_anything(name: str) -> None:
    job = make_job()
    execution = make_execution(job, status=Status.READY)

    response = client_of("admin").get(address(name, job, execution))

    assert response.status_code == (200 if name.endswith("-list") else 405)
    execution.refresh_from_db()
    assert execution.status == Status.READY


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "TRACE", "PURGE"])
@pytest.mark.parametrize("path", ["", "jobs", "jobs/1", "jobs/1/run", "executions", "nodes"])
def test_other_methods_are_closed_to_strangers_too(method: str, path: str) -> None:
    response = ApiClient().generic(method, f"{API}/{path}")

    assert response.status_code == 401


def test_options_say_what_a_form_takes_only_to_who_may_send_it() -> None:
    assert "actions" not in client_of("viewer").options(f"{API}/jobs").json()

    fields = client_of("editor").options(f"{API}/jobs").json()["actions"]["POST"]

    assert fields["name"]["max_length"] == 200


def basic(name: str, password: str) -> dict[str, str]:
    words = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"HTTP_AUTHORIZATION": f"Basic {words}"}


def test_a_program_sends_its_name_and_password() -> None:
    user = make_user("operator")
    job = make_job()
    client = ApiClient(enforce_csrf_checks=True)

    response = client.post(f"{API}/jobs/{job.pk}/run", **basic(user.username, PASSWORD))

    assert response.status_code == 202
    assert response.json()["requested_by"] == user.username


@pytest.mark.parametrize(
    ("name", "password"),
    [("somebody", "wrong"), ("nobody", "x"), ("a\0b", "x"), ("somebody", "\0")],
)
def test_a_wrong_password_gets_401(name: str, password: str) -> None:
    make_user("admin", name="somebody")

    response = ApiClient().get(f"{API}/jobs", **basic(name, password))

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Basic realm="jobscheduler"'


def test_who_was_deactivated_gets_401_at_once() -> None:
    user = make_user("admin")
    client = ApiClient()
    client.force_login(user)
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)

    assert client.get(f"{API}/jobs").status_code == 401
    assert client.get(f"{API}/jobs", **basic(user.username, PASSWORD)).status_code == 401


@pytest.mark.parametrize("header", ["Basic", "Basic %%%", "Basic a b c", "Basic Zm9v"])
def test_a_header_that_cannot_be_read_gets_401(header: str) -> None:
    assert ApiClient().get(f"{API}/jobs", HTTP_AUTHORIZATION=header).status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://testserver:81"])
def test_s05_a_page_of_another_site_cannot_use_a_password_that_the_browser_keeps(
    origin: str,
) -> None:
    """Browsers repeat Basic authentication by themselves."""
    user, job = make_user("admin"), make_job()

    response = ApiClient().post(
        f"{API}/jobs/{job.pk}/run", HTTP_ORIGIN=origin, **basic(user.username, PASSWORD)
    )

    assert response.status_code == 403
    assert not Execution.objects.exists()


def test_a_page_of_this_site_can() -> None:
    user, job = make_user("admin"), make_job()

    response = ApiClient().post(
        f"{API}/jobs/{job.pk}/run",
        HTTP_ORIGIN="http://testserver",
        **basic(user.username, PASSWORD),
    )

    assert response.status_code == 202


def test_a_person_who_is_not_logged_in_is_sent_to_the_login_page() -> None:
    response = ApiClient().get(f"{API}/jobs?tag=a", HTTP_ACCEPT="text/html,*/*;q=0.8")

    assert response.status_code == 302
    assert response["Location"] == "/admin/login/?next=/api/v1/jobs%3Ftag%3Da"


def test_the_last_execution_is_shown_only_to_who_may_see_executions() -> None:
    user = make_user("stranger")
    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    client = ApiClient()
    client.force_login(user)
    job = make_job()
    make_execution(job)

    assert client.get(f"{API}/jobs/{job.pk}").json()["last_execution"] is None
    assert client_of("viewer").get(f"{API}/jobs/{job.pk}").json()["last_execution"]
