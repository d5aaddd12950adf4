"""The sentence that says a schedule back to the person, and the warnings beside it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler_app.rules.previewing import clock_changes
from scheduler_app.rules.schedules import parse_schedule
from scheduler_app.rules.spec import JobSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("*/7 * * * *", "At every 7th minute from 0 to 56 of every hour"),
        ("5 * * * *", "At minute 5 of every hour"),
        ("0,15,40 * * * *", "At minutes 0, 15 and 40 of every hour"),
        ("@hourly", "Every hour"),
        ("30 2 * * *", "At 02:30 every day"),
        ("0 9,17 * * *", "At 09:00 and 17:00 every day"),
        ("0 */2 * * *", "Every 2 hours from 00:00 to 22:00 every day"),
        ("30 9-17 * * 1-5", "Every hour from 09:30 to 17:30 from Monday to Friday"),
        ("*/10 9-17 * * *", "Every 10 minutes from 09:00 to 17:59 every day"),
        ("* 1 * * *", "Every minute from 01:00 to 01:59 every day"),
        ("0 0 * * 6,0", "At 00:00 on Saturdays and Sundays"),
        ("0 0 * * FRI-MON", "At 00:00 on Mondays, Fridays, Saturdays and Sundays"),
        ("0 0 * * FRI#3", "At 00:00 on the third Friday of the month"),
        (
            "0 0 * * MON,FRIL",
            "At 00:00 on Mondays and the last Friday of the month",
        ),
        ("0 0 L * *", "At 00:00 on the last day of the month"),
        ("0 0 15W * *", "At 00:00 on the weekday (Monday to Friday) nearest to day 15"),
        ("0 0 1,15 * *", "At 00:00 on days 1 and 15 of the month"),
        ("0 0 */2 * *", "At 00:00 on every 2nd day of the month"),
        ("0 0 1-7,L * *", "At 00:00 on days 1 to 7 of the month and the last day of the month"),
        ("0 0 13 * 5", "At 00:00 on day 13 of the month or on Fridays"),
        ("17 3 * 6-8 *", "At 03:17 every day from June to August"),
        ("0 0 1 1,7 *", "At 00:00 on day 1 of the month in January and July"),
        ("* * * * * *", "Every second"),
        ("*/15 * * * * *", "Every 15 seconds"),
        ("15 * * * * *", "At second 15 of every minute"),
        ("15 * 9-11 * * *", "At second 15 of every minute from 09:00 to 11:59 every day"),
        ("*/20 * 9-11 * * *", "Every 20 seconds from 09:00 to 11:59 every day"),
        ("15 */5 * * * *", "At second 15 of every 5th minute of every hour"),
        ("* 30 1 * * *", "Every second of minute 30 of hour 1 every day"),
        (
            "*/20 30 1 * * *",
            "At 01:30:00, 01:30:20 and 01:30:40 every day",
        ),
    ],
)
def test_the_sentence_says_what_runs(text, sentence):
    assert parse_schedule(text, "Europe/Paris").describe() == f"{sentence} (Europe/Paris)"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("@every 90s", "Every 1 minute and 30 seconds"),
        ("@every 1h", "Every hour"),
        ("@every 1w", "Every 7 days"),
        ("@at 2026-12-01T09:00:00Z", "Once, on 2026-12-01 at 10:00:00 (Europe/Paris)"),
        ("@manual", "Only when started by hand or by the API"),
    ],
)
def test_the_other_kinds_say_what_they_are(text, sentence):
    assert parse_schedule(text, "Europe/Paris").describe() == sentence


def test_an_anchor_is_told():
    sentence = parse_schedule("@every 2h", anchor=NOW).describe()
    assert sentence == "Every 2 hours, counted from 2026-01-01 00:00:00 UTC"


def test_both_days_must_match_reads_differently():
    described = parse_schedule("0 0 13 * FRI", day_match="and").describe()
    assert described == "At 00:00 on day 13 of the month when it is a Friday (UTC)"


def test_h_is_told_by_the_values_it_stands_for():
    schedule = parse_schedule("H 5 * * *", key="nightly")
    minute = schedule.next_after(NOW).minute
    assert schedule.describe() == f"At 05:{minute:02} every day (UTC)"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (
            "0 0 13 * 5",
            [
                "Runs on day 13 of the month or on Fridays (next: 2026-01-02, 2026-01-09, 2026-01-13,"
                ' 2026-01-16, 2026-01-23). For Friday the 13th choose "both must match"'
            ],
        ),
        (
            "0 0 1-7 * MON,TUE",
            [
                "Runs on days 1 to 7 of the month or on Mondays and Tuesdays (next: 2026-01-02,"
                " 2026-01-03, 2026-01-04, 2026-01-05, 2026-01-06)."
                ' For days that are both choose "both must match"'
            ],
        ),
        (
            "0 30 9 1 * */7",
            [
                "Runs on day 1 of the month or on Sundays (next: 2026-01-01, 2026-01-04, 2026-01-11,"
                ' 2026-01-18, 2026-01-25). For Sunday the 1st choose "both must match"',
                "Six fields begin with the second and end with the weekday;"
                " did you put the seconds last?",
            ],
        ),
        (
            "0 0 31 4,6 1",
            [
                "Runs on day 31 of the month or on Mondays (next: 2026-04-06, 2026-04-13, 2026-04-20,"
                " 2026-04-27, 2026-06-01)"
            ],
        ),
        (
            "0 0 1 * 5#3",
            [
                "Runs on day 1 of the month or on the third Friday of the month (next: 2026-01-16, 2026-02-01,"
                " 2026-02-20, 2026-03-01, 2026-03-20)"
            ],
        ),
        (
            "*/7 * * * *",
            [
                "A step of 7 in the minute starts again each hour: after 56 comes 0;"
                " @every 7m keeps an even distance"
            ],
        ),
        (
            "0-59/7 * * * *",
            [
                "A step of 7 in the minute starts again each hour: after 56 comes 0;"
                " @every 7m keeps an even distance"
            ],
        ),
        (
            "1/7 * * * *",
            [
                "A step of 7 in the minute starts again each hour: after 57 comes 1;"
                " @every 7m keeps an even distance"
            ],
        ),
        (
            "0 0 * * MON/4",
            ["A step of 4 in the weekday starts again each week: after Friday comes Monday"],
        ),
        (
            "0 */5 * * *",
            [
                "A step of 5 in the hour starts again each day: after 20 comes 0;"
                " @every 5h keeps an even distance"
            ],
        ),
        (
            "0 0 */2 * *",
            [
                "A step of 2 in the day of month starts again each month: after 31 comes 1;"
                " @every 2d keeps an even distance"
            ],
        ),
        (
            "0 0 * * */2",
            ["A step of 2 in the weekday starts again each week: after Saturday comes Sunday"],
        ),
        (
            "0 0 1 */5 *",
            ["A step of 5 in the month starts again each year: after November comes January"],
        ),
        (
            "0 0 31 * *",
            [
                "February, April, June, September and November are skipped: they have no day 31."
                " L is the last day of every month"
            ],
        ),
        (
            "0 0 30W * *",
            ["February is skipped: it has no day 30. L is the last day of every month"],
        ),
        ("0 0 29 2 *", ["Day 29 of February exists in leap years only"]),
        ("@at 2025-01-01T00:00:00", ["This moment has passed: the job never runs"]),
    ],
)
def test_what_may_surprise_is_said(text, warnings):
    assert parse_schedule(text).warnings(NOW) == warnings


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "*/5 * * * *",
        "*/15 * * * * *",
        "30 9 * * MON-FRI",
        "0 */6 * * *",
        "0 0 1 * *",
        "0 0 L * *",
        "0 0 31,L * *",
        "0 0 1 */3 *",
        "0 0 31 1,3 *",
        "5-50/7 * * * *",
        "5/15 * * * *",
        "50/7 * * * *",
        "0 9/5 * * *",
        "0 9 * * MON-FRI/2",
        "@daily",
        "@every 5m",
        "@at 2026-06-01T00:00:00",
        "@manual",
    ],
)
def test_an_ordinary_schedule_has_no_warning(text):
    assert parse_schedule(text).warnings(NOW) == []


CHANGE_FORWARD = "in America/New_York (the clock goes forward from 02:00 to 03:00)"
CHANGE_BACK = "in America/New_York (the clock goes back from 02:00 to 01:00)"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (
            "30 2 * * *",
            [f"02:30 on 2026-03-08 does not exist {CHANGE_FORWARD}; the job runs once, at 03:00"],
        ),
        (
            "15,45 2 * * *",
            [
                f"02:15 to 02:45 on 2026-03-08 do not exist {CHANGE_FORWARD};"
                " the job runs once, at 03:00"
            ],
        ),
        (
            "30 1 * * *",
            [f"01:30 on 2026-11-01 comes twice {CHANGE_BACK}; the job runs the first time only"],
        ),
        (
            "*/30 1 * * *",
            [f"01:00 to 01:30 on 2026-11-01 come twice {CHANGE_BACK}; the job runs both times"],
        ),
        ("30 4 * * *", []),
        ("30 2 * * MON", []),
        ("30 * * * *", []),
        ("*/10 * * * *", []),
        (
            "@at 2026-03-08T02:30:00",
            ["02:30 on 2026-03-08 does not exist in America/New_York; the job runs at 03:00"],
        ),
        (
            "@at 2026-11-01T01:30:00",
            ["01:30 on 2026-11-01 comes twice in America/New_York; the job runs the first time"],
        ),
        ("@at 2026-11-01T01:30:00-05:00", []),
        (
            "@every 1d",
            [
                "Counts days of 24 hours: the time of day in America/New_York moves when the clocks"
                " change. A cron text keeps it"
            ],
        ),
    ],
)
def test_the_nights_that_move_a_run_are_named(text, warnings):
    assert parse_schedule(text, "America/New_York").warnings(NOW) == warnings


def test_a_lost_day_is_named_with_the_day_on_which_the_job_runs():
    before = datetime(2011, 12, 1, tzinfo=UTC)
    [warning] = parse_schedule("0 12 30 12 *", "Pacific/Apia").warnings(before)
    assert warning == (
        "12:00 on 2011-12-30 does not exist in Pacific/Apia (the clock goes forward from 00:00 to"
        " 00:00); the job runs once, at 00:00 on 2011-12-31"
    )


def test_a_run_that_a_clock_change_moved_carries_a_note():
    schedule = parse_schedule("30 1,2 * * *", "America/New_York")
    notes = {
        run.isoformat(): schedule.clock_note(run)
        for day in (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC))
        for run in schedule.between(day, day.replace(day=10 if day.month == 3 else 31, hour=23))
    }
    assert {run: note for run, note in notes.items() if note} == {
        "2026-03-08T07:00:00+00:00": f"02:30 on 2026-03-08 does not exist {CHANGE_FORWARD};"
        " the job runs once, at 03:00"
    }
    first_pass = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    assert "comes twice" in schedule.clock_note(first_pass)
    assert parse_schedule("@daily").clock_note(first_pass) == ""


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", ["does not exist", "comes twice"]),
        ("0 12 * * *", "Europe/Berlin", ["", ""]),
        ("@every 1h", "America/New_York", ["", ""]),
        ("30 2 * * *", "UTC", []),
        ("@manual", "Europe/Berlin", ["", ""]),
    ],
)
def test_the_clock_changes_of_the_next_year_and_what_they_do(
    schedule: str, zone: str, expected: list[str]
) -> None:
    spec = JobSpec(schedule=schedule, timezone=zone)

    found = clock_changes(spec, now=datetime(2030, 1, 1, tzinfo=UTC))

    assert len(found) == len(expected)
    for change, words in zip(found, expected, strict=True):
        assert words in change.note and bool(words) == bool(change.note)
        assert change.before == change.after == change.at
        assert change.before.utcoffset() != change.after.utcoffset()
