"""S2: no way around a right: what runs jobs, shows arguments or tells who did what asks for it by every way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import F, ProtectedError, QuerySet

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Job, Pause, database_now
from tests.web.admin_support import EXECUTIONS, JOBS, PAUSES, Browser
from tests.web.api_support import API, ApiClient, make_execution, make_job, make_user

pytestmark = pytest.mark.django_db

PAUSER = ("view_job", "pause_job", "view_pause", "change_pause", "use_task")


def somebody(*permissions: str) -> Any:
    user = get_user_model().objects.create_user(f"with {len(permissions)}", password="a password 1")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def browser_of(user: Any) -> ApiClient:
    client = ApiClient()
    client.force_login(user)
    return client


def program_of(user: Any, *scopes: str) -> ApiClient:
    _, text = lifecycle.create_token(user, "ci", scopes=scopes, by="ana")
    return ApiClient(headers={"Authorization": f"Bearer {text}"})


def paused_job(**fields: Any) -> Job:
    """Paused for three hours, so that it missed three fire times."""
    job = make_job(schedule="@hourly", **fields)
    lifecycle.pause([job.pk], by="ana")
    Job.objects.filter(pk=job.pk).update(paused_at=database_now() - timedelta(hours=3))
    Job.objects.filter(pk=job.pk).update(updated_at=F("paused_at"))
    job.refresh_from_db()
    return job


def standing_pause() -> Pause:
    """Everything is paused, and a job of four hours has missed three fire times."""
    job = make_job(schedule="@hourly")
    four_hours_ago = database_now() - timedelta(hours=4)
    Job.objects.filter(pk=job.pk).update(created_at=four_hours_ago, updated_at=four_hours_ago)
    pause = lifecycle.pause_scope("all", by="ana")
    Pause.objects.filter(pk=pause.pk).update(paused_at=database_now() - timedelta(hours=3))
    return pause


# --- Accounts ----------------------------------------------------------------------------------


def test_s02_an_account_that_owns_jobs_is_not_deleted_and_frees_none() -> None:
    owner = make_user("editor", "olga")
    job = make_job(owner=owner, name="nightly report")
    get_user_model().objects.filter(pk=owner.pk).update(is_active=False)

    with pytest.raises(ProtectedError), transaction.atomic():
        owner.delete()
    # A job that was deleted is history for a while, and its last execution may still be under way.
    lifecycle.delete_jobs([job.pk], by="ana")
    with pytest.raises(ProtectedError), transaction.atomic():
        owner.delete()

    assert Job.including_deleted.get(pk=job.pk).owner_id == owner.pk


def test_s02_the_admin_says_which_jobs_or_that_tokens_keep_an_account() -> None:
    owner, holder = make_user("editor", "olga"), make_user("viewer", "tom")
    make_job(owner=owner, name="nightly report")
    lifecycle.create_token(holder, "ci", scopes=["read"], by="ana")
    browser = Browser(superuser=True)

    for user, words in ((owner, "nightly report"), (holder, "API token")):
        page = browser.open(f"/admin/auth/user/{user.pk}/delete/")
        assert page.text.startswith("Cannot delete user") and words in page.main
        browser.post(f"/admin/auth/user/{user.pk}/delete/", post="yes")
        assert get_user_model().objects.filter(pk=user.pk).exists()


# --- The end of a pause ------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["last", "all"])
@pytest.mark.parametrize("caller", ["user", "token"])
def test_s02_who_may_only_pause_makes_nothing_run_over_the_api(run: str, caller: str) -> None:
    job = paused_job()
    if caller == "user":
        client, missing = browser_of(somebody(*PAUSER)), "scheduler_app.run_job"
    else:
        client, missing = program_of(make_user("operator"), "read", "pause"), "scope run"

    for where, body in (("bulk/jobs/resume", {"jobs": [job.pk]}), (f"jobs/{job.pk}/resume", {})):
        refused = client.post(f"{API}/{where}", {**body, "run": run})
        assert refused.status_code == 403, refused.content
        assert missing in refused.json()["detail"]
    job.refresh_from_db()
    assert job.paused_at is not None and not Execution.objects.exists()

    assert client.post(f"{API}/jobs/{job.pk}/resume", {"run": "none"}).status_code == 200


def test_s02_a_token_that_may_run_and_pause_runs_what_was_missed() -> None:
    job = paused_job()
    client = program_of(make_user("operator"), "read", "pause", "run")

    assert client.post(f"{API}/jobs/{job.pk}/resume", {"run": "last"}).status_code == 200
    assert Execution.objects.count() == 1


def test_s02_who_may_only_pause_makes_nothing_run_in_the_admin() -> None:
    job, pause = paused_job(), standing_pause()
    browser = Browser(*PAUSER)

    for where in (f"{JOBS}{job.pk}/resume/", f"{PAUSES}{pause.pk}/resume/"):
        page = browser.open(where)
        assert 'value="none"' in page.html
        assert 'value="last"' not in page.html and 'value="all"' not in page.html
        assert "needs the right to run jobs" in page.text
        assert b"Select a valid choice" in browser.post(where, run="all").content  # type: ignore[attr-defined]
    job.refresh_from_db()
    pause.refresh_from_db()
    assert job.paused_at is not None and pause.ended_at is None
    assert not Execution.objects.exists()

    browser.post(f"{JOBS}{job.pk}/resume/", run="none")
    browser.post(f"{PAUSES}{pause.pk}/resume/", run="none")
    job.refresh_from_db()
    pause.refresh_from_db()
    assert job.paused_at is None and pause.ended_at is not None


# --- Looking -----------------------------------------------------------------------------------


def test_s02_a_jobs_log_is_for_who_may_see_the_audit_trail() -> None:
    job = make_job()
    log = f"{JOBS}{job.pk}/history/"
    viewer = Browser("view_job", name="vera")
    auditor = Browser("view_job", "view_auditentry", name="anton")

    assert log not in viewer.open(f"{JOBS}{job.pk}/").addresses
    viewer.open(log)
    assert viewer.status == 403
    assert log in auditor.open(f"{JOBS}{job.pk}/").addresses
    assert "by Code" in auditor.open(log).text


def test_s02_health_tells_a_token_without_the_scope_to_read_the_word_alone() -> None:
    user = make_user("viewer")

    assert set(program_of(user, "run").get(f"{API}/health").json()) == {"status"}
    assert "nodes" in program_of(user, "read").get(f"{API}/health").json()


def test_s02_who_may_run_but_not_look_finds_no_page_and_no_verb() -> None:
    job = make_job(arguments={"customer": "confidential"})
    execution = make_execution(job, status="failed")
    browser = Browser("run_job", "use_task")

    for name in ("run", "backfill"):
        assert "confidential" not in browser.open(f"{JOBS}{job.pk}/{name}/").html
        assert browser.status == 403
        assert browser.post(f"{JOBS}{job.pk}/{name}/").status_code == 403
    for name in ("cancel", "retry", "again"):
        assert browser.post(f"{EXECUTIONS}{execution.pk}/{name}/").status_code == 403
    assert others_than(execution).count() == 0


def others_than(execution: Execution) -> QuerySet[Execution]:
    return Execution.objects.exclude(pk=execution.pk, status="failed")
