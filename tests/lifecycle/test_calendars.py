"""Jobs that avoid or follow a calendar: planned around its days, and planned anew when it is edited. Proves I1, I24, I27."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db import connection as django_connection
from django.db.models import ProtectedError

from scheduler_app import lifecycle
from scheduler_app.models import Calendar, Execution, Gap, Job, JobRevision, acting_as
from scheduler_app.rules.timetable import TICK

from .support import (
    NOON,
    ClusterClock,
    Connection,
    fire,
    make_job,
    overtaking,
    plan_of,
    settle,
    story,
    together,
    turn,
)

TODAY = "2030-01-01"  # a Tuesday; the clock begins at noon
WEEKEND = "2030-01-05 - 2030-01-06"


def make_calendar(days: str = "", name: str = "holidays") -> Calendar:
    calendar = Calendar(name=name, days=days)
    calendar.full_clean()
    calendar.save()
    return calendar


def sql(statement: str, *values: object) -> None:
    with django_connection.cursor() as cursor:
        cursor.execute(statement, values)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days_told(job: Job) -> list[str]:
    """The verdicts with their days: `02 09:00 runs`, `05 09:00 - 06 09:00 calendar 2`."""
    verdicts = [
        (run.scheduled_for, f"{run.scheduled_for:%d %H:%M} runs") for run in job.executions.all()
    ]
    verdicts += [
        (
            gap.first_at,
            f"{gap.first_at:%d %H:%M} - {gap.last_at:%d %H:%M} {gap.reason} {gap.count}",
        )
        for gap in job.gaps.all()
    ]
    return [text for _, text in sorted(verdicts)]


def live_through(connection: Connection, clock: ClusterClock, until: str, hours: float = 1) -> None:
    """A node looks every so often."""
    while clock() < moment(until):
        clock.tick(hours=hours)
        turn(connection)


# --- Closed days ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["04 09:00 runs", "05 09:00 - 06 09:00 calendar 2", "07 09:00 runs"]),
        (
            {"on_closed": "run"},
            ["04 09:00 runs", "05 09:00 runs", "06 09:00 runs", "07 09:00 runs"],
        ),
        (
            {"on_closed": "shift"},
            ["04 09:00 runs", "05 09:00 - 06 09:00 calendar 2", "07 09:00 runs"],
        ),
        (
            {"on_closed": "shift", "schedule": "30 10 * * SAT"},
            ["05 10:30 - 05 10:30 calendar 1", "07 10:30 runs"],
        ),
        (
            {"calendar_mode": "follow"},
            [
                "02 09:00 - 04 09:00 calendar 3",
                "05 09:00 runs",
                "06 09:00 runs",
            ],
        ),
    ],
)
def test_what_becomes_of_the_fire_times_of_closed_days(fields, expected, connection, clock):
    job = make_job(
        calendar=make_calendar(WEEKEND), on_overlap="allow", **({"schedule": "0 9 * * *"} | fields)
    )

    live_through(connection, clock, "2030-01-07 12:00", hours=3)

    assert days_told(job)[-len(expected) :] == expected


def test_a_job_of_every_second_that_is_closed_over_the_weekend_has_one_gap(connection, clock):
    job = make_job(calendar=make_calendar(WEEKEND), on_overlap="allow")
    settle(connection)
    clock.set(moment("2030-01-04 23:59:58.5"))
    turn(connection)
    job.executions.all().delete()
    job.gaps.all().delete()
    make_job(schedule="*/10 * * * *", on_overlap="allow")  # so that nodes are busy meanwhile
    clock.tick(1)
    turn(connection)
    assert plan_of(job).next_fire_at == moment("2030-01-07 00:00:00")

    for _ in range(47):
        clock.tick(hours=1)
        assert fire(connection).jobs == 1, "only the other one is looked at"
    assert not job.gaps.exists()
    clock.set(moment("2030-01-07 00:00:01"))
    fire(connection)

    [gap] = Gap.objects.filter(job=job)
    assert (gap.first_at, gap.last_at) == (
        moment("2030-01-05 00:00:00"),
        moment("2030-01-06 23:59:59"),
    )
    assert (gap.count, gap.reason, gap.detail) == (2 * 86_400, "calendar", "calendar holidays")
    runs = job.executions.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    assert [f"{run:%d %H:%M:%S}" for run in runs] == ["04 23:59:59", "07 00:00:00", "07 00:00:01"]


def test_edits_on_a_closed_day_make_no_second_gap(connection, clock):
    job = make_job(calendar=make_calendar(TODAY))
    settle(connection)
    for priority in range(1, 6):
        clock.tick(minutes=10)
        Job.objects.filter(pk=job.pk).update(priority=priority)
        settle(connection)

    assert story(job) == ["12:00:01-12:50:00 calendar 3000"]


def test_closed_days_are_those_of_the_job_s_zone(connection, clock):
    calendar = make_calendar("2030-01-02")
    in_utc = make_job(schedule="0 * * * *", calendar=calendar, on_overlap="allow")
    in_tokyo = make_job(
        schedule="0 * * * *", calendar=calendar, on_overlap="allow", timezone="Asia/Tokyo"
    )

    live_through(connection, clock, "2030-01-03 12:00")

    assert [(gap.first_at, gap.count) for gap in in_utc.gaps.all()] == [(moment("2030-01-02"), 24)]
    assert [(gap.first_at, gap.count) for gap in in_tokyo.gaps.all()] == [
        (moment("2030-01-01 15:00"), 24)
    ]


def test_a_shifted_run_runs_once_whatever_happens_meanwhile(connection, clock):
    """Proves I1: nodes that look together, an edit, and a clock that steps back."""
    job = make_job(
        schedule="30 10 * * SAT", calendar=make_calendar(WEEKEND), on_closed="shift", queue="a"
    )
    settle(connection)
    assert plan_of(job).next_fire_at == moment("2030-01-07 10:30")
    clock.set(moment("2030-01-07 10:29:59"))
    Job.objects.filter(pk=job.pk).update(queue="b")
    clock.tick(1)
    together(*[turn] * 4)
    turn(connection)
    clock.tick(hours=-2)
    turn(connection)
    clock.tick(hours=5)
    turn(connection)

    assert days_told(job) == ["05 10:30 - 05 10:30 calendar 1", "07 10:30 runs"]
    assert plan_of(job).runs == 1


def test_after_an_absence_over_closed_days_one_run_stands_for_all_that_was_missed(
    connection, clock
):
    """Proves I27: the newest, not the one that was missed before the days began."""
    job = make_job(schedule="0 * * * *", calendar=make_calendar(f"2030-01-03\n{WEEKEND}"))
    settle(connection)

    clock.set(moment("2030-01-08 08:30"))
    fire(connection)

    assert days_told(job) == [
        "01 13:00 - 02 23:00 coalesced 35",
        "03 00:00 - 03 23:00 calendar 24",
        "04 00:00 - 04 23:00 coalesced 24",
        "05 00:00 - 06 23:00 calendar 48",
        "07 00:00 - 08 07:00 coalesced 32",
        "08 08:00 runs",
    ]


def test_a_pause_on_closed_days_goes_on_after_them(connection, clock):
    job = make_job(schedule="0 9 * * *", calendar=make_calendar(WEEKEND), on_overlap="allow")
    live_through(connection, clock, "2030-01-05 06:00", hours=6)
    lifecycle.pause([job.pk], by="ann", reason="move")
    live_through(connection, clock, "2030-01-08 12:00", hours=6)
    lifecycle.resume([job.pk], by="ann")
    live_through(connection, clock, "2030-01-09 12:00", hours=6)

    assert days_told(job) == [
        "02 09:00 runs",
        "03 09:00 runs",
        "04 09:00 runs",
        "05 09:00 - 06 09:00 calendar 2",
        "07 09:00 - 08 09:00 paused 2",
        "09 09:00 runs",
    ]


# --- Editing a calendar -----------------------------------------------------------------------


def by_save(calendar: Calendar, days: str) -> None:
    calendar = Calendar.objects.get(pk=calendar.pk)
    calendar.days = days
    calendar.save()


def by_save_of_one_field(calendar: Calendar, days: str) -> None:
    calendar = Calendar.objects.get(pk=calendar.pk)
    calendar.days = days
    calendar.save(update_fields=["days"])


def by_sql(calendar: Calendar, days: str) -> None:
    ranges = [[line.split(" - ")[0], line.split(" - ")[-1]] for line in days.splitlines()]
    sql(
        "UPDATE scheduler_app_calendar SET ranges = %s WHERE id = %s",
        json.dumps(ranges),
        calendar.pk,
    )


every_road = pytest.mark.parametrize("edit", [by_save, by_save_of_one_field, by_sql])


@every_road
def test_editing_a_calendar_plans_the_jobs_that_use_it_anew_and_no_others(edit, connection, clock):
    calendar, other = make_calendar(), make_calendar(name="other")
    users = [make_job(schedule="0 9 * * *", calendar=calendar) for _ in range(3)]
    others = [make_job(schedule="0 9 * * *", calendar=other), make_job(schedule="0 9 * * *")]
    settle(connection)
    assert {plan_of(job).next_fire_at for job in users} == {moment("2030-01-02 09:00")}

    edit(calendar, "2030-01-02 - 2030-01-03")

    assert [plan_of(job).dirty for job in [*users, *others]] == [True] * 3 + [False] * 2
    assert settle(connection).jobs == 3
    assert {plan_of(job).next_fire_at for job in users} == {moment("2030-01-04 09:00")}
    assert {plan_of(job).next_fire_at for job in others} == {moment("2030-01-02 09:00")}
    edit(calendar, "2030-12-25")
    settle(connection)
    assert {plan_of(job).next_fire_at for job in users} == {moment("2030-01-02 09:00")}


@every_road
def test_fire_times_before_the_edit_are_governed_by_the_days_of_then(edit, connection, clock):
    """Proves I24 for calendars."""
    calendar = make_calendar("2030-12-25")
    job = make_job(calendar=calendar, on_overlap="allow", on_misfire="all")
    settle(connection)

    clock.tick(2.5)
    edit(calendar, TODAY)  # closed from now on
    clock.tick(2)
    edit(calendar, "2030-12-25")  # and open again
    clock.tick(2)
    turn(connection)

    assert story(job) == [
        "12:00:01 ready",
        "12:00:02 ready",
        "12:00:03-12:00:04 calendar 2",
        "12:00:05 ready",
        "12:00:06 ready",
    ]


def test_a_calendar_that_is_edited_a_second_time_before_any_node_looked_counts_both_times(
    connection, clock
):
    calendar = make_calendar(TODAY)
    job = make_job(calendar=calendar, on_overlap="allow", on_misfire="all")
    clock.tick(10)
    by_save(calendar, "2030-01-02")
    clock.tick(10)
    by_save(calendar, TODAY)
    clock.tick(10)

    turn(connection)

    assert [(line.split()[1:]) for line in story(job) if "calendar" in line] == [
        ["calendar", "10"],
        ["calendar", "10"],
    ]
    assert job.executions.count() == 10
    assert job.revisions.count() == 3


def test_a_revision_holds_the_days_that_it_was_made_with_and_who_changed_them(connection, clock):
    calendar = make_calendar(TODAY)
    job = make_job(calendar=calendar)
    with acting_as("ann"):
        by_save(calendar, f"{TODAY}\n{WEEKEND}")

    first, second = JobRevision.objects.filter(job=job).order_by("version")
    assert first.spec["calendar_days"] == [[TODAY, TODAY]]
    assert second.spec["calendar_days"] == [[TODAY, TODAY], ["2030-01-05", "2030-01-06"]]
    assert first.spec["calendar_name"] == second.spec["calendar_name"] == "holidays"
    assert second.created_by == "ann"


def test_a_calendar_under_another_name_is_named_so_in_later_gaps(connection, clock):
    calendar = make_calendar(TODAY)
    job = make_job(calendar=calendar)
    settle(connection)
    clock.tick(2)
    Calendar.objects.filter(pk=calendar.pk).update(name="feasts")
    clock.tick(2)
    lifecycle.save_job(_with_priority(job, 3), by="ann")
    settle(connection)

    gaps = job.gaps.order_by("first_at")
    assert [(gap.detail, gap.count) for gap in gaps] == [
        ("calendar holidays", 2),
        ("calendar feasts", 2),
    ]


def _with_priority(job: Job, priority: int) -> Job:
    job.refresh_from_db()
    job.priority = priority
    return job


def test_other_words_about_a_calendar_are_no_edit_of_its_jobs(connection, clock):
    calendar = make_calendar(TODAY)
    job = make_job(calendar=calendar)
    settle(connection)
    calendar.refresh_from_db()
    calendar.description = "as the state has them"
    calendar.days = f"# the first of the year\n{TODAY}\n"
    calendar.save()

    assert job.revisions.count() == 1
    assert not plan_of(job).dirty


def test_a_job_can_be_given_another_calendar_and_none(connection, clock):
    job = make_job(schedule="0 9 * * *", calendar=make_calendar("2030-01-02"))
    settle(connection)
    assert plan_of(job).next_fire_at == moment("2030-01-03 09:00")

    sql(
        "UPDATE scheduler_app_job SET calendar_id = %s WHERE id = %s",
        make_calendar("2030-01-02 - 2030-01-04", "long").pk,
        job.pk,
    )
    settle(connection)
    assert plan_of(job).next_fire_at == moment("2030-01-05 09:00")

    Job.objects.filter(pk=job.pk).update(calendar=None)
    settle(connection)
    assert plan_of(job).next_fire_at == moment("2030-01-02 09:00")
    job.refresh_from_db()
    assert (job.calendar_name, job.calendar_days) == ("", [])


def test_what_is_written_into_the_copies_on_the_job_does_not_last(connection, clock):
    job = make_job(calendar=make_calendar("2030-01-02"))

    sql("UPDATE scheduler_app_job SET calendar_days = '[]', calendar_name = 'x'")

    job.refresh_from_db()
    assert (job.calendar_name, job.calendar_days) == ("holidays", [["2030-01-02", "2030-01-02"]])


def test_a_calendar_that_a_job_uses_cannot_be_removed(connection, clock):
    calendar = make_calendar(TODAY)
    job = make_job(calendar=calendar)

    with pytest.raises(ProtectedError):
        calendar.delete()
    with pytest.raises(IntegrityError):
        sql("DELETE FROM scheduler_app_calendar WHERE id = %s", calendar.pk)
        django_connection.check_constraints()

    Job.objects.filter(pk=job.pk).update(calendar=None)
    calendar.delete()
    assert not Calendar.objects.exists()


def test_days_that_cannot_be_read_stop_the_jobs_that_use_them_and_no_others(connection, clock):
    calendar = make_calendar("2030-12-25")
    bad, good = make_job(calendar=calendar), make_job(on_overlap="allow")
    settle(connection)
    sql("""UPDATE scheduler_app_calendar SET ranges = '[["Christmas", "Easter"]]'""")
    clock.tick(2)
    turn(connection)

    assert story(good) == ["12:00:01 ready", "12:00:02 ready"]
    plan = plan_of(bad)
    assert plan.problem
    assert (plan.dirty, plan.next_fire_at) == (False, None)

    by_save(calendar, "2030-12-26")
    clock.tick(2)
    turn(connection)

    assert plan_of(bad).problem == ""
    assert story(bad) == ["12:00:03 ready", "12:00:04-12:00:04 overlap 1"]


@pytest.mark.parametrize("ranges", ['{"a": 1}', "[1, 2]", '["x"]', '[["2030-01-01"]]', "7", "null"])
def test_ranges_of_any_shape_stop_nobody_else(ranges, connection, clock):
    calendar = make_calendar("2030-12-25")
    bad, good = make_job(calendar=calendar), make_job(on_overlap="allow")
    settle(connection)
    sql("UPDATE scheduler_app_calendar SET ranges = %s::jsonb", ranges)
    clock.tick(2)
    turn(connection)

    assert story(good) == ["12:00:01 ready", "12:00:02 ready"]
    assert not plan_of(bad).dirty


# --- At the same moment as others -------------------------------------------------------------


def test_a_node_that_fires_waits_for_no_edit_and_an_edited_job_fires_after_it(connection, clock):
    """Proves I24's cut for calendars."""
    calendar = make_calendar("2030-12-25")
    job = make_job(calendar=calendar, on_overlap="allow")
    settle(connection)
    clock.tick(1)

    with connection.transaction():  # somebody edits, and has not committed
        connection.execute(
            "UPDATE scheduler_app_calendar SET ranges = %s::jsonb",
            [json.dumps([[TODAY, TODAY]])],
        )
        [fired] = together(lambda other: fire(other))
        assert fired.jobs == 0
    clock.tick(1)
    turn(connection)

    assert story(job) == ["12:00:01 ready", "12:00:02-12:00:02 calendar 1"]


def test_a_job_that_is_given_a_calendar_while_that_is_edited_gets_the_new_days(connection, clock):
    calendar = make_calendar("2030-12-25")
    old = make_job(schedule="0 9 * * *")
    new: list[Job] = []

    def use_it(_: Connection) -> None:
        new.append(make_job(schedule="0 9 * * *", calendar=calendar))
        Job.objects.filter(pk=old.pk).update(calendar=calendar)

    overtaking(
        connection,
        f"""UPDATE scheduler_app_calendar SET ranges = '[["2030-01-02", "2030-01-02"]]'
            WHERE id = {calendar.pk}""",
        use_it,
    )

    settle(connection)
    for job in [old, *new]:
        job.refresh_from_db()
        assert job.calendar_days == [["2030-01-02", "2030-01-02"]]
        assert plan_of(job).next_fire_at == moment("2030-01-03 09:00")


def test_editing_a_calendar_does_not_deadlock_with_a_node_that_records_outcomes(connection, clock):
    """A node locks plans in the order of their jobs; so does the edit, whatever order the rows lie in."""
    calendar = make_calendar("2030-12-25")
    first, second = make_job(calendar=calendar), make_job(calendar=calendar)
    # To the end, in the table and in its indexes.
    sql("UPDATE scheduler_app_job SET name = name || ' moved' WHERE id = %s", first.pk)
    settle(connection)
    lock = "SELECT FROM scheduler_app_jobplan WHERE job_id = {} FOR UPDATE"

    def edit(_: Connection) -> str:
        by_save(calendar, "2030-12-26")
        return "edited"

    def record(other: Connection) -> None:
        other.execute("SET deadlock_timeout = '100ms'")
        with other.transaction():
            other.execute(lock.format(first.pk))
            answer.append(overtake(other))

    def overtake(other: Connection) -> str:
        # Begun while the first plan is locked; the edit must not hold the second one while it waits.
        return _while_waiting(other, edit, then=lock.format(second.pk))

    answer: list[str] = []
    together(record)

    assert answer == ["edited"]
    assert {plan_of(job).dirty for job in (first, second)} == {True}


def _while_waiting(
    connection: Connection, function: Callable[[Connection], str], *, then: str
) -> str:
    """Start a function that waits for the transaction of this connection; when it waits, go on with a statement."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.extend(together(function)), daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    waiting = (
        "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    )
    while not connection.execute(waiting).rowcount:
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.005)
    connection.execute(then)
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    thread.join(30)
    return answers[0]


def test_edits_of_a_calendar_by_two_people_leave_the_days_of_the_last(connection, clock):
    calendar = make_calendar("2030-12-25")
    jobs = [make_job(calendar=calendar) for _ in range(5)]
    settle(connection)

    together(
        lambda _: by_save(calendar, "2030-01-02"),
        lambda _: by_save(calendar, "2030-01-03"),
        settle,
        lambda _: Job.objects.filter(pk=jobs[0].pk).update(priority=5),
    )
    while settle(connection).jobs:
        pass

    calendar.refresh_from_db()
    for job in jobs:
        job.refresh_from_db()
        assert job.calendar_days == calendar.ranges
        assert job.revisions.first().spec["calendar_days"] == calendar.ranges


# --- What is refused --------------------------------------------------------------------------


def test_lines_that_are_no_days_are_refused_by_their_numbers(connection, clock):
    calendar = Calendar(name="bad", days="2030-01-01\nChristmas\n2030-02-30")

    with pytest.raises(ValidationError) as refused:
        calendar.full_clean()

    [first, second] = refused.value.message_dict["days"]
    assert first.startswith("Line 2: 'Christmas' is not a day")
    assert second.startswith("Line 3: '2030-02-30' is not a day")


def test_a_calendar_keeps_its_ranges_beside_the_text(connection, clock):
    calendar = make_calendar(f"# Weekend\n{WEEKEND}\n2030-01-09")

    calendar.refresh_from_db()
    assert calendar.ranges == [["2030-01-05", "2030-01-06"], ["2030-01-09", "2030-01-09"]]
    assert calendar.updated_at == NOON


def test_a_form_opened_before_an_edit_that_saves_another_field_does_not_undo_the_days(
    connection, clock
):
    calendar = make_calendar(TODAY)
    stale = Calendar.objects.get(pk=calendar.pk)
    by_save(calendar, WEEKEND)
    stale.description = "later"

    stale.save(update_fields=["description"])

    calendar.refresh_from_db()
    assert calendar.ranges == [["2030-01-05", "2030-01-06"]]
    assert calendar.days == WEEKEND


@pytest.mark.parametrize(
    ("days", "fields"),
    [
        ("", {"calendar_mode": "follow"}),
        ("2029-12-01 - 2029-12-31", {"calendar_mode": "follow"}),
        ("1970-01-01 - 2100-12-31", {}),
        ("1970-01-01 - 2100-12-31", {"on_closed": "shift"}),
        (WEEKEND, {"schedule": "@at 2030-01-05T10:00"}),
        (WEEKEND, {"schedule": "0 9 * * SAT", "end_at": moment("2030-01-11")}),
        ("2030-01-01 - 2030-01-03", {"end_at": moment("2030-01-03 12:00")}),
    ],
)
def test_a_job_that_its_calendar_leaves_no_fire_time_is_refused(days, fields, connection, clock):
    """Proves I10: what never runs is said when it is saved."""
    values = {
        "name": "never",
        "schedule": "0 9 * * *",
        "target": "tests.testapp.tasks.echo",
        "calendar": make_calendar(days),
    }
    job = Job(**(values | fields))

    with pytest.raises(ValidationError) as refused:
        job.full_clean()

    assert list(refused.value.message_dict) == ["calendar"]
    [message] = refused.value.message_dict["calendar"]
    assert message.startswith("The calendar holidays closes the job at every fire time from now"), (
        message
    )


@pytest.mark.parametrize(
    ("days", "fields"),
    [
        ("", {}),
        ("", {"calendar_mode": "follow", "on_closed": "run"}),
        ("", {"calendar_mode": "follow", "schedule": "@manual"}),
        ("", {"calendar_mode": "follow", "enabled": False}),
        ("2030-01-09", {"calendar_mode": "follow"}),
        (WEEKEND, {"schedule": "@at 2030-01-05T10:00", "on_closed": "shift"}),
        (WEEKEND, {"schedule": "0 9 * * SAT"}),
    ],
)
def test_a_job_that_its_calendar_leaves_a_fire_time_is_accepted(days, fields, connection, clock):
    values = {
        "name": "some time",
        "schedule": "0 9 * * *",
        "target": "tests.testapp.tasks.echo",
        "calendar": make_calendar(days),
    }

    Job(**(values | fields)).full_clean()


def test_a_job_whose_calendar_closes_it_for_ever_later_costs_nothing(connection, clock):
    calendar = make_calendar(WEEKEND)
    job = make_job(calendar=calendar)
    settle(connection)

    by_save(calendar, "1970-01-01 - 2100-12-31")
    settle(connection)

    plan = plan_of(job)
    assert (plan.next_fire_at, plan.dirty, plan.problem) == (None, False, "")
    clock.tick(days=1)
    assert fire(connection).jobs == 0


def test_many_jobs_with_a_calendar_of_a_thousand_ranges_are_planned_and_fired_in_one_batch(
    connection, clock
):
    """Proves I10: the calendar is read once, not once a job."""
    start = moment("2030-01-02").date()
    lines = [str(start + timedelta(days=2 * number)) for number in range(1000)]
    calendar = make_calendar("\n".join(lines))
    jobs = [make_job(calendar=calendar, on_overlap="allow") for _ in range(40)]

    settled = settle(connection)
    clock.set(moment("2030-01-03") - TICK)
    fire(connection)
    clock.tick(2)
    fired = fire(connection)

    assert (settled.jobs, fired.jobs) == (40, 40)
    assert fired.executions >= 40
    assert set(Gap.objects.filter(reason="calendar").values_list("job", "count")) == {
        (job.pk, 86_400) for job in jobs
    }
    assert Execution.objects.filter(scheduled_for=moment("2030-01-03")).count() == 40
