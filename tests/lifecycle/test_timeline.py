"""Why a job ran, or did not: each sentence from what nodes and people really did. Proves I1."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection as django_connection
from django.db import transaction

from scheduler_app import lifecycle
from scheduler_app.lifecycle import forecasting
from scheduler_app.lifecycle.timeline import explain, standing, timeline
from scheduler_app.models import Calendar, Execution, Gap, Job, JobPlan, Trigger

from .support import (
    NOON,
    after_noon,
    bury,
    claim,
    failure,
    finish,
    make_execution,
    make_job,
    make_node,
    outcome,
    settle,
    turn,
)


def make(**fields) -> Job:
    """A job that fires every ten seconds, unless told otherwise."""
    return make_job(**({"name": "nightly", "schedule": "*/10 * * * * *"} | fields))


def told(job: Job, since: float, until: float, **options) -> list[str]:
    """The sentences of the timeline, oldest first."""
    found = timeline(job, after_noon(since), after_noon(until), **options)
    return [verdict.sentence for verdict in reversed(found)]


def why(job: Job, seconds: float) -> str:
    job = Job.including_deleted.get(pk=job.pk)
    return explain(job, after_noon(seconds))


@pytest.fixture
def node(connection, clock) -> int:
    """A node that lives at noon and the hour after."""
    return make_node(connection, name="node-a")


# --- What ran ------------------------------------------------------------------------------------


def test_a_success_says_where_and_how_late(connection, clock, node):
    job = make()
    settle(connection)
    clock.set(after_noon(10.25))
    turn(connection)
    [claimed] = claim(connection, node)
    finish(connection, outcome(claimed, started_at=after_noon(10.25), finished_at=after_noon(12)))

    assert why(job, 10) == "2030-01-01 12:00:10 UTC ran on node-a, 250 ms late, and succeeded."


def test_a_failure_says_what_it_failed_of_and_a_retry_when_it_comes(connection, clock, node):
    job = make(max_attempts=3)
    settle(connection)
    clock.set(after_noon(10))
    turn(connection)
    [claimed] = claim(connection, node)
    finish(connection, failure(claimed, retry_s=60))

    assert why(job, 10) == (
        "2030-01-01 12:00:10 UTC waits until 2030-01-01 12:01:10 UTC for attempt 2: ValueError: no."
    )

    clock.set(after_noon(70))
    [claimed] = claim(connection, node)
    finish(connection, failure(claimed))
    assert why(job, 10) == (
        "2030-01-01 12:00:10 UTC ran on node-a, 60.0 s late, and failed at attempt 2: ValueError: no."
    )


def test_what_runs_now_and_what_was_asked_to_stop(connection, clock, node):
    job = make()
    settle(connection)
    clock.set(after_noon(10))
    turn(connection)
    [claimed] = claim(connection, node)
    assert why(job, 10) == "2030-01-01 12:00:10 UTC runs on node-a now."

    lifecycle.cancel([claimed.id], by="ann")
    assert why(job, 10) == "2030-01-01 12:00:10 UTC runs on node-a now, and was asked to stop."

    finish(connection, outcome(claimed, "cancelled"))
    assert why(job, 10) == "2030-01-01 12:00:10 UTC was cancelled by ann."


def test_what_was_cancelled_by_the_next_one(connection, clock, node):
    job = make(on_overlap="cancel_running")
    settle(connection)
    clock.set(after_noon(10))
    turn(connection)
    [claimed] = claim(connection, node)
    clock.set(after_noon(20))
    turn(connection)
    finish(connection, outcome(claimed, "cancelled", reason="overlap"))

    assert why(job, 10) == "2030-01-01 12:00:10 UTC was cancelled (the next one took its place)."


def test_a_lost_execution(connection, clock, node):
    job = make(guarantee="at_most_once")
    settle(connection)
    clock.set(after_noon(10))
    turn(connection)
    claim(connection, node)
    bury(node)
    lifecycle.rescue(connection, lease_s=15, max_crashes=3)

    assert why(job, 10).startswith("2030-01-01 12:00:10 UTC was lost with its node ")


@pytest.mark.parametrize(
    ("trigger", "by", "expected"),
    [
        (Trigger.MANUAL, "ann", " (run now, asked for by ann) waits for a free thread."),
        (Trigger.API, "bot", " (run now, asked for by bot) waits for a free thread."),
        (Trigger.BACKFILL, "", " (backfill) waits for a free thread."),
    ],
)
def test_what_somebody_asked_for_says_so(node, trigger, by, expected):
    job = make_job(schedule="@manual")
    make_execution(job, trigger=trigger, requested_by=by)

    assert why(job, 0) == f"2030-01-01 12:00:00 UTC{expected}"
    assert told(job, -1, 1) == [f"2030-01-01 12:00:00 UTC{expected}"]


def test_what_waits_says_for_what(connection, clock):
    job = make(queue="mail", tags=["night"])
    settle(connection)
    clock.set(after_noon(10))
    turn(connection)
    ready = "2030-01-01 12:00:10 UTC waits for a free thread."
    assert why(job, 10) == f"{ready} No node is running: start one with manage.py runscheduler."

    make_node(connection, queues=["reports"], lease_s=3600)
    clock.tick(60)
    assert why(job, 10) == f"{ready} No running node takes the queue mail."

    make_node(connection, queues=["mail"])
    assert why(job, 10) == ready

    lifecycle.pause_scope("tag", "night", by="ann", reason="stocktaking")
    assert why(job, 10) == (
        f"{ready} nightly is paused with tag night since 2030-01-01 12:01:10 UTC, by ann (stocktaking)."
    )


def test_what_waits_for_a_limit_or_a_pause(connection, clock, node):
    job = make(on_overlap="queue_all")
    settle(connection)
    for seconds in (10, 20):
        clock.set(after_noon(seconds))
        turn(connection)
    assert why(job, 20) == "2030-01-01 12:00:20 UTC waits for the job's limit of runs side by side."

    lifecycle.pause([job.pk], by="ann")
    assert why(job, 20) == "2030-01-01 12:00:20 UTC waits for the end of the job's pause."


# --- What did not --------------------------------------------------------------------------------


def test_a_skipped_fire_time_says_whom_it_met(connection, clock, node):
    job = make()
    settle(connection)
    clock.set(after_noon(10))
    turn(connection)
    [claimed] = claim(connection, node)
    for seconds in (20, 30):
        clock.set(after_noon(seconds))
        turn(connection)
    met = "It met that of 2030-01-01 12:00:10 UTC, which"

    assert why(job, 20) == (
        "2030-01-01 12:00:20 UTC did not run: the one before still ran. It is one of 2 fire times, from "
        f"2030-01-01 12:00:20 UTC to 2030-01-01 12:00:30 UTC. {met} is not over."
    )

    finish(connection, outcome(claimed, finished_at=after_noon(31)))
    assert why(job, 30).endswith(f"{met} ended at 2030-01-01 12:00:31 UTC.")
    assert told(job, 15, 35) == [
        "2 fire times from 2030-01-01 12:00:20 UTC to 2030-01-01 12:00:30 UTC did not run: "
        "the one before still ran."
    ]


def test_a_gap_that_goes_on_after_the_job_was_disabled_has_none_of_that_time(
    connection, clock, node
):
    job = make()
    settle(connection)
    for seconds in (10, 20):
        clock.set(after_noon(seconds))
        turn(connection)
        claim(connection, node)
    for seconds, enabled in ((25, False), (45, True)):
        clock.set(after_noon(seconds))
        Job.objects.filter(pk=job.pk).update(enabled=enabled)
        settle(connection)
    clock.set(after_noon(50))
    turn(connection)

    [gap] = job.gaps.all()
    assert (gap.first_at, gap.last_at, gap.count) == (after_noon(20), after_noon(50), 2)
    assert (
        why(job, 30) == "nightly was disabled at 2030-01-01 12:00:30 UTC, so it has no fire times."
    )
    for seconds in (20, 50):
        assert "did not run: the one before still ran" in why(job, seconds)


def test_between_the_fire_times_of_a_gap_there_was_none(connection, clock):
    job = make()
    settle(connection)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(60)
    lifecycle.resume([job.pk], by="ann")
    settle(connection)

    assert "paused by ann" in why(job, 20)
    assert why(job, 25).startswith("2030-01-01 12:00:25 UTC is no fire time of nightly")


def test_a_gap_is_told_by_the_schedule_of_its_time(connection, clock):
    job = make()
    settle(connection)
    lifecycle.pause([job.pk], by="ann")
    clock.tick(60)
    lifecycle.resume([job.pk], by="ann")
    Job.objects.filter(pk=job.pk).update(schedule="@daily")
    settle(connection)

    assert "did not run: paused by ann" in why(job, 20)


def test_missed_fire_times_are_told_with_the_one_that_stands_for_them(connection, clock):
    job = make()
    settle(connection)
    clock.tick(3600)
    turn(connection)

    assert told(job, 0, 3599) == [
        "359 fire times from 2030-01-01 12:00:10 UTC to 2030-01-01 12:59:50 UTC did not run: missed; one later "
        "run stands for them (into 2030-01-01 13:00:00 UTC)."
    ]


# --- What is not decided -------------------------------------------------------------------------


def test_due_fire_times_that_no_node_looked_at_are_one_entry(connection, clock):
    job = make_job(name="nightly")
    settle(connection)
    clock.tick(7 * 86400)

    [verdict] = timeline(job, NOON, clock())
    assert (verdict.what, verdict.count) == ("undecided", 7 * 86400)
    assert verdict.sentence == (
        "604,800 fire times from 2030-01-01 12:00:01 UTC to 2030-01-08 12:00:00 UTC are due: "
        "no node has looked yet."
    )
    assert why(job, 60) == (
        "2030-01-01 12:01:00 UTC is due: no node has looked yet. No node is running: start one with "
        "manage.py runscheduler."
    )


def test_a_long_pause_is_one_entry_while_it_lasts(connection, clock):
    job = make_job(name="nightly")
    settle(connection)
    clock.tick(10)
    lifecycle.pause([job.pk], by="ann", reason="stocktaking")
    settle(connection)
    clock.tick(7 * 86400)
    job.refresh_from_db()

    [paused] = timeline(job, after_noon(100), clock())
    assert (paused.what, paused.count) == ("paused", 7 * 86400 - 89)
    assert paused.sentence.endswith("do not run: paused by ann (stocktaking).")
    assert why(job, 60) == "2030-01-01 12:01:00 UTC does not run: paused by ann (stocktaking)."


@pytest.mark.parametrize(("scope", "value"), [("all", ""), ("queue", "mail"), ("tag", "night")])
def test_a_pause_of_many_jobs_is_seen_as_nodes_see_it(connection, clock, scope, value):
    job = make(queue="mail", tags=["night"])
    other = make(name="other") if scope != "all" else None
    settle(connection)
    lifecycle.pause_scope(scope, value, by="ann", until=after_noon(60))

    assert why(job, 30) == "2030-01-01 12:00:30 UTC does not run: paused by ann."
    assert why(job, 60) == "2030-01-01 12:01:00 UTC is still to come."
    if other:
        assert why(other, 30) == "2030-01-01 12:00:30 UTC is still to come."


def test_what_is_ahead_is_the_first_and_what_was_is_the_newest(connection, clock):
    job = make(on_overlap="allow", on_misfire="all")
    settle(connection)
    clock.tick(50)
    turn(connection)

    found = timeline(job, after_noon(-100), after_noon(1000), limit=3)

    assert [(v.first_at - NOON).total_seconds() for v in found] == [80, 70, 60, 50, 40, 30]
    assert [v.what for v in found] == ["planned"] * 3 + ["ready"] * 3
    assert timeline(job, after_noon(2000), after_noon(1000)) == []


def test_the_next_fire_time_that_somebody_wants_skipped(connection, clock):
    job = make()
    settle(connection)
    lifecycle.skip_next(job.pk, by="ann")
    settle(connection)

    assert why(job, 10) == "2030-01-01 12:00:10 UTC does not run: skipped by hand by ann."
    assert why(job, 20) == "2030-01-01 12:00:20 UTC is still to come."


def test_a_closed_day(connection, clock):
    calendar = Calendar(name="holidays", days="2030-01-02")
    calendar.save()
    job = make(schedule="@hourly", calendar=calendar)
    settle(connection)

    assert why(job, 13 * 3600) == (
        "2030-01-02 01:00:00 UTC does not run: closed by its calendar (calendar holidays)."
    )
    assert told(job, 10 * 3600, 38 * 3600)[1:3] == [
        "2030-01-01 23:00:00 UTC is still to come.",
        "24 fire times from 2030-01-02 00:00:00 UTC to 2030-01-02 23:00:00 UTC do not run: "
        "closed by its calendar (calendar holidays).",
    ]


def test_after_its_last_run_nothing_is_to_come(connection, clock):
    job = make(max_runs=2)
    settle(connection)

    assert told(job, 0, 100) == [
        "2030-01-01 12:00:10 UTC is still to come.",
        "2030-01-01 12:00:20 UTC is still to come.",
    ]
    assert why(job, 30) == (
        "2030-01-01 12:00:30 UTC is a fire time of nightly, but the job will be over by then, after 2 runs."
    )

    clock.tick(60)
    assert len(told(job, 0, 100)) == 1  # two that are due
    assert timeline(job, NOON, after_noon(100))[0].count == 2
    JobPlan.objects.filter(pk=job.pk).update(decided_until=clock(), runs=2)
    assert why(job, 30).endswith("but the job is over after 2 runs.")


def test_an_edit_that_no_node_has_seen_divides_what_is_due(connection, clock):
    job = make()
    settle(connection)
    clock.tick(35)
    Job.objects.filter(pk=job.pk).update(schedule="*/30 * * * * *")
    clock.tick(65)
    job.refresh_from_db()

    assert [(v.count, v.what) for v in timeline(job, NOON, clock())] == [
        (2, "undecided"),
        (3, "undecided"),
    ]
    assert why(job, 20).startswith("2030-01-01 12:00:20 UTC is due")
    assert why(job, 40).startswith("2030-01-01 12:00:40 UTC is no fire time")


# --- No fire time at all -------------------------------------------------------------------------


def test_a_moment_that_is_no_fire_time_says_which_are(connection, clock):
    job = make(schedule="30 2 * * *", timezone="Europe/Paris")
    settle(connection)
    clock.tick(86400)

    assert why(job, 86400 + 3600) == (
        "2030-01-02 14:00:00 CET is no fire time of nightly (At 02:30 every day (Europe/Paris)): the one before is "
        "2030-01-02 02:30:00 CET; the next one is 2030-01-03 02:30:00 CET."
    )


def test_the_window_and_the_jitter_are_told_where_they_matter(connection, clock):
    job = make(start_at=after_noon(100), end_at=after_noon(200), jitter_s=3)
    settle(connection)

    assert "not before 2030-01-01 12:01:40 UTC" in why(job, 55)
    assert "not after 2030-01-01 12:03:20 UTC" in why(job, 255)
    assert "2.0 s later by its jitter" in why(job, 155)


def test_a_job_by_hand_has_no_fire_times(clock):
    assert why(make(schedule="@manual"), 10).endswith("by the API): it has none.")


def test_before_it_was_there_after_it_was_deleted_and_while_it_was_disabled(connection, clock):
    clock.tick(5)
    job = make()
    settle(connection)
    assert why(job, 0) == (
        "nightly did not exist at 2030-01-01 12:00:00 UTC: it was created at 2030-01-01 12:00:05 UTC."
    )

    clock.tick(1)
    Job.objects.filter(pk=job.pk).update(enabled=False)
    settle(connection)
    clock.tick(10)
    assert (
        why(job, 10) == "nightly was disabled at 2030-01-01 12:00:10 UTC, so it has no fire times."
    )
    assert (
        why(job, 30) == "nightly is disabled at 2030-01-01 12:00:30 UTC, so it has no fire times."
    )

    lifecycle.delete_jobs([job.pk], by="ann")
    assert why(job, 30) == "nightly was deleted at 2030-01-01 12:00:16 UTC."


def test_what_is_not_kept_any_more(connection, clock, settings):
    settings.SCHEDULER = {**settings.SCHEDULER, "retention_days": 2}
    job = make()
    settle(connection)
    clock.tick(60)
    turn(connection)
    Gap.objects.all().delete()
    Execution.objects.all().delete()

    assert why(job, 10).endswith(
        "was a fire time of nightly, but nothing is recorded for it: it was not decided, or its record was removed."
    )
    clock.tick(days=3)
    assert why(job, 10).endswith("but records are kept for 2 days only.")


def test_a_definition_that_was_written_past_the_validation(connection, clock):
    job = make()
    Job.objects.filter(pk=job.pk).update(schedule="nonsense", timezone="Mars/Olympus")
    settle(connection)
    clock.tick(60)
    job.refresh_from_db()

    assert standing(job).startswith("nightly cannot be planned: ")
    assert why(job, 10).startswith(
        "The definition of nightly at 2030-01-01 12:00:10 UTC cannot be read. "
    )
    assert timeline(job, NOON, after_noon(100)) == []


# --- How it stands -------------------------------------------------------------------------------


def test_the_state_of_a_job(connection, clock, node):
    job = make()

    def stands() -> str:
        return standing(Job.including_deleted.get(pk=job.pk))

    assert stands() == "nightly was saved, and no node has planned it yet."
    settle(connection)
    assert stands() == "nightly is enabled and fires next at 2030-01-01 12:00:10 UTC."
    clock.tick(12.5)
    assert stands() == (
        "nightly has been due since 2030-01-01 12:00:10 UTC, and no node has fired it."
    )
    turn(connection)
    lifecycle.pause_scope("all", by="bob")
    assert stands() == ("nightly is paused with everything since 2030-01-01 12:00:12 UTC, by bob.")
    lifecycle.pause([job.pk], by="ann", reason="stocktaking", until=after_noon(60))
    assert stands() == (
        "nightly is paused since 2030-01-01 12:00:12 UTC, until 2030-01-01 12:01:00 UTC, by ann (stocktaking)."
    )
    Job.objects.filter(pk=job.pk).update(enabled=False)
    assert stands() == "nightly is disabled: it has no fire times, and only runs by hand."
    clock.tick(60)
    lifecycle.delete_jobs([job.pk], by="ann")
    assert stands() == "nightly was deleted at 2030-01-01 12:01:12 UTC."


def test_a_job_without_a_next_fire_time(connection, clock, node):
    by_hand, over = make(schedule="@manual"), make(name="over", end_at=after_noon(5))
    settle(connection)

    assert standing(by_hand) == "nightly only runs when somebody asks for it."
    assert standing(over) == "over is over: it has no fire time left."


# --- What a simulation goes out from -------------------------------------------------------------


def test_the_usual_duration_is_the_median_of_recent_successes(clock):
    job, other, fresh = make(schedule="@manual"), make_job(schedule="@manual"), make_job()
    for number, seconds in enumerate([1, 2, 90]):
        make_execution(
            job,
            status="succeeded",
            scheduled_for=after_noon(number),
            started_at=after_noon(number),
            finished_at=after_noon(number + seconds),
        )
    make_execution(other, status="failed", started_at=NOON, finished_at=after_noon(5))
    for number in range(60):
        # Older than the last fifty.
        make_execution(
            other,
            status="succeeded" if number < 10 else "cancelled",
            scheduled_for=after_noon(number - 100),
            started_at=NOON if number < 10 else None,
            finished_at=after_noon(5),
        )

    assert forecasting.usual_durations([job.pk, other.pk, fresh.pk]) == {job.pk: 2.0}


def test_the_durations_of_all_jobs_are_one_query_each_by_its_index(
    django_assert_num_queries, clock
):
    jobs = [make_job(schedule="@manual") for _ in range(5)]

    with django_assert_num_queries(1):
        forecasting.usual_durations([job.pk for job in jobs])
    with transaction.atomic(), django_connection.cursor() as cursor:
        # On a table of a few rows the planner takes what it meets first.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {forecasting.USUAL_SQL}", {"job_ids": [1, 2]})
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "execution_newest_of_job" in plan
    assert "Sort Key: scheduler_app_execution.scheduled_for" not in plan


def test_runs_of_the_past_and_to_come_count_towards_the_most(connection, clock):
    job = make(max_runs=4, on_overlap="allow", on_misfire="all")
    settle(connection)
    clock.tick(25)
    turn(connection)
    assert JobPlan.objects.get(pk=job.pk).runs == 2
    job = Job.objects.select_related("plan", "calendar").get(pk=job.pk)

    def ran(since: float) -> int:
        start = after_noon(since) - timedelta(microseconds=1)
        [found] = forecasting.forecast([job], start, after_noon(1000))
        list(found.course.take(int(start.timestamp()), int(after_noon(1000).timestamp())))
        return found.course.counts["ran"]

    assert [ran(since) for since in (0, 15, 25, 30, 35, 45)] == [4, 3, 2, 2, 1, 0]
