"""Every verb leaves its entry in the audit trail, in its own transaction; nobody changes or removes one."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import RequestFactory

from scheduler_app import lifecycle
from scheduler_app.access import Caller, RequestCaller, calling
from scheduler_app.access.caller import client_address
from scheduler_app.models import AuditEntry, Calendar, Job, JobPlan, Pause, Source, Verb
from scheduler_app.rules.masking import MASK

from .support import NOON, make_execution, make_job, make_node, open_connection

HOUR = timedelta(hours=1)


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.order_by("id"))


def only_entry() -> AuditEntry:
    [entry] = entries()
    return entry


def saved_job(**fields) -> Job:
    fields.setdefault("name", "backup")
    fields.setdefault("schedule", "@hourly")
    fields.setdefault("target", "tests.testapp.tasks.echo")
    return lifecycle.save_job(Job(**fields), by="ana")


def forget_trail() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE scheduler_app_auditentry")


def test_a_new_job_tells_what_it_was_given(clock):
    job = saved_job(arguments={"value": {"message": "hi", "api_key": "s3cret"}}, queue="slow")

    entry = only_entry()
    assert (entry.verb, entry.who, entry.source) == (Verb.JOB_CREATE, "ana", Source.CODE)
    assert (entry.object_kind, entry.object_id, entry.object_name) == ("job", str(job.pk), "backup")
    assert (entry.job_id, entry.at) == (job.pk, NOON)
    assert {name: change["new"] for name, change in entry.changes.items()} == {
        "name": "backup",
        "schedule": "@hourly",
        "target": "tests.testapp.tasks.echo",
        "arguments": {"value": {"message": "hi", "api_key": MASK}},
        "queue": "slow",
    }


def test_an_edit_tells_what_was_and_what_is(clock):
    owner = get_user_model().objects.create_user("olga")
    job = saved_job(arguments={"value": "hi", "api_key": "one"})
    forget_trail()
    job.schedule, job.priority, job.owner = "@daily", 7, owner
    job.arguments = {"value": "ho", "api_key": "two"}

    lifecycle.save_job(job, by="ben")

    entry = only_entry()
    assert (entry.verb, entry.who) == (Verb.JOB_EDIT, "ben")
    assert entry.changes == {
        "schedule": {"old": "@hourly", "new": "@daily"},
        "priority": {"old": 0, "new": 7},
        "arguments.value": {"old": "hi", "new": "ho"},
        "arguments.api_key": {"old": MASK, "new": MASK},
        "owner": {"old": None, "new": owner.pk},
    }


def test_an_edit_that_changes_nothing_leaves_no_entry(clock):
    job = saved_job()
    forget_trail()

    lifecycle.save_job(job, by="ben")

    assert entries() == []


def prepared(job: Job) -> SimpleNamespace:
    """What the verbs below are done to."""
    JobPlan.objects.filter(pk=job.pk).update(
        next_fire_at=NOON + HOUR, decided_until=NOON, dirty=False
    )
    failed = make_execution(
        job=job,
        revision=job.revisions.get(),
        scheduled_for=NOON,
        status="failed",
        finished_at=NOON,
    )
    waiting = make_execution(job=job, revision=job.revisions.get(), scheduled_for=NOON - HOUR)
    calendar = lifecycle.save_calendar(Calendar(name="a", days="2030-01-01"), by="ana")
    with open_connection() as plain:
        node = make_node(plain)
    return SimpleNamespace(failed=failed.pk, waiting=waiting.pk, calendar=calendar.pk, node=node)


def rename_calendar(calendar_id: int) -> None:
    calendar = Calendar.objects.get(pk=calendar_id)
    calendar.name = "renamed"
    lifecycle.save_calendar(calendar, by="ben")


VERBS = {
    Verb.JOB_DELETE: lambda job, rows: lifecycle.delete_jobs([job.pk], by="ben"),
    Verb.JOB_PAUSE: lambda job, rows: lifecycle.pause([job.pk], by="ben", reason="why", until=NOON + HOUR),
    Verb.JOB_RESUME: lambda job, rows: lifecycle.resume([job.pk], by="ben"),
    Verb.JOB_RUN: lambda job, rows: lifecycle.run_now([job.pk], by="ben", arguments={"value": 1}),
    Verb.JOB_TEST: lambda job, rows: lifecycle.try_out(job, by="ben"),
    Verb.JOB_BACKFILL: lambda job, rows: lifecycle.backfill(job.pk, NOON - 3 * HOUR, NOON, by="ben"),
    Verb.JOB_SKIP: lambda job, rows: lifecycle.skip_next(job.pk, by="ben"),
    Verb.JOB_UNSKIP: lambda job, rows: lifecycle.unskip_next(job.pk, by="ben"),
    Verb.EXECUTION_CANCEL: lambda job, rows: lifecycle.cancel([rows.waiting, rows.failed], by="ben", reason="why"),
    Verb.EXECUTION_RETRY: lambda job, rows: lifecycle.retry([rows.waiting, rows.failed], by="ben"),
    Verb.PAUSE_CREATE: lambda job, rows: lifecycle.pause_scope("tag", "x", by="ben", reason="why"),
    Verb.PAUSE_END: lambda job, rows: lifecycle.resume_scope(Pause.objects.get().pk, by="ben"),
    Verb.CALENDAR_CREATE: lambda job, rows: lifecycle.save_calendar(Calendar(name="b", days="2030-01-01"), by="ben"),
    Verb.CALENDAR_EDIT: lambda job, rows: rename_calendar(rows.calendar),
    Verb.CALENDAR_DELETE: lambda job, rows: lifecycle.delete_calendar(rows.calendar, by="ben"),
    Verb.NODE_DRAIN: lambda job, rows: lifecycle.drain_node(rows.node, by="ben"),
}  # fmt: skip
BEFORE = {
    Verb.JOB_RESUME: Verb.JOB_PAUSE,
    Verb.JOB_UNSKIP: Verb.JOB_SKIP,
    Verb.PAUSE_END: Verb.PAUSE_CREATE,
}
REASONED = (Verb.JOB_PAUSE, Verb.EXECUTION_CANCEL, Verb.PAUSE_CREATE)


@pytest.mark.parametrize("verb", VERBS)
def test_s24_each_verb_leaves_exactly_one_entry_and_none_when_it_does_nothing(verb, clock):
    job = saved_job()
    rows = prepared(job)
    if verb in BEFORE:
        VERBS[BEFORE[verb]](job, rows)
        JobPlan.objects.filter(pk=job.pk).update(dirty=False)
    forget_trail()

    VERBS[verb](job, rows)

    entry = only_entry()
    assert (entry.verb, entry.who, entry.source) == (verb, "ben", Source.CODE)
    assert entry.reason == ("why" if verb in REASONED else "")
    assert entry.job_id == (job.pk if verb.startswith(("job.", "execution.")) else None)
    if verb not in (Verb.JOB_RUN, Verb.JOB_TEST):
        with suppress(lifecycle.CannotDo, Pause.DoesNotExist, IntegrityError):
            VERBS[verb](job, rows)
        assert len(entries()) == 1


def test_a_run_tells_its_execution_and_masks_what_it_was_given(clock):
    job = saved_job()
    forget_trail()

    [execution] = lifecycle.run_now([job.pk], by="ben", arguments={"value": {"token": "x", "n": 1}})

    assert only_entry().changes == {
        "execution": {"old": None, "new": execution.pk},
        "arguments": {"old": None, "new": {"value": {"token": MASK, "n": 1}}},
    }


def test_the_end_of_a_pause_tells_what_ended(clock):
    job = saved_job()
    lifecycle.pause([job.pk], by="ana", reason="disk full")
    forget_trail()

    lifecycle.resume([job.pk], by="ben", run="last")

    assert only_entry().changes == {
        "paused_at": {"old": NOON.isoformat(), "new": None},
        "paused_by": {"old": "ana", "new": None},
        "pause_reason": {"old": "disk full", "new": None},
        "run": {"old": None, "new": "last"},
    }


def test_a_deleted_job_leaves_its_definition_behind(clock):
    job = saved_job(priority=9)
    job.priority = 10
    lifecycle.save_job(job, by="ana")
    forget_trail()

    lifecycle.delete_jobs([job.pk], by="ben")

    changes = only_entry().changes
    assert changes["target"] == {"old": "tests.testapp.tasks.echo", "new": None}
    assert changes["priority"] == {"old": 10, "new": None}


def test_a_verb_on_many_writes_all_entries_in_one_statement(clock):
    jobs = [make_job() for _ in range(30)]
    with connection.execute_wrapper(Counted()):
        lifecycle.pause([job.pk for job in jobs], by="ben")

    assert {entry.job_id for entry in entries()} == {job.pk for job in jobs}


class Counted:
    """Fails at a second statement that writes to the trail."""

    seen = 0

    def __call__(self, execute, sql, params, many, context):
        self.seen += "INSERT INTO" in sql and "auditentry" in sql
        assert self.seen <= 1
        return execute(sql, params, many, context)


def test_what_is_undone_leaves_no_entry(clock):
    with pytest.raises(IntegrityError), transaction.atomic():
        saved_job()
        saved_job()

    assert entries() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE scheduler_app_auditentry SET who = 'nobody'",
        "DELETE FROM scheduler_app_auditentry",
    ],
)
def test_s24_the_trail_cannot_be_changed_by_any_statement(statement, clock):
    saved_job()

    with open_connection() as plain, pytest.raises(psycopg.errors.InsufficientPrivilege) as error:
        plain.execute(statement)

    assert "append-only" in str(error.value)
    assert only_entry().who == "ana"


def test_s24_the_trail_cannot_be_changed_by_the_orm(clock):
    saved_job()

    for change in (
        lambda: AuditEntry.objects.update(who="nobody"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: only_entry().delete(),
    ):
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            change()
    assert only_entry().who == "ana"


def test_pruning_removes_what_is_older_than_its_own_retention(clock):
    saved_job()
    clock.tick(days=10)
    saved_job(name="younger")

    with open_connection() as plain:
        removed = lifecycle.prune(plain, lifecycle.Keep(age_s=86_400, audit_age_s=9 * 86_400))
        # The leave to delete ended with that transaction.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            plain.execute("DELETE FROM scheduler_app_auditentry")

    assert removed.audit_entries == 1
    assert only_entry().object_name == "younger"


# --- Who called ---------------------------------------------------------------------------------


def request_of(user, **extra):
    request = RequestFactory().post("/admin/", **extra)
    request.user = user
    request.resolver_match = SimpleNamespace(app_names=["admin"])
    return request


def test_a_request_leaves_its_user_its_way_and_its_address(clock):
    user = get_user_model().objects.create_superuser("ana")
    request = request_of(user, REMOTE_ADDR="192.0.2.7", headers={"X-Forwarded-For": "198.51.100.1"})
    request.auth = SimpleNamespace(name="deploy")
    with calling(RequestCaller(request)):
        saved_job()
    request.resolver_match = SimpleNamespace(app_names=["api"])
    with calling(RequestCaller(request)):
        saved_job(name="other")

    first, second = entries()
    assert (first.user_id, first.source, first.address) == (str(user.pk), Source.ADMIN, "192.0.2.7")
    assert (second.source, second.token) == (Source.API, "deploy")
    user.delete()


def test_a_command_says_that_it_is_one(clock):
    with calling(Caller(Source.COMMAND)):
        saved_job()

    assert only_entry().source == Source.COMMAND


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "198.51.100.1", "192.0.2.7"),
        (1, "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        (2, "203.0.113.9, 198.51.100.1", "203.0.113.9"),
        (3, "203.0.113.9, 198.51.100.1", "192.0.2.7"),
        (1, "", "192.0.2.7"),
        (1, "x" * 100, "x" * 45),
    ],
)
def test_only_trusted_proxies_are_believed(proxies, forwarded, expected, settings):
    settings.SCHEDULER = {**settings.SCHEDULER, "trusted_proxies": proxies}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7", headers=headers)

    assert client_address(request) == expected


def test_the_sample_jobs_leave_entries_too(clock):
    call_command("createsamplejobs")

    assert {entry.verb for entry in entries()} == {Verb.JOB_CREATE, Verb.JOB_PAUSE}
    assert {entry.source for entry in entries()} == {Source.COMMAND}
