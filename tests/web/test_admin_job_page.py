"""The page of a job: what changed since it last went well, how long it takes, and the same job by the API."""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from typing import Any

import pytest
import yaml

from scheduler_app import lifecycle
from scheduler_app.lifecycle.definitions import WRITABLE, definition_of
from scheduler_app.models import Calendar, Execution, Job, Status, database_now

from .admin_support import AUTHOR, JOBS, VIEWER, Browser, make_execution, make_job, make_node
from .api_support import client_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> Browser:
    return Browser(*VIEWER)


def ran(job: Job, minutes: int, status: Status, **fields: Any) -> Execution:
    """An execution that was due so many minutes ago and took two seconds."""
    at = database_now() - timedelta(minutes=minutes)
    return make_execution(
        job,
        status=status,
        scheduled_for=at,
        started_at=at,
        finished_at=at + timedelta(seconds=2),
        revision=job.revisions.order_by("-version").first(),
        **fields,
    )


# --- Since the last green run -----------------------------------------------------------------


def test_what_changed_since_the_last_green_run_stands_beside_the_failure(viewer: Browser) -> None:
    job = make_job(arguments={"value": {"size": 1, "token": "s3cr3t"}})
    green = ran(job, 9, Status.SUCCEEDED, release="1.0", node=make_node(name="n1"))
    job.timeout_s = 7
    lifecycle.save_job(job, by="carl")
    node = make_node(name="n2")
    ran(job, 6, Status.FAILED, release="1.0", node=node, error="first")
    ran(
        job,
        3,
        Status.LOST,
        release="2.0",
        node=node,
        error="no paper",
        spec={"arguments": {"value": 5}},
    )
    ran(job, 1, Status.CANCELLED)

    page = viewer.open(f"{JOBS}{job.pk}/")

    assert "What changed since the last green run" in page.main
    assert "no paper" in page.main and "2 times in a row" in page.main
    assert f"execution {green.pk}" in page.links
    for change in (
        "Release 1.0 → 2.0",
        "Node n1 → n2",
        "Timeout (s) 3600 → 7",
        "took 2.0 s, usually 2.0 s",
    ):
        assert change in page.main
    assert '→ {"value": 5}' in page.main
    assert "s3cr3t" not in page.html


def test_what_is_the_same_is_said_so_that_nobody_looks(viewer: Browser) -> None:
    job, node = make_job(), make_node()
    ran(job, 9, Status.SUCCEEDED, release="1.0", node=node)
    ran(job, 3, Status.FAILED, release="1.0", node=node)

    assert "The same arguments, definition, release, node" in viewer.open(f"{JOBS}{job.pk}/").main


def test_without_a_green_run_that_is_said(viewer: Browser) -> None:
    job = make_job()
    ran(job, 3, Status.FAILED)

    assert "No green run among the last 1" in viewer.open(f"{JOBS}{job.pk}/").main


def test_a_job_that_is_fine_again_is_not_accused(viewer: Browser) -> None:
    job = make_job()
    ran(job, 9, Status.FAILED)
    ran(job, 3, Status.SUCCEEDED)

    page = viewer.open(f"{JOBS}{job.pk}/")

    assert "green run" not in page.main
    assert "2 executions, 1 of them failed or lost" in page.main


# --- Durations --------------------------------------------------------------------------------


def test_the_chart_marks_failures_and_edits(viewer: Browser) -> None:
    job = make_job(schedule="@every 1h")
    ran(job, 9, Status.SUCCEEDED)
    job.timeout_s = 7
    lifecycle.save_job(job, by="carl")
    ran(job, 3, Status.FAILED)

    page = viewer.open(f"{JOBS}{job.pk}/")

    classes = [attrs.get("class") for tag, attrs in page.elements if tag in ("rect", "path")]
    assert classes.count("sch-bar-succeeded") == classes.count("sch-bar-failed") == 1
    assert classes.count("sch-edit-line") == 1
    assert "version 2" in page.html
    assert "Last 2 fire times: 1 succeeded, 1 failed" in page.main


def test_a_page_without_the_right_to_see_executions_tells_of_none() -> None:
    job = make_job()
    ran(job, 9, Status.SUCCEEDED)
    ran(job, 3, Status.FAILED, error="no paper")

    page = Browser("view_job").open(f"{JOBS}{job.pk}/")

    for text in ("How it fares", "green run", "What became of its fire times"):
        assert text not in page.main


# --- The same job by the API ------------------------------------------------------------------


def texts(page: Any) -> dict[str, str]:
    """The three texts of the page, as one copies them."""
    parts = page.html.split("<summary>")[1:]
    found = {}
    for part in parts:
        name, _, rest = part.partition("</summary>")
        if name in ("curl", "JSON", "YAML"):
            code = rest.partition('<pre class="sch-code sch-tall">')[2].partition("</pre>")[0]
            found[name] = (
                code.replace("&quot;", '"')
                .replace("&#x27;", "'")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&")
            )
    return found


def test_the_texts_make_the_same_job_by_the_api(viewer: Browser) -> None:
    calendar = Calendar.objects.create(name="holidays", days="2030-12-25")
    job = make_job(
        name="team/report's", schedule="0 9 * * *", timezone="Asia/Tokyo", tags=["a"],
        calendar=calendar, timeout_s=7, arguments={"value": 'say "hi"'},
    )  # fmt: skip
    before = definition_of(job)

    found = texts(viewer.open(f"{JOBS}{job.pk}/"))

    told = json.loads(found["JSON"])
    assert told == before == yaml.safe_load(found["YAML"])
    assert told["calendar"] == "holidays" and "priority" not in told
    words = shlex.split(found["curl"])
    assert words[:5] == ["curl", "-u", "ana", "-X", "PUT"]
    address, body = words[5], words[-1]
    Job.objects.all().delete()
    answer = client_of("admin").put(
        address.removeprefix("http://testserver"), body, content_type="application/json"
    )
    assert answer.status_code in (200, 201), answer.content
    assert definition_of(Job.objects.get()) == before


def test_secrets_are_asterisks_in_every_text(viewer: Browser) -> None:
    job = make_job(
        kind="http",
        target="https://ana:s3cr3t@example.org/a",
        arguments={"headers": {"Authorization": "Bearer s3cr3t"}},
    )

    page = viewer.open(f"{JOBS}{job.pk}/")

    assert "s3cr3t" not in page.html
    assert "Asterisks stand for secrets" in page.main


def test_what_people_write_in_the_admin_is_what_they_write_by_the_api() -> None:
    editable = {
        field.name
        for field in Job._meta.concrete_fields
        if field.editable and not field.primary_key
    }
    assert editable == set(WRITABLE)


def test_the_page_of_a_busy_job_stays_small(viewer: Browser) -> None:
    job = make_job(description="d" * 9_000, arguments={"value": "x" * 9_000})
    for minutes in range(120):
        ran(job, minutes, Status.FAILED, error="e" * 5_000)

    page = Browser(*VIEWER, *AUTHOR, name="both").open(f"{JOBS}{job.pk}/")

    assert len(page.html) < 150_000
