"""Every zone, every clock change: what a daily, an hourly and a ten-minute job do from 2024 to 2030.

A sample of zones by default; `SCHEDULE_SWEEP=all` takes every zone of the tz database.
"""

from __future__ import annotations

import os
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo, available_timezones

import pytest

from scheduler_app.rules import schedules, zones
from scheduler_app.rules.schedules import parse_schedule, zone_fingerprint

from .reference_cron import seconds_of

START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2031, 1, 1, tzinfo=UTC)
SAMPLE = [
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "Antarctica/Troll",
    "Asia/Almaty",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
]
EVERY = os.environ.get("SCHEDULE_SWEEP") == "all"
ZONES = sorted(zones.zone_names() if EVERY else zones.zone_names() & set(SAMPLE))


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_job_runs_once_on_each_local_date(zone):
    schedule = parse_schedule("30 2 * * *", zone)
    info = ZoneInfo(zone)
    runs = list(schedule.between(START, END))

    dates = [run.astimezone(info).date() for run in runs]

    assert dates == sorted(set(dates))
    assert set(dates) == local_dates(info, dates[0], dates[-1])
    walls = [run.astimezone(info).replace(tzinfo=None) for run in runs]
    for wall, run in zip(walls, runs, strict=True):
        if (wall.hour, wall.minute) != (2, 30):
            named = wall.replace(hour=2, minute=30)
            assert not exists(named, info), f"{wall} although {named} exists"
            # The first moment after the jump: a second earlier the clock stood before 02:30.
            assert (run - timedelta(seconds=1)).astimezone(info).replace(tzinfo=None) < named


@pytest.mark.parametrize("zone", ZONES)
def test_an_hourly_job_carries_on_through_clock_changes(zone):
    info = ZoneInfo(zone)
    runs = list(parse_schedule("0 * * * *", zone).between_ts(*bounds()))

    assert runs == sorted(set(runs))
    # Every moment at which the wall clock shows a full hour, and no other.
    shown = [
        ts
        for ts in range(bounds()[0] + 900, bounds()[1] + 1, 900)
        if datetime.fromtimestamp(ts, info).minute == 0
    ]
    assert runs == shown


@pytest.mark.parametrize("zone", ZONES)
def test_a_ten_minute_job_keeps_its_rhythm(zone):
    schedule = parse_schedule("*/10 * * * *", zone)
    start, end = bounds()

    runs = list(schedule.between_ts(start, end))

    assert start < runs[0] <= start + 600
    assert runs == list(range(runs[0], end + 1, 600))
    assert schedule.count_ts(start, end) == len(runs)


@pytest.mark.parametrize("zone", ZONES)
def test_the_table_is_what_zoneinfo_says(zone):
    table, info = zones.load_zone(zone), ZoneInfo(zone)

    # Off the hours and days on which the table itself looks.
    for ts in range(4321, zones.END_OF_TIME, 86400 if EVERY else 5 * 86400 + 12345):
        offset = datetime.fromtimestamp(ts, info).utcoffset()
        assert table.offset_at(ts) == offset.total_seconds(), ts
    for start, offset, before in zip(
        table.starts[1:], table.offsets[1:], table.offsets, strict=False
    ):
        assert datetime.fromtimestamp(start, info).utcoffset().total_seconds() == offset
        assert datetime.fromtimestamp(start - 1, info).utcoffset().total_seconds() == before
    # What stepping relies on: the clock never goes back to before an earlier change.
    assert list(table.local_ends) == sorted(set(table.local_ends))
    assert list(table.local_starts) == sorted(set(table.local_starts))


def test_names_are_those_of_the_database_without_the_machine_s_own():
    assert zones.zone_names() >= available_timezones() - {"localtime", "posixrules"}
    assert not zones.zone_names() & {"localtime", "posixrules", "posix", "right"}


def test_a_fingerprint_tells_zones_with_different_data_apart():
    assert zone_fingerprint("Europe/Paris") == zone_fingerprint("Europe/Paris")
    assert zone_fingerprint("Europe/Paris") != zone_fingerprint("Europe/Dublin")
    # Two names of one zone have the same data.
    assert zone_fingerprint("Asia/Calcutta") == zone_fingerprint("Asia/Kolkata")
    assert len(zone_fingerprint("UTC")) == 16


@pytest.fixture
def tz_release(tmp_path):
    """Swap single zones for others, as a new release of the tz data might."""
    path = zoneinfo.TZPATH

    def forget():
        ZoneInfo.clear_cache()
        for remembered in (
            zones.load_zone,
            zones.zone_fingerprint,
            zones.zone_names,
            schedules._in_zone,
            schedules._parse,
        ):
            remembered.cache_clear()

    def swap(changes: dict[str, str]) -> None:
        for name, source in changes.items():
            data = resources.files("tzdata").joinpath("zoneinfo", *source.split("/"))
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data.read_bytes())
        zoneinfo.reset_tzpath(to=[str(tmp_path)])
        forget()

    yield swap
    zoneinfo.reset_tzpath(to=path)
    forget()


def test_another_release_changes_the_fingerprint_and_the_runs_of_the_zones_it_touches(tz_release):
    def plan(zone):
        runs = parse_schedule("30 9 * * *", zone).between(START, START + timedelta(days=365))
        return zone_fingerprint(zone), list(runs)

    tz_release({"America/Havana": "America/Havana", "Africa/Casablanca": "Africa/Casablanca"})
    havana, casablanca = plan("America/Havana"), plan("Africa/Casablanca")

    # Morocco stays on one time all year.
    tz_release({"Africa/Casablanca": "Africa/Lagos"})

    assert plan("America/Havana") == havana
    fingerprint, runs = plan("Africa/Casablanca")
    assert fingerprint != casablanca[0]
    assert runs != casablanca[1]
    assert {run.hour for run in runs} == {8}


def bounds() -> tuple[int, int]:
    return seconds_of(START), seconds_of(END)


def exists(wall: datetime, info: ZoneInfo) -> bool:
    there = wall.replace(tzinfo=info).astimezone(UTC)
    return there.astimezone(info).replace(tzinfo=None, fold=0) == wall


def local_dates(info: ZoneInfo, first: date, last: date) -> set[date]:
    """The dates that the zone's calendar has."""
    moment = datetime(first.year, first.month, first.day, 12, tzinfo=info).astimezone(UTC)
    dates = set()
    while (shown := moment.astimezone(info).date()) <= last:
        dates.add(shown)
        moment += timedelta(hours=12)
    return dates
