"""A due job becomes an execution or a gap, once, and is planned again. Proves I1, I4, I7, I8, I22, I23, I24, I27, I28."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.db import connection as django_connection

from scheduler_app import lifecycle
from scheduler_app.lifecycle import firing
from scheduler_app.models import (
    Execution,
    Gap,
    Job,
    JobPlan,
    JobRevision,
    Node,
    Pause,
    Status,
    Trigger,
)
from scheduler_app.rules.timetable import jitter_of

from .support import (
    NOON,
    after_noon,
    claim,
    finish,
    fire,
    make_execution,
    make_job,
    make_node,
    outcome,
    pause_impatiently,
    plan_of,
    settle,
    statuses,
    story,
    together,
    turn,
)


def sql(statement: str, *values: object) -> None:
    with django_connection.cursor() as cursor:
        cursor.execute(statement, values)


# --- Planning and firing ----------------------------------------------------------------------


def test_a_new_job_is_planned_from_its_creation(connection, clock):
    job = make_job(schedule="*/10 * * * * *")

    assert plan_of(job).dirty
    settled = settle(connection)

    plan = plan_of(job)
    assert settled.jobs == 1
    assert (plan.dirty, plan.next_fire_at, plan.decided_until) == (False, after_noon(10), NOON)
    assert story(job) == []


def test_a_due_job_becomes_one_execution_and_is_planned_again(connection, clock):
    job = make_job(schedule="*/10 * * * * *", queue="reports", priority=7)
    settle(connection)

    clock.tick(9.999)
    assert fire(connection).executions == 0
    clock.set(after_noon(10.25))
    fired = fire(connection)

    assert (fired.jobs, fired.executions, fired.ready, fired.gaps) == (1, 1, 1, 0)
    [execution] = Execution.objects.all()
    assert execution.job == job
    assert execution.revision == job.revisions.get()
    assert execution.trigger == Trigger.SCHEDULE
    assert execution.status == Status.READY
    assert execution.scheduled_for == execution.run_after == after_noon(10)
    assert (execution.queue, execution.priority) == ("reports", 7)
    plan = plan_of(job)
    assert (plan.next_fire_at, plan.decided_until) == (after_noon(20), after_noon(10.25))
    assert plan.runs == 1
    assert fire(connection).jobs == 0


def test_all_fire_times_since_the_last_look_get_their_verdicts_at_once(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)

    clock.tick(3)
    fire(connection)

    assert story(job) == ["12:00:01 ready", "12:00:02 ready", "12:00:03 ready"]


def test_only_due_jobs_are_touched(connection, clock):
    due = make_job(schedule="*/10 * * * * *")
    others = [
        make_job(schedule="0 0 * * *"),
        make_job(schedule="@manual"),
        make_job(enabled=False),
        make_job(schedule="*/10 * * * * *", start_at=after_noon(15)),
    ]
    settle(connection)

    clock.tick(10)
    fire(connection)

    assert story(due) == ["12:00:10 ready"]
    assert [story(other) for other in others] == [[], [], [], []]
    assert [plan_of(other).decided_until for other in others] == [NOON] * 4


def test_a_batch_takes_the_longest_due_and_says_that_there_may_be_more(connection, clock):
    jobs = [make_job(schedule=f"{second} * * * * *") for second in (3, 1, 2)]
    settle(connection)

    clock.tick(4)
    first = fire(connection, limit=2)
    assert (first.jobs, first.more) == (2, True)
    assert [bool(story(job)) for job in jobs] == [False, True, True]

    second = fire(connection, limit=2)
    assert (second.jobs, second.more) == (1, False)


def test_looking_ahead_tells_the_time_the_next_fire_time_and_whether_jobs_were_edited(
    connection, clock
):
    assert lifecycle.look_ahead(connection) == lifecycle.Outlook(NOON, None, False)
    make_job(schedule="*/20 * * * * *")
    make_job(schedule="*/15 * * * * *")

    assert lifecycle.look_ahead(connection) == lifecycle.Outlook(NOON, None, True)
    settle(connection)
    clock.tick(2)

    assert lifecycle.look_ahead(connection) == lifecycle.Outlook(
        after_noon(2), after_noon(15), False
    )


def test_jitter_shifts_the_fire_times_of_a_job_on_every_node_alike(connection, clock):
    job = make_job(name="report", schedule="* * * * *", jitter_s=60)
    shift = jitter_of("report", 60).total_seconds()
    settle(connection)

    clock.tick(minutes=1, seconds=shift)
    fire(connection)

    assert shift > 0
    assert [e.scheduled_for for e in Execution.objects.all()] == [after_noon(60 + shift)]
    assert plan_of(job).next_fire_at == after_noon(120 + shift)


def test_a_job_that_ran_as_often_as_it_may_is_over(connection, clock):
    job = make_job(max_runs=2, on_overlap="allow")
    settle(connection)

    clock.tick(1)
    fire(connection)
    clock.tick(3)
    fire(connection)

    assert story(job) == ["12:00:01 ready", "12:00:02 ready"]
    assert plan_of(job).next_fire_at is None
    assert plan_of(job).runs == 2


def test_a_run_by_hand_does_not_count_for_max_runs(connection, clock):
    job = make_job(max_runs=1)
    settle(connection)
    lifecycle.run_now([job.pk], by="ann")
    Execution.objects.update(status="succeeded", finished_at=NOON)

    clock.tick(1)
    fire(connection)

    assert story(job) == ["12:00:01 ready"]


# --- One verdict per fire time, with many nodes -----------------------------------------------


def test_four_nodes_fire_every_fire_time_once(connection, clock):
    """Proves I1 under concurrency."""
    jobs = [make_job(on_overlap="allow") for _ in range(40)]
    settle(connection)
    for _ in range(5):
        clock.tick(1)
        together(*[lambda connection: fire(connection, limit=7)] * 4)
        while fire(connection).jobs:
            pass

    expected = [f"12:00:0{second} ready" for second in range(1, 6)]
    assert all(story(job) == expected for job in jobs)
    assert {plan.runs for plan in JobPlan.objects.all()} == {5}


def test_nodes_share_the_due_jobs_instead_of_waiting_for_each_other(connection, clock):
    for _ in range(10):
        make_job()
    settle(connection)
    clock.tick(1)

    with connection.transaction():
        connection.execute(firing.LOCK_DUE_SQL, {"limit": 6})
        [fired] = together(lambda other: fire(other))

    assert fired.jobs == 4


def test_a_job_with_a_limit_of_one_is_started_once_by_two_nodes(connection, clock):
    """Proves I28: the decision lies under the plan's lock."""
    jobs = [make_job(on_overlap="skip") for _ in range(20)]
    settle(connection)
    clock.tick(1)
    together(*[fire] * 4)
    clock.tick(1)
    together(*[fire] * 4)
    while fire(connection).jobs:
        pass

    assert all(story(job) == ["12:00:01 ready", "12:00:02-12:00:02 overlap 1"] for job in jobs)


def test_settling_by_many_nodes_plans_once(connection, clock):
    jobs = [make_job() for _ in range(30)]

    settled = together(*[settle] * 4)

    assert sum(answer.jobs for answer in settled) == 30
    assert all(plan_of(job).next_fire_at == after_noon(1) for job in jobs)


def test_the_execution_and_the_moved_plan_are_one_transaction(connection, clock):
    """Proves I40 for firing: what fails leaves neither, and the next try brings both."""
    job = make_job()
    settle(connection)
    clock.tick(1)
    sql("ALTER TABLE scheduler_app_jobplan ADD CONSTRAINT no_moves CHECK (runs = 0)")
    try:
        with pytest.raises(psycopg.errors.CheckViolation):
            fire(connection)
    finally:
        sql("ALTER TABLE scheduler_app_jobplan DROP CONSTRAINT no_moves")

    assert story(job) == []
    assert plan_of(job).next_fire_at == after_noon(1)
    fire(connection)
    assert story(job) == ["12:00:01 ready"]


def test_a_plan_that_was_set_back_by_hand_creates_no_second_execution(connection, clock):
    """Proves that the unique key stands behind the lock."""
    job, other = make_job(on_overlap="allow"), make_job(on_overlap="allow")
    settle(connection)
    clock.tick(3)
    fire(connection)

    JobPlan.objects.filter(pk=job.pk).update(next_fire_at=after_noon(1), decided_until=NOON)
    clock.tick(1)
    fire(connection)

    expected = [f"12:00:0{second} ready" for second in range(1, 5)]
    assert story(job) == story(other) == expected


def test_a_gap_that_was_decided_is_not_written_twice_when_a_plan_is_set_back(connection, clock):
    job = make_job()
    make_execution(job, status="running", node_id=1)
    settle(connection)
    clock.tick(2)
    fire(connection)

    JobPlan.objects.filter(pk=job.pk).update(
        next_fire_at=after_noon(1), decided_until=NOON, open_gap=None
    )
    fire(connection)

    assert story(job) == ["12:00:01-12:00:02 overlap 2"]


@pytest.mark.parametrize("back", [0.5, 5, 3600])
def test_a_database_clock_that_steps_back_fires_nothing_twice(back, connection, clock):
    """Proves I8b: after the step, what was decided stays decided."""
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(10)
    fire(connection)
    fired = story(job)
    assert len(fired) >= 2

    clock.tick(-back)
    job.priority = 3
    job.save()
    turn(connection)
    assert story(job) == fired
    assert plan_of(job).next_fire_at == after_noon(11)

    clock.set(after_noon(11))
    turn(connection)
    assert story(job) == [*fired, "12:00:11 ready"]


# --- Gaps -------------------------------------------------------------------------------------


def test_what_overlaps_becomes_one_gap_that_grows(connection, clock):
    job = make_job()
    settle(connection)
    for _ in range(30):
        clock.tick(1)
        fire(connection)

    assert story(job) == ["12:00:01 ready", "12:00:02-12:00:30 overlap 29"]
    assert Gap.objects.count() == 1


def test_an_execution_between_ends_the_gap(connection, clock):
    job = make_job()
    node = make_node(connection)
    settle(connection)
    for second in range(1, 7):
        clock.tick(1)
        fire(connection)
        if second == 3:
            finish(connection, *[outcome(claimed) for claimed in claim(connection, node)])

    assert story(job) == [
        "12:00:01 succeeded",
        "12:00:02-12:00:03 overlap 2",
        "12:00:04 ready",
        "12:00:05-12:00:06 overlap 2",
    ]


def test_another_reason_begins_another_gap(connection, clock):
    job = make_job(max_attempts=2)
    node = make_node(connection)
    settle(connection)
    for second in range(1, 8):
        clock.tick(1)
        fire(connection)
        if second == 3:
            [claimed] = claim(connection, node)
            finish(connection, outcome(claimed, "failed", retry_s=60))
        if second == 5:
            lifecycle.pause([job.pk], by="ann", reason="inventory")
            settle(connection)
    lifecycle.resume([job.pk], by="bob")
    turn(connection)

    assert story(job)[1:] == [
        "12:00:02-12:00:03 overlap 2",
        "12:00:04-12:00:05 retrying 2",
        "12:00:06-12:00:07 paused 2",
    ]


def test_a_gap_that_was_pruned_meanwhile_is_begun_anew(connection, clock):
    job = make_job()
    make_execution(job, status="running", node_id=1)
    settle(connection)
    clock.tick(2)
    fire(connection)
    Gap.objects.all().delete()

    clock.tick(2)
    fire(connection)

    assert story(job) == ["12:00:03-12:00:04 overlap 2"]


@pytest.mark.parametrize(
    ("on_misfire", "expected"),
    [
        ("latest", ["12:00:01-11:59:59 coalesced 31535999", "12:00:00 ready"]),
        ("skip", ["12:00:01-11:59:55 missed 31535995", "11:59:56 ready"]),
    ],
)
def test_after_a_year_without_a_node_a_few_rows_answer_for_it(
    on_misfire, expected, connection, clock
):
    """Proves I27: a job of every second, one batch, a handful of rows."""
    job = make_job(on_misfire=on_misfire)
    settle(connection)

    clock.tick(days=365)
    fired = fire(connection)

    assert fired.gaps + fired.executions <= 10
    total = sum(gap.count for gap in Gap.objects.all()) + Execution.objects.count()
    assert total == 365 * 24 * 3600
    assert plan_of(job).next_fire_at == clock() + timedelta(seconds=1)


def test_on_misfire_all_makes_up_for_a_hundred_one_after_another(connection, clock):
    job = make_job(on_misfire="all")
    settle(connection)

    clock.tick(hours=1)
    fired = fire(connection)

    assert (fired.executions, fired.ready) == (100, 1)
    assert story(job)[0] == "12:00:01-12:58:15 limit 3495"


# --- Edits: the definition in force decides ---------------------------------------------------

BY_MODEL, BY_QUERY, BY_SQL = "save()", "update()", "SQL"


def edit(job: Job, how: str, **values: object) -> None:
    if how == BY_MODEL:
        job.refresh_from_db()
        for name, value in values.items():
            setattr(job, name, value)
        job.save()
    elif how == BY_QUERY:
        Job.objects.filter(pk=job.pk).update(**values)
    else:
        for name, value in values.items():
            sql(f"UPDATE scheduler_app_job SET {name} = %s WHERE id = %s", value, job.pk)


@pytest.mark.parametrize("how", [BY_MODEL, BY_QUERY, BY_SQL])
def test_what_was_due_before_an_edit_fires_by_the_definition_of_then(how, connection, clock):
    """Proves I24, however the job was edited."""
    job = make_job(on_overlap="allow", queue="old")
    settle(connection)
    clock.tick(3.5)
    edit(job, how, queue="new")

    # Edited, so no node fires it before it is settled.
    clock.tick(1)
    assert fire(connection).jobs == 0
    settle(connection)

    executions = Execution.objects.order_by("scheduled_for")
    assert [(e.scheduled_for, e.queue, e.revision.version) for e in executions] == [
        (after_noon(1), "old", 1),
        (after_noon(2), "old", 1),
        (after_noon(3), "old", 1),
        (after_noon(4), "new", 2),
    ]


@pytest.mark.parametrize("how", [BY_MODEL, BY_QUERY, BY_SQL])
def test_a_new_schedule_fires_nothing_of_the_time_before_it(how, connection, clock):
    job = make_job(schedule="*/10 * * * * *", on_overlap="allow")
    settle(connection)
    clock.tick(12)
    fire(connection)

    clock.tick(3)
    edit(job, how, schedule="*/2 * * * * *")
    clock.tick(2)
    turn(connection)

    assert story(job) == ["12:00:10 ready", "12:00:16 ready"]
    assert plan_of(job).next_fire_at == after_noon(18)


def test_each_of_several_edits_governs_its_own_stretch(connection, clock):
    job = make_job(schedule="*/10 * * * * *", on_overlap="allow")
    settle(connection)
    for second, schedule in [(11, "*/3 * * * * *"), (16, "@manual"), (18.5, "* * * * * *")]:
        clock.set(after_noon(second))
        edit(job, BY_QUERY, schedule=schedule)
    clock.set(after_noon(20))

    lifecycle.settle_edited_jobs(
        connection, lifecycle.SpecCache(), misfire_after_s=100
    )  # nothing counts as missed

    assert [line.split()[0] for line in story(job)] == [
        "12:00:10",
        "12:00:12",
        "12:00:15",
        "12:00:19",
        "12:00:20",
    ]


def test_an_absence_in_which_a_job_was_edited_and_paused_is_made_up_for_once(connection, clock):
    """Proves I27."""
    job = make_job(schedule="*/10 * * * * *", on_overlap="allow")
    settle(connection)
    for priority in (1, 2, 3):
        clock.tick(25)
        Job.objects.filter(pk=job.pk).update(priority=priority)
        lifecycle.pause([job.pk], by="ann")
        clock.tick(10)
        lifecycle.resume([job.pk], by="ann")
    clock.tick(30)
    turn(connection)

    runs = job.executions.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    assert list(runs) == [after_noon(130)]
    assert [
        (f"{gap.first_at:%M:%S}", gap.reason, gap.count) for gap in job.gaps.order_by("first_at")
    ] == [
        ("00:10", "coalesced", 2),
        ("00:30", "paused", 1),
        ("00:40", "coalesced", 3),
        ("01:10", "paused", 1),
        ("01:20", "coalesced", 2),
        ("01:40", "paused", 1),
        ("01:50", "coalesced", 2),
    ]


@pytest.mark.parametrize("on_misfire", ["latest", "all"])
def test_a_definition_that_may_run_no_more_makes_up_for_nothing(on_misfire, connection, clock):
    """Proves I27: what was missed before it is made up for as if it were not there."""
    job = make_job(schedule="*/10 * * * * *", on_overlap="allow", on_misfire=on_misfire)
    settle(connection)
    JobPlan.objects.filter(pk=job.pk).update(runs=4)
    clock.tick(65)
    Job.objects.filter(pk=job.pk).update(max_runs=4)
    clock.tick(3600)
    turn(connection)

    runs = job.executions.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    seconds = [60] if on_misfire == "latest" else [10, 20, 30, 40, 50, 60]
    assert list(runs) == [after_noon(second) for second in seconds]


def test_an_edit_that_changes_no_timing_moves_nothing(connection, clock):
    job = make_job(schedule="*/10 * * * * *")
    settle(connection)
    clock.tick(4)

    edit(job, BY_MODEL, description="other words")
    settle(connection)

    assert plan_of(job).next_fire_at == after_noon(10)
    assert story(job) == []


def test_a_schedule_moved_to_an_earlier_fire_time_fires_at_it(connection, clock):
    job = make_job(schedule="0 0 * * *")
    settle(connection)
    clock.tick(1.5)
    edit(job, BY_QUERY, schedule="*/2 * * * * *")

    turn(connection)
    clock.tick(1)
    fire(connection)

    assert story(job) == ["12:00:02 ready"]


def test_an_edit_holds_back_the_nodes_until_it_is_committed(connection, clock):
    """Proves I24's cut: an edit and a node never decide about the same fire time."""
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(1)

    with connection.transaction():  # somebody edits, and has not committed
        connection.execute("UPDATE scheduler_app_job SET queue = 'new' WHERE id = %s", [job.pk])
        [fired] = together(lambda other: fire(other))
        assert fired.jobs == 0
    turn(connection)

    assert story(job) == ["12:00:01 ready"]
    assert Execution.objects.get().queue == "default"


# --- Disabled, deleted, unreadable ------------------------------------------------------------


def test_a_disabled_job_has_no_fire_times_and_goes_on_when_enabled(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(1)
    fire(connection)

    edit(job, BY_QUERY, enabled=False)
    settle(connection)
    assert plan_of(job).next_fire_at is None
    clock.tick(5)
    edit(job, BY_QUERY, enabled=True)
    clock.tick(1)
    turn(connection)

    assert story(job) == ["12:00:01 ready", "12:00:07 ready"]


@pytest.mark.parametrize("how", ["instance", "queryset", "verb", "SQL", "SQL delete"])
def test_a_deleted_job_fires_no_more(how, connection, clock):
    """Proves I23."""
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(1)
    fire(connection)

    if how == "instance":
        job.delete()
    elif how == "queryset":
        Job.objects.filter(pk=job.pk).delete()
    elif how == "verb":
        assert lifecycle.delete_jobs([job.pk], by="ann") == 1
    elif how == "SQL":
        sql("UPDATE scheduler_app_job SET deleted_at = scheduler_now() WHERE id = %s", job.pk)
    else:
        sql("DELETE FROM scheduler_app_job WHERE id = %s", job.pk)
    clock.tick(3)
    turn(connection)

    assert story(job) == ["12:00:01 cancelled (job_deleted)"]
    assert not Job.objects.exists()


def test_a_fire_time_that_nobody_had_looked_at_before_the_delete_never_runs(connection, clock):
    """Proves I23: no execution begins after the delete, not even for a fire time before it."""
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(2)
    job.delete()
    clock.tick(1)

    turn(connection)

    assert all("cancelled (job_deleted)" in line for line in story(job))
    assert claim(connection, make_node(connection)) == []


UNREADABLE = [
    ("schedule", "99 * * * *"),
    ("schedule", "0 0 30 2 *"),
    ("schedule", ""),
    ("timezone", "Mars/Olympus"),
    ("start_at", "infinity"),
    ("start_at", "20000-01-01"),
    ("end_at", "0044-03-15 BC"),
    ("anchor_at", "-infinity"),
    ("arguments", "1" * 5000),
]


@pytest.mark.parametrize(
    ("column", "value"), UNREADABLE, ids=[f"{c} {v[:12]}" for c, v in UNREADABLE]
)
def test_a_definition_that_cannot_be_read_stops_its_own_job_only(column, value, connection, clock):
    """Proves I18 to I21's spirit for firing: one bad row hurts itself alone."""
    bad, good = make_job(), make_job(on_overlap="allow")
    settle(connection)
    sql(f"UPDATE scheduler_app_job SET {column} = %s WHERE id = %s", value, bad.pk)

    for _ in range(3):
        clock.tick(1)
        turn(connection)

    assert story(good) == [f"12:00:0{second} ready" for second in (1, 2, 3)]
    assert story(bad) == []
    plan = plan_of(bad)
    assert plan.problem
    assert (plan.dirty, plan.next_fire_at) == (False, None)


def test_the_problem_of_an_unreadable_schedule_is_named_and_goes_when_it_is_repaired(
    connection, clock
):
    job = make_job(on_overlap="allow")
    settle(connection)
    sql("UPDATE scheduler_app_job SET schedule = '99 * * * *' WHERE id = %s", job.pk)
    settle(connection)
    assert "minute" in plan_of(job).problem

    clock.tick(10)
    edit(job, BY_QUERY, schedule="*/2 * * * * *")
    clock.tick(1)
    settle(connection)

    assert plan_of(job).problem == ""
    clock.tick(1)
    fire(connection)
    assert story(job) == ["12:00:12 ready"]


def test_an_unreadable_job_does_not_undo_what_was_due_before_it_became_so(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(2)
    edit(job, BY_SQL, schedule="nonsense")
    clock.tick(1)

    settle(connection)

    assert story(job) == ["12:00:01 ready", "12:00:02 ready"]
    assert plan_of(job).problem


@pytest.mark.parametrize("column", ["end_at", "paused_until"])
def test_a_date_that_stands_for_ever_is_no_problem(column, connection, clock):
    job = make_job(schedule="*/10 * * * * *")
    far = "9999-12-31 23:59:59.999999+00"
    sql(f"UPDATE scheduler_app_job SET {column} = %s WHERE id = %s", far, job.pk)
    if column == "paused_until":
        edit(job, BY_QUERY, paused_at=NOON)

    clock.tick(minutes=1)
    turn(connection)

    assert plan_of(job).problem == ""
    assert story(job)[-1].startswith("12:01:00" if column == "end_at" else "12:00:10-12:01:00")


# --- Pauses -----------------------------------------------------------------------------------


def test_a_paused_job_keeps_still_and_its_fire_times_become_one_gap(connection, clock):
    """Proves I4 and I22."""
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(1)
    fire(connection)

    lifecycle.pause([job.pk], by="ann", reason="inventory")
    turn(connection)
    assert plan_of(job).next_fire_at is None, "a paused job costs nothing"
    clock.tick(hours=2)
    turn(connection)
    lifecycle.resume([job.pk], by="bob")
    clock.tick(1)
    turn(connection)

    assert story(job) == [
        "12:00:01 ready",
        "12:00:02-14:00:01 paused 7200",
        "14:00:02 ready",
    ]
    gap = Gap.objects.get()
    assert (gap.who, gap.detail) == ("ann", "inventory")


def test_what_waits_when_a_job_is_paused_waits_on_and_begins_after_the_resume(connection, clock):
    """Proves I4: the fence holds for what was fired before."""
    job = make_job(on_overlap="allow")
    node = make_node(connection)
    settle(connection)
    clock.tick(2)
    fire(connection)

    lifecycle.pause([job.pk], by="ann")
    assert story(job) == ["12:00:01 blocked (paused)", "12:00:02 blocked (paused)"]
    clock.tick(1)
    assert claim(connection, node) == []
    assert lifecycle.promote_blocked(connection, lifecycle.SpecCache()) == 0

    lifecycle.resume([job.pk], by="ann")
    assert len(claim(connection, node)) == 2


def test_the_tick_lets_a_run_by_hand_go_and_not_what_the_pause_holds(connection, clock):
    job = make_job(on_overlap="queue_all", max_running=5)
    settle(connection)
    clock.tick(1)
    fire(connection)
    by_hand = make_execution(job, status="blocked")
    lifecycle.pause([job.pk], by="ann")

    assert lifecycle.promote_blocked(connection, lifecycle.SpecCache()) == 1

    assert statuses([by_hand]) == ["ready"]
    assert story(job) == ["12:00:01 blocked (paused)"]


def test_a_fire_time_before_the_pause_that_nobody_had_looked_at_is_held_too(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(1.5)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(1)

    turn(connection)

    assert story(job) == ["12:00:01 blocked (paused)", "12:00:02-12:00:02 paused 1"]


def test_what_runs_when_a_job_is_paused_goes_on(connection, clock):
    job = make_job()
    node = make_node(connection)
    settle(connection)
    clock.tick(1)
    fire(connection)
    [claimed] = claim(connection, node)

    lifecycle.pause([job.pk], by="ann")

    assert statuses([claimed]) == ["running"]
    finish(connection, outcome(claimed))
    assert story(job) == ["12:00:01 succeeded"]


def test_a_pause_with_an_end_ends_to_the_microsecond_by_itself(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)
    lifecycle.pause([job.pk], by="ann", until=after_noon(5))
    settle(connection)
    assert plan_of(job).next_fire_at == after_noon(5)

    clock.tick(5)
    fire(connection)

    assert story(job) == ["12:00:01-12:00:04 paused 4", "12:00:05 ready"]


def test_a_job_whose_pause_is_over_says_so_itself(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)
    lifecycle.pause([job.pk], by="ann", until=after_noon(5))
    settle(connection)

    clock.tick(4.9)
    assert lifecycle.resume_expired(connection) == 0
    clock.tick(0.1)
    assert lifecycle.resume_expired(connection) == 1
    clock.tick(1)
    turn(connection)

    job.refresh_from_db()
    assert (job.paused_at, job.paused_by, job.paused_until) == (None, "", None)
    assert job.revisions.first().created_by == "scheduler"
    assert story(job) == [
        "12:00:01-12:00:04 paused 4",
        "12:00:05 ready",
        "12:00:06 ready",
    ]


@pytest.mark.parametrize(
    ("scope", "value"), [("all", ""), ("queue", "reports"), ("tag", "nightly")]
)
def test_a_pause_of_many_jobs_makes_gaps_of_their_fire_times_and_no_others(
    scope, value, connection, clock
):
    """Proves I4 for a queue, a tag and everything."""
    covered = make_job(queue="reports", tags=["nightly", "x"], on_overlap="allow")
    other = make_job(queue="other", tags=["daily"], on_overlap="allow")
    settle(connection)
    clock.tick(1)
    fire(connection)

    pause = lifecycle.pause_scope(scope, value, by="ann", reason="move")
    clock.tick(3)
    fire(connection)
    lifecycle.resume_scope(pause.pk, by="bob")
    clock.tick(1)
    fire(connection)

    paused = ["12:00:01 ready", "12:00:02-12:00:04 paused 3", "12:00:05 ready"]
    free = [f"12:00:0{second} ready" for second in range(1, 6)]
    assert story(covered) == paused
    assert story(other) == (paused if scope == "all" else free)
    assert {(gap.who, gap.detail) for gap in Gap.objects.all()} == {("ann", "move")}


def test_a_long_pause_of_everything_is_one_gap_a_job_however_often_nodes_look(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)
    lifecycle.pause_scope("all", by="ann")
    for _ in range(20):
        clock.tick(1)
        fire(connection)

    assert story(job) == ["12:00:01-12:00:20 paused 20"]


def test_a_pause_of_many_jobs_with_an_end_ends_by_itself(connection, clock):
    job = make_job(on_overlap="allow")
    settle(connection)
    lifecycle.pause_scope("queue", "default", by="ann", until=after_noon(3))
    clock.tick(4)
    fire(connection)

    assert story(job) == ["12:00:01-12:00:02 paused 2", "12:00:03 ready", "12:00:04 ready"]


def test_a_pause_that_nobody_saw_while_all_nodes_were_away_still_counts(connection, clock):
    job = make_job(on_overlap="allow", on_misfire="all")
    settle(connection)
    clock.tick(2)
    pause = lifecycle.pause_scope("all", by="ann")
    clock.tick(3)
    lifecycle.resume_scope(pause.pk, by="ann")
    clock.tick(2)

    fire(connection)

    assert story(job) == [
        "12:00:01 ready",
        # The moment of the pause belongs to it.
        "12:00:02-12:00:04 paused 3",
        "12:00:05 ready",
        "12:00:06 ready",
        "12:00:07 ready",
    ]


def test_a_pause_of_everything_waits_for_a_node_that_is_firing(connection, clock):
    """Proves I4: once the pause has returned, nothing is created any more."""
    job = make_job(on_overlap="allow")
    settle(connection)
    clock.tick(1)

    with connection.transaction():
        fire(connection)
        assert together(pause_impatiently) == ["waits"]

    assert story(job) == ["12:00:01 ready"]
    assert not Pause.objects.exists()


# --- A storm ----------------------------------------------------------------------------------


def owed(job_id: int, until: datetime) -> list[datetime]:
    """Every fire time that the definitions of a job's history demand, found second by second."""
    revisions = list(JobRevision.objects.filter(job_id=job_id).order_by("version"))
    found = []
    for revision, following in zip(revisions, [*revisions[1:], None], strict=True):
        start = max(revision.created_at, NOON)
        end = following.created_at if following else until
        step = {"* * * * * *": 1, "*/7 * * * * *": 7, "*/3 * * * * *": 3}.get(
            revision.spec["schedule"]
        )
        if not revision.spec["enabled"] or revision.spec["deleted_at"] or step is None:
            continue
        second = int((start - NOON).total_seconds())
        while (moment := after_noon(second)) <= end:
            if moment > start and moment.second % step == 0:
                found.append(moment)
            second += 1
    return found


def answered(job_id: int, until: datetime) -> list[datetime]:
    """Every fire time of a job that has a verdict; those inside a gap by what was owed in it."""
    found = list(
        Execution.objects.filter(job_id=job_id, trigger="schedule").values_list(
            "scheduled_for", flat=True
        )
    )
    demanded = owed(job_id, until)
    for gap in Gap.objects.filter(job_id=job_id):
        covered = [moment for moment in demanded if gap.first_at <= moment <= gap.last_at]
        assert len(covered) == gap.count, gap
        found += covered
    return sorted(found)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_people_do_every_fire_time_has_one_verdict(seed, connection, clock):
    """Proves I1 end to end: random edits, pauses, absences and outcomes, by every road that leads to the table."""
    chance = random.Random(seed)
    jobs = [
        make_job(
            schedule=chance.choice(["* * * * * *", "*/7 * * * * *", "*/3 * * * * *"]),
            on_overlap=chance.choice(["skip", "queue_one", "queue_all", "cancel_running", "allow"]),
            on_misfire=chance.choice(["latest", "skip", "all"]),
        )
        for _ in range(6)
    ]
    node = make_node(connection)
    for _ in range(50):
        clock.tick(chance.choice([0.3, 0.7, 1, 1, 2, 9, 40]))
        job = chance.choice(jobs)
        what = chance.randrange(12)
        if what == 0:
            how = chance.choice([BY_MODEL, BY_QUERY, BY_SQL])
            edit(job, how, schedule=chance.choice(["* * * * * *", "*/7 * * * * *", "nonsense"]))
        elif what == 1:
            edit(job, BY_QUERY, enabled=chance.random() < 0.5)
        elif what == 2:
            lifecycle.pause([job.pk], by="ann")
        elif what == 3:
            lifecycle.resume([j.pk for j in jobs], by="ann")
        elif what == 4 and not Pause.objects.filter(ended_at=None).exists():
            lifecycle.pause_scope("all", by="ann")
        elif what == 5:
            for pause in Pause.objects.filter(ended_at=None):
                lifecycle.resume_scope(pause.pk, by="ann")
        elif what == 6:
            lifecycle.delete_jobs([job.pk], by="ann")
        elif what in (7, 8):
            finish(connection, *[outcome(claimed) for claimed in claim(connection, node)])
        if chance.random() < 0.1:
            together(turn, turn)
        elif chance.random() < 0.7:
            turn(connection)
    for _ in range(3):
        turn(connection)

    for job in jobs:
        decided_until = plan_of(job).decided_until
        verdicts = answered(job.pk, clock())
        undecided = [moment for moment in owed(job.pk, clock()) if moment > decided_until]
        assert undecided == [] or plan_of(job).next_fire_at is None
        assert verdicts == [m for m in owed(job.pk, clock()) if m <= decided_until]
        assert len(set(verdicts)) == len(verdicts)


# --- A node that starts what it fires ---------------------------------------------------------


def taker(node_id: int, room: int = 10, **options: object) -> lifecycle.Taker:
    return lifecycle.Taker(node_id=node_id, room=room, **options)


def test_a_node_with_nothing_else_to_do_holds_what_it_fires_at_once(connection, clock):
    """Proves I2: the execution is this node's from its first moment, as after a claim."""
    owner, _ = get_user_model().objects.get_or_create(username="owner of what is fired")
    job = make_job(target="report", arguments={"day": 1}, priority=3, owner=owner)
    settle(connection)
    node_id = make_node(connection)

    clock.tick(1)
    fired = fire(connection, taker=taker(node_id, release="1.2"))

    assert (fired.executions, fired.ready) == (1, 0)
    [held] = fired.started
    execution = Execution.objects.get()
    assert (execution.status, execution.node_id, execution.release) == ("running", node_id, "1.2")
    assert (execution.token, execution.attempt, execution.claimed_at) == (1, 1, after_noon(1))
    assert (held.id, held.token, held.attempt, held.job_id) == (execution.pk, 1, 1, job.pk)
    assert (held.spec.target, held.arguments, held.priority) == ("report", {"day": 1}, 3)
    assert (held.scheduled_for, held.owner_id) == (after_noon(1), job.owner_id)
    assert claim(connection, node_id) == []
    assert finish(connection, outcome(held)) == {execution.pk}
    assert story(job) == ["12:00:01 succeeded"]


def test_it_takes_no_more_than_it_has_room_for_and_the_most_urgent_first(connection, clock):
    jobs = [make_job(priority=priority) for priority in (0, 5, 0, 7)]
    settle(connection)

    clock.tick(1)
    fired = fire(connection, taker=taker(make_node(connection), room=2))

    assert (fired.executions, fired.ready) == (4, 2)
    assert {held.job_id for held in fired.started} == {jobs[1].pk, jobs[3].pk}
    assert [story(job)[0].split()[1] for job in jobs] == ["ready", "running", "ready", "running"]


@pytest.mark.parametrize("state", ["draining", "dead", "stopped"])
def test_a_node_that_is_given_up_starts_nothing(connection, clock, state):
    make_job()
    settle(connection)
    node_id = make_node(connection)
    Node.objects.filter(pk=node_id).update(state=state)

    clock.tick(1)
    fired = fire(connection, taker=taker(node_id))

    assert (fired.started, fired.ready) == ([], 1)
    execution = Execution.objects.get()
    assert (execution.node_id, execution.token, execution.attempt) == (None, 0, 0)


def test_it_leaves_what_a_claim_would_leave(connection, clock):
    jobs = {
        "of another queue": make_job(queue="reports"),
        "of a paused tag": make_job(tags=["slow"]),
        "at its limit": make_job(on_overlap="queue_one"),
        "that makes way for the next": make_job(on_overlap="cancel_running"),
        "of its own": make_job(),
    }
    for name in ("at its limit", "that makes way for the next"):
        make_execution(jobs[name], status=Status.RUNNING, node_id=make_node(connection))
    settle(connection)
    clock.tick(1.2)
    # Due before the pause began, so it is run, but not before the pause is over.
    lifecycle.pause_scope("tag", "slow", by="ann", reason="")

    clock.tick(0.2)
    fired = fire(connection, taker=taker(make_node(connection), queues=("default",)))

    assert {held.job_id for held in fired.started} == {jobs["of its own"].pk}
    assert {name: story(job)[-1].split()[1] for name, job in jobs.items()} == {
        "of another queue": "ready",
        "of a paused tag": "ready",
        "at its limit": "blocked",
        "that makes way for the next": "blocked",
        "of its own": "running",
    }
