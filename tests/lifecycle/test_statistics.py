"""Rates, durations, drift, groups of errors and queues, as pages and programs read them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection as django_connection

from scheduler_app import lifecycle
from scheduler_app.lifecycle import statistics
from scheduler_app.models import Execution, Node, Status, Trigger
from scheduler_app.models.vitals import read_vitals

from .support import ClusterClock, after_noon, make_execution, make_job

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/tasks.py", line 12, in {name}
    pay()
"""


def finished(
    job, seconds, status=Status.SUCCEEDED, *, late_s=0.1, took_s=1.0, **fields
) -> Execution:
    """An execution that was due so many seconds after noon."""
    due = after_noon(seconds)
    started = due + timedelta(seconds=late_s)
    values = {
        "trigger": Trigger.SCHEDULE,
        "status": status,
        "attempt": 1,
        "scheduled_for": due,
        "run_after": due,
        "started_at": started,
        "finished_at": started + timedelta(seconds=took_s),
    }
    return make_execution(job, **(values | fields))


# --- Jobs -------------------------------------------------------------------------------------


def test_a_job_is_judged_by_what_it_finished(clock: ClusterClock):
    job, idle = make_job(), make_job()
    for number in range(1, 10):
        finished(job, -number, took_s=number)
    finished(job, -20, Status.FAILED, took_s=1000)
    finished(job, -21, Status.CANCELLED)
    finished(job, -22, Status.LOST)
    make_execution(job, trigger=Trigger.SCHEDULE)

    found = statistics.job_statistics([job.pk, idle.pk])

    assert found[job.pk].finished == 12
    assert (found[job.pk].succeeded, found[job.pk].failed) == (9, 2)
    assert found[job.pk].success_rate == 9 / 11
    assert found[job.pk].duration.p50_s == pytest.approx(5)
    assert found[job.pk].duration.p95_s == pytest.approx(8.6)
    assert (found[job.pk].first_at, found[job.pk].last_at) == (after_noon(-22), after_noon(-1))
    assert found[idle.pk].finished == 0
    assert found[idle.pk].success_rate is None
    assert found[idle.pk].duration == statistics.Percentiles()


def test_drift_is_that_of_first_attempts_of_what_the_schedule_fired(clock: ClusterClock):
    """What is run by hand may be told any fire time, and a retry is late on purpose."""
    job = make_job()
    finished(job, -1, late_s=0.5, node_id=1)
    finished(job, -2, late_s=60, attempt=2, node_id=1)
    for number, trigger in enumerate(set(Trigger) - {Trigger.SCHEDULE}, start=3):
        finished(job, -number, late_s=3600, trigger=trigger, node_id=1)

    drifts = [
        statistics.job_statistics([job.pk])[job.pk].drift,
        statistics.slices(HOUR, MINUTE)[-2].drift,
        statistics.node_statistics([1], HOUR)[1].drift,
    ]

    assert [(drift.p50_s, drift.p99_s) for drift in drifts] == [
        (pytest.approx(0.5), pytest.approx(0.5))
    ] * 3


def test_only_the_newest_count_and_only_those_in_the_window(clock: ClusterClock):
    job = make_job()
    for number in range(6):
        finished(job, -number, Status.FAILED if number > 2 else Status.SUCCEEDED)

    assert statistics.job_statistics([job.pk], last=3)[job.pk].success_rate == 1
    window = timedelta(seconds=4.5)
    assert statistics.job_statistics([job.pk], window=window)[job.pk].finished == 5


# --- Slices of time ---------------------------------------------------------------------------


def test_executions_are_counted_by_minute_and_outcome(clock: ClusterClock):
    clock.tick(seconds=30)
    job = make_job(on_overlap="allow")
    for seconds, status in [
        (1, Status.SUCCEEDED),
        (2, Status.FAILED),
        (3, Status.CANCELLED),
        (4, Status.LOST),
        (-1, Status.SUCCEEDED),
        (-2, Status.SUCCEEDED),
        (-3700, Status.FAILED),
    ]:
        finished(job, seconds, status)
    make_execution(job, scheduled_for=after_noon(5), trigger=Trigger.SCHEDULE)

    found = statistics.slices(HOUR, MINUTE)

    assert len(found) == 60
    assert [one.start for one in found[-2:]] == [after_noon(-60), after_noon(0)]
    last = found[-1]
    assert (last.succeeded, last.failed, last.cancelled, last.lost, last.live) == (1, 1, 1, 1, 1)
    assert (found[-2].succeeded, found[-2].total) == (2, 2)
    assert last.per_minute == last.total == 5
    assert sum(one.total for one in found) == 7


def test_slices_tell_drift(clock: ClusterClock):
    job = make_job()
    for number in range(10):
        finished(job, -number - 1, late_s=number)

    drift = statistics.slices(HOUR, MINUTE)[-2].drift

    assert (drift.p50_s, drift.p95_s) == (pytest.approx(4.5), pytest.approx(8.55))


def test_a_slice_with_more_than_is_counted_says_so(clock: ClusterClock, monkeypatch):
    monkeypatch.setattr(statistics, "COUNTED_IN_SLICE", 3)
    job = make_job()
    for number in range(5):
        finished(job, -number - 1)

    [crowded] = [one for one in statistics.slices(HOUR, MINUTE) if one.total]

    assert crowded.is_capped
    assert crowded.total == 3


def test_slices_can_be_those_of_some_jobs(clock: ClusterClock):
    mine, other = make_job(), make_job()
    finished(mine, -1)
    finished(other, -2, Status.FAILED)

    found = statistics.slices(HOUR, MINUTE, job_ids=[mine.pk])

    assert sum(one.total for one in found) == sum(one.succeeded for one in found) == 1
    assert not any(one.total for one in statistics.slices(HOUR, MINUTE, job_ids=[]))


# --- Groups of errors -------------------------------------------------------------------------


def test_failures_are_grouped_by_what_they_say_and_where(clock: ClusterClock):
    one, other = make_job(name="one"), make_job(name="other")
    node = Node.objects.create(name="left", host="h", pid=1, threads=1)
    for number, job in enumerate([one, other, one]):
        finished(
            job,
            -number - 1,
            Status.FAILED,
            error=f"ConnectionError: host {number} refused",
            traceback=TRACEBACK.format(name="pay"),
            node=node,
        )
    finished(one, -10, Status.FAILED, error="ConnectionError: host 1 refused")
    finished(one, -11, Status.CANCELLED, error="ConnectionError: host 1 refused")
    finished(one, -100_000, Status.FAILED, error="KeyError: 'old'")

    found = statistics.error_groups(DAY)

    assert not found.is_capped
    first, second = found.groups
    assert (first.count, first.place) == (3, "pay in tasks.py")
    assert first.error == "ConnectionError: host 0 refused"
    assert (first.first_at, first.last_at) == (after_noon(-3), after_noon(-1))
    assert first.jobs == {one.pk: "one", other.pk: "other"}
    assert first.nodes == ["left"]
    assert first.execution_ids == sorted(first.execution_ids)
    assert (second.count, second.place) == (1, "")


def test_groups_know_when_they_do_not_know_all(clock: ClusterClock):
    job = make_job()
    for number in range(3):
        finished(job, -number - 1, Status.FAILED, error="x")

    found = statistics.error_groups(DAY, limit=2)

    assert found.is_capped
    assert found.groups[0].count == 2
    assert statistics.error_groups(DAY, job_ids=[]).groups == []


def test_the_first_of_all_that_are_kept_is_found_whatever_numbers_differ(clock: ClusterClock):
    job = make_job()
    where = TRACEBACK.format(name="pay")
    said = "ConnectionError: host {} refused (0x7f{}a) after {} s"
    finished(job, -400_000, Status.FAILED, error="ConnectionError: host 7 refused", traceback=where)
    finished(job, -300_000, Status.FAILED, error=said.format(1, 2, 3))  # elsewhere
    finished(job, -250_000, Status.CANCELLED, error=said.format(1, 2, 3), traceback=where)
    finished(job, -200_000, Status.FAILED, error=said.format(4, "00", "5.5"), traceback=where)
    finished(job, -100_000, Status.FAILED, error=said.format(6, 7, 8), traceback=where)
    finished(job, -1, Status.FAILED, error=said.format(9, "abc", 10), traceback=where)
    finished(job, -2, Status.FAILED, error="KeyError: 'new'")
    finished(None, -500_000, Status.LOST)
    finished(None, -3, Status.LOST)
    known, new, lost = statistics.error_groups(DAY).groups

    assert statistics.first_failure_of(known) == after_noon(-200_000)
    assert statistics.first_failure_of(new) == after_noon(-2)
    assert statistics.first_failure_of(lost) == after_noon(-500_000)


def test_nothing_is_told_of_a_first_failure_that_was_not_reached(
    clock: ClusterClock, monkeypatch: pytest.MonkeyPatch
):
    job = make_job()
    finished(job, -300_000, Status.FAILED, error="no paper", traceback=TRACEBACK.format(name="a"))
    finished(job, -1, Status.FAILED, error="no paper", traceback=TRACEBACK.format(name="b"))
    [group] = statistics.error_groups(DAY).groups
    assert statistics.first_failure_of(group) == after_noon(-1)

    monkeypatch.setattr(statistics, "OLDEST_READ", 1)

    assert statistics.first_failure_of(group) is None


def test_what_was_lost_has_a_group_and_enqueued_tasks_have_one(clock: ClusterClock):
    finished(None, -1, Status.LOST, spec={"name": "enqueued"})

    [group] = statistics.error_groups(DAY).groups

    assert group.error
    assert group.jobs == {None: ""}


def test_a_huge_traceback_is_not_read(clock: ClusterClock):
    lines = "".join(f"{number * 7919:x}" for number in range(20_000))
    finished(make_job(), -1, Status.FAILED, error="x", traceback=TRACEBACK.format(name=lines))

    [group] = statistics.error_groups(DAY).groups

    assert group.place == ""


# --- Queues -----------------------------------------------------------------------------------


def test_queues_tell_how_much_waits_and_for_how_long(clock: ClusterClock):
    job = make_job(schedule="@manual", on_overlap="allow")
    node = Node.objects.create(name="n", host="h", pid=1, threads=1)
    for fields in (
        {"run_after": after_noon(-30), "queue": "mail"},
        {"run_after": after_noon(-5), "queue": "mail", "priority": 9},
        {"run_after": after_noon(60), "queue": "mail"},
        {"status": Status.BLOCKED, "queue": "mail"},
        {"status": Status.RUNNING, "queue": "reports", "node": node},
    ):
        make_execution(job, **fields)

    assert statistics.queue_depths() == [
        statistics.QueueDepth("mail", waiting=2, blocked=1, running=0, oldest_s=30.0),
        statistics.QueueDepth("reports", waiting=0, blocked=0, running=1, oldest_s=None),
    ]
    assert statistics.queue_depths(job_ids=[job.pk + 1]) == []


@pytest.mark.parametrize("scope", [("queue", "mail"), ("tag", "x"), ("all", "")])
def test_what_a_pause_holds_back_waits_and_is_not_late_as_health_says_too(
    clock: ClusterClock, scope: tuple[str, str]
):
    held = make_job(schedule="@manual", tags=["x"])
    make_execution(held, queue="mail", run_after=after_noon(-900))
    if scope[0] != "all":
        make_execution(queue="reports", run_after=after_noon(-20))
    assert statistics.queue_depths()[0].oldest_s == 900
    lifecycle.pause_scope(*scope, by="ann")

    depths = statistics.queue_depths()
    ages = {depth.queue: depth.oldest_s for depth in depths}
    assert ages == ({"mail": None} if scope[0] == "all" else {"mail": None, "reports": 20})
    assert all(depth.waiting == 1 for depth in depths)
    assert read_vitals(lease_s=15).ready_age_s == ages.get("reports")


# --- Cost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_ids", [None, [1, 2]])
def test_each_is_one_statement_that_reads_by_index(
    clock: ClusterClock, job_ids, django_assert_num_queries
):
    with django_connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
    plans: list[str] = []

    def explain(execute, sql, parameters, many, context):
        if "scheduler_app_execution" in sql:
            with django_connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", parameters)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, parameters, many, context)

    with django_connection.execute_wrapper(explain):
        statistics.slices(HOUR, MINUTE, job_ids=job_ids)
        statistics.error_groups(DAY, job_ids=job_ids)
        statistics.queue_depths(job_ids=job_ids)
        statistics.job_statistics(job_ids or [1, 2])
        statistics.running_now(limit=5, job_ids=job_ids)
        statistics.node_statistics([1], HOUR, job_ids=job_ids)

    assert len(plans) == 6
    assert not any("Seq Scan on scheduler_app_execution" in plan for plan in plans), plans
