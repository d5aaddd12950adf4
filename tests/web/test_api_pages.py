"""The browsable API: pages and forms for who is logged in, under the site's strict policy."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from scheduler_app.models import Execution, Job, Status
from scheduler_app.rules.masking import MASK

from .api_support import API, ApiClient, client_of, make_execution, make_job, make_node, make_user

pytestmark = pytest.mark.django_db

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ADD = "tests.testapp.tasks.add"


class Browser:
    """A person's browser: follows no links, but sends what a page's forms would send."""

    def __init__(self, role: str) -> None:
        self.client = Client(enforce_csrf_checks=True, headers={"accept": BROWSER})
        self.client.force_login(make_user(role))

    def get(self, path: str, status: int = 200) -> str:
        response = self.client.get(f"{API}/{path}")
        assert response.status_code == status
        assert response["Content-Type"].startswith("text/html")
        return response.content.decode()

    def send(self, method: str, path: str, fields: dict[str, Any]) -> Any:
        """What DRF's script sends for a form on the page of this address."""
        page = self.client.get(f"{API}/{path}").content.decode()
        token = re.search(r'"csrfToken": "(\w+)"', page)[1]
        request = ApiClient(enforce_csrf_checks=True)
        request.cookies = self.client.cookies
        return getattr(request, method)(
            f"{API}/{path}",
            fields,
            format="multipart",
            HTTP_ACCEPT=BROWSER,
            HTTP_X_CSRFTOKEN=token,
        )


@pytest.mark.parametrize(
    "path", ["", "jobs", "jobs/1", "jobs/1/executions", "executions", "executions/1", "nodes"]
)
@pytest.mark.parametrize("role", ["viewer", "operator", "editor", "admin"])
def test_each_page_shows_itself(role: str, path: str) -> None:
    make_node()
    job = make_job(tags=["<script>"], description="<script>alert(1)</script>")
    execution = make_execution(job, error="<script>alert(1)</script>")
    path = path.replace("jobs/1", f"jobs/{job.pk}").replace("ns/1", f"ns/{execution.pk}")

    page = Browser(role).get(path)

    assert "Job scheduler API" in page
    assert "<script>alert" not in page
    # Nothing that a strict Content-Security-Policy refuses.
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", page)


def test_who_may_not_edit_gets_no_form() -> None:
    path = f"jobs/{make_job().pk}"

    assert 'name="schedule"' not in Browser("viewer").get(path)
    assert 'name="schedule"' in Browser("editor").get(path)


def test_a_page_of_a_job_leads_to_its_actions() -> None:
    job = make_job()

    page = Browser("operator").get(f"jobs/{job.pk}")

    for action in ("pause", "resume", "run", "executions"):
        assert f'href="http://testserver{API}/jobs/{job.pk}/{action}"' in page
    assert 'name="reason"' in Browser("operator").get(f"jobs/{job.pk}/pause", status=405)


def test_actions_are_buttons_for_who_may_press_them() -> None:
    job = make_job()
    browser = Browser("operator")
    address = f"http://testserver{API}/jobs/{job.pk}"

    page = browser.get(f"jobs/{job.pk}")
    viewers = Browser("viewer").get(f"jobs/{job.pk}")

    for action in ("pause", "resume", "run", "skip-next"):
        assert f'<form method="post" action="{address}/{action}"' in page
        assert f"{address}/{action}" not in viewers
    # It needs a range to be said first.
    assert f'action="{address}/backfill"' not in page
    assert f'href="{address}/backfill"' in page
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    pressed = browser.client.post(f"{API}/jobs/{job.pk}/run", {"csrfmiddlewaretoken": token})
    assert pressed.status_code == 202
    assert Execution.objects.get().job_id == job.pk


def test_a_job_is_created_by_the_form() -> None:
    fields = {
        "name": "a",
        "tags": "one, two",
        "schedule": "@daily",
        "timezone": "UTC",
        "target": ADD,
        "kind": "task",
        "arguments": '{"a": 1}',
        "enabled": "true",
        "start_at": "2030-01-01T09:30",
        "end_at": "",
        "max_runs": "",
        "priority": "7",
        "timeout_s": "2.5",
    }

    response = Browser("editor").send("post", "jobs", fields)

    assert response.status_code == 201, response.content
    job = Job.objects.get()
    assert (job.tags, job.arguments, job.priority, job.timeout_s) == (
        ["one", "two"],
        {"a": 1},
        7,
        2.5,
    )
    assert job.start_at.isoformat() == "2030-01-01T09:30:00+00:00"
    assert (job.enabled, job.end_at, job.max_runs) == (True, None, None)


def test_a_form_is_sent_to_the_address_of_its_page_whatever_that_page_shows() -> None:
    editor = Browser("editor")
    fields = {"name": "a", "target": ADD, "arguments": '{"a": 1}'}

    created = editor.send("post", "jobs?page_size=10&ordering=-name&format=api", fields)
    edited = editor.send("put", "jobs/a?fields=name", fields | {"description": "new"})
    misspelt = editor.send("put", "jobs/a?field=name", fields)
    deleted = editor.send("delete", "jobs/a?fields=name", {})

    assert (created.status_code, edited.status_code) == (201, 200)
    assert misspelt.status_code == 400
    # A page is shown for it, so it is no 204.
    assert deleted.status_code == 200
    assert not Job.objects.filter(deleted_at=None).exists()


@pytest.mark.parametrize("box", ["checked", "unchecked"])
def test_a_box_says_whether_it_is_checked(box: str) -> None:
    page = Browser("editor").get("jobs")
    # As a browser: what is hidden always, the box only when checked; of both the last one counts.
    [hidden, checked] = re.findall(r'<input type="\w+" name="enabled" value="(\w+)"', page)
    sent = [hidden, checked] if box == "checked" else [hidden]

    response = Browser("editor").send(
        "post", "jobs", {"name": "a", "target": ADD, "arguments": '{"a": 1}', "enabled": sent}
    )

    assert response.status_code == 201, response.content
    assert Job.objects.get().enabled is (box == "checked")


def test_an_unchecked_box_comes_back_unchecked() -> None:
    response = Browser("editor").send("post", "jobs", {"name": "a", "enabled": ["false"]})

    assert response.status_code == 400
    assert not re.search(r'name="enabled"[^>]*checked', response.content.decode())


@pytest.mark.parametrize("kind", ["multipart", "urlencoded"])
def test_what_a_form_leaves_out_stays_in_an_edit_and_has_its_default_in_a_new_job(
    kind: str,
) -> None:
    job = make_job(tags=["a", "b"], enabled=True)
    client = client_of("editor")

    def send(method: str, address: str, **fields: Any) -> Any:
        if kind == "multipart":
            return getattr(client, method)(address, fields, format="multipart")
        form = "application/x-www-form-urlencoded"
        return getattr(client, method)(address, urlencode(fields, doseq=True), content_type=form)

    described = send("patch", f"{API}/jobs/{job.pk}", description="x").json()
    created = send("post", f"{API}/jobs", name="new", target=ADD, arguments='{"a": 1}').json()

    assert (described["description"], described["tags"], described["enabled"]) == (
        "x",
        ["a", "b"],
        True,
    )
    assert (created["tags"], created["enabled"]) == ([], True)
    several = send("patch", f"{API}/jobs/{job.pk}", tags=["c, d", "e"], enabled="false").json()
    assert (several["tags"], several["enabled"]) == (["c", "d", "e"], False)
    assert send("patch", f"{API}/jobs/{job.pk}", tags="").json()["tags"] == []


def test_a_form_comes_back_filled_in_with_its_errors() -> None:
    fields = {"name": "kept", "target": ADD, "arguments": '{"b": 1}', "priority": "x"}

    response = Browser("editor").send("post", "jobs", fields)

    page = response.content.decode()
    assert response.status_code == 400
    assert 'value="kept"' in page
    assert "A valid integer is required." in page


@pytest.mark.parametrize("moment", ["soon", "2030-13-01T00:00", "9999-12-31T23:59", "\0", "{}"])
def test_a_moment_that_cannot_be_read_comes_back_as_an_error(moment: str) -> None:
    response = Browser("editor").send(
        "post", "jobs", {"name": "kept", "target": ADD, "start_at": moment}
    )

    assert response.status_code == 400
    assert 'value="kept"' in response.content.decode()


def test_the_form_of_a_job_sends_back_what_it_shows() -> None:
    job = make_job(tags=["a", "b"], target=ADD, arguments={"a": 1}, max_runs=3, schedule="@hourly")
    browser = Browser("editor")
    page = browser.get(f"jobs/{job.pk}")
    form = page[page.index('id="put-object-form"') : page.index('id="put-generic-content-form"')]
    fields = dict(re.findall(r'<input[^>]*?name="(\w+)"[^>]*?value="([^"]*)"', form))
    fields |= {
        name: value.replace("&quot;", '"').strip()
        for name, value in re.findall(r'<textarea name="(\w+)"[^>]*>([^<]*)<', form)
    }
    assert (fields["tags"], fields["max_runs"], fields["version"]) == ("a, b", "3", "1")
    fields["enabled"] = "true"

    response = browser.send("put", f"jobs/{job.pk}", {**fields, "description": "new"})

    assert response.status_code == 200, response.content
    job.refresh_from_db()
    assert (job.description, job.tags, job.arguments) == ("new", ["a", "b"], {"a": 1})
    assert (job.schedule, job.max_runs, job.version) == ("@hourly", 3, 2)
    # The page was read before that edit.
    stale = browser.send("put", f"jobs/{job.pk}", {**fields, "description": "late"})
    assert stale.status_code == 409


def test_the_actions_take_their_forms() -> None:
    job = make_job(target=ADD, arguments={"a": 1})
    operator = Browser("operator")

    paused = operator.send("post", f"jobs/{job.pk}/pause", {"reason": "why", "until": ""})
    ran = operator.send("post", f"jobs/{job.pk}/run", {"arguments": "", "scheduled_for": ""})
    ran_with = operator.send("post", f"jobs/{job.pk}/run", {"arguments": '{"a": 2}'})
    resumed = operator.send("post", f"jobs/{job.pk}/resume", {})

    assert [r.status_code for r in (paused, ran, ran_with, resumed)] == [200, 202, 202, 200]
    assert [execution.spec for execution in Execution.objects.order_by("id")] == [
        None,
        {"arguments": {"a": 2}},
    ]


def test_a_form_works_without_any_script() -> None:
    job = make_job()
    browser = Browser("operator")
    page = browser.get(f"jobs/{job.pk}/pause", status=405)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]

    response = browser.client.post(
        f"{API}/jobs/{job.pk}/pause", {"csrfmiddlewaretoken": token, "reason": "x", "until": ""}
    )

    assert response.status_code == 200
    assert Job.objects.get().pause_reason == "x"


def test_an_execution_is_cancelled_and_tried_again_by_its_page() -> None:
    execution = make_execution(make_job(), status=Status.READY)
    operator = Browser("operator")

    cancelled = operator.send("post", f"executions/{execution.pk}/cancel", {"reason": ""})
    retried = operator.send("post", f"executions/{execution.pk}/retry", {})

    assert (cancelled.status_code, retried.status_code) == (200, 202)


def test_a_page_masks_what_is_secret() -> None:
    job = make_job(
        kind="http",
        target="https://user:canary@example.com/",
        arguments={"headers": {"X-Api-Key": "canary"}},
    )

    for path in (f"jobs/{job.pk}", "jobs"):
        page = Browser("editor").get(path)
        assert "canary" not in page
        assert MASK in page


def test_problems_have_pages_too() -> None:
    page = Browser("viewer").get("jobs/nobody", status=404)

    assert "There is no job" in page
    assert client_of("viewer").get(f"{API}/jobs?format=api").status_code == 200
    assert client_of("viewer").get(f"{API}/jobs?format=nope").status_code == 404
