"""Skip the next fire time; resume a job and run none, the last or all of what its pause held back. Proves I4, I22."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection as django_connection

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo, SpecCache, backfilling
from scheduler_app.lifecycle.timeline import timeline
from scheduler_app.models import Backfill, Calendar, Execution, Gap, Job, JobPlan, Trigger

from .support import (
    NOON,
    Connection,
    after_noon,
    claim,
    finish,
    fire,
    make_job,
    make_node,
    outcome,
    plan_of,
    replace_clock,
    settle,
    story,
    together,
    turn,
)

MINUTE = timedelta(minutes=1)


def every_ten_seconds(**fields: object) -> Job:
    return make_job(**({"schedule": "*/10 * * * * *", "on_overlap": "allow"} | fields))


def skipped_by(job: Job) -> list[str]:
    gaps = job.gaps.filter(reason="skipped").order_by("first_at")
    return [f"{gap.count} by {gap.who}" for gap in gaps]


# --- Skip the next ----------------------------------------------------------------------------


def test_the_next_fire_time_is_skipped_and_no_other(connection, clock):
    job, other = every_ten_seconds(), every_ten_seconds()
    settle(connection)

    assert lifecycle.skip_next(job.pk, by="ann") == after_noon(10)
    for _ in range(6):
        clock.tick(5)
        turn(connection)

    assert story(job) == ["12:00:10-12:00:10 skipped 1", "12:00:20 ready", "12:00:30 ready"]
    assert skipped_by(job) == ["1 by ann"]
    assert story(other) == ["12:00:10 ready", "12:00:20 ready", "12:00:30 ready"]


def test_the_plan_points_beyond_the_fire_time_that_is_skipped(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    settle(connection)

    plan = plan_of(job)
    assert plan.next_fire_at == after_noon(20)
    assert (plan.skip_at, plan.skip_by) == (after_noon(10), "ann")


def test_one_more_can_be_skipped_only_when_the_first_has_passed(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")

    for _ in range(2):
        with pytest.raises(CannotDo, match="2030-01-01 12:00:10 UTC is to be skipped already"):
            lifecycle.skip_next(job.pk, by="bob")
        settle(connection)
    clock.tick(20)
    turn(connection)
    assert lifecycle.skip_next(job.pk, by="bob") == after_noon(30)
    clock.tick(20)
    turn(connection)

    assert [line for line in story(job) if "skipped" in line] == [
        "12:00:10-12:00:10 skipped 1",
        "12:00:30-12:00:30 skipped 1",
    ]
    assert skipped_by(job) == ["1 by ann", "1 by bob"]


def test_of_several_people_who_skip_at_once_one_skips(connection, clock):
    job = every_ten_seconds()
    settle(connection)

    def skip(_: Connection) -> str:
        try:
            lifecycle.skip_next(job.pk, by="ann")
        except CannotDo as error:
            return str(error)
        return "skipped"

    answers = together(*[skip] * 4)
    clock.tick(25)
    turn(connection)

    assert answers.count("skipped") == 1
    assert story(job)[0] == "12:00:10-12:00:10 skipped 1"
    assert "12:00:20 ready" in story(job)


def test_a_skip_can_be_taken_back_until_its_fire_time(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    settle(connection)
    clock.tick(5)

    assert lifecycle.unskip_next(job.pk, by="ana")
    assert not lifecycle.unskip_next(job.pk, by="ana")
    turn(connection)
    assert plan_of(job).next_fire_at == after_noon(10)
    clock.tick(6)
    turn(connection)

    assert story(job) == ["12:00:10 ready"]


def test_a_skip_that_was_taken_back_can_be_made_again(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    lifecycle.unskip_next(job.pk, by="ana")
    settle(connection)

    assert lifecycle.skip_next(job.pk, by="bob") == after_noon(10)
    clock.tick(10)
    turn(connection)

    assert skipped_by(job) == ["1 by bob"]


def test_a_skip_whose_fire_time_has_passed_cannot_be_taken_back(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    clock.tick(12)
    turn(connection)

    assert not lifecycle.unskip_next(job.pk, by="ana")
    clock.tick(10)
    turn(connection)
    assert story(job) == ["12:00:10-12:00:10 skipped 1", "12:00:20 ready"]


@pytest.mark.parametrize("late", [0, 3])
def test_a_fire_time_that_is_due_and_not_fired_yet_can_still_be_skipped(late, connection, clock):
    job = every_ten_seconds()
    settle(connection)
    clock.tick(10 + late)

    assert lifecycle.skip_next(job.pk, by="ann") == after_noon(10)
    turn(connection)

    assert story(job) == ["12:00:10-12:00:10 skipped 1"]


def test_a_skip_and_a_node_that_fires_agree_about_who_was_first(connection, clock):
    """Proves I1 in the race: the fire time is run or skipped, and the one after it otherwise."""
    jobs = [every_ten_seconds() for _ in range(12)]
    settle(connection)
    clock.tick(10)
    skips: dict[int, datetime] = {}

    def skip(part: list[Job]):
        def go(_: Connection) -> None:
            for job in part:
                skips[job.pk] = lifecycle.skip_next(job.pk, by="ann")

        return go

    together(skip(jobs[:6]), skip(jobs[6:]), lambda c: fire(c, limit=3), fire)
    clock.tick(10)
    for _ in range(3):
        turn(connection)

    for job in jobs:
        expected = {
            after_noon(10): ["12:00:10-12:00:10 skipped 1", "12:00:20 ready"],
            after_noon(20): ["12:00:10 ready", "12:00:20-12:00:20 skipped 1"],
        }
        assert story(job) == expected[skips[job.pk]]


def test_an_edit_in_between_leaves_the_skip_where_the_schedule_still_has_its_fire_time(
    connection, clock
):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    settle(connection)
    clock.tick(2)
    Job.objects.filter(pk=job.pk).update(schedule="*/5 * * * * *")
    settle(connection)
    assert plan_of(job).next_fire_at == after_noon(5)
    clock.tick(14)
    turn(connection)

    assert [line for line in story(job) if "coalesced" not in line] == [
        "12:00:10-12:00:10 skipped 1",
        "12:00:15 ready",
    ]


def test_an_edit_that_takes_the_fire_time_away_skips_nothing_instead(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    settle(connection)
    clock.tick(2)
    Job.objects.filter(pk=job.pk).update(schedule="7,17 * * * * *")
    settle(connection)
    assert plan_of(job).next_fire_at == after_noon(7)
    for _ in range(4):
        clock.tick(5)
        turn(connection)

    assert story(job) == ["12:00:07 ready", "12:00:17 ready"]
    settle(connection)
    assert lifecycle.skip_next(job.pk, by="ann") == after_noon(67)


def test_a_skip_of_a_job_that_is_paused_then_is_part_of_the_pause(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    clock.tick(5)
    lifecycle.pause([job.pk], by="bob")
    clock.tick(20)
    lifecycle.resume([job.pk], by="bob")
    clock.tick(5)
    turn(connection)

    assert story(job) == ["12:00:10-12:00:20 paused 2", "12:00:30 ready"]


def test_the_first_fire_time_after_a_pause_can_be_skipped(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.pause([job.pk], by="ann", until=after_noon(35))
    settle(connection)

    assert lifecycle.skip_next(job.pk, by="bob") == after_noon(40)
    for _ in range(6):
        clock.tick(10)
        turn(connection)

    assert story(job) == [
        "12:00:10-12:00:30 paused 3",
        "12:00:40-12:00:40 skipped 1",
        "12:00:50 ready",
        "12:01:00 ready",
    ]


@pytest.mark.parametrize(("scope", "value"), [("all", ""), ("queue", "imports"), ("tag", "stock")])
def test_the_first_fire_time_after_a_pause_of_many_can_be_skipped(scope, value, connection, clock):
    job = every_ten_seconds(queue="imports", tags=["stock"])
    settle(connection)
    lifecycle.pause_scope(scope, value, by="ann", until=after_noon(35))
    settle(connection)

    with pytest.raises(CannotDo, match="12:00:40 UTC by now, not 2030-01-01 12:00:10 UTC"):
        lifecycle.skip_next(job.pk, by="bob", expected=after_noon(10))
    assert lifecycle.skip_next(job.pk, by="bob", expected=after_noon(40)) == after_noon(40)
    for _ in range(6):
        clock.tick(10)
        turn(connection)

    assert story(job) == [
        "12:00:10-12:00:30 paused 3",
        "12:00:40-12:00:40 skipped 1",
        "12:00:50 ready",
        "12:01:00 ready",
    ]


def test_a_pause_of_many_without_an_end_leaves_nothing_to_skip(connection, clock):
    job, other = every_ten_seconds(tags=["stock"]), every_ten_seconds()
    settle(connection)
    lifecycle.pause_scope("tag", "stock", by="ann")

    with pytest.raises(CannotDo, match="The job has no next fire time"):
        lifecycle.skip_next(job.pk, by="bob")
    assert plan_of(job).skip_at is None
    assert lifecycle.skip_next(other.pk, by="bob") == after_noon(10)


def test_a_skipped_fire_time_is_no_run(connection, clock):
    job = every_ten_seconds(max_runs=1)
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    for _ in range(3):
        clock.tick(10)
        turn(connection)

    assert story(job) == ["12:00:10-12:00:10 skipped 1", "12:00:20 ready"]


def test_the_only_fire_time_of_a_job_can_be_skipped(connection, clock):
    job = make_job(schedule="@at 2030-01-01T12:00:10")
    settle(connection)
    assert lifecycle.skip_next(job.pk, by="ann") == after_noon(10)
    settle(connection)
    assert plan_of(job).next_fire_at is None
    assert lifecycle.unskip_next(job.pk, by="ana")
    settle(connection)
    assert plan_of(job).next_fire_at == after_noon(10)


def test_a_skip_beyond_closed_days_is_of_the_first_open_one(connection, clock):
    calendar = Calendar.objects.create(name="holidays", days="2030-01-02 - 2030-01-03")
    job = make_job(schedule="0 9 * * *", calendar=calendar)
    settle(connection)

    assert lifecycle.skip_next(job.pk, by="ann") == datetime(2030, 1, 4, 9, tzinfo=UTC)
    clock.set(datetime(2030, 1, 5, 9, tzinfo=UTC))
    turn(connection)
    turn(connection)

    gaps = job.gaps.order_by("first_at").values_list("reason", "count")
    assert list(gaps) == [("calendar", 2), ("skipped", 1)]
    assert [f"{run.scheduled_for:%d}" for run in job.executions.all()] == ["05"]


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "@manual"},
        {"enabled": False},
        {"paused_at": NOON},
        {"end_at": after_noon(5)},
        {"deleted_at": NOON},
    ],
)
def test_a_job_without_a_next_fire_time_has_none_to_skip(fields, connection, clock):
    job = every_ten_seconds(**fields)
    settle(connection)

    with pytest.raises(CannotDo, match="The job has no next fire time"):
        lifecycle.skip_next(job.pk, by="ann")
    assert not lifecycle.unskip_next(job.pk, by="ana")


def test_a_job_that_does_not_exist_or_is_being_planned_is_refused(connection, clock):
    with pytest.raises(CannotDo, match="There is no such job"):
        lifecycle.skip_next(12345, by="ann")
    assert not lifecycle.unskip_next(12345, by="ana")

    job = every_ten_seconds()
    with pytest.raises(CannotDo, match="being planned; try again"):
        lifecycle.skip_next(job.pk, by="ann")


def test_the_one_that_was_seen_is_skipped_or_none(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    clock.tick(11)
    turn(connection)

    with pytest.raises(CannotDo, match="12:00:20 UTC by now, not 2030-01-01 12:00:10 UTC"):
        lifecycle.skip_next(job.pk, by="ann", expected=after_noon(10))
    assert plan_of(job).skip_at is None
    assert lifecycle.skip_next(job.pk, by="ann", expected=after_noon(20)) == after_noon(20)


# --- Resume with a choice ---------------------------------------------------------------------


def missed(job: Job) -> int:
    """The count that is shown before the choice."""
    job = Job.objects.get(pk=job.pk)
    with django_connection.cursor() as cursor:
        cursor.execute("SELECT scheduler_now()")
        now = cursor.fetchone()[0]
    return lifecycle.missed_while_paused([job], now=now)


def made_up(job: Job) -> list[str]:
    found = job.executions.filter(trigger=Trigger.BACKFILL).order_by("scheduled_for")
    return [f"{run.scheduled_for:%H:%M:%S}" for run in found]


def paused_for(seconds: float, connection: Connection, clock, **fields: object) -> Job:
    """A job that was paused 5 s after noon, and it is so many seconds later now."""
    job = every_ten_seconds(**fields)
    settle(connection)
    clock.tick(5)
    lifecycle.pause([job.pk], by="ann", reason="inventory")
    settle(connection)
    clock.tick(seconds)
    return job


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("none", []),
        ("last", ["12:00:40"]),
        ("all", ["12:00:10", "12:00:20", "12:00:30", "12:00:40"]),
    ],
)
def test_a_resume_runs_what_was_chosen_of_what_the_pause_held_back(
    run, expected, connection, clock
):
    job = paused_for(40, connection, clock)
    assert missed(job) == 4

    assert lifecycle.resume([job.pk], by="bob", run=run) == [job.pk]
    clock.tick(10)
    turn(connection)

    assert made_up(job) == expected
    assert story(job) == ["12:00:10-12:00:40 paused 4", "12:00:50 ready"]
    assert {execution.requested_by for execution in job.executions.exclude(backfill=None)} <= {
        "bob"
    }


def test_without_a_choice_nothing_is_made_up_for(connection, clock):
    """Proves I22."""
    job = paused_for(40, connection, clock)

    lifecycle.resume([job.pk], by="bob")

    assert made_up(job) == []
    assert not Backfill.objects.exists()


def test_another_choice_is_refused_and_the_job_stays_paused(connection, clock):
    job = paused_for(40, connection, clock)

    with pytest.raises(CannotDo, match="Run none, last, all of the missed fire times, not 'some'"):
        lifecycle.resume([job.pk], by="bob", run="some")

    job.refresh_from_db()
    assert job.paused_at is not None


def test_what_is_made_up_for_runs_one_after_another_oldest_first(connection, clock):
    job = paused_for(40, connection, clock)
    node = make_node(connection)
    lifecycle.resume([job.pk], by="bob", run="all")

    order = []
    while claimed := claim(connection, node):
        assert len(claimed) == 1
        order += [f"{run.scheduled_for:%S}" for run in claimed]
        finish(connection, *[outcome(run, promotes=True) for run in claimed])

    assert order == ["10", "20", "30", "40"]


def test_what_waited_for_the_end_of_the_pause_goes_before_what_is_made_up_for(connection, clock):
    job = every_ten_seconds(on_overlap="skip")
    node = make_node(connection)
    settle(connection)
    clock.tick(10)
    fire(connection)
    clock.tick(2)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(20)

    lifecycle.resume([job.pk], by="bob", run="all")
    lifecycle.promote_blocked(connection, SpecCache())

    [first] = claim(connection, node)
    assert (first.is_backfill, first.scheduled_for) == (False, after_noon(10))
    assert made_up(job) == ["12:00:20", "12:00:30"]


@pytest.mark.parametrize("at", [0, 10])
def test_the_moment_of_the_pause_is_run_once(at, connection, clock):
    """Proves I1 at the cut: a fire time at the moment of the pause is decided before it."""
    job = every_ten_seconds()
    settle(connection)
    clock.tick(10)
    if at:
        fire(connection)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(15)
    assert missed(job) == 1
    lifecycle.resume([job.pk], by="bob", run="all")
    turn(connection)

    moments = [f"{m:%S}" for m in job.executions.values_list("scheduled_for", flat=True)]
    assert sorted(moments) == ["10", "20"]


def test_the_moment_of_the_resume_is_in_the_count_and_run_once(connection, clock):
    job = paused_for(25, connection, clock)  # it is 12:00:30
    assert missed(job) == 3

    lifecycle.resume([job.pk], by="bob", run="all")
    clock.tick(10)
    turn(connection)

    assert made_up(job) == ["12:00:10", "12:00:20", "12:00:30"]
    assert story(job) == ["12:00:10-12:00:30 paused 3", "12:00:40 ready"]


def test_with_a_clock_that_runs_every_fire_time_of_the_pause_is_made_up_for(connection, clock):
    """Between the questions of one resume time goes on; the cut is one moment all the same."""
    job = make_job(on_overlap="allow")
    settle(connection)
    # An hour an instant: each statement of the verb meets another fire time.
    fast = (
        "TIMESTAMPTZ '2030-01-01 12:00:00+00' + 5000 * (statement_timestamp() - TIMESTAMPTZ '{}')"
    )
    with django_connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        replace_clock("SELECT " + fast.format(cursor.fetchone()[0].isoformat()))

    lifecycle.pause([job.pk], by="ann")
    lifecycle.resume([job.pk], by="bob", run="all")
    turn(connection)

    paused = Gap.objects.filter(job=job, reason="paused")
    made = job.executions.filter(trigger="backfill").order_by("scheduled_for")
    moments = list(made.values_list("scheduled_for", flat=True))
    assert sum(gap.count for gap in paused) == len(moments) > 0
    assert (moments[0], moments[-1]) == (paused[0].first_at, paused[0].last_at)


def test_a_pause_with_an_end_that_has_passed_holds_back_what_lies_before_it(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    clock.tick(5)
    lifecycle.pause([job.pk], by="ann", until=after_noon(30))
    settle(connection)
    clock.tick(35)
    assert missed(job) == 2

    lifecycle.resume([job.pk], by="bob", run="all")
    turn(connection)

    assert made_up(job) == ["12:00:10", "12:00:20"]
    moments = list(job.executions.values_list("scheduled_for", flat=True))
    assert len(set(moments)) == len(moments)


def test_a_pause_that_ended_by_itself_leaves_nothing_to_choose(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.pause([job.pk], by="ann", until=after_noon(30))
    clock.tick(35)
    lifecycle.resume_expired(connection)

    assert missed(job) == 0
    assert lifecycle.resume([job.pk], by="bob", run="all") == []
    assert made_up(job) == []


def test_closed_days_within_the_pause_are_left_out(connection, clock):
    calendar = Calendar.objects.create(name="holidays", days="2030-01-03 - 2030-01-05\n2030-01-07")
    job = make_job(schedule="0 9 * * *", calendar=calendar)
    settle(connection)
    lifecycle.pause([job.pk], by="ann")
    settle(connection)
    clock.tick(days=6)
    assert missed(job) == 2

    lifecycle.resume([job.pk], by="bob", run="all")
    turn(connection)

    moments = job.executions.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    assert [f"{moment:%d}" for moment in moments] == ["02", "06"]


@pytest.mark.parametrize(("days", "last"), [(1, "02"), (4, "02"), (6, "07")])
def test_the_last_is_the_last_that_was_open(days, last, connection, clock):
    calendar = Calendar.objects.create(name="holidays", days="2030-01-03 - 2030-01-05")
    job = make_job(schedule="0 9 * * *", calendar=calendar)
    settle(connection)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(days=days)

    lifecycle.resume([job.pk], by="bob", run="last")

    assert [f"{execution.scheduled_for:%d}" for execution in job.executions.all()] == [last]


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "@manual"},
        {"enabled": False},
        {"start_at": after_noon(3600)},
        {"end_at": after_noon(7)},
        {"schedule": "0 0 * * *"},
    ],
)
def test_a_pause_that_held_nothing_back_has_nothing_to_make_up_for(fields, connection, clock):
    job = paused_for(40, connection, clock, **fields)
    assert missed(job) == 0

    for run in ("last", "all"):
        assert lifecycle.resume([job.pk], by="bob", run=run) == [job.pk]
        lifecycle.pause([job.pk], by="ann")

    assert made_up(job) == []


def test_the_count_of_a_job_that_is_not_paused_is_zero(connection, clock):
    job = every_ten_seconds()
    clock.tick(100)

    assert missed(job) == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_count_that_is_shown_is_what_all_creates(seed, connection, clock):
    chance = random.Random(seed)
    calendar = Calendar.objects.create(name="days", days="2030-01-02\n2030-01-04 - 2030-01-06")
    jobs = []
    for _ in range(8):
        job = make_job(
            schedule=chance.choice(["*/20 * * * *", "0 */5 * * *", "30 9 * * SAT", "@every 7h"]),
            timezone=chance.choice(["UTC", "Asia/Tokyo", "America/New_York"]),
            calendar=chance.choice([None, calendar]),
            calendar_mode=chance.choice(["avoid", "follow"]),
            on_closed=chance.choice(["skip", "shift", "run"]),
            jitter_s=chance.choice([0, 600]),
        )
        until = chance.choice([None, NOON + timedelta(hours=chance.randrange(30, 150))])
        settle(connection)
        clock.tick(minutes=chance.randrange(1, 300))
        lifecycle.pause([job.pk], by="ann", until=until)
        jobs.append(job)
    clock.tick(hours=chance.randrange(1, 120))
    counts = {job.pk: missed(job) for job in jobs}

    assert lifecycle.resume([job.pk for job in jobs], by="bob", run="all") == [j.pk for j in jobs]
    for _ in range(2):
        turn(connection)

    for job in jobs:
        made = list(
            job.executions.filter(trigger="backfill").values_list("scheduled_for", flat=True)
        )
        assert len(set(made)) == len(made) == counts[job.pk]
        # And nodes call nothing else paused, but for closed days that came after the pause.
        paused = job.gaps.filter(reason="paused")
        assert all(any(gap.first_at <= m <= gap.last_at for gap in paused) for m in made)
        if not job.calendar or job.on_closed == "run":
            assert sum(gap.count for gap in paused) == counts[job.pk]
    assert sum(counts.values()) > 20


def test_many_jobs_are_resumed_with_one_choice(connection, clock):
    jobs = [every_ten_seconds(schedule=f"*/{step} * * * * *") for step in (10, 15, 20, 30)]
    settle(connection)
    lifecycle.pause([job.pk for job in jobs[:3]], by="ann")
    clock.tick(59)

    resumed = lifecycle.resume([job.pk for job in jobs], by="bob", run="all")

    assert resumed == [job.pk for job in jobs[:3]]
    assert [len(made_up(job)) for job in jobs] == [5, 3, 2, 0]


def test_jobs_that_missed_too_much_together_are_not_resumed(connection, clock):
    jobs = [every_ten_seconds() for _ in range(3)]
    settle(connection)
    lifecycle.pause([job.pk for job in jobs], by="ann")
    clock.tick(hours=12)

    with pytest.raises(CannotDo, match=r"These 3 jobs missed 12,960 fire times.* at most 10,000"):
        lifecycle.resume([job.pk for job in jobs], by="bob", run="all")

    assert Job.objects.filter(paused_at=None).count() == Execution.objects.count() == 0
    assert lifecycle.resume([jobs[0].pk, jobs[1].pk], by="bob", run="all")


def test_one_job_of_many_that_missed_too_much_resumes_none(connection, clock):
    jobs = [every_ten_seconds(), make_job(name="busy"), every_ten_seconds()]
    settle(connection)
    lifecycle.pause([job.pk for job in jobs], by="ann")
    clock.tick(days=2)

    with pytest.raises(CannotDo) as refused:
        lifecycle.resume([job.pk for job in jobs], by="bob", run="all")

    assert str(refused.value) == (
        "busy missed 172,800 fire times while it was paused; at most 10,000 can be run. "
        "Run the last, or none."
    )
    assert Job.objects.filter(paused_at=None).count() == 0
    assert not Execution.objects.exists()
    assert not Backfill.objects.exists()

    lifecycle.resume([job.pk for job in jobs], by="bob", run="last")
    assert [len(made_up(job)) for job in jobs] == [1, 1, 1]


def test_the_bound_of_all_is_exact(connection, clock, monkeypatch):
    monkeypatch.setattr(backfilling, "MOST_FIRE_TIMES", 4)
    job = paused_for(45, connection, clock)
    assert missed(job) == 5

    with pytest.raises(
        CannotDo, match=f"{job.name} missed 5 fire times while it was paused; at most 4"
    ):
        lifecycle.resume([job.pk], by="bob", run="all")
    clock.tick(-10)
    lifecycle.resume([job.pk], by="bob", run="all")

    assert len(made_up(job)) == 4


def test_two_people_who_resume_at_once_make_up_once(connection, clock):
    job = paused_for(40, connection, clock)

    answers = together(*[lambda _: lifecycle.resume([job.pk], by="bob", run="all")] * 3, settle)

    assert sorted(map(str, answers[:3])) == sorted(["[]", "[]", f"[{job.pk}]"])
    assert made_up(job) == ["12:00:10", "12:00:20", "12:00:30", "12:00:40"]


def test_what_an_earlier_pause_held_back_is_not_run_by_a_later_resume(connection, clock):
    job = paused_for(10, connection, clock)
    lifecycle.resume([job.pk], by="bob")
    clock.tick(10)
    turn(connection)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(10)

    lifecycle.resume([job.pk], by="bob", run="all")

    assert made_up(job) == ["12:00:30"]


def test_decades_of_pause_are_counted_without_walking_through_them(connection, clock):
    """Proves I10."""
    job = make_job()
    settle(connection)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(days=10_000)

    assert missed(job) == 10_000 * 86_400
    lifecycle.resume([job.pk], by="bob", run="last")

    [run] = job.executions.all()
    assert run.scheduled_for == clock()


def test_an_unreadable_schedule_can_be_resumed_and_has_nothing_to_choose(connection, clock):
    job = paused_for(40, connection, clock)
    Job.objects.filter(pk=job.pk).update(schedule="99 * * * *")

    assert missed(job) == 4
    assert lifecycle.resume([job.pk], by="bob", run="all") == [job.pk]


# --- The same for a queue, a tag or everything ------------------------------------------------


def held_for(seconds: float, connection: Connection, clock, scope: str, value: str = ""):
    """A pause that began 5 s after noon and has held for so many seconds."""
    settle(connection)
    clock.tick(5)
    pause = lifecycle.pause_scope(scope, value, by="ann", reason="inventory")
    settle(connection)
    clock.tick(seconds)
    return pause


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("none", []),
        ("last", ["12:00:40"]),
        ("all", ["12:00:10", "12:00:20", "12:00:30", "12:00:40"]),
    ],
)
@pytest.mark.parametrize(("scope", "value"), [("all", ""), ("queue", "imports"), ("tag", "stock")])
def test_the_end_of_a_pause_of_many_runs_what_was_chosen_for_each(
    scope, value, run, expected, connection, clock
):
    jobs = [every_ten_seconds(queue="imports", tags=["stock"]) for _ in range(2)]
    other = every_ten_seconds() if scope != "all" else None
    pause = held_for(40, connection, clock, scope, value)
    assert lifecycle.missed_by_pause(pause, now=after_noon(45)) == (8, 2)

    assert lifecycle.resume_scope(pause.pk, by="bob", run=run)
    clock.tick(10)
    turn(connection)

    for job in jobs:
        assert made_up(job) == expected
        assert story(job)[0] == "12:00:10-12:00:40 paused 4"
    if other is not None:
        assert made_up(other) == []


def test_a_job_with_a_pause_of_its_own_stays_paused_when_that_of_many_ends(connection, clock):
    job = every_ten_seconds(tags=["stock"])
    pause = held_for(40, connection, clock, "tag", "stock")
    lifecycle.pause([job.pk], by="ann")
    off, broken = (
        every_ten_seconds(tags=["stock"], enabled=False),
        every_ten_seconds(tags=["stock"]),
    )
    Job.objects.filter(pk=broken.pk).update(schedule="not one")

    assert lifecycle.missed_by_pause(pause, now=after_noon(45)) == (0, 0)
    assert lifecycle.resume_scope(pause.pk, by="bob", run="all")

    assert [made_up(one) for one in (job, off, broken)] == [[], [], []]


def test_more_than_can_be_run_are_refused_and_the_pause_stands(connection, clock, monkeypatch):
    every_ten_seconds(tags=["stock"])
    pause = held_for(40, connection, clock, "tag", "stock")
    monkeypatch.setattr(backfilling, "MOST_FIRE_TIMES", 3)

    with pytest.raises(CannotDo, match="4 fire times were missed during the pause of tag stock"):
        lifecycle.resume_scope(pause.pk, by="bob", run="all")
    pause.refresh_from_db()
    assert pause.ended_at is None
    with pytest.raises(CannotDo, match="not 'some'"):
        lifecycle.resume_scope(pause.pk, by="bob", run="some")
    assert lifecycle.resume_scope(pause.pk, by="bob", run="last")
    assert not lifecycle.resume_scope(pause.pk, by="bob", run="last")


# --- Each fire time is made up for once -------------------------------------------------------


def edit(job: Job, **values: object) -> None:
    Job.objects.filter(pk=job.pk).update(**values)


def test_what_two_pauses_cover_is_held_by_the_one_that_began_first(connection, clock):
    job = every_ten_seconds(queue="imports", tags=["stock"])
    settle(connection)
    clock.tick(5)
    of_tag = lifecycle.pause_scope("tag", "stock", by="ann")
    clock.tick(20)
    of_queue = lifecycle.pause_scope("queue", "imports", by="cy")
    clock.tick(20)
    assert lifecycle.missed_by_pause(of_tag, now=clock()) == (4, 1)
    assert lifecycle.missed_by_pause(of_queue, now=clock()) == (0, 0)

    lifecycle.resume_scope(of_tag.pk, by="bob", run="all")
    clock.tick(20)
    lifecycle.resume_scope(of_queue.pk, by="bob", run="all")

    assert made_up(job) == [f"12:00:{second}" for second in (10, 20, 30, 40, 50)] + ["12:01:00"]
    turn(connection)
    assert story(job)[0] == "12:00:10-12:00:40 paused 4"


def test_an_own_pause_within_one_of_many_holds_nothing_that_the_other_holds(connection, clock):
    job = every_ten_seconds(tags=["stock"])
    settle(connection)
    clock.tick(5)
    of_tag = lifecycle.pause_scope("tag", "stock", by="ann")
    clock.tick(10)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(20)
    assert missed(job) == 0
    lifecycle.resume([job.pk], by="ann", run="all")
    assert made_up(job) == []
    lifecycle.resume_scope(of_tag.pk, by="bob", run="all")

    assert made_up(job) == ["12:00:10", "12:00:20", "12:00:30"]


def test_a_job_that_came_under_a_pause_later_was_not_held_before(connection, clock):
    job = every_ten_seconds()
    pause = held_for(20, connection, clock, "queue", "imports")
    turn(connection)
    edit(job, queue="imports")
    clock.tick(20)

    assert lifecycle.missed_by_pause(pause, now=clock()) == (2, 1)
    lifecycle.resume_scope(pause.pk, by="bob", run="all")
    assert made_up(job) == ["12:00:30", "12:00:40"]


def test_what_was_run_by_hand_during_the_pause_is_not_run_again(connection, clock):
    job = paused_for(40, connection, clock)
    lifecycle.backfill(job.pk, after_noon(10), after_noon(20), by="ann")
    lifecycle.run_now([job.pk], by="ann", scheduled_for=after_noon(40))

    assert missed(job) == 1
    lifecycle.resume([job.pk], by="bob", run="all")
    assert made_up(job) == ["12:00:10", "12:00:20", "12:00:30"]


def test_the_last_is_the_last_that_nobody_has_run(connection, clock):
    job = paused_for(40, connection, clock)
    lifecycle.run_now([job.pk], by="ann", scheduled_for=after_noon(40))

    lifecycle.resume([job.pk], by="bob", run="last")
    assert made_up(job) == ["12:00:30"]


def test_each_definition_says_what_was_missed_while_it_stood(connection, clock):
    job = paused_for(20, connection, clock)
    edit(job, schedule="* * * * * *")
    clock.tick(3)
    edit(job, enabled=False)
    clock.tick(10)
    edit(job, enabled=True)
    clock.tick(2)

    expected = [10, 20, 26, 27, 28, 39, 40]
    assert missed(job) == len(expected)
    lifecycle.resume([job.pk], by="bob", run="all")
    assert made_up(job) == [f"12:00:{second}" for second in expected]
    turn(connection)
    assert sum(gap.count for gap in job.gaps.filter(reason="paused")) == len(expected)


@pytest.mark.parametrize(("ran", "expected"), [(1, ["12:00:20", "12:00:30"]), (3, []), (5, [])])
def test_a_resume_runs_no_more_than_the_maximum_number_of_runs_leaves(
    ran, expected, connection, clock
):
    job = every_ten_seconds(max_runs=3)
    settle(connection)
    JobPlan.objects.filter(pk=job.pk).update(runs=ran)
    clock.tick(15)
    turn(connection)
    clock.tick(0.5)
    JobPlan.objects.filter(pk=job.pk).update(runs=ran)
    lifecycle.pause([job.pk], by="ann")
    settle(connection)
    clock.tick(60)
    to_come = timeline(Job.objects.get(pk=job.pk), after_noon(16), after_noon(70))

    assert missed(job) == len(expected)
    assert [verdict.what for verdict in to_come] == (["paused"] if expected else [])
    lifecycle.resume([job.pk], by="bob", run="all")
    clock.tick(60)
    turn(connection)
    assert made_up(job) == expected
    assert plan_of(job).runs == max(ran, 3)
    assert plan_of(job).next_fire_at is None
    assert job.executions.filter(scheduled_for__gt=after_noon(70)).count() == 0
    # Each fire time of the pause has its verdict all the same; after its last run a job has none.
    gaps = job.gaps.filter(reason="paused").values_list("count", flat=True)
    assert list(gaps) == ([6] if expected else [])


def test_what_was_due_before_the_pause_takes_of_the_runs_that_are_left_first(connection, clock):
    job = every_ten_seconds(max_runs=3, on_misfire="all")
    settle(connection)
    clock.tick(25)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(30)
    lifecycle.resume([job.pk], by="bob", run="all")
    turn(connection)

    by_schedule = job.executions.filter(trigger=Trigger.SCHEDULE).order_by("scheduled_for")
    assert [f"{run.scheduled_for:%H:%M:%S}" for run in by_schedule] == ["12:00:10", "12:00:20"]
    assert made_up(job) == ["12:00:30"]
    assert [(gap.reason, gap.count) for gap in job.gaps.all()] == [("paused", 3)]
    assert plan_of(job).runs == 3


@pytest.mark.parametrize("until", [None, after_noon(1000)])
@pytest.mark.parametrize("first", ["tag", "own"])
def test_whichever_of_two_pauses_ends_first_each_fire_time_is_made_up_for_once(
    first, until, connection, clock
):
    job = every_ten_seconds(tags=["stock"])
    settle(connection)
    clock.tick(5)
    of_tag = lifecycle.pause_scope("tag", "stock", by="ann", until=until)
    clock.tick(10)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(20)
    ends = [
        lambda: lifecycle.resume_scope(of_tag.pk, by="bob", run="all"),
        lambda: lifecycle.resume([job.pk], by="bob", run="all"),
    ]
    for end in ends if first == "tag" else reversed(ends):
        end()
        clock.tick(20)

    expected = ["12:00:20", "12:00:30", "12:00:40", "12:00:50"]
    assert made_up(job) == (expected if first == "tag" else ["12:00:10", *expected])


def test_a_fire_time_that_was_to_be_skipped_is_not_made_up_for(connection, clock):
    job = every_ten_seconds()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    clock.tick(5)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(20)

    assert missed(job) == 1
    lifecycle.resume([job.pk], by="bob", run="all")
    assert made_up(job) == ["12:00:20"]
