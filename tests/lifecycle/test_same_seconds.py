"""Which other jobs fire at the moments at which a definition would: by their timetables, not by their next fire time alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection as django_connection
from django.test.utils import CaptureQueriesContext

from scheduler_app import lifecycle
from scheduler_app.lifecycle import same_seconds as asking
from scheduler_app.lifecycle.impact import impact
from scheduler_app.lifecycle.same_seconds import SameSeconds
from scheduler_app.models import Calendar, Job
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import TICK, Timetable

from .support import Connection, make_job, settle


def beside(schedule: str, *, now: datetime, stored: Job | None = None, **fields: object):
    """The other jobs in the same seconds, as the preview tells of them."""
    spec = JobSpec(schedule=schedule, **fields)
    return impact(spec, now=now, stored=stored).same_seconds


def settle_all(connection: Connection) -> None:
    while settle(connection).jobs:
        pass


def test_jobs_that_fire_more_often_meet_a_later_fire_time_too(connection, clock):
    clock.set(datetime(2030, 1, 1, 3, 24, tzinfo=UTC))
    for number in range(20):
        make_job(name=f"hourly {number:02}", schedule="0 * * * *")
    for number in range(5):
        make_job(name=f"nightly {number}", schedule="0 2 * * *")
    make_job(name="between", schedule="30 * * * *")
    make_job(name="past two", schedule="0 3 * * *")
    settle_all(connection)

    found = beside("0 2 * * *", now=clock())

    assert found.count == 25
    assert found.jobs == tuple(f"hourly {number:02}" for number in range(10))
    assert not found.at_least


def test_whoever_meets_first_is_named_first(connection, clock):
    make_job(name="a later one", schedule="0 14 * * *")
    make_job(name="the sooner one", schedule="0 13 * * *")
    settle_all(connection)

    found = beside("@hourly", now=clock())

    assert found == SameSeconds(2, ("the sooner one", "a later one"))


def test_a_stored_job_is_not_beside_itself(connection, clock):
    job, other = (make_job(schedule="@hourly") for _ in range(2))
    settle_all(connection)

    assert beside("0 0 * * *", now=clock(), stored=job) == SameSeconds(1, (other.name,))


def test_what_keeps_a_job_from_firing_keeps_it_out(connection, clock):
    midnight = datetime(2030, 1, 2, tzinfo=UTC)
    closed = Calendar.objects.create(name="closed", days="2030-01-02")
    paused, until = (make_job(name=name, schedule="@hourly") for name in ("paused", "until then"))
    for fields in (
        {"name": "off", "enabled": False},
        {"name": "closed", "calendar": closed},
        {"name": "over", "end_at": midnight - timedelta(hours=1)},
        {"name": "run out", "max_runs": 11},
        {"name": "runs just so", "max_runs": 12},
        {"name": "open", "calendar": closed, "on_closed": "run"},
        {"name": "by hand", "schedule": "@manual"},
        {"name": "unreadable"},
    ):
        make_job(**{"schedule": "@hourly"} | fields)
    lifecycle.pause([paused.pk], by="ann")
    lifecycle.pause([until.pk], by="ann", until=midnight)
    settle_all(connection)
    with django_connection.cursor() as cursor:
        cursor.execute("ALTER TABLE scheduler_app_job DISABLE TRIGGER USER")
        Job.objects.filter(name="unreadable").update(schedule="not one")
        cursor.execute("ALTER TABLE scheduler_app_job ENABLE TRIGGER USER")

    assert beside("0 0 * * *", now=clock()).jobs == ("open", "runs just so", "until then")


def test_what_derives_from_names_is_asked_of_each(connection, clock):
    jobs = [make_job(name=f"job {number}", schedule="H H * * *") for number in range(5)]
    jobs += [make_job(name=f"late {number}", schedule="@hourly", jitter_s=600) for number in (1, 2)]
    settle_all(connection)

    for job in jobs:
        spec = job.spec()
        moments = list(Timetable.of(spec).between(clock(), clock() + timedelta(days=1)))[:10]
        found = beside(spec.schedule, now=clock(), name=job.name, jitter_s=job.jitter_s)
        meeting = [
            other.name
            for other in jobs
            if any(Timetable.of(other.spec()).count(at - TICK, at) for at in moments)
        ]
        assert sorted(found.jobs) == meeting
        assert job.name in meeting


def test_many_jobs_cost_no_more_statements_than_few(connection, clock):
    def statements() -> int:
        with CaptureQueriesContext(django_connection) as sent:
            beside("0 0 * * *", now=clock())
        return len(sent)

    make_job(schedule="@hourly")
    settle_all(connection)
    few = statements()
    for number in range(40):
        make_job(schedule=f"{number} * * * *", jitter_s=number)
    settle_all(connection)

    assert statements() == few


@pytest.mark.parametrize(("name", "value"), [("ASKED", 2), ("COUNTED_TO", 4)])
def test_where_not_all_can_be_asked_the_count_says_so(name, value, connection, clock, monkeypatch):
    make_job(name="at midnight", schedule="@daily")
    for number in range(3):
        make_job(name=f"hourly {number}", schedule="@hourly")
    make_job(name="every second hour", schedule="0 */2 * * *")
    settle_all(connection)
    assert beside("0 0 * * *", now=clock()).count == 5
    assert not beside("0 0 * * *", now=clock()).at_least

    monkeypatch.setattr(asking, name, value)

    found = beside("0 0 * * *", now=clock())
    assert (found.count, found.at_least) == (4, True)
    # Whose next fire time it is, is asked first; then what many have in common.
    assert name == "COUNTED_TO" or found.jobs == ("at midnight", *(f"hourly {n}" for n in range(3)))
