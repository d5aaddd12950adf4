"""Fire times of the past that somebody wants run: all of a range, or its holes. Proves I26."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection as django_connection

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo, Claimed, SpecCache, backfilling
from scheduler_app.lifecycle.promoting import LOCK_PLANS_SQL, promote_locked
from scheduler_app.models import Backfill, Calendar, Execution, Gap, Job, Status, Trigger
from scheduler_app.rules.schedules import CronSchedule

from .support import (
    NOON,
    Connection,
    bury,
    claim,
    failure,
    finish,
    fire,
    make_execution,
    make_job,
    make_node,
    outcome,
    plan_of,
    rescue,
    settle,
    together,
    turn,
)

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def ten_minutely(**fields: object) -> Job:
    """A job with seven fire times from 11:00 to 12:00."""
    return make_job(**({"schedule": "*/10 * * * *"} | fields))


def before_noon(minutes: float) -> datetime:
    return NOON - minutes * MINUTE


def fill(job: Job, *, minutes: float = 60, **options: object) -> Backfill:
    """Run again what was due in the minutes before noon."""
    return lifecycle.backfill(
        job.pk, before_noon(minutes), NOON, **({"by": "ann", "max_running": 1} | options)
    )


def runs_of(job: Job, *statuses: str) -> list[str]:
    """The backfilled fire times in these states, all states when none is given."""
    found = job.executions.filter(trigger=Trigger.BACKFILL).order_by("scheduled_for", "id")
    return [f"{run.scheduled_for:%H:%M}" for run in found if not statuses or run.status in statuses]


def unblocked(job: Job) -> int:
    return job.executions.filter(status__in=[Status.READY, Status.RUNNING]).count()


def done(claimed: Claimed, status: str = "succeeded", **fields: object):
    """As the runner says it: what comes to an end lets the next of its backfill go."""
    promotes = claimed.is_backfill or claimed.spec.limit is not None
    return outcome(claimed, status, **({"promotes": promotes} | fields))


LAST_HOUR = ["11:00", "11:10", "11:20", "11:30", "11:40", "11:50", "12:00"]


# --- What is run ------------------------------------------------------------------------------


def test_every_fire_time_of_the_range_is_run_ends_included(connection, clock):
    job = ten_minutely(queue="reports", priority=7)

    record = fill(job)

    assert runs_of(job) == LAST_HOUR
    assert (record.count, record.requested_by, record.only_missing) == (7, "ann", False)
    assert (record.since, record.until, record.max_running) == (before_noon(60), NOON, 1)
    assert record.created_at == NOON
    for run in job.executions.all():
        assert run.trigger == Trigger.BACKFILL
        assert run.backfill == record.pk
        assert run.revision == job.revisions.get()
        assert (run.queue, run.priority, run.requested_by) == ("reports", 7, "ann")
        assert run.run_after == NOON


def test_the_schedule_of_the_job_is_not_touched(connection, clock):
    job = ten_minutely(max_runs=2)
    settle(connection)
    before = plan_of(job)

    fill(job)

    after = plan_of(job)
    assert (after.next_fire_at, after.decided_until, after.runs, after.dirty) == (
        before.next_fire_at,
        before.decided_until,
        0,
        False,
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, LAST_HOUR),
        ({"start_at": before_noon(25)}, ["11:40", "11:50", "12:00"]),
        ({"end_at": before_noon(30)}, ["11:00", "11:10", "11:20", "11:30"]),
        ({"schedule": "@every 25m", "anchor_at": NOON}, ["11:10", "11:35", "12:00"]),
        ({"schedule": "@at 2030-01-01T11:15"}, ["11:15"]),
        ({"schedule": "@manual"}, []),
        ({"enabled": False}, LAST_HOUR),
        ({"max_runs": 1}, LAST_HOUR),
        ({"schedule": "0 * * * *", "timezone": "Asia/Kathmandu"}, ["11:15"]),
    ],
)
def test_the_fire_times_are_those_of_the_schedule_and_window_of_now(
    fields, expected, connection, clock
):
    job = ten_minutely(**fields)

    record = fill(job, max_running=100)

    assert runs_of(job) == expected
    assert record.count == len(expected)


def test_closed_days_are_left_out(connection, clock):
    calendar = Calendar.objects.create(name="holidays", days="2029-12-30 - 2029-12-31")
    job = make_job(schedule="0 9 * * *", calendar=calendar)

    lifecycle.backfill(job.pk, NOON - timedelta(days=5), NOON, by="ann")

    days = job.executions.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    assert [f"{day:%d}" for day in days] == ["28", "29", "01"]


def test_a_shifted_run_can_be_run_again_as_any_other(connection, clock):
    calendar = Calendar.objects.create(name="holidays", days="2029-12-30")
    job = make_job(schedule="0 9 * * SUN", calendar=calendar, on_closed="shift")

    lifecycle.backfill(job.pk, NOON - timedelta(days=5), NOON, by="ann")

    [run] = job.executions.all()
    assert f"{run.scheduled_for:%d %H:%M}" == "31 09:00"


def test_what_has_not_come_yet_is_left_out(connection, clock):
    job = ten_minutely()

    lifecycle.backfill(job.pk, before_noon(15), NOON + HOUR, by="ann")

    assert runs_of(job) == ["11:50", "12:00"]


def test_the_oldest_runs_first_and_by_the_definition_of_now(connection, clock):
    job = ten_minutely()
    job.queue = "late"
    job.save()
    node = make_node(connection)
    fill(job)

    order = []
    while claimed := claim(connection, node):
        order += [f"{run.scheduled_for:%H:%M}" for run in claimed]
        assert all(run.spec.queue == "late" for run in claimed)
        finish(connection, *map(done, claimed))

    assert order == LAST_HOUR


# --- Only what is missing ---------------------------------------------------------------------


def test_only_fire_times_without_a_success_or_a_run_under_way_are_run(connection, clock):
    job = ten_minutely(created_at=NOON)
    at_minute = {
        60: {"status": "succeeded", "finished_at": NOON},
        50: {"status": "failed", "finished_at": NOON},
        40: {"status": "ready"},
        30: {"status": "blocked"},
        20: {"status": "cancelled", "finished_at": NOON},
        10: {"status": "lost", "finished_at": NOON},
    }
    for minutes, fields in at_minute.items():
        make_execution(job, trigger="schedule", scheduled_for=before_noon(minutes), **fields)
    Gap.objects.create(job=job, first_at=NOON, last_at=NOON, count=1, reason="paused")
    settle(connection)

    record = fill(job, only_missing=True, max_running=9)

    assert runs_of(job) == ["11:10", "11:40", "11:50", "12:00"]
    assert (record.count, record.only_missing) == (4, True)


@pytest.mark.parametrize("trigger", ["manual", "api", "backfill"])
def test_a_success_that_somebody_asked_for_fills_the_hole_too(trigger, connection, clock):
    job = ten_minutely()
    settle(connection)
    make_execution(
        job,
        trigger=trigger,
        scheduled_for=before_noon(30),
        status="succeeded",
        finished_at=NOON,
    )

    assert fill(job, only_missing=True).count == 6
    assert "11:30" not in runs_of(job, "ready", "blocked")


def test_a_success_of_another_job_fills_no_hole(connection, clock):
    job, other = ten_minutely(), ten_minutely()
    settle(connection)
    make_execution(other, scheduled_for=before_noon(30), status="succeeded", finished_at=NOON)

    fill(job, only_missing=True)

    assert runs_of(job) == LAST_HOUR


def test_a_success_among_several_tries_at_a_fire_time_counts(connection, clock):
    job = ten_minutely()
    settle(connection)
    for status in ("failed", "succeeded", "lost"):
        make_execution(job, scheduled_for=before_noon(30), status=status, finished_at=NOON)

    fill(job, only_missing=True)

    assert "11:30" not in runs_of(job)


def test_what_is_due_and_not_decided_yet_is_left_to_the_schedule(connection, clock):
    """All nodes were away: when they return they fire it, and it must not run twice."""
    job = ten_minutely(on_misfire="all", on_overlap="allow")
    settle(connection)
    clock.tick(minutes=25)

    lifecycle.backfill(job.pk, before_noon(20), clock(), by="ann", only_missing=True)
    assert runs_of(job) == ["11:40", "11:50", "12:00"]
    turn(connection)

    scheduled = job.executions.filter(trigger="schedule").order_by("scheduled_for")
    assert [f"{run.scheduled_for:%H:%M}" for run in scheduled] == ["12:10", "12:20"]
    moments = list(job.executions.values_list("scheduled_for", flat=True))
    assert len(set(moments)) == len(moments)


def test_what_an_edit_left_undecided_is_left_to_the_schedule_too(connection, clock):
    job = ten_minutely(on_misfire="all", on_overlap="allow")
    settle(connection)
    clock.tick(minutes=25)
    Job.objects.filter(pk=job.pk).update(priority=3)

    lifecycle.backfill(job.pk, before_noon(20), clock(), by="ann", only_missing=True)
    turn(connection)

    moments = [f"{m:%H:%M}" for m in job.executions.values_list("scheduled_for", flat=True)]
    assert sorted(moments) == ["11:40", "11:50", "12:00", "12:10", "12:20"]


def test_what_is_due_since_a_job_was_enabled_is_left_to_the_schedule(connection, clock):
    job = ten_minutely(on_misfire="all", on_overlap="allow", enabled=False)
    settle(connection)
    clock.tick(minutes=5)
    Job.objects.filter(pk=job.pk).update(enabled=True)
    clock.tick(minutes=20)

    lifecycle.backfill(job.pk, NOON, clock(), by="ann", only_missing=True)
    turn(connection)

    moments = [f"{m:%H:%M}" for m in job.executions.values_list("scheduled_for", flat=True)]
    assert sorted(moments) == ["12:00", "12:10", "12:20"]


@pytest.mark.parametrize("is_settled", [False, True])
def test_holes_that_a_pause_leaves_can_be_filled_while_it_goes_on(is_settled, connection, clock):
    job = ten_minutely()
    settle(connection)
    clock.tick(minutes=5)
    lifecycle.pause([job.pk], by="ann")
    if is_settled:
        settle(connection)
    clock.tick(minutes=20)

    lifecycle.backfill(job.pk, NOON, clock(), by="ann", only_missing=True)

    assert runs_of(job) == ["12:00", "12:10", "12:20"]


# --- The preview ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_preview_shows_exactly_what_is_created(seed, connection, clock):
    chance = random.Random(seed)
    calendar = Calendar.objects.create(name="holidays", days="2029-12-31")
    job = make_job(
        schedule=chance.choice(["*/7 * * * *", "30 */2 * * *", "@every 50m"]),
        timezone=chance.choice(["UTC", "America/New_York"]),
        calendar=chance.choice([None, calendar]),
        on_overlap="allow",
    )
    settle(connection)
    since = NOON - timedelta(hours=chance.randrange(1, 60))
    moments = lifecycle.fire_times_to_fill(job, since, NOON, only_missing=False)
    for moment in moments:
        status = chance.choice([None, None, "succeeded", "failed", "cancelled", "ready"])
        if status is not None:
            finished = None if status == "ready" else NOON
            make_execution(job, scheduled_for=moment, status=status, finished_at=finished)
    for only_missing in (True, False):
        shown = lifecycle.fire_times_to_fill(job, since, NOON, only_missing=only_missing)

        record = lifecycle.backfill(job.pk, since, NOON, by="ann", only_missing=only_missing)

        created = Execution.objects.filter(backfill=record.pk).order_by("scheduled_for")
        assert list(created.values_list("scheduled_for", flat=True)) == shown
        assert record.count == len(shown)
    assert shown == moments


def test_a_range_without_fire_times_creates_nothing_and_says_so(connection, clock):
    job = ten_minutely()

    record = lifecycle.backfill(job.pk, before_noon(9), before_noon(1), by="ann")

    assert record.count == 0
    assert runs_of(job) == []


# --- Twice ------------------------------------------------------------------------------------


def test_asking_twice_for_the_same_range_runs_nothing_twice(connection, clock):
    job = ten_minutely()
    node = make_node(connection)

    first = fill(job)
    [claimed] = claim(connection, node)
    finish(connection, done(claimed))
    clock.tick(minutes=3)
    second = fill(job, by="bob")

    assert second == first
    assert runs_of(job) == LAST_HOUR
    assert Backfill.objects.get().requested_by == "ann"


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns"])
def test_the_same_range_told_in_another_zone_is_the_same(zone, connection, clock):
    job = ten_minutely()
    fill(job)

    since, until = (moment.astimezone(ZoneInfo(zone)) for moment in (before_noon(60), NOON))
    lifecycle.backfill(job.pk, since, until, by="ann")

    assert runs_of(job) == LAST_HOUR


def test_another_range_or_another_definition_is_another_request(connection, clock):
    job = ten_minutely()
    fill(job, minutes=20)
    fill(job, minutes=10)
    assert runs_of(job) == ["11:40", "11:50", "11:50", "12:00", "12:00"]

    job.refresh_from_db()
    job.arguments = {"better": True}
    job.save()
    fill(job, minutes=10)
    assert runs_of(job) == ["11:40", "11:50", "11:50", "11:50", "12:00", "12:00", "12:00"]


@pytest.mark.parametrize(
    ("edit", "is_the_same"),
    [
        ({"priority": 5, "on_misfire": "skip"}, True),
        ({"arguments": {"day": 2}}, False),
        ({"timezone": "Europe/Berlin"}, False),
    ],
)
def test_a_pause_or_an_edit_of_something_else_makes_no_other_backfill(
    edit, is_the_same, connection, clock
):
    job = ten_minutely()
    first = fill(job)
    lifecycle.pause([job.pk], by="ann")
    lifecycle.resume([job.pk], by="ann")
    Job.objects.filter(pk=job.pk).update(**edit)

    assert (fill(job).pk == first.pk) is is_the_same


def test_filling_holes_twice_fills_them_once_and_again_what_failed_meanwhile(connection, clock):
    job = ten_minutely()
    settle(connection)
    node = make_node(connection)

    first = fill(job, only_missing=True, minutes=20, max_running=9)
    assert (first.count, fill(job, only_missing=True, minutes=20).count) == (3, 0)
    lost, *others = claim(connection, node)
    finish(connection, done(lost, "failed"), *map(done, others))
    again = fill(job, only_missing=True, minutes=20)

    assert again.count == 1
    assert runs_of(job) == ["11:40", "11:40", "11:50", "12:00"]


def test_a_form_that_was_sent_twice_is_one_request_even_if_its_runs_have_failed(connection, clock):
    job = ten_minutely()
    node = make_node(connection)
    first = fill(job, only_missing=True, max_running=10, request="form 1")
    finish(connection, *[done(run, "failed") for run in claim(connection, node, limit=20)])

    again = fill(job, only_missing=True, max_running=10, request="form 1")
    other = fill(job, only_missing=True, max_running=10, request="form 2")

    assert again == first and (first.count, other.count) == (7, 1)
    assert job.executions.count() == first.count + other.count


@pytest.mark.parametrize("only_missing", [False, True])
def test_two_people_who_ask_at_once_run_nothing_twice(only_missing, connection, clock):
    """Proves I26 under concurrency."""
    jobs = [ten_minutely() for _ in range(5)]
    settle(connection)

    def ask(_: Connection) -> list[int]:
        return [fill(job, only_missing=only_missing).count for job in jobs]

    counts = together(*[ask] * 4)

    for number, job in enumerate(jobs):
        assert runs_of(job) == LAST_HOUR
        if only_missing:
            assert sorted(answer[number] for answer in counts) == [0, 0, 0, 7]


def test_filling_holes_while_a_node_fires_runs_nothing_twice(connection, clock):
    jobs = [ten_minutely(on_overlap="allow", on_misfire="all") for _ in range(10)]
    settle(connection)
    clock.tick(minutes=35)
    now = clock()

    def ask(_: Connection) -> None:
        for job in jobs:
            lifecycle.backfill(job.pk, NOON, now, by="ann", only_missing=True)

    together(ask, fire, ask, fire)
    while fire(connection).jobs:
        pass

    for job in jobs:
        moments = [f"{m:%H:%M}" for m in job.executions.values_list("scheduled_for", flat=True)]
        assert sorted(moments) == ["12:00", "12:10", "12:20", "12:30"]


# --- How many side by side --------------------------------------------------------------------


@pytest.mark.parametrize("road", ["finish", "tick"])
@pytest.mark.parametrize(
    ("fields", "max_running", "side_by_side"),
    [
        ({"on_overlap": "allow"}, 3, 3),
        ({"on_overlap": "allow"}, 1, 1),
        ({"on_overlap": "allow", "max_running": 2}, 5, 2),
        ({"on_overlap": "skip"}, 5, 1),
        ({"on_overlap": "queue_all", "max_running": 4}, 2, 2),
        ({"on_overlap": "allow"}, 100, 7),
    ],
)
def test_no_more_run_side_by_side_than_was_asked_for_and_than_the_job_allows(
    road, fields, max_running, side_by_side, connection, clock
):
    """The next go on when one finishes, or with the next tick when its node says nothing of it."""
    job = ten_minutely(**fields)
    node = make_node(connection)
    fill(job, max_running=max_running)

    order, most = [], 0
    while claimed := claim(connection, node):
        most = max(most, unblocked(job))
        order += [f"{run.scheduled_for:%H:%M}" for run in claimed]
        # One after another, so that each lets one go.
        for run in claimed:
            finish(connection, done(run, promotes=road == "finish"))
            if road == "tick":
                assert lifecycle.promote_blocked(connection, SpecCache()) <= 1
            most = max(most, unblocked(job))

    assert order == LAST_HOUR
    assert most == side_by_side
    assert runs_of(job, "succeeded") == LAST_HOUR


def test_ticks_of_many_nodes_let_no_more_go(connection, clock):
    jobs = [ten_minutely(on_overlap="allow") for _ in range(5)]
    for job in jobs:
        fill(job, max_running=2)

    together(*[lambda connection: lifecycle.promote_blocked(connection, SpecCache())] * 4)

    assert [unblocked(job) for job in jobs] == [2] * 5


def test_what_runs_by_the_schedule_takes_room_from_a_backfill(connection, clock):
    job = ten_minutely(on_overlap="allow", max_running=3)
    node = make_node(connection)
    for minutes in (1, 2):
        make_execution(job, trigger="schedule", scheduled_for=before_noon(minutes))
    running = claim(connection, node)

    fill(job, max_running=9)
    assert runs_of(job, "ready") == ["11:00"]
    finish(connection, done(running[0]))
    assert runs_of(job, "ready") == ["11:00", "11:10"]


def test_two_backfills_of_a_job_go_on_side_by_side_each_within_its_own_bound(connection, clock):
    job = ten_minutely(on_overlap="allow", max_running=5)
    fill(job, max_running=1)
    second = lifecycle.backfill(job.pk, before_noon(100), before_noon(70), by="bob", max_running=2)

    assert runs_of(job, "ready") == ["10:20", "10:30", "11:00"]
    assert Execution.objects.filter(backfill=second.pk, status="ready").count() == 2


def test_a_failure_does_not_stop_a_backfill(connection, clock):
    job = ten_minutely()
    node = make_node(connection)
    fill(job)
    while claimed := claim(connection, node):
        finish(connection, *[done(run, "failed") for run in claimed])

    assert runs_of(job, "failed") == LAST_HOUR


def test_one_that_waits_for_its_next_attempt_keeps_its_place(connection, clock):
    job = ten_minutely(max_attempts=3)
    node = make_node(connection)
    fill(job)
    [claimed] = claim(connection, node)

    finish(connection, failure(claimed, retry_s=60, promotes=True))
    assert runs_of(job, "ready") == ["11:00"]
    assert lifecycle.promote_blocked(connection, SpecCache()) == 0
    clock.tick(minutes=1)
    [again] = claim(connection, node)
    finish(connection, done(again))

    assert (again.id, again.attempt) == (claimed.id, 2)
    assert runs_of(job, "ready") == ["11:10"]


def test_one_whose_node_died_runs_again_and_no_other_takes_its_place(connection, clock):
    job = ten_minutely()
    node = make_node(connection)
    fill(job)
    claim(connection, node)
    bury(node)

    rescue(connection)
    lifecycle.promote_blocked(connection, SpecCache())

    assert runs_of(job, "ready") == ["11:00"]


def test_cancelling_those_that_wait_ends_a_backfill(connection, clock):
    job = ten_minutely()
    fill(job)
    lifecycle.cancel(job.executions.values_list("pk", flat=True), by="ann")

    assert runs_of(job, "cancelled") == LAST_HOUR
    assert lifecycle.promote_blocked(connection, SpecCache()) == 0


def test_trying_again_keeps_to_the_bound_of_the_backfill(connection, clock):
    job = ten_minutely(on_overlap="allow")
    node = make_node(connection)
    fill(job, max_running=7)
    failed = claim(connection, node)
    finish(connection, *[done(run, "failed") for run in failed])
    Backfill.objects.update(max_running=2)

    assert len(lifecycle.retry([run.id for run in failed], by="ann")) == 7

    assert runs_of(job, "ready") == ["11:00", "11:10"]
    assert runs_of(job, "blocked") == LAST_HOUR[2:]


def test_a_large_backfill_is_gone_through_in_steps_that_do_not_grow_with_its_square(
    connection, clock
):
    """Proves I10's spirit for backfills: finishing one reads each that waits a few times, not each for each."""
    job = make_job(schedule="* * * * *", on_overlap="allow")
    waiting = fill(job, minutes=1500).count
    connection.execute("ANALYZE scheduler_app_execution")

    with connection.transaction():
        connection.execute(LOCK_PLANS_SQL, {"job_ids": [job.pk]})
        promote_locked(connection, SpecCache(), [job.pk])
        [read] = connection.execute(
            """
            SELECT seq_tup_read + idx_tup_fetch
            FROM pg_stat_xact_user_tables
            WHERE relname = 'scheduler_app_execution'
            """
        ).fetchone()

    assert waiting == 1501
    assert 0 < read <= 10 * waiting


# --- Beside the schedule ----------------------------------------------------------------------


def test_what_the_schedule_asks_for_now_goes_before_the_past(connection, clock):
    job = ten_minutely(on_overlap="queue_one")
    node = make_node(connection)
    settle(connection)
    fill(job)
    [first] = claim(connection, node)
    clock.tick(minutes=10)
    fire(connection)

    finish(connection, done(first))

    [following] = claim(connection, node)
    assert (following.is_backfill, following.scheduled_for) == (False, NOON + 10 * MINUTE)
    finish(connection, done(following))
    assert runs_of(job, "ready") == ["11:10"]


def test_what_waits_of_the_past_takes_no_room_from_the_schedule(connection, clock):
    """Proves I28 beside a backfill: only what runs counts."""
    job = ten_minutely(on_overlap="skip", max_running=2)
    settle(connection)
    fill(job, max_running=1)
    assert len(runs_of(job, "blocked")) == 6

    clock.tick(minutes=10)
    fired = fire(connection)

    assert (fired.executions, fired.ready, fired.gaps) == (1, 1, 0)


def test_what_waits_of_the_past_takes_no_room_from_a_run_now(connection, clock):
    job = ten_minutely(max_running=2)
    fill(job, max_running=1)

    [run] = lifecycle.run_now([job.pk], by="ann")

    assert run.status == Status.READY


def test_a_run_of_the_past_that_runs_counts_as_running(connection, clock):
    """Proves I28: a job that must not overlap does not overlap its own past either."""
    job = ten_minutely(on_overlap="skip")
    settle(connection)
    fill(job)

    clock.tick(minutes=10)
    fire(connection)

    [gap] = job.gaps.all()
    assert (gap.reason, gap.first_at) == ("overlap", NOON + 10 * MINUTE)


def test_a_backfill_runs_while_its_job_is_paused_and_a_pause_leaves_it_alone(connection, clock):
    job = ten_minutely()
    node = make_node(connection)
    lifecycle.pause([job.pk], by="ann")

    fill(job)

    assert len(claim(connection, node)) == 1
    lifecycle.resume([job.pk], by="ann")
    lifecycle.pause([job.pk], by="ann")
    assert len(runs_of(job, "blocked")) == 6
    assert not job.executions.filter(reason="paused").exists()


def test_a_pause_of_everything_holds_a_backfill_too(connection, clock):
    """Proves I4 for what was asked for by hand."""
    job = ten_minutely()
    node = make_node(connection)
    pause = lifecycle.pause_scope("all", by="ann")

    fill(job)
    assert claim(connection, node) == []
    lifecycle.resume_scope(pause.pk, by="ann")

    assert len(claim(connection, node)) == 1


def test_deleting_a_job_cancels_what_waits_of_its_backfill(connection, clock):
    """Proves I23."""
    job = ten_minutely()
    node = make_node(connection)
    fill(job)
    [claimed] = claim(connection, node)

    lifecycle.delete_jobs([job.pk], by="ann")
    finish(connection, done(claimed))

    assert runs_of(job, "succeeded") == ["11:00"]
    assert runs_of(job, "cancelled") == LAST_HOUR[1:]


# --- What is refused --------------------------------------------------------------------------


def test_a_deleted_job_has_no_fire_times_to_run(connection, clock):
    job = ten_minutely()
    lifecycle.delete_jobs([job.pk], by="ann")

    for job_id in (job.pk, job.pk + 1000):
        with pytest.raises(CannotDo, match="There is no such job"):
            lifecycle.backfill(job_id, before_noon(60), NOON, by="ann")
    assert not Backfill.objects.exists()


def test_a_range_the_wrong_way_round_is_refused(connection, clock):
    with pytest.raises(CannotDo, match="ends before it begins"):
        lifecycle.backfill(ten_minutely().pk, NOON, before_noon(1), by="ann")


@pytest.mark.parametrize("max_running", [0, -1, 1001])
def test_how_many_run_side_by_side_is_bounded(max_running, connection, clock):
    with pytest.raises(CannotDo, match=f"1 to 1000 side by side, not {max_running}"):
        fill(ten_minutely(), max_running=max_running)


@pytest.mark.parametrize("only_missing", [False, True])
def test_more_fire_times_than_a_backfill_may_have_are_refused_at_once(
    only_missing, connection, clock
):
    job = make_job()

    with pytest.raises(CannotDo) as refused:
        lifecycle.backfill(
            job.pk, NOON - timedelta(days=3650), NOON, by="ann", only_missing=only_missing
        )

    assert str(refused.value) == (
        "There are more than 10,000 fire times from 2020-01-04 12:00:00 to 2030-01-01 12:00:00 UTC; "
        "choose a shorter range."
    )
    assert not Backfill.objects.exists()
    assert not Execution.objects.exists()


def test_as_many_fire_times_as_a_backfill_may_have_are_found(connection, clock):
    job = make_job()
    most = backfilling.MOST_FIRE_TIMES
    since = NOON - timedelta(seconds=most - 1)

    found = lifecycle.fire_times_to_fill(job, since, NOON, only_missing=False)

    assert (len(found), found[0], found[-1]) == (most, since, NOON)


def test_decades_of_closed_days_cost_nothing(connection, clock, monkeypatch):
    """Proves I10: closed days are passed over, not walked through."""
    calendar = Calendar.objects.create(name="for ever", days="1970-01-01 - 2100-12-31")
    job = make_job(calendar=calendar)
    walked = []
    original = CronSchedule.between_ts

    def between_ts(self, *args):
        for moment in original(self, *args):
            walked.append(moment)
            assert len(walked) < 1000, "walks through closed days"
            yield moment

    monkeypatch.setattr(CronSchedule, "between_ts", between_ts)

    assert lifecycle.backfill(job.pk, NOON - timedelta(days=20_000), NOON, by="ann").count == 0


def test_a_job_whose_schedule_cannot_be_read_is_refused_with_the_reason(connection, clock):
    job = ten_minutely()
    with django_connection.cursor() as cursor:
        cursor.execute("UPDATE scheduler_app_job SET schedule = '99 * * * *'")

    with pytest.raises(CannotDo, match="minute: 99 is not allowed"):
        fill(job)
