"""A real node on the nights in which clocks change. Proves I5, I7, I8 and I9 end to end.

The cluster's clock is moved to just before each moment that matters and runs on from there. Everything happens in one
life of one node, which is told nothing of the moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import connection
from django.db.models import F

from scheduler_app.models import Execution, Gap, Job, JobPlan

from .conftest import NodeProcess, wait_for

MINUTE = timedelta(minutes=1)
LEAD = timedelta(seconds=0.7)
"""How long before its moment the clock is set."""


@dataclass(frozen=True)
class Night:
    """One change of one zone's clock, with what rules 6 and 7 promise; times of day in UTC."""

    zone: str
    change: datetime
    daily: str
    """A time of day that the clock jumps over, or shows twice."""
    daily_runs: list[str]
    hourly_runs: list[str]
    """Those of `20 * * * *`."""
    live: list[str]
    """Moments that the node lives through; at each of them `*/10` fires."""

    @property
    def begin(self) -> datetime:
        return self.change - 45 * MINUTE

    @property
    def end(self) -> datetime:
        return self.change + 58 * MINUTE

    @property
    def ten_minutely_runs(self) -> list[str]:
        moments = [self.change + number * 10 * MINUTE for number in range(-4, 6)]
        return [f"{moment:%H:%M}" for moment in moments]

    def moment(self, text: str) -> datetime:
        return datetime.combine(self.change, datetime.strptime(text, "%H:%M").time(), tzinfo=UTC)


NIGHTS = [
    # Forward at 02:00 to 03:00: 02:30 runs once, at 03:00.
    Night(
        zone="America/New_York",
        change=datetime(2030, 3, 10, 7, tzinfo=UTC),
        daily="30 2 * * *",
        daily_runs=["07:00"],
        hourly_runs=["06:20", "07:20"],
        live=["07:00"],
    ),
    Night(
        zone="Europe/Berlin",
        change=datetime(2030, 3, 31, 1, tzinfo=UTC),
        daily="30 2 * * *",
        daily_runs=["01:00"],
        hourly_runs=["00:20", "01:20"],
        live=["01:00"],
    ),
    # Half an hour back at 02:00: 01:45 comes twice and runs the first time. 01:20 to 02:20 takes 90 minutes.
    Night(
        zone="Australia/Lord_Howe",
        change=datetime(2030, 4, 6, 15, tzinfo=UTC),
        daily="45 1 * * *",
        daily_runs=["14:45"],
        hourly_runs=["14:20", "15:50"],
        live=["14:50", "15:00", "15:20"],
    ),
    # Half an hour forward at 02:00: 02:15 runs at 02:30.
    Night(
        zone="Australia/Lord_Howe",
        change=datetime(2030, 10, 5, 15, 30, tzinfo=UTC),
        daily="15 2 * * *",
        daily_runs=["15:30"],
        hourly_runs=["14:50", "16:20"],
        live=["15:30"],
    ),
    # An hour back, at 03:00 and at 02:00: what comes twice runs the first time.
    Night(
        zone="Europe/Berlin",
        change=datetime(2030, 10, 27, 1, tzinfo=UTC),
        daily="30 2 * * *",
        daily_runs=["00:30"],
        hourly_runs=["00:20", "01:20"],
        live=["00:30", "01:00", "01:30"],
    ),
    Night(
        zone="America/New_York",
        change=datetime(2030, 11, 3, 6, tzinfo=UTC),
        daily="30 1 * * *",
        daily_runs=["05:30"],
        hourly_runs=["05:20", "06:20"],
        live=["05:30", "06:00", "06:30"],
    ),
]


@pytest.fixture
def move_clock(transactional_db: None) -> Iterator[Callable[[datetime], None]]:
    """Set `scheduler_now()` to a moment, from which it runs on."""

    def replace(body: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION scheduler_now() RETURNS timestamptz "
                f"LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT {body} $$"
            )

    def move(moment: datetime) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT statement_timestamp()")
            ahead_s = (moment - cursor.fetchone()[0]).total_seconds()
        replace(f"statement_timestamp() + interval '{ahead_s:.6f} seconds'")

    yield move
    replace("statement_timestamp()")


def runs(job: Job) -> list[str]:
    moments = job.executions.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    return [f"{moment:%H:%M}" for moment in moments]


def succeeded(job: Job, moment: datetime) -> bool:
    return job.executions.filter(scheduled_for=moment, status="succeeded").exists()


def are_over(jobs: list[Job]) -> bool:
    return not JobPlan.objects.filter(job__in=jobs, next_fire_at__isnull=False).exists()


def test_on_the_nights_of_clock_changes_a_node_does_what_is_promised(
    start_node: Callable[..., NodeProcess], make_job: Callable[..., Job], move_clock
):
    move_clock(datetime(2030, 3, 1, tzinfo=UTC))
    jobs = [
        [
            make_job(
                schedule=text,
                name=f"{text} in the night of {night.zone} {night.change}",
                timezone=night.zone,
                start_at=night.begin,
                end_at=night.end,
                on_overlap="allow",
            )
            for text in (night.daily, "*/10 * * * *", "20 * * * *")
        ]
        for night in NIGHTS
    ]
    # Nobody is dead and nothing missed because the clock was moved by months.
    node = start_node(lease=10**8, misfire_after=10**8, poll_interval=0.2)

    for night, jobs_of_night in zip(NIGHTS, jobs, strict=True):
        daily, ten_minutely, hourly = jobs_of_night
        for text in night.live:
            moment = night.moment(text)
            move_clock(moment - LEAD)
            wait_for(
                partial(succeeded, ten_minutely, moment),
                what=f"the run at {moment} of {ten_minutely}",
            )
            assert runs(daily) == [run for run in night.daily_runs if run <= text]
        move_clock(night.end)
        wait_for(partial(are_over, jobs_of_night), what=f"the end of the night of {night.change}")

        assert runs(daily) == night.daily_runs
        assert runs(ten_minutely) == night.ten_minutely_runs
        assert runs(hourly) == night.hourly_runs

    wait_for(
        lambda: not Execution.objects.exclude(status="succeeded").exists(), what="all outcomes"
    )
    assert not Gap.objects.exists()
    assert not Execution.objects.filter(started_at__lt=F("scheduled_for")).exists(), "early"
    assert node.process.poll() is None
    assert set(Execution.objects.values_list("attempt", "crashes")) == {(1, 0)}
