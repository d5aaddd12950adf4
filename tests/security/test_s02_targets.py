"""S2: what a job does is a right of its own, asked wherever something would run, and again when it runs."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.core.management import call_command

from scheduler_app import lifecycle
from scheduler_app.access import NotAllowed, calling
from scheduler_app.access.rights import (
    _codename,
    create_target_permissions,
    refusal,
    use_target,
)
from scheduler_app.lifecycle.selecting import Selection
from scheduler_app.models import Execution, Job
from tests.web.admin_support import JOBS, Browser
from tests.web.api_support import (
    API,
    NOON,
    ApiClient,
    client_of,
    make_execution,
    make_job,
    make_user,
)

from .support import Somebody

pytestmark = pytest.mark.django_db

ECHO = "tests.testapp.tasks.echo"
OTHER = "tests.testapp.tasks.fail"
EVERYTHING = (
    *("view_job", "add_job", "change_job", "delete_job", "run_job", "pause_job"),
    *("view_execution", "view_pause", "add_pause", "change_pause"),
)


def with_rights(*codenames: str) -> ApiClient:
    user = make_user("stranger")
    user.user_permissions.set(Permission.objects.filter(codename__in=[*EVERYTHING, *codenames]))
    client = ApiClient()
    client.force_login(user)
    return client


def test_s02_a_right_for_each_known_task_exists_after_migrate() -> None:
    wanted = use_target("task", ECHO).partition(".")[2]

    assert Permission.objects.filter(codename=wanted).count() == 1

    Permission.objects.filter(codename=wanted).delete()
    create_target_permissions(apps.get_app_config("scheduler_app"), "default", apps)
    create_target_permissions(apps.get_app_config("scheduler_app"), "default", apps)
    assert Permission.objects.filter(codename=wanted).count() == 1


def test_s02_the_codename_of_a_long_name_fits_and_stays_its_own() -> None:
    first, second = (_codename("task", "a" * 150 + end) for end in "xy")
    assert len(first) == len(second) == 100
    assert first != second


@pytest.mark.parametrize(
    ("right", "created"),
    [
        ((), {ECHO: 403, OTHER: 403}),
        (("use_task",), {ECHO: 201, OTHER: 201}),
        ((f"use_task:{ECHO}",), {ECHO: 201, OTHER: 403}),
        (("use_http", "use_shell"), {ECHO: 403, OTHER: 403}),
    ],
)
def test_s02_creating_needs_the_right_for_the_target(right, created) -> None:
    client = with_rights(*right)
    answers = {
        target: client.post(f"{API}/jobs/", {"name": target, "target": target})
        for target in (ECHO, OTHER)
    }

    assert {target: found.status_code for target, found in answers.items()} == created
    for target, found in answers.items():
        if found.status_code == 403:
            assert "use_task" in found.json()["detail"]
            assert not Job.objects.filter(target=target).exists()


WAYS = {
    "run": ("jobs/{job}/run/", {}),
    "run with arguments": ("jobs/{job}/run/", {"arguments": {"value": 1}}),
    "bulk run": ("bulk/jobs/run/", {"runs": [{"job": 0}]}),
    "backfill": ("jobs/{job}/backfill/", {"since": NOON.isoformat(), "until": NOON.isoformat()}),
    "resume and run": ("jobs/{job}/resume/", {"run": "all"}),
    "retry": ("executions/{execution}/retry/", {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_s02_no_way_of_running_goes_past_the_right(way: str) -> None:
    job = make_job(schedule="@hourly")
    lifecycle.pause([job.pk], by="somebody")
    execution = make_execution(job, status="failed")
    path, body = WAYS[way]
    if "runs" in body:
        body = {"runs": [{"job": job.pk}]}
    where = f"{API}/{path.format(job=job.pk, execution=execution.pk)}"

    refused = with_rights().post(where, body)
    assert refused.status_code == 403, refused.content
    assert "use_task" in refused.json()["detail"]
    assert list(Execution.objects.values_list("status", flat=True)) == ["failed"]

    assert with_rights("use_task").post(where, body).status_code < 300


def test_s02_the_end_of_a_pause_runs_nothing_past_the_right() -> None:
    make_job(schedule="@hourly")
    pause = lifecycle.pause_scope("all", by="somebody")
    where = f"{API}/pauses/{pause.pk}/resume/"
    rights = ("view_pause", "change_pause")

    refused = with_rights(*rights).post(where, {"run": "all"})
    assert refused.status_code == 403, refused.content
    assert "use_task" in refused.json()["detail"]
    pause.refresh_from_db()
    assert pause.ended_at is None

    assert with_rights(*rights, "use_task").post(where, {"run": "all"}).status_code == 200


def test_s02_an_edit_of_what_it_does_needs_the_right_and_of_when_does_not() -> None:
    job = make_job()
    client = with_rights(f"use_task:{OTHER}")
    where = f"{API}/jobs/{job.pk}/"

    assert client.patch(where, {"schedule": "@daily"}).status_code == 200
    for change in ({"arguments": {"value": 2}}, {"kind": "http", "target": "https://example.org/"}):
        assert client.patch(where, change).status_code == 403, change
    job.refresh_from_db()
    assert (job.target, job.arguments, job.schedule) == (ECHO, {}, "@daily")
    # Only the right for the new value is asked.
    assert client.patch(where, {"target": OTHER}).status_code == 200


def test_s02_a_retry_asks_for_what_it_would_run_not_for_what_the_job_does_now() -> None:
    job = make_job()
    execution = make_execution(job, status="failed")
    job.target = OTHER
    lifecycle.save_job(job, by="somebody")

    client = with_rights(f"use_task:{OTHER}")

    assert client.post(f"{API}/executions/{execution.pk}/retry/", {}).status_code == 403


def test_s02_a_bulk_retry_asks_for_all_that_it_would_run() -> None:
    job = make_job()
    make_execution(job, status="failed")
    somebody = Somebody(make_user("viewer"))
    for selection in (Selection(jobs=(job.pk,)), Selection()):
        with calling(somebody), pytest.raises(NotAllowed, match="use_task"):
            lifecycle.start_bulk(uuid4(), "retry", selection, by="x")
    assert Execution.objects.get().status == "failed"


def test_s02_a_refusal_does_not_repeat_a_secret_of_the_target() -> None:
    why = refusal(make_user("stranger"), "http", "https://hooks.example/x?token=canary")

    assert "hooks.example" in why
    assert "canary" not in why


def test_s02_a_test_run_of_what_is_not_saved_asks_too() -> None:
    job = Job(name="x", target=ECHO)
    with calling(Somebody(make_user("viewer"))), pytest.raises(NotAllowed, match="use_task"):
        lifecycle.try_out(job, by="x")
    assert not Execution.objects.exists()


def test_s02_the_admin_says_it_in_the_form_and_refuses_the_rest() -> None:
    job = make_job()
    browser = Browser(*EVERYTHING)
    browser.open(f"{JOBS}add/")
    browser.press("Save", name="mine", target=ECHO)
    assert "use_task" in browser.errors["target"][0]
    assert not Job.objects.filter(name="mine").exists()

    browser.open(f"{JOBS}{job.pk}/change/")
    browser.press("Save", priority="7")
    job.refresh_from_db()
    assert job.priority == 7

    refused = browser.post(f"{JOBS}{job.pk}/run/")
    assert refused.status_code == 403 and "use_task" in refused.content.decode()
    refused = browser.post(JOBS, action="run_selected", _selected_action=job.pk)
    assert refused.status_code == 403
    assert not Execution.objects.exists()


def test_s02_code_and_commands_are_trusted() -> None:
    assert make_job().pk
    call_command("createsamplejobs", verbosity=0)
    assert client_of("stranger").get(f"{API}/jobs/").status_code == 403
