"""The audit trail in the admin: a list that nobody can change, and the log of each object."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from scheduler_app import lifecycle
from scheduler_app.models import AuditEntry, Job, Source, Verb
from scheduler_app.rules.masking import MASK

from .admin_support import JOBS, OPERATOR, VIEWER, Browser, make_execution, make_job
from .api_support import API, ApiClient, make_user

pytestmark = pytest.mark.django_db

AUDIT = "/admin/scheduler_app/auditentry/"


@pytest.fixture
def auditor() -> Browser:
    return Browser(*VIEWER, "view_auditentry")


def test_the_log_of_a_job_tells_each_field_before_and_after_and_masks_secrets(
    auditor: Browser,
) -> None:
    job = make_job(arguments={"value": {"password": "hunter2"}})
    job.schedule, job.arguments = "@daily", {"value": {"password": "hunter3"}}
    lifecycle.save_job(job, by="ben")
    lifecycle.cancel([make_execution(job, status="ready").pk], by="cem", reason="wrong day")

    page = auditor.open(f"{JOBS}{job.pk}/history/")

    assert "ben by Code Edited the job Schedule : @manual → @daily" in page.main
    assert MASK in page.main and "hunter" not in page.html
    assert "cem by Code Cancelled the execution" in page.main
    assert "wrong day" in page.main


def test_where_somebody_came_from_is_for_who_may_see_the_audit_trail(auditor: Browser) -> None:
    job = make_job()
    operator = Browser(*OPERATOR, name="olga")
    operator.open(f"{JOBS}{job.pk}/")
    operator.press("Run now")

    assert "127.0.0.1" in auditor.open(f"{JOBS}{job.pk}/history/").main
    assert "127.0.0.1" not in operator.open(f"{JOBS}{job.pk}/history/").main


def test_the_list_is_read_only_and_needs_its_permission(auditor: Browser) -> None:
    job = make_job()
    entry = AuditEntry.objects.get()

    page = auditor.open(AUDIT)

    assert f"somebody by Code Created the job {job.name}" in page.main
    assert f"{JOBS}{job.pk}/" in page.addresses
    assert page.own_buttons == [] or {b.text for b in page.own_buttons} <= {"Search"}
    assert auditor.open(f"{AUDIT}{entry.pk}/change/").address == AUDIT
    assert auditor.post(f"{AUDIT}{entry.pk}/delete/", post="yes").status_code == 403
    assert auditor.post(f"{AUDIT}add/").status_code == 403
    assert auditor.post(AUDIT, action="delete_selected", _selected_action=entry.pk).status_code in (
        302,
        200,
        403,
    )
    assert AuditEntry.objects.get() == entry
    other = Browser(*VIEWER, name="other")
    other.open(AUDIT)
    assert other.status == 403


def test_the_list_is_filtered_by_who_what_where_and_object(auditor: Browser) -> None:
    job = make_job(name="nightly backup")
    make_job(name="other")
    lifecycle.pause([job.pk], by="ben", reason="why not")

    def told(query: str) -> int:
        return auditor.open(f"{AUDIT}?{query}").main.count(" by Code ")

    assert told("") == 3
    assert told("who=ben") == told("verb=job.pause") == 1
    assert told("source=code") == told("when=24h") == 3
    assert told("source=api") == 0
    assert told("q=backup") == told(f"q=%3D{job.pk}") == 2
    assert told("q=ben") == 1
    assert told("q=%00&who=%00&when=x&verb=zzz") == 0


def test_admin_and_api_leave_their_entries_by_the_same_verb() -> None:
    job = make_job()
    browser = Browser(*OPERATOR)
    browser.open(f"{JOBS}{job.pk}/")
    browser.press("Run now")
    client = ApiClient()
    user = make_user("operator", "otto")
    client.force_login(user)
    client.post(f"{API}/jobs/{job.pk}/run/", {}, REMOTE_ADDR="192.0.2.9")

    first, second = AuditEntry.objects.filter(verb=Verb.JOB_RUN).order_by("id")

    assert (first.who, first.source, first.user_id) == ("ana", Source.ADMIN, str(browser.user.pk))
    assert (second.who, second.source, second.user_id) == ("otto", Source.API, str(user.pk))
    assert second.address == "192.0.2.9"
    # One truth: the stock log of the admin has nothing of the scheduler.
    assert not LogEntry.objects.exists()


def test_the_form_and_a_delete_leave_one_entry_each_and_no_stock_log() -> None:
    browser = Browser(superuser=True)
    browser.open(f"{JOBS}add/")
    browser.press("Save", name="made", target="tests.testapp.tasks.echo", schedule="@daily")
    job = Job.objects.get()
    browser.open(f"{JOBS}{job.pk}/delete/")
    browser.press("Delete")

    verbs = list(AuditEntry.objects.order_by("id").values_list("verb", "who"))
    assert verbs == [(Verb.JOB_CREATE, "ana"), (Verb.JOB_DELETE, "ana")]
    assert not LogEntry.objects.exists()


def test_a_hostile_entry_is_shown_as_text(auditor: Browser) -> None:
    AuditEntry.objects.create(
        who="<script>alert(1)</script>",
        source=Source.API,
        verb="<b>verb</b>",
        object_kind="job",
        object_id="12\x1b",
        object_name="\u202eevil\x1b[31m",
        changes={"<i>field</i>": {"old": "<u>", "new": ["<s>"]}, "odd": 7},
        reason="<img src=x>",
    )

    page = auditor.open(AUDIT)

    assert auditor.status == 200
    assert page.refused == []
    assert "<script>alert" not in page.html and "<img src=x>" not in page.html
    assert "\x1b" not in page.html and "\u202e" not in page.html
