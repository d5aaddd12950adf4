"""Days on which a job is closed, and what becomes of its fire times then. Proves I1, I9, I10 and I27 for calendars.

`CALENDAR_EXAMPLES=5000 pytest tests/rules/test_calendars.py` looks for longer.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from scheduler_app.rules.calendars import MOST_RANGES, closed_stretches, read_days
from scheduler_app.rules.firing import (
    Decision,
    Fire,
    Live,
    Skip,
    Suspension,
    decide,
    next_fire_at,
    next_open,
    own_closures,
)
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.schedules import CronSchedule
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import TICK, Timetable
from scheduler_app.rules.zones import load_zone

from .moments import at
from .reference_calendars import demand
from .reference_cron import clock_changes

EXAMPLES = int(os.environ.get("CALENDAR_EXAMPLES", "60"))
DAY = timedelta(days=1)
NEVER_MISSED_S = 10**9


def closed_job(*ranges: str, schedule: str = "0 9 * * *", **fields: object) -> JobSpec:
    """A job that avoids days: `2030-01-01`, or `2030-01-01 2030-01-03` for a range."""
    values: dict[str, object] = {
        "calendar_name": "holidays",
        "calendar_days": tuple((words.split()[0], words.split()[-1]) for words in ranges),
        "on_overlap": "allow",
    }
    return JobSpec(schedule=schedule, **(values | fields))


def decided(
    spec: JobSpec,
    start: datetime,
    until: datetime,
    *,
    now: datetime | None = None,
    misfire_after_s: float = NEVER_MISSED_S,
    extra: Sequence[Suspension] = (),
) -> Decision:
    """What is decided about (start, until]; nothing counts as missed unless told otherwise."""
    decision = Decision(start, 0)
    decide(
        decision,
        spec,
        until=until,
        now=now or until,
        live=Live(),
        pauses=[*own_closures(spec), *extra],
        misfire_after_s=misfire_after_s,
    )
    return decision


def told(decision: Decision) -> list[str]:
    """The verdicts as words, in UTC: `03 09:00 runs`, `01 09:00 - 02 09:00 calendar 2`."""
    words = []
    for verdict in decision.verdicts:
        if isinstance(verdict, Fire):
            words.append(f"{verdict.scheduled_for:%d %H:%M} runs")
        else:
            words.append(
                f"{verdict.first_at:%d %H:%M} - {verdict.last_at:%d %H:%M} {verdict.reason} {verdict.count}"
            )
    return words


# --- What people write ------------------------------------------------------------------------


def test_a_list_of_days_may_have_ranges_remarks_and_empty_lines():
    days, problems = read_days(
        "# public holidays\n"
        "2030-12-25\n"
        "\n"
        "  2030-12-24 - 2030-12-26   # Christmas\n"
        "2030-01-01 - 2030-01-01\n"
    )

    assert problems == []
    assert days == [
        (date(2030, 12, 25), date(2030, 12, 25)),
        (date(2030, 12, 24), date(2030, 12, 26)),
        (date(2030, 1, 1), date(2030, 1, 1)),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Christmas",
        "25.12.2030",
        "2030-02-30",
        "2030-12-24 to 2030-12-26",
        "2030-12-24 -",
        "2030-12-24 - ",
        "2030-12-24-2030-12-26",
        "2030-12-24 – 2030-12-26",
        "2030-12-24, 2030-12-25",
        "2030-12-24 - 2030-12-26 - 2030-12-28",
        "2030-12-26 - 2030-12-24",
        "1969-12-31",
        "2101-01-01",
        "2030-12-24T00:00",
        "0000-00-00",
        "²⁰³⁰-12-24",
        "x" * 1000,
    ],
)
def test_a_line_that_is_no_day_is_refused_by_its_number_and_the_others_are_read(line):
    days, problems = read_days(f"2030-01-01\n\n{line}\n2030-01-02")

    assert [problem.field for problem in problems] == ["days"]
    assert problems[0].message.startswith("Line 3: ")
    assert len(problems[0].message) < 200
    assert days == [(date(2030, 1, 1),) * 2, (date(2030, 1, 2),) * 2]


def test_every_bad_line_is_named():
    _, problems = read_days("Christmas\n2030-01-01\nEaster\n2030-01-03 - 2030-01-02")

    assert [problem.message.split(":")[0] for problem in problems] == ["Line 1", "Line 3", "Line 4"]


def test_there_may_be_a_thousand_ranges_and_no_more():
    lines = [f"{date(2030, 1, 1) + number * DAY}" for number in range(MOST_RANGES + 1)]

    assert read_days("\n".join(lines[:-1]))[1] == []
    [problem] = read_days("\n".join(lines))[1]
    assert problem.message == "1001 ranges; at most 1000 are allowed."


def test_a_text_of_bad_lines_only_is_answered_shortly():
    problems = read_days("no day\n" * 14_000)[1]

    assert len(problems) == 21
    assert problems[0].message.startswith("Line 1:")
    assert problems[-1].message == "13,980 more lines cannot be read."


# --- When a day begins and ends ---------------------------------------------------------------

# Zones whose clock changes around midnight, with years in which it did.
MIDNIGHT_ZONES = {
    "Africa/Cairo": (2023, 2026),
    "Africa/Monrovia": (1971, 1973),
    "America/Asuncion": (2015, 2018),
    "America/Havana": (2024, 2027),
    "America/Nuuk": (2022, 2026),
    "America/Santiago": (2024, 2027),
    "America/Sao_Paulo": (2015, 2019),
    "America/St_Johns": (2008, 2011),
    "Asia/Beirut": (2024, 2027),
    "Asia/Pyongyang": (2015, 2018),
    "Atlantic/Azores": (2024, 2027),
    "Pacific/Apia": (2009, 2012),
    "Pacific/Kwajalein": (1992, 1994),
    "UTC": (2024, 2024),
}


def first_second_of(day: date, zone: str) -> datetime:
    """The first second at which a clock on the wall shows this day or a later one, found by looking."""
    info = ZoneInfo(zone)
    ts = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) - 30 * 3600
    for step in (900, 1):
        while datetime.fromtimestamp(ts + step, info).date() < day:
            ts += step
    return datetime.fromtimestamp(ts + 1, UTC)


@pytest.mark.parametrize("zone", sorted(MIDNIGHT_ZONES.keys() & available_timezones()))
def test_a_closed_day_begins_with_its_first_moment_and_ends_with_that_of_the_next(zone):
    """Proves I9: also where the clock jumps over midnight, or shows it twice, or skips the day."""
    days = [date(2030, 6, 1)]
    for change in clock_changes(zone, *MIDNIGHT_ZONES[zone]):
        changed = datetime.fromtimestamp(change, ZoneInfo(zone))
        if changed.hour >= 22 or changed.hour <= 1:
            days += [changed.date() + number * DAY for number in (-1, 0)]

    for day in days:
        [stretch] = closed_stretches([(day, day)], follow=False, zone=load_zone(zone))

        assert stretch.since == first_second_of(day, zone), day
        assert stretch.until == first_second_of(day + DAY, zone), day


def days_of(*words: str) -> list[tuple[date, date]]:
    return [
        (date.fromisoformat(word.split()[0]), date.fromisoformat(word.split()[-1]))
        for word in words
    ]


@pytest.mark.parametrize(
    ("ranges", "closed"),
    [
        (["2030-01-05"], ["05-06"]),
        (["2030-01-05", "2030-01-06"], ["05-07"]),
        (["2030-01-06", "2030-01-05"], ["05-07"]),
        (["2030-01-05 2030-01-08", "2030-01-06"], ["05-09"]),
        (["2030-01-05 2030-01-08", "2030-01-07 2030-01-12"], ["05-13"]),
        (["2030-01-05", "2030-01-05"], ["05-06"]),
        (["2030-01-05", "2030-01-07"], ["05-06", "07-08"]),
        ([], []),
    ],
)
def test_ranges_that_touch_or_overlap_are_one_stretch(ranges, closed):
    stretches = closed_stretches(days_of(*ranges), follow=False, zone=load_zone("UTC"))

    assert [f"{s.since:%d}-{s.until:%d}" for s in stretches if s.until] == closed
    assert len(stretches) == len(closed)


def test_a_job_that_follows_a_list_is_closed_before_between_and_for_ever_after():
    ranges = days_of("2030-01-07 2030-01-08", "2030-01-05", "2030-01-08 2030-01-09")
    stretches = closed_stretches(ranges, follow=True, zone=load_zone("Europe/Berlin"))

    assert [(s.since, s.until) for s in stretches] == [
        (at("1970-01-01"), at("2030-01-04 23:00")),
        (at("2030-01-05 23:00"), at("2030-01-06 23:00")),
        (at("2030-01-09 23:00"), None),
    ]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"])
def test_the_first_and_the_last_day_that_can_be_written_are_days_like_others(zone):
    spec = closed_job(
        "1970-01-01 2100-12-31", schedule="0 0 * * *", timezone=zone, calendar_mode="follow"
    )
    avoiding = replace(spec, calendar_mode="avoid")
    midnight = datetime(1970, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    first = max(midnight, Timetable.of(spec).next_after(at("1970-01-01")))

    assert next_open(Timetable.of(spec), at("1970-01-01"), own_closures(spec)) == first
    found = next_open(Timetable.of(avoiding), at("2030-01-01"), own_closures(avoiding))
    assert found is None or found.astimezone(ZoneInfo(zone)).date() == date(2101, 1, 1)


# --- Run anyway, skip, shift ------------------------------------------------------------------

# 2030-01-01 is a Tuesday.
CLOSED_WED_TO_FRI = "2030-01-02 2030-01-04"


def from_tuesday(spec: JobSpec, days: float = 7) -> list[str]:
    return told(decided(spec, at("2030-01-01"), at("2030-01-01") + days * DAY))


def test_on_closed_days_fire_times_are_skipped():
    assert from_tuesday(closed_job(CLOSED_WED_TO_FRI)) == [
        "01 09:00 runs",
        "02 09:00 - 04 09:00 calendar 3",
        "05 09:00 runs",
        "06 09:00 runs",
        "07 09:00 runs",
    ]


def test_a_job_that_runs_anyway_knows_no_closed_days():
    spec = closed_job(CLOSED_WED_TO_FRI, on_closed="run")

    assert own_closures(spec) == ()
    assert from_tuesday(spec) == [f"0{day} 09:00 runs" for day in range(1, 8)]


def test_a_job_that_follows_a_calendar_runs_on_its_days_alone():
    spec = closed_job(CLOSED_WED_TO_FRI, calendar_mode="follow")

    assert from_tuesday(spec) == [
        "01 09:00 - 01 09:00 calendar 1",
        "02 09:00 runs",
        "03 09:00 runs",
        "04 09:00 runs",
        "05 09:00 - 07 09:00 calendar 3",
    ]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Fires on the next open day at that time by itself: no run beside it.
        (
            "0 9 * * *",
            ["01 09:00 runs", "02 09:00 - 04 09:00 calendar 3", "05 09:00 runs", "06 09:00 runs"],
        ),
        # Only on a day that is closed: runs on the next open one, at its time.
        ("0 9 * * WED", ["02 09:00 - 02 09:00 calendar 1", "05 09:00 runs"]),
        # Several are taken away: one run, at the time of the last.
        ("15 8,17 * * WED,THU", ["02 08:15 - 03 17:15 calendar 4", "05 17:15 runs"]),
        # At another time on the open day: both.
        (
            "0 9 * * FRI,SAT",
            ["04 09:00 - 04 09:00 calendar 1", "05 09:00 runs"],
        ),
        (
            "@every 11h",
            [
                "01 03:00 runs",
                "01 14:00 runs",
                "02 01:00 - 04 19:00 calendar 7",
                "05 06:00 runs",
                "05 17:00 runs",
                "05 19:00 runs",
                "06 04:00 runs",
                "06 15:00 runs",
            ],
        ),
        # Nothing is taken away, nothing moves.
        ("0 9 * * TUE", ["01 09:00 runs"]),
        ("@at 2030-01-03T11:30", ["03 11:30 - 03 11:30 calendar 1", "05 11:30 runs"]),
        ("@manual", []),
    ],
)
def test_a_shifted_run_comes_once_on_the_next_open_day(schedule, expected):
    spec = closed_job(
        CLOSED_WED_TO_FRI, schedule=schedule, on_closed="shift", anchor_at=at("2029-12-31 16:00")
    )

    assert from_tuesday(spec, 6) == expected


def test_each_closed_stretch_is_made_up_for_once():
    spec = closed_job("2030-01-02", "2030-01-04", schedule="0 9 * * WED,FRI", on_closed="shift")

    assert from_tuesday(spec) == [
        "02 09:00 - 02 09:00 calendar 1",
        "03 09:00 runs",
        "04 09:00 - 04 09:00 calendar 1",
        "05 09:00 runs",
    ]


def test_a_run_is_shifted_to_the_end_of_a_stretch_that_several_ranges_make():
    spec = closed_job(
        "2030-01-02", "2030-01-03 2030-01-05", schedule="0 9 * * WED", on_closed="shift"
    )

    assert from_tuesday(spec) == ["02 09:00 - 02 09:00 calendar 1", "06 09:00 runs"]


def test_what_a_job_that_follows_a_list_misses_is_shifted_to_its_next_listed_day():
    spec = closed_job(
        "2030-01-04", schedule="0 9 * * WED", calendar_mode="follow", on_closed="shift"
    )

    assert from_tuesday(spec, 14) == [
        "02 09:00 - 02 09:00 calendar 1",
        "04 09:00 runs",
        "09 09:00 - 09 09:00 calendar 1",  # and no open day comes after it
    ]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({"start_at": at("2030-01-03")}, []),  # nothing was taken away in the window
        ({"end_at": at("2030-01-04")}, ["02 09:00 - 02 09:00 calendar 1"]),
        ({"end_at": at("2030-01-05 08:59:59")}, ["02 09:00 - 02 09:00 calendar 1"]),
        (
            {"end_at": at("2030-01-05 09:00")},
            ["02 09:00 - 02 09:00 calendar 1", "05 09:00 runs"],
        ),
        ({"start_at": at("2030-01-02")}, ["02 09:00 - 02 09:00 calendar 1", "05 09:00 runs"]),
    ],
)
def test_a_shifted_run_keeps_to_the_window(window, expected):
    spec = closed_job(CLOSED_WED_TO_FRI, schedule="0 9 * * WED", on_closed="shift", **window)

    assert from_tuesday(spec) == expected


def test_a_gap_says_which_calendar_and_where_its_run_went():
    skipping = decided(closed_job("2030-01-02"), at("2030-01-02"), at("2030-01-03"))
    shifting = decided(
        closed_job("2030-01-02", on_closed="shift"), at("2030-01-02"), at("2030-01-03")
    )

    assert [verdict.detail for verdict in skipping.verdicts] == ["calendar holidays"]
    assert [verdict.detail for verdict in shifting.verdicts] == [
        "calendar holidays, to run on the next open day"
    ]


def test_closed_days_are_those_of_the_job_s_zone():
    spec = closed_job("2030-01-02", schedule="0 */6 * * *", timezone="Asia/Tokyo")

    assert told(decided(spec, at("2030-01-01 08:00"), at("2030-01-02 18:00"))) == [
        "01 09:00 runs",
        "01 15:00 - 02 09:00 calendar 4",  # the 2nd in Tokyo
        "02 15:00 runs",
    ]


def test_a_shifted_run_that_the_clock_jumps_over_comes_right_after_the_jump():
    """As rule 6 says of cron itself: in New York, 02:30 does not exist on 2030-03-10."""
    spec = closed_job(
        "2030-03-09",
        schedule="30 2 * * SAT",
        timezone="America/New_York",
        on_closed="shift",
    )

    assert told(decided(spec, at("2030-03-09"), at("2030-03-11"))) == [
        "09 07:30 - 09 07:30 calendar 1",
        "10 07:00 runs",
    ]


def test_a_shifted_run_that_comes_twice_in_autumn_runs_the_first_time():
    spec = closed_job(
        "2030-11-02", schedule="30 1 * * SAT", timezone="America/New_York", on_closed="shift"
    )

    assert told(decided(spec, at("2030-11-02"), at("2030-11-04"))) == [
        "02 05:30 - 02 05:30 calendar 1",
        "03 05:30 runs",
    ]


def test_a_zone_that_does_not_exist_is_named_as_for_any_other_job():
    with pytest.raises(Invalid, match="'Mars/Olympus' is not a known time zone"):
        own_closures(closed_job("2030-01-02", timezone="Mars/Olympus"))


# --- Together with pauses, skips and absences -------------------------------------------------


def test_of_a_closed_and_paused_fire_time_the_reason_is_what_began_first():
    pause = Suspension(at("2030-01-03 12:00"), at("2030-01-06"), "ann", "move")

    verdicts = decided(
        closed_job(CLOSED_WED_TO_FRI), at("2030-01-01"), at("2030-01-08"), extra=[pause]
    )

    assert told(verdicts) == [
        "01 09:00 runs",
        "02 09:00 - 04 09:00 calendar 3",
        "05 09:00 - 05 09:00 paused 1",
        "06 09:00 runs",
        "07 09:00 runs",
    ]


def absence(on_misfire: str, until: str = "2030-01-08 10:00", **fields: object) -> list[str]:
    """All nodes were away since Tuesday midnight."""
    spec = closed_job(CLOSED_WED_TO_FRI, on_misfire=on_misfire, **fields)
    return told(decided(spec, at("2030-01-01"), at(until), misfire_after_s=5))


def test_after_an_absence_one_run_stands_for_what_was_missed_on_both_sides_of_closed_days():
    """Proves I27: one run for the newest missed fire time, however many closed days lie between."""
    assert absence("latest") == [
        "01 09:00 - 01 09:00 coalesced 1",
        "02 09:00 - 04 09:00 calendar 3",
        "05 09:00 - 07 09:00 coalesced 3",
        "08 09:00 runs",
    ]


def test_what_was_missed_goes_into_the_fire_time_that_is_on_time_beyond_the_closed_days():
    assert absence("latest", "2030-01-05 09:00:01") == [
        "01 09:00 - 01 09:00 coalesced 1",
        "02 09:00 - 04 09:00 calendar 3",
        "05 09:00 runs",
    ]


def test_an_absence_that_ends_on_a_closed_day_is_made_up_for_then():
    assert absence("latest", "2030-01-03 10:00") == [
        "01 09:00 runs",
        "02 09:00 - 03 09:00 calendar 2",
    ]


def test_skipping_what_was_missed_leaves_closed_days_as_such():
    assert absence("skip") == [
        "01 09:00 - 01 09:00 missed 1",
        "02 09:00 - 04 09:00 calendar 3",
        "05 09:00 - 08 09:00 missed 4",
    ]


def test_catching_up_takes_the_newest_hundred_of_all_open_days():
    """Proves I27: the limit is one for the whole absence."""
    verdicts = absence("all", schedule="*/30 * * * *", until="2030-01-06 12:10")

    # From Saturday midnight to Sunday 12:00 there are 73 fire times, and on Tuesday 47.
    assert sum(word.endswith("runs") for word in verdicts) == 100
    assert verdicts[0] == "01 00:30 - 01 10:00 limit 20"
    assert verdicts[1] == "01 10:30 runs"
    assert "02 00:00 - 04 23:30 calendar 144" in verdicts


def test_a_grace_counts_on_both_sides_of_closed_days():
    assert absence("all", misfire_grace_s=int(2.5 * 86400)) == [
        "01 09:00 - 01 09:00 missed 1",
        "02 09:00 - 04 09:00 calendar 3",
        "05 09:00 - 05 09:00 missed 1",
        "06 09:00 runs",
        "07 09:00 runs",
        "08 09:00 runs",
    ]


def test_a_skipped_fire_time_within_an_absence_takes_itself_away_and_no_other():
    skip = Suspension(at("2030-01-06 09:00"), at("2030-01-06 09:00") + TICK, "ann", "", "skipped")

    verdicts = decided(
        closed_job(), at("2030-01-04"), at("2030-01-08 08:00"), misfire_after_s=5, extra=[skip]
    )

    assert told(verdicts) == [
        "04 09:00 - 05 09:00 coalesced 2",
        "06 09:00 - 06 09:00 skipped 1",
        "07 09:00 runs",
    ]


# --- What it costs ----------------------------------------------------------------------------


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every question that is put to a schedule."""
    steps: list[int] = []
    for name in ("next_after_ts", "previous_before_ts", "count_ts"):
        original = getattr(CronSchedule, name)

        def counted(self, *args, original=original):
            steps.append(1)
            return original(self, *args)

        monkeypatch.setattr(CronSchedule, name, counted)
    return steps


def test_a_weekend_of_seconds_is_one_verdict_and_a_few_steps(monkeypatch):
    spec = closed_job("2030-01-05 2030-01-06", schedule="* * * * * *", timezone="Europe/Berlin")
    steps = count_steps(monkeypatch)

    decision = decided(spec, at("2030-01-04 23:00") - TICK, at("2030-01-06 23:00") - TICK)

    [verdict] = decision.verdicts
    assert (verdict.reason, verdict.count) == ("calendar", 2 * 86400)
    assert (verdict.first_at, verdict.last_at) == (
        at("2030-01-04 23:00"),
        at("2030-01-06 22:59:59"),
    )
    assert next_fire_at(decision, spec, own_closures(spec)) == at("2030-01-06 23:00")
    assert len(steps) < 20


def test_the_next_fire_time_lies_beyond_the_closed_days(monkeypatch):
    spec = closed_job(CLOSED_WED_TO_FRI, schedule="* * * * * *")
    steps = count_steps(monkeypatch)

    def following(moment: str) -> datetime | None:
        return next_fire_at(Decision(at(moment), 0), spec, own_closures(spec))

    assert following("2030-01-01 12:00") == at("2030-01-01 12:00:01")
    assert following("2030-01-01 23:59:59") == at("2030-01-05")
    assert following("2030-01-03 12:00") == at("2030-01-05")
    assert following("2030-01-05") == at("2030-01-05 00:00:01")
    assert len(steps) == 6, "closed days are passed over, not walked through"


def test_a_job_that_is_closed_for_ever_has_no_next_fire_time_and_costs_one_step(monkeypatch):
    spec = closed_job(schedule="* * * * * *", calendar_mode="follow")
    steps = count_steps(monkeypatch)

    assert next_fire_at(Decision(at("2030-01-01"), 0), spec, own_closures(spec)) is None
    assert len(steps) == 1


def first_days_of_months(count: int) -> list[str]:
    months = [(2030 + number // 12, number % 12 + 1) for number in range(count)]
    return [f"{year}-{month:02}-01" for year, month in months]


class CountedSuspensions(tuple):
    """Counts how often one of them is looked at."""

    looks = 0

    def __iter__(self):
        for item in super().__iter__():
            CountedSuspensions.looks += 1
            yield item


def test_a_thousand_ranges_that_close_every_fire_time_are_passed_over_one_by_one(monkeypatch):
    """Proves I10: the work grows with the number of ranges, not with its square."""
    spec = closed_job(*first_days_of_months(850), schedule="0 12 1 * *")
    closures = CountedSuspensions(own_closures(spec))
    table = Timetable.of(spec)
    steps = count_steps(monkeypatch)
    monkeypatch.setattr(CountedSuspensions, "looks", 0)

    assert next_open(table, at("2029-12-31"), closures) == at("2100-11-01 12:00")
    assert len(steps) == 851
    assert CountedSuspensions.looks <= 2 * len(closures)


@pytest.mark.parametrize("on_closed", ["skip", "shift"])
def test_with_a_thousand_ranges_a_decision_looks_at_those_that_matter(on_closed, monkeypatch):
    """Proves I10: the calendar is worked out once, not at every fire time."""
    every_other_day = [f"{date(2030, 1, 1) + 2 * number * DAY}" for number in range(1000)]
    spec = closed_job(*every_other_day, schedule="0 * * * * *", on_closed=on_closed)
    decided(spec, at("2030-01-02 12:00"), at("2030-01-02 12:01"))
    steps = count_steps(monkeypatch)

    for minute in range(1, 21):
        now = at(f"2030-01-02 12:{minute:02}")
        decision = decided(spec, now - timedelta(minutes=1), now)
        assert len(decision.verdicts) == 1
        next_fire_at(decision, spec, own_closures(spec))

    assert len(steps) <= 20 * 6
    assert own_closures(spec) is own_closures(replace(spec, priority=1))


def test_years_of_absence_with_a_thousand_ranges_cost_a_few_steps_a_range(monkeypatch):
    every_other_day = [f"{date(2030, 1, 1) + 2 * number * DAY}" for number in range(1000)]
    spec = closed_job(*every_other_day, schedule="* * * * * *", on_misfire="latest")
    steps = count_steps(monkeypatch)
    start = at("2030-01-01") - TICK

    decision = decided(spec, start, start + 2000 * DAY, misfire_after_s=1)

    assert sum(isinstance(verdict, Fire) for verdict in decision.verdicts) == 1
    skipped = sum(verdict.count for verdict in decision.verdicts if isinstance(verdict, Skip))
    assert skipped + 1 == 2000 * 86400
    assert len(decision.verdicts) == 2001
    assert len(steps) <= 8 * 2000


# --- Against looking at every day -------------------------------------------------------------


TEXTS = [
    "0 9 * * *",
    "30 0 * * *",
    "30 2 * * *",
    "59 23 * * *",
    "0 0 * * *",
    "15 */4 * * *",
    "0 9 * * MON",
    "45 1,13 * * SAT,SUN",
    "0 12 1 * *",
    "0 0 L * *",
    "20 23 15 * *",
    "0 9 * * MON-FRI",
]
ZONES = [
    # With changes at midnight, at 02:00, of half an hour, of two hours, and without any.
    *("Africa/Cairo", "America/Havana", "America/New_York", "America/Santiago", "Asia/Beirut"),
    *("Antarctica/Troll", "Australia/Lord_Howe", "Europe/Berlin", "UTC"),
]


def random_job(chance: random.Random, around: date) -> JobSpec:
    ranges = []
    for _ in range(chance.choice([0, 1, 2, 5, 12])):
        first = around + chance.randint(-45, 45) * DAY
        ranges.append((f"{first}", f"{first + chance.choice([0, 0, 1, 3, 10]) * DAY}"))
    midday = datetime(around.year, around.month, around.day, 12, tzinfo=UTC)
    return JobSpec(
        name="job",
        schedule=chance.choice(TEXTS),
        timezone=chance.choice(ZONES),
        jitter_s=chance.choice([0, 0, 0, 7200]),
        start_at=chance.choice([None] * 5 + [midday - 15 * DAY]),
        end_at=chance.choice([None] * 5 + [midday + 15 * DAY]),
        calendar_name="days",
        calendar_days=tuple(ranges),
        calendar_mode=chance.choice(["avoid", "avoid", "follow"]),
        on_closed=chance.choice(["skip", "shift", "shift", "run"]),
        on_overlap="allow",
    )


def test_every_fire_time_gets_the_verdict_of_its_day():
    """Proves I1: what runs and what is closed is what looking at every day says, and the counts are exact."""
    chance = random.Random(EXAMPLES)
    transitions = {zone: clock_changes(zone, 2024, 2026) or [1_750_000_000] for zone in ZONES}
    seen = {"calendar": 0, "moved": 0, "runs": 0}
    for _ in range(EXAMPLES):
        zone = chance.choice(ZONES)
        around = datetime.fromtimestamp(chance.choice(transitions[zone]), ZoneInfo(zone)).date()
        spec = replace(random_job(chance, around + chance.randint(-2, 2) * DAY), timezone=zone)
        start = datetime(around.year, around.month, around.day, 5, tzinfo=UTC) - 20 * DAY
        end = start + 40 * DAY
        expected = demand(spec, start, end)

        decision = decided(spec, start, end)

        found = []
        for verdict in decision.verdicts:
            if isinstance(verdict, Fire):
                found.append((verdict.scheduled_for, "runs"))
                continue
            covered = [m for m in expected.fire_times if verdict.first_at <= m <= verdict.last_at]
            assert len(covered) == verdict.count, (spec, verdict)
            found += [(moment, verdict.reason) for moment in covered]
        wanted = [
            (moment, "calendar" if expected.is_closed(moment) else "runs")
            for moment in expected.fire_times
        ]
        assert found == wanted, spec
        for what in seen:
            seen[what] += sum(verdict == what for _, verdict in wanted)
        seen["moved"] += len(expected.moved)

        table = Timetable.of(spec)
        assert list(table.between(start, end)) == expected.fire_times
        assert table.count(start, end) == len(expected.fire_times)
        seconds = list(table.between_ts(int(start.timestamp()), int(end.timestamp())))
        assert seconds == [int(moment.timestamp()) for moment in expected.fire_times]
        for _ in range(10):
            moment = start + chance.random() * 30 * DAY
            coming = [m for m in expected.fire_times if m > moment]
            found_next = table.next_after(moment)
            if coming:
                assert found_next == coming[0], spec
            else:
                assert found_next is None or found_next > end, spec
            earlier = [m for m in expected.fire_times if m < moment]
            if earlier:
                assert table.previous_before(moment) == earlier[-1], spec
            opening = [m for m in coming if not expected.is_closed(m)]
            following = next_fire_at(Decision(moment, 0), spec, own_closures(spec))
            if opening:
                assert following == opening[0], spec
            else:
                assert following is None or following > end, spec
    assert min(seen.values()) > EXAMPLES / 20, seen
