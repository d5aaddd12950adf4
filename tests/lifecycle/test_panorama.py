"""What happened and what lies ahead across many jobs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection as django_connection

from scheduler_app.access.ownership import OWN_JOBS_SQL
from scheduler_app.lifecycle import panorama
from scheduler_app.models import Gap, Job, JobPlan, Pause, Status, Trigger

from .support import ClusterClock, after_noon, make_execution, make_job

HOUR = timedelta(hours=1)
WINDOW = (after_noon(-3600), after_noon(3600))


def ran(job: Job, seconds: float, status: Status = Status.SUCCEEDED):
    due = after_noon(seconds)
    values = {
        "trigger": Trigger.SCHEDULE,
        "scheduled_for": due,
        "run_after": due,
        "started_at": due,
    }
    if status not in (Status.READY, Status.RUNNING):
        values["finished_at"] = due + timedelta(seconds=2)
    return make_execution(job, status=status, **values)


def planned(**fields) -> Job:
    job = make_job(**fields)
    JobPlan.objects.filter(pk=job.pk).update(
        next_fire_at=after_noon(60), dirty=False, decided_until=after_noon(0)
    )
    return job


def ahead_of(*jobs: Job) -> list[panorama.Ahead]:
    return panorama.ahead(Job.objects.filter(pk__in=[job.pk for job in jobs]).order_by("pk"))


def test_jobs_are_in_a_window_by_what_ran_what_is_missing_and_what_is_next(clock: ClusterClock):
    ok, bad, holes, next_up, quiet = (make_job() for _ in range(5))
    JobPlan.objects.update(next_fire_at=None)
    ran(ok, -60)
    ran(bad, -60, Status.FAILED)
    ran(bad, -50)
    Gap.objects.create(
        job=holes, first_at=after_noon(-9000), last_at=after_noon(-10), count=9, reason="missed"
    )
    JobPlan.objects.filter(pk=next_up.pk).update(next_fire_at=after_noon(30))
    JobPlan.objects.filter(pk=quiet.pk).update(next_fire_at=after_noon(7200))
    ran(quiet, -7200)

    found = panorama.active_jobs(*WINDOW)

    assert found.keys() == {ok.pk, bad.pk, holes.pk, next_up.pk}
    assert found[bad.pk] == panorama.Activity(failed=True, running=False, gap=False)
    assert found[holes.pk].gap
    assert found[ok.pk] == found[next_up.pk] == panorama.Activity(False, False, False)


def test_executions_next_to_each_other_are_told_together(clock: ClusterClock):
    job, other = make_job(), make_job()
    for seconds in (-3599, -3590, -1800):
        ran(job, seconds)
    last = ran(job, -1799, Status.FAILED)
    ran(other, 5)

    found = panorama.happened([job.pk, other.pk], *WINDOW, bins=120)

    first, second = found[job.pk]
    assert (first.count, first.failed) == (2, 0)
    assert (second.count, second.failed, second.execution_id) == (2, 1, last.pk)
    assert (second.first_at, second.last_at) == (after_noon(-1800), after_noon(-1799))
    assert len(found[other.pk]) == 1


def test_fire_times_ahead_know_what_takes_them_away(clock: ClusterClock):
    job = planned(schedule="0 * * * *", tags=["db"])
    JobPlan.objects.filter(pk=job.pk).update(skip_at=after_noon(3600), skip_by="ann")
    Pause.objects.create(scope="tag", value="db", paused_at=after_noon(7000))

    [one] = ahead_of(job)

    assert one.count(after_noon(0), after_noon(10800)) == 3
    fates = [one.held(moment) for moment in one.between(after_noon(0), after_noon(10800))]
    assert [fate and fate.reason for fate in fates] == ["skipped", "paused", "paused"]


def test_a_definition_that_cannot_be_read_hides_no_other(clock: ClusterClock):
    broken, fine = planned(schedule="0 * * * *"), planned(schedule="0 * * * *")
    Job.objects.filter(pk=broken.pk).update(schedule="no schedule")

    one, other = ahead_of(broken, fine)

    assert one.problem and list(one.between(*WINDOW)) == [] and one.count(*WINDOW) == 0
    assert not other.problem and other.count(*WINDOW) == 2


def test_the_agenda_lists_the_rare_and_counts_the_frequent(clock: ClusterClock):
    hourly, daily, every_second = (
        planned(name="hourly", schedule="30 * * * *"),
        planned(name="daily", schedule="0 3 * * *"),
        planned(name="ticks", schedule="* * * * * *"),
    )
    day = (after_noon(0), after_noon(86_400))

    listed, frequent = panorama.agenda(
        ahead_of(hourly, daily, every_second), *day, often=24, limit=5
    )

    assert [(one.ahead.name, one.at) for one in listed] == [
        ("hourly", after_noon(1800 + 3600 * number)) for number in range(5)
    ]
    assert [(one.name, count) for one, count in frequent] == [("ticks", 86_400)]
    everything, _ = panorama.agenda(ahead_of(hourly, daily), *day, often=24, limit=100)
    assert len(everything) == 25
    assert [one.at for one in everything] == sorted(one.at for one in everything)


def test_crowded_minutes_are_found_with_those_who_are_in_them(clock: ClusterClock):
    jobs = [planned(name=f"at three {number}", schedule="0 15 * * *") for number in range(10)]
    alone = planned(name="alone", schedule="7 16 * * *")
    twice = planned(name="twice a minute", schedule="0,30 0 15 * * *")
    steady = planned(name="steady", schedule="* * * * *")
    held = planned(name="held", schedule="0 15 * * *", queue="mail")
    Pause.objects.create(scope="queue", value="mail", paused_at=after_noon(-10))

    found = panorama.crowds(ahead_of(*jobs, alone, twice, steady, held), after_noon(0), 24 * 60)

    [crowded] = found.crowded(5)
    assert (crowded.at, crowded.count) == (after_noon(3 * 3600), 12)
    assert len(crowded.jobs) == panorama.NAMED_PER_MINUTE
    assert found.counts[4 * 60 + 7] == 1
    assert sum(found.counts) == 13
    assert ([one.name for one in found.steady], found.steady_per_minute) == (["steady"], 1.0)
    assert found.left_out == 0


def test_too_many_fire_times_are_left_out_and_said_to_be(clock: ClusterClock, monkeypatch):
    monkeypatch.setattr(panorama, "WALKED", 30)
    few, many = planned(schedule="0 * * * *"), planned(schedule="*/5 * * * *")

    found = panorama.crowds(ahead_of(few, many), after_noon(0), 24 * 60)

    assert found.left_out == 1
    assert sum(found.counts) == 24


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (panorama.ACTIVE_SQL.replace("{visible}", "true"), {"limit": 10}),
        (
            panorama.ACTIVE_SQL.replace("{visible}", f"job_id IN {OWN_JOBS_SQL}"),
            {"limit": 10, "view_user": "1", "view_groups": ["ours"]},
        ),
        (panorama.HAPPENED_SQL, {"limit": 10, "job_ids": [1, 2], "bin_s": 60}),
        (panorama.MISSING_SQL, {"limit": 10, "job_ids": [1, 2]}),
    ],
)
def test_no_statement_reads_a_whole_table(clock: ClusterClock, statement, parameters):
    with django_connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}", {"start": WINDOW[0], "end": WINDOW[1], **parameters})
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan" not in plan, plan
