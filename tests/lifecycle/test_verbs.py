"""What people do to jobs and executions, and what they are told. Proves I4, I22 to I26."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db import connection as django_connection

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo, SpecCache
from scheduler_app.models import Execution, Job, JobRevision, Pause, acting_as, database_now

from .support import (
    NOON,
    after_noon,
    claim,
    failure,
    finish,
    fire,
    make_execution,
    make_executions,
    make_job,
    make_node,
    outcome,
    overtaking,
    plan_of,
    settle,
    status_of,
    statuses,
    story,
    together,
    turn,
)

ADD = "tests.testapp.tasks.add"


def make_add(**fields) -> Job:
    """A job by hand that adds, with arguments that fit."""
    fields.setdefault("arguments", {"a": 1})
    return make_job(schedule="@manual", kind="task", target=ADD, **fields)


def authors(job: Job) -> list[tuple[int, str]]:
    return list(job.revisions.order_by("version").values_list("version", "created_by"))


# --- Run now -------------------------------------------------------------------------------------


def test_run_now_creates_an_execution_that_can_start_at_once(connection, clock):
    job = make_add(queue="reports", priority=5)
    clock.tick(1)

    [execution] = lifecycle.run_now([job.pk], by="ann")

    assert (execution.status, execution.trigger) == ("ready", "manual")
    assert (execution.job, execution.revision.version, execution.spec) == (job, 1, None)
    assert execution.scheduled_for == execution.run_after == after_noon(1)
    assert (execution.queue, execution.priority) == ("reports", 5)
    assert execution.requested_by == "ann"
    [claimed] = claim(connection, make_node(connection))
    assert claimed.arguments == {"a": 1}


def test_run_now_does_not_touch_the_schedule(connection, clock):
    job = make_job(schedule="*/10 * * * * *", on_overlap="allow")
    settle(connection)
    before = plan_of(job)

    lifecycle.run_now([job.pk], by="ann")

    after = plan_of(job)
    assert (after.next_fire_at, after.decided_until, after.runs, after.dirty) == (
        before.next_fire_at,
        before.decided_until,
        before.runs,
        False,
    )
    clock.tick(10)
    fire(connection)
    assert story(job) == ["12:00:10 ready"]


def test_run_now_at_a_fire_time_is_an_execution_beside_the_schedule_s(connection, clock):
    """Proves I26: its key is its own."""
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(1)
    lifecycle.run_now([job.pk], by="ann")
    fire(connection)

    assert Execution.objects.filter(scheduled_for=after_noon(1)).count() == 2


def test_run_now_runs_many_jobs(connection, clock):
    jobs = [make_add() for _ in range(3)]

    executions = lifecycle.run_now([job.pk for job in jobs], by="ann")

    assert {execution.job_id for execution in executions} == {job.pk for job in jobs}


def test_run_now_of_a_job_given_twice_runs_it_once(connection, clock):
    job = make_add()

    assert len(lifecycle.run_now([job.pk, job.pk], by="ann")) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["ready", "blocked", "blocked"]),
        ({"max_running": 2}, ["ready", "ready", "blocked"]),
        ({"on_overlap": "queue_all"}, ["ready", "blocked", "blocked"]),
        ({"on_overlap": "allow"}, ["ready", "ready", "ready"]),
        ({"on_overlap": "allow", "max_running": 2}, ["ready", "ready", "blocked"]),
    ],
)
def test_at_the_job_s_limit_a_run_now_waits_its_turn(fields, expected, connection, clock):
    job = make_add(**fields)

    executions = [lifecycle.run_now([job.pk], by="ann")[0] for _ in range(3)]

    assert statuses(executions) == expected
    node = make_node(connection)
    for _ in range(3):
        finish(connection, *[outcome(claimed) for claimed in claim(connection, node)])
    assert statuses(executions) == ["succeeded"] * 3


def test_two_people_who_run_a_job_at_once_do_not_exceed_its_limit(connection, clock):
    job = make_add()

    together(*[lambda _: lifecycle.run_now([job.pk], by="ann")] * 4)

    found = sorted(Execution.objects.values_list("status", flat=True))
    assert found == ["blocked", "blocked", "blocked", "ready"]


def test_run_now_with_other_arguments_runs_with_those_and_leaves_the_job_alone(connection, clock):
    job = make_add()

    [execution] = lifecycle.run_now([job.pk], by="ann", arguments={"a": 5, "b": 6})

    assert execution.spec == {"arguments": {"a": 5, "b": 6}}
    [claimed] = claim(connection, make_node(connection))
    assert (claimed.arguments, claimed.spec.target) == ({"a": 5, "b": 6}, ADD)
    job.refresh_from_db()
    assert (job.arguments, job.version) == ({"a": 1}, 1)


def test_run_now_with_no_arguments_at_all_is_not_the_same_as_with_the_job_s(connection, clock):
    job = make_job(schedule="@manual", target="tests.testapp.tasks.echo", arguments={"value": 1})

    lifecycle.run_now([job.pk], by="ann", arguments={})

    [claimed] = claim(connection, make_node(connection))
    assert claimed.arguments == {}


@pytest.mark.parametrize(
    "arguments",
    [{"a": 1, "z": 2}, {}, "text", {"a": "\x00"}, {"a": "\ud800"}, {"a": float("nan")}],
)
def test_arguments_that_do_not_fit_are_refused_and_nothing_is_created(arguments, connection, clock):
    job, other = make_add(name="a sum"), make_add(name="b sum")

    with pytest.raises(CannotDo, match="a sum: ") as refused:
        lifecycle.run_now([job.pk, other.pk], by="ann", arguments=arguments)

    assert refused.value.problems
    assert all(problem.field.split(".")[0] == "arguments" for problem in refused.value.problems)
    assert not Execution.objects.exists()


def test_run_now_can_be_for_a_moment_of_one_s_choice(connection, clock):
    job = make_add()

    [execution] = lifecycle.run_now(
        [job.pk], by="ann", scheduled_for=after_noon(-86400), trigger="api"
    )

    assert execution.scheduled_for == after_noon(-86400)
    assert (execution.run_after, execution.trigger) == (NOON, "api")


def test_no_run_is_told_a_fire_time_that_is_still_to_come(connection, clock):
    """It would be the job's newest execution until then, whatever happened meanwhile."""
    job = make_add()

    with pytest.raises(CannotDo, match="still to come") as refused:
        lifecycle.run_now([job.pk], by="ann", scheduled_for=after_noon(1))

    [problem] = refused.value.problems
    assert (problem.field, problem.given) == ("scheduled_for", "2030-01-01 12:00:01 UTC")
    assert not Execution.objects.exists()
    [execution] = lifecycle.run_now([job.pk], by="ann", scheduled_for=NOON)
    assert execution.scheduled_for == NOON


def test_a_deleted_job_cannot_be_run(connection, clock):
    job, other = make_add(), make_add()
    job.delete()

    with pytest.raises(CannotDo, match="no such job"):
        lifecycle.run_now([job.pk], by="ann")
    assert [e.job_id for e in lifecycle.run_now([job.pk, other.pk], by="ann")] == [other.pk]


def test_a_run_now_during_a_delete_is_refused(connection, clock):
    """Proves I23 in a race."""
    job = make_add()

    def run(_):
        with pytest.raises(CannotDo):
            lifecycle.run_now([job.pk], by="ann")

    overtaking(connection, "UPDATE scheduler_app_job SET deleted_at = scheduler_now()", run)

    assert not Execution.objects.exists()


@pytest.mark.parametrize("fields", [{"enabled": False}, {"paused_at": NOON}])
def test_a_disabled_or_paused_job_can_be_run_by_hand(fields, connection, clock):
    job = make_add(**fields)
    settle(connection)

    [execution] = lifecycle.run_now([job.pk], by="ann")

    assert [claimed.id for claimed in claim(connection, make_node(connection))] == [execution.id]


# --- Pause and resume ----------------------------------------------------------------------------


def test_pausing_says_which_jobs_were_paused_by_it_and_keeps_who_why_and_until(connection, clock):
    jobs = [make_job() for _ in range(3)]
    lifecycle.pause([jobs[0].pk], by="ann", reason="first")
    clock.tick(5)

    paused = lifecycle.pause(
        [job.pk for job in jobs], by="bob", reason="second", until=after_noon(60)
    )

    assert paused == [jobs[1].pk, jobs[2].pk]
    facts = [
        (job.paused_at, job.paused_by, job.pause_reason, job.paused_until)
        for job in Job.objects.order_by("id")
    ]
    assert facts[0] == (NOON, "ann", "first", None)
    assert facts[1] == facts[2] == (after_noon(5), "bob", "second", after_noon(60))
    assert set(Job.objects.paused()) == set(jobs)


def test_resuming_says_which_jobs_were_paused(connection, clock):
    jobs = [make_job() for _ in range(3)]
    lifecycle.pause([jobs[1].pk], by="ann", reason="x", until=after_noon(60))

    assert lifecycle.resume([job.pk for job in jobs], by="bob") == [jobs[1].pk]
    assert lifecycle.resume([job.pk for job in jobs], by="bob") == []

    job = Job.objects.get(pk=jobs[1].pk)
    assert (job.paused_at, job.paused_by, job.pause_reason, job.paused_until) == (
        None,
        "",
        "",
        None,
    )


def test_a_deleted_job_is_neither_paused_nor_resumed(connection, clock):
    job = make_job()
    job.delete()

    assert lifecycle.pause([job.pk], by="ann") == []
    assert lifecycle.resume([job.pk], by="ann") == []


@pytest.mark.parametrize("until", [after_noon(-1), NOON])
def test_a_pause_that_would_be_over_is_refused(until, connection, clock):
    job = make_job()

    with pytest.raises(CannotDo, match="which is over"):
        lifecycle.pause([job.pk], by="ann", until=until)
    with pytest.raises(CannotDo, match="which is over"):
        lifecycle.pause_scope("all", by="ann", until=until)

    job.refresh_from_db()
    assert job.paused_at is None


def test_resuming_lets_what_waited_go_at_once_within_the_limit(connection, clock):
    job = make_job(on_overlap="queue_all", max_running=2)
    settle(connection)
    clock.tick(4)
    fire(connection)
    lifecycle.pause([job.pk], by="ann")
    assert {line.split(" ", 1)[1] for line in story(job)} == {"blocked (paused)"}

    lifecycle.resume([job.pk], by="ann")

    assert [line.split()[1] for line in story(job)] == ["ready", "ready", "blocked", "blocked"]


def test_a_pause_holds_only_what_the_schedule_created(connection, clock):
    job = make_job(on_overlap="allow")
    [by_hand] = lifecycle.run_now([job.pk], by="ann")

    lifecycle.pause([job.pk], by="ann")

    assert status_of(by_hand) == "ready"


@pytest.mark.parametrize(
    ("scope", "value"), [("all", "x"), ("queue", ""), ("tag", ""), ("job", "x"), ("", "")]
)
def test_a_pause_of_something_that_does_not_exist_is_refused(scope, value, connection, clock):
    with pytest.raises(CannotDo, match="'all' without a value"):
        lifecycle.pause_scope(scope, value, by="ann")

    assert not Pause.objects.exists()


def test_a_scope_is_paused_once_at_a_time(connection, clock):
    first = lifecycle.pause_scope("queue", "a", by="ann", reason="move")
    with pytest.raises(CannotDo, match="queue a is paused already"):
        lifecycle.pause_scope("queue", "a", by="bob")
    lifecycle.pause_scope("queue", "b", by="bob")
    lifecycle.pause_scope("tag", "a", by="bob")

    clock.tick(5)
    assert lifecycle.resume_scope(first.pk, by="bob") is True
    assert lifecycle.resume_scope(first.pk, by="eve") is False
    first.refresh_from_db()
    assert (first.ended_at, first.ended_by) == (after_noon(5), "bob")
    assert lifecycle.pause_scope("queue", "a", by="bob").pk != first.pk


def test_two_people_who_pause_everything_at_once_make_one_pause(connection, clock):
    def pause(_):
        try:
            return lifecycle.pause_scope("all", by="ann")
        except CannotDo:
            return None

    answers = together(*[pause] * 4)

    assert sum(answer is not None for answer in answers) == 1
    assert Pause.objects.count() == 1


def test_a_pause_whose_end_has_passed_makes_room_for_another(connection, clock):
    old = lifecycle.pause_scope("all", by="ann", until=after_noon(5))
    clock.tick(6)

    new = lifecycle.pause_scope("all", by="bob")

    old.refresh_from_db()
    assert old.ended_at == after_noon(6)
    assert (new.paused_at, new.ended_at) == (after_noon(6), None)


# --- Cancel --------------------------------------------------------------------------------------


def test_cancelling_says_what_became_of_each(connection, clock):
    """Proves I25."""
    job = make_job(schedule="@manual", on_overlap="allow")
    ready, blocked, running, done = (
        make_execution(job),
        make_execution(job, status="blocked"),
        make_execution(job, status="running", node_id=1),
        make_execution(job, status="succeeded", finished_at=NOON),
    )
    clock.tick(1)

    answer = lifecycle.cancel(
        [ready.id, blocked.id, running.id, done.id, 10**9], by="ann", reason="not_needed"
    )

    assert sorted(answer.cancelled) == [ready.id, blocked.id]
    assert answer.requested == [running.id]
    assert answer.finished == [done.id, 10**9]
    assert statuses([ready, blocked]) == ["cancelled (not_needed)"] * 2
    assert statuses([running, done]) == ["running", "succeeded"]
    ready.refresh_from_db()
    running.refresh_from_db()
    assert (ready.finished_at, ready.cancelled_by) == (after_noon(1), "ann")
    assert (running.cancel_requested_at, running.cancelled_by) == (after_noon(1), "ann")
    assert running.finished_at is None
    assert claim(connection, make_node(connection)) == []


def test_what_was_cancelled_while_it_ran_ends_as_its_node_says(connection, clock):
    """Proves I25: cancel and finish race, and the row says who won."""
    execution = make_execution()
    [claimed] = claim(connection, make_node(connection))
    lifecycle.cancel([execution.id], by="ann")

    finish(connection, outcome(claimed))

    assert status_of(execution) == "succeeded"


def test_a_second_cancel_keeps_the_time_of_the_first(connection, clock):
    execution = make_execution(status="running", node_id=1)
    lifecycle.cancel([execution.id], by="ann")
    clock.tick(5)

    assert lifecycle.cancel([execution.id], by="bob").requested == [execution.id]

    execution.refresh_from_db()
    assert execution.cancel_requested_at == NOON


def test_a_cancelled_retry_never_begins(connection, clock):
    execution = make_execution(make_job(schedule="@manual", max_attempts=5))
    [claimed] = claim(connection, make_node(connection))
    finish(connection, failure(claimed, retry_s=5))

    assert lifecycle.cancel([execution.id], by="ann").cancelled == [execution.id]

    clock.tick(60)
    assert claim(connection, make_node(connection)) == []


def test_cancels_and_claims_at_one_moment_agree(connection, clock):
    """Proves I25: each ends as cancelled and never began, or runs and is asked to stop."""
    executions = make_executions(60)
    node = make_node(connection)

    claimed, answer = together(
        lambda other: [item.id for _ in range(20) for item in claim(other, node, limit=3)],
        lambda _: lifecycle.cancel([execution.id for execution in executions], by="ann"),
    )

    assert sorted(answer.requested) == sorted(claimed)
    assert sorted(answer.cancelled + answer.requested) == [e.id for e in executions]
    assert {e.status for e in Execution.objects.filter(pk__in=answer.cancelled)} <= {"cancelled"}
    assert {e.attempt for e in Execution.objects.filter(pk__in=answer.cancelled)} <= {0}


# --- Retry ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["failed", "lost", "cancelled"])
def test_what_did_not_succeed_can_be_tried_again(status, connection, clock):
    execution = make_execution(
        status=status,
        reason="raised",
        attempt=3,
        token=3,
        crashes=2,
        node_id=1,
        error="ValueError: no",
        traceback="Traceback …",
        started_at=NOON,
        finished_at=after_noon(1),
        cancel_requested_at=NOON,
        cancelled_by="eve",
        failures=[{"attempt": 1}, {"attempt": 2}],
    )
    clock.tick(10)

    assert lifecycle.retry([execution.id], by="ann") == [execution.id]

    execution.refresh_from_db()
    assert (execution.status, execution.reason, execution.requested_by) == ("ready", "", "ann")
    assert (execution.token, execution.crashes, execution.node_id) == (4, 0, None)
    assert execution.run_after == after_noon(10)
    assert (execution.started_at, execution.finished_at) == (None, None)
    assert (execution.cancel_requested_at, execution.cancelled_by) == (None, "")
    assert (execution.error, execution.traceback, execution.result) == ("", "", None)
    *_, last = execution.failures
    assert len(execution.failures) == 3
    assert (last["attempt"], last["reason"], last["error"]) == (3, "raised", "ValueError: no")
    [claimed] = claim(connection, make_node(connection))
    assert (claimed.attempt, claimed.crashes) == (4, 0)


@pytest.mark.parametrize(
    ("status", "finished"), [("succeeded", True), ("ready", False), ("running", False)]
)
def test_a_success_or_one_that_lives_cannot_be_tried_again(status, finished, connection, clock):
    execution = make_execution(status=status, node_id=1, finished_at=NOON if finished else None)

    assert lifecycle.retry([execution.id, 10**9], by="ann") == []
    assert status_of(execution) == status


@pytest.mark.parametrize("how", ["deleted", "removed"])
def test_an_execution_of_a_job_that_is_gone_cannot_be_tried_again(how, connection, clock):
    execution = make_execution(status="failed", finished_at=NOON)
    if how == "deleted":
        execution.job.delete()
    else:
        connection.execute("DELETE FROM scheduler_app_job")

    assert lifecycle.retry([execution.id], by="ann") == []
    assert status_of(execution) == "failed"


def test_an_enqueued_task_can_be_tried_again_without_a_job(connection, clock):
    execution = make_execution(
        None, spec={"target": "mail"}, trigger="task", status="failed", finished_at=NOON
    )

    assert lifecycle.retry([execution.id], by="ann") == [execution.id]
    assert status_of(execution) == "ready"


def test_many_that_are_tried_again_keep_to_their_job_s_limit(connection, clock):
    job = make_job(schedule="@manual", max_running=2)
    failed = make_executions(5, job=job, status="failed", finished_at=NOON)

    assert len(lifecycle.retry([execution.id for execution in failed], by="ann")) == 5

    assert sorted(statuses(failed)) == ["blocked"] * 3 + ["ready"] * 2


def test_a_stale_node_cannot_finish_what_is_tried_again(connection, clock):
    execution = make_execution(make_job(schedule="@manual", guarantee="at_most_once"))
    [stale] = claim(connection, make_node(connection))
    clock.tick(20)
    lifecycle.rescue(connection, lease_s=15, max_crashes=3)
    lifecycle.retry([execution.id], by="ann")

    assert finish(connection, outcome(stale)) == set()
    assert status_of(execution) == "ready"
    execution.refresh_from_db()
    assert [entry["reason"] for entry in execution.failures] == ["node_died"]


# --- Jobs, their history and their authors ---------------------------------------------------------


def test_every_edit_is_a_revision_with_its_author(connection, clock):
    job = lifecycle.save_job(Job(name="report", schedule="@daily"), by="ann")
    clock.tick(1)
    job.schedule = "@weekly"
    lifecycle.save_job(job, by="bob")
    clock.tick(1)
    with acting_as("eve"):
        Job.objects.filter(pk=job.pk).update(queue="slow")
    Job.objects.filter(pk=job.pk).update(queue="fast")
    lifecycle.pause([job.pk], by="ann")
    lifecycle.resume([job.pk], by="bob")
    lifecycle.delete_jobs([job.pk], by="eve")

    assert authors(job) == [
        *((1, "ann"), (2, "bob"), (3, "eve"), (4, ""), (5, "ann"), (6, "bob"), (7, "eve"))
    ]
    second = job.revisions.get(version=2)
    assert (second.created_at, second.spec["schedule"]) == (after_noon(1), "@weekly")
    assert job.revisions.get(version=1).spec["schedule"] == "@daily"


def test_a_save_that_changes_nothing_makes_no_revision(connection, clock):
    job = make_job()
    settle(connection)
    clock.tick(1)

    job.save()
    lifecycle.save_job(job, by="ann")
    Job.objects.update(provenance="api", owner=None)

    assert (job.version, job.updated_at) == (1, NOON)
    assert authors(job) == [(1, "")]
    assert not plan_of(job).dirty


def test_the_version_moves_by_one_with_each_edit_whatever_the_form_says(connection, clock):
    job = make_job()
    job.version = 99
    job.queue = "a"
    clock.tick(1)
    job.save()

    assert (job.version, job.created_at, job.updated_at) == (2, NOON, after_noon(1))
    Job.objects.update(version=50)
    job.refresh_from_db()
    assert job.version == 2


def test_many_jobs_edited_in_one_statement_each_have_their_revision(connection, clock):
    jobs = [make_job() for _ in range(5)]
    settle(connection)

    Job.objects.update(priority=9)

    assert JobRevision.objects.filter(version=2, spec__priority=9).count() == 5
    assert all(plan_of(job).dirty for job in jobs)


def test_jobs_created_in_bulk_are_planned_too(connection, clock):
    Job.objects.bulk_create(Job(name=f"bulk {n}", schedule="* * * * * *") for n in range(3))
    settle(connection)
    clock.tick(1)
    fire(connection)

    assert Execution.objects.count() == 3


def test_the_author_of_one_transaction_does_not_reach_the_next(connection, clock):
    with acting_as("ann"):
        job = make_job()
    job.queue = "a"
    job.save()

    assert authors(job) == [(1, "ann"), (2, "")]


def test_what_was_saved_and_rolled_back_leaves_nothing(connection, clock):
    with pytest.raises(RuntimeError), transaction.atomic():
        make_job(name="never")
        raise RuntimeError

    assert not Job.objects.exists()
    assert not JobRevision.objects.exists()


def test_a_form_that_was_opened_before_a_pause_does_not_end_it(connection, clock):
    """Proves I4 and I24: saving a job sets its definition, not what the verbs wrote meanwhile."""
    job = make_job(on_overlap="allow")
    opened = Job.objects.get(pk=job.pk)
    lifecycle.pause([job.pk], by="ann", reason="inventory", until=after_noon(3600))

    opened.description = "edited"
    lifecycle.save_job(opened, by="bob")

    job.refresh_from_db()
    assert (job.description, job.paused_by, job.pause_reason) == ("edited", "ann", "inventory")
    assert job.paused_at == NOON


def test_a_form_that_was_opened_before_a_delete_does_not_undo_it(connection, clock):
    job = make_job()
    opened = Job.objects.get(pk=job.pk)
    lifecycle.delete_jobs([job.pk], by="ann")

    opened.description = "edited"
    lifecycle.save_job(opened, by="bob")

    assert not Job.objects.exists()


@pytest.mark.parametrize("trigger", ["schedule", "manual"])
def test_deleting_a_job_cancels_what_waits_and_keeps_its_history(trigger, connection, clock):
    """Proves I23."""
    job = make_job(on_overlap="allow")
    ready = make_execution(job, trigger=trigger)
    blocked = make_execution(job, trigger=trigger, status="blocked", scheduled_for=after_noon(-1))
    running = make_execution(
        job, trigger=trigger, status="running", node_id=1, scheduled_for=after_noon(-2)
    )
    done = make_execution(
        job, trigger=trigger, status="failed", finished_at=NOON, scheduled_for=after_noon(-3)
    )
    clock.tick(1)

    assert lifecycle.delete_jobs([job.pk, 10**9], by="ann") == 1
    assert lifecycle.delete_jobs([job.pk], by="ann") == 0

    assert statuses([ready, blocked]) == ["cancelled (job_deleted)"] * 2
    assert statuses([running, done]) == ["running", "failed"]
    ready.refresh_from_db()
    assert ready.finished_at == after_noon(1)
    assert Job.including_deleted.get().deleted_at == after_noon(1)
    assert job.revisions.count() == 2


def test_a_deleted_job_s_name_is_free_again(connection, clock):
    make_job(name="report").delete()
    again = make_job(name="report")

    assert Job.objects.get(name="report") == again
    with pytest.raises(IntegrityError):
        make_job(name="report")


def test_the_clean_of_a_job_refuses_a_window_in_which_it_never_fires(connection, clock):
    job = Job(name="report", schedule="@daily", target=ADD, arguments={"a": 1})
    job.full_clean()

    for window in ({"start_at": after_noon(10**10)}, {"end_at": after_noon(-1)}):
        for name, moment in ({"start_at": None, "end_at": None} | window).items():
            setattr(job, name, moment)
        with pytest.raises(ValidationError, match="there is no fire time"):
            job.full_clean()


def test_the_time_that_is_asked_of_django_is_the_database_s(connection, clock):
    """Proves I8."""
    clock.set(after_noon(12345))

    assert database_now() == after_noon(12345)
    job = make_job()
    assert job.created_at == after_noon(12345)


# --- What is told to the nodes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "notice"),
    [
        (lambda job, run: lifecycle.save_job(job, by="ann"), "plan"),
        (lambda job, run: lifecycle.delete_jobs([job.pk], by="ann"), "plan"),
        (lambda job, run: lifecycle.pause([job.pk], by="ann"), "plan"),
        (lambda job, run: lifecycle.resume([job.pk], by="ann"), "plan"),
        (lambda job, run: lifecycle.run_now([job.pk], by="ann"), "ready"),
        (lambda job, run: lifecycle.cancel([run.pk], by="ann"), "cancel"),
        (lambda job, run: lifecycle.retry([run.pk], by="ann"), "ready"),
        (lambda job, run: lifecycle.pause_scope("all", by="ann"), "plan"),
    ],
    ids=["save", "delete", "pause", "resume", "run now", "cancel", "retry", "pause all"],
)
def test_nodes_are_told_when_a_verb_is_done(verb, notice, connection, clock):
    job = make_job()
    running = make_execution(job, status="running", node_id=1)
    connection.execute(f"LISTEN {lifecycle.CHANNEL}")

    verb(job, running)

    told = [note.payload for note in connection.notifies(timeout=5, stop_after=1)]
    assert told == [notice]


def test_verbs_leave_the_plans_consistent(connection, clock):
    """After any verb the next turn finds every live job planned, with nothing left to settle."""
    jobs = [make_job(on_overlap="queue_all") for _ in range(3)]
    lifecycle.pause([jobs[0].pk], by="ann")
    lifecycle.delete_jobs([jobs[1].pk], by="ann")
    turn(connection)
    lifecycle.resume([jobs[0].pk], by="ann")
    turn(connection)

    assert lifecycle.look_ahead(connection).edited is False
    assert [plan_of(job).next_fire_at for job in jobs] == [after_noon(1), None, after_noon(1)]
    assert lifecycle.promote_blocked(connection, SpecCache()) == 0


@pytest.mark.parametrize("verb", [lifecycle.pause, lifecycle.resume, lifecycle.delete_jobs])
def test_a_verb_on_many_jobs_locks_their_plans_in_the_order_of_the_nodes(verb, connection, clock):
    """In any other order it would deadlock with a node that records outcomes of the same jobs."""
    paused_at = NOON if verb is lifecycle.resume else None
    jobs = [make_job(schedule="@manual", paused_at=paused_at) for _ in range(10)]
    # Rewritten, the first one's row lies behind the others.
    Job.objects.filter(pk=jobs[0].pk).update(queue="moved")

    def run(_):
        with django_connection.cursor() as cursor:
            # The planner may read many rows as they lie.
            cursor.execute("SET enable_indexscan = off; SET enable_bitmapscan = off")
        verb([job.pk for job in jobs], by="ann")

    overtaking(
        connection,
        f"SELECT FROM scheduler_app_jobplan WHERE job_id = {jobs[0].pk} FOR UPDATE",
        run,
        # What a node takes next; without patience, to see at once that the verb has none of them.
        then=f"SELECT FROM scheduler_app_jobplan WHERE job_id > {jobs[0].pk} FOR UPDATE NOWAIT",
    )
