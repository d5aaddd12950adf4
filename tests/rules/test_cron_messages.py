"""What is said about a text that cannot be accepted, so that the person can mend it."""

from __future__ import annotations

import pytest

from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.schedules import InvalidSchedule, parse_schedule


def problems(text, **options):
    with pytest.raises(InvalidSchedule) as caught:
        parse_schedule(text, **options)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("60 * * * *", "minute: 60 is not allowed (0-59)"),
        ("* 24 * * *", "hour: 24 is not allowed (0-23)"),
        ("* * 0 * *", "day of month: 0 is not allowed (1-31)"),
        ("* * * 13 *", "month: 13 is not allowed (1-12 or JAN-DEC)"),
        ("* * * * 8", "weekday: 8 is not allowed (0-7 or SUN-SAT)"),
        ("61 * * * * *", "second: 61 is not allowed (0-59)"),
        ("-1 * * * *", "minute: -1 is not allowed (0-59)"),
        ("five * * * *", "minute: five is not allowed (0-59)"),
        (
            "*/90 * * * *",
            'minute: step 90 is larger than 59. Cron cannot say "every 90 minutes";'
            " use an interval of 5400 s",
        ),
        (
            "0 */36 * * *",
            'hour: step 36 is larger than 23. Cron cannot say "every 36 hours";'
            " use an interval of 129600 s",
        ),
        ("5-50/60 * * * *", "minute: step 60 is larger than 59"),
        ("0 0 1 */13 *", "month: step 13 is larger than 12"),
        ("*/0 * * * *", "minute: step 0 is not allowed (1-59)"),
        ("*/x * * * *", "minute: */x is not allowed; after / comes a step (1-59)"),
        ("1, * * * *", "minute: a value is missing in 1,"),
        (
            "5- * * * *",
            "minute: 5- is not allowed; a range is two values, such as 0-59",
        ),
        (
            "*,5 * * * *",
            "minute: * already means every minute; remove it or the rest of *,5",
        ),
        ("* * * * * * *", "7 fields: years are not supported; set the job's end date instead"),
        ("* * * *", "4 fields; use 5 (minute hour day month weekday) or 6 (second first)"),
        ("*", "1 field; use 5 (minute hour day month weekday) or 6 (second first)"),
        ("0 0 31 2 *", "never runs: February has no day 31"),
        ("0 0 30,31 2 *", "never runs: February has no day 30 or 31"),
        ("0 0 31W 4 *", "never runs: April has no day 31"),
        (
            "0 0 31 2,4,6,9,11 *",
            "never runs: February, April, June, September and November have no day 31",
        ),
        ("0 0 * * MONDAY", "weekday: use MON, or 1"),
        ("0 0 1 january *", "month: use JAN, or 1"),
        ("0 0 LW * *", "day of month: LW is not supported; `L` (last day) is"),
        (
            "0 0 L-3 * *",
            "day of month: L-3 is not supported; `L` (last day) is, and `15W`"
            " (the weekday nearest to day 15)",
        ),
        ("0 0 1,15W * *", "day of month: 15W cannot stand in a list; W must be alone"),
        ("0 22-4/3 * * *", "hour: a reversed range cannot have a step; write 22,1,4"),
        ("0 0 * * L", "weekday: L needs a day; FRIL is the last Friday"),
        (
            "0 0 * * FRI#6",
            "weekday: FRI#6 is not allowed; FRI#3 is the third Friday, from #1 to #5",
        ),
        (
            "R * * * *",
            "minute: R would draw a new time at each look; H draws once for each job",
        ),
        ("H * * * *", "minute: H takes its value from the job's name, and there is none"),
        ("TZ=Europe/Paris 0 9 * * *", "put the zone in the job's time-zone field"),
        ("CRON_TZ=UTC 0 9 * * *", "put the zone in the job's time-zone field"),
        (
            "@reboot",
            "@reboot: not a calendar time; use @manual and run the job when the system starts",
        ),
        ("@every_minute", "@every_minute is not known; use @every 1m"),
        ("@daily 5", "@daily stands alone"),
        (
            "0 9 * * * 30",
            "weekday: 30 is not allowed (0-7 or SUN-SAT). Did you put the seconds last?"
            " The first of six fields is the second",
        ),
        ("@every 0s", "@every: 0s is not allowed (1 s to 100 years)"),
        ("@every 90", "@every: 90 is not allowed; write 90s, 5m, 2h30m, 1d or 2w"),
        ("@every 1.5h", "@every: 1.5h is not allowed; write 90s, 5m, 2h30m, 1d or 2w"),
        ("@every 5s2m", "@every: 5s2m is not allowed; write 90s, 5m, 2h30m, 1d or 2w"),
        ("@at 1969-12-31T23:59:59Z", "@at: 1969-12-31T23:59:59Z is not allowed (1970 to 2100)"),
        ("@at 9999-01-01T00:00:00", "@at: 9999-01-01T00:00:00 is not allowed (1970 to 2100)"),
    ],
)
def test_the_message_says_what_to_do(text, message):
    [problem] = problems(text)
    assert problem.message == message
    assert str(problem) == message


def test_every_wrong_field_is_listed_once():
    found = problems("61,62 25 0 13 8")

    assert [problem.field for problem in found] == [
        "minute",
        "hour",
        "day of month",
        "month",
        "weekday",
    ]
    assert [problem.given for problem in found] == ["61", "25", "0", "13", "8"]
    assert found[0].allowed == "0-59"


def test_zone_day_match_and_anchor_are_reported_together_with_the_text():
    from datetime import datetime

    found = problems("99 * * * *", timezone="Mars/Olympus", day_match="xor")
    assert [problem.field for problem in found] == ["minute", "timezone", "day_match"]
    [problem] = problems("@every 5m", anchor=datetime(2026, 1, 1))
    assert problem.field == "anchor"


def test_a_refusal_is_a_value_error_and_an_invalid():
    with pytest.raises(ValueError, match="minute: 60 is not allowed"):
        parse_schedule("60 * * * *")
    assert issubclass(InvalidSchedule, Invalid)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("0 0 * * MONDAY", "MON"),
        ("*/90 * * * *", "@every 90m"),
        ("0 22-4/3 * * *", "22,1,4"),
        ("TZ=Europe/Paris 0 9 * * *", "0 9 * * *"),
        ("15 10 * * * 45", "45 15 10 * * *"),
        ("0 0 * * SAT-TUE/2", "6,1"),
        ("@every 90", "@every 90s"),
        ("@at 2030-01-31", "@at 2030-01-31T00:00:00"),
        ("0 0 0 1 1 ? 2030", "0 0 0 1 1 ?"),
    ],
)
def test_the_suggestion_can_be_used(text, suggestion):
    [problem] = problems(text)
    assert problem.suggestion == suggestion


@pytest.mark.parametrize(
    ("text", "day_match", "message"),
    [
        (
            "0 0 1 * MON#2",
            "and",
            "never runs: no day is both 1 in the day of month and MON#2 in the weekday",
        ),
        (
            "0 0 L * FRI#1,MON#2",
            "and",
            "never runs: no day is both L in the day of month and MON#2,FRI#1 in the weekday",
        ),
        ("0 0 31 6 MON", "and", "never runs: June has no day 31"),
    ],
)
def test_two_day_fields_that_never_meet_are_refused(text, day_match, message):
    [problem] = problems(text, day_match=day_match)
    assert problem.message == message
    parse_schedule(text, day_match="or")


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("europe/paris", "Europe/Paris"),
        ("Paris", "Europe/Paris"),
        ("new york", "America/New_York"),
        ("Europe/Pariss", "Europe/Paris"),
        ("Mars/Olympus", ""),
    ],
)
def test_a_zone_that_is_nearly_right_brings_a_hint(zone, hint):
    [problem] = problems("@daily", timezone=zone)
    assert problem.field == "timezone"
    assert problem.suggestion == hint
    assert ("did you mean" in problem.message) == bool(hint)
