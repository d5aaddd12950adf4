"""Texts, zones and moments meant to hurt: refused or answered in bounded work (S12, S30, I10).

Work is counted in executed lines of Python, not in seconds, so that a slow machine changes nothing. Ten
thousand lines take one or two milliseconds.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.rules import cron_plan, schedules, zones
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.schedules import InvalidSchedule, parse_schedule

PARSE_LINES = 20_000
STEP_LINES = 2_000
HOSTILE = [
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "0 0 29 2 1",
    "," * 1_000_000,
    "1," * 500_000,
    "*/0 * * * *",
    "1-1000000000 * * * *",
    "1/99999999999999999999999 * * * *",
    "9" * 190 + " * * * *",
    ",,,, * * * *",
    "1,,2 * * * *",
    "٣ * * * *",
    "１ * * * *",
    "0 0 * * ſun",
    "@wee\u212aly",
    "0\u00a00 * * *",
    "0\u30000 * * *",
    "0\x850 * * *",
    "0\n0 * * *",
    "\0 * * * *",
    "0 0 \0 * *",
    "* * * * *\0",
    "\ud800 * * * *",
    "\ud800 * * * * * *",
    "\0 * * * * 30",
    "TZ=UTC \ud800 * * * *",
    "R(\0) * * * *",
    "@\ud800",
    "@every \ud800",
    "@at \ud800",
    "1_0 * * * *",
    "+5 * * * *",
    "0x5 * * * *",
    "5e0 * * * *",
    "H(" * 60 + " * * * *",
    "H(0-59",
    "(" * 150,
    "-" * 150 + " * * * *",
    "0 0 * * " + "L" * 150,
    "0 0 " + "W" * 150 + " * *",
    "0 0 * * " + "#" * 150,
    "@every " + "9" * 150 + "s",
    "@every -5s",
    "@at " + "9" * 150,
    "@at 2030-01-01T00:00:00+99:99",
    "@at 0000-00-00T00:00:00",
    "@" * 200,
    " " * 5_000_000,
    "",
]


def lines(function, *arguments, **options):
    """How many lines of Python a call executes."""
    executed = 0

    def tracer(frame, event, argument):
        nonlocal executed
        executed += event == "line"
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        function(*arguments, **options)
    except Invalid:
        pass
    finally:
        sys.settrace(before)
    return executed


@pytest.fixture(autouse=True)
def cold():
    """Nothing is remembered from the test before, but for the names of the zones."""
    zones.zone_names()
    schedules._parse.cache_clear()
    cron_plan.make_plan.cache_clear()


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:40])
def test_s12_hostile_texts_are_settled_in_bounded_work(text):
    assert lines(parse_schedule, text) < PARSE_LINES
    if text == "0 0 29 2 1":
        return
    with pytest.raises(InvalidSchedule) as caught:
        parse_schedule(text, key="job")
    for problem in caught.value.problems:
        assert len(problem.message) < 400
        assert problem.message.isprintable()
        problem.message.encode()
        problem.given.encode()
        problem.suggestion.encode()


@pytest.mark.parametrize(
    "text",
    [
        ",".join(f"{n}-{n - 1}" for n in range(1, 35)) + " * * * *",
        "0-59," * 31 + "0-59 * * * *",
        "*/2," * 45 + "*/2 * * * *",
        "0 0 * * " + ",".join(["FRI#1", "MON#2", "SUNL"] * 10),
        "0 0 1 " + "JAN-DEC," * 20 + "JAN *",
        ",".join(f"H({n}-59)/2" for n in range(15)) + " * * * *",
    ],
    ids=lambda text: text[:20],
)
def test_s12_the_largest_texts_that_are_right_are_read_in_bounded_work(text):
    assert len(text) <= 200
    assert lines(parse_schedule, text, key="job") < PARSE_LINES
    parse_schedule(text, key="job")


@pytest.mark.parametrize(
    ("text", "day_match"),
    [
        ("0 0 29 2 1", "and"),
        ("* * 29 2 1", "and"),
        ("0 0 * 2 1#5", "or"),
        ("*/7 * 31 * 5#5", "and"),
        ("59 59 23 31 12 SUN", "and"),
        ("* * * * * *", "or"),
        ("30 2 * * *", "or"),
    ],
)
def test_s12_the_longest_waits_take_few_steps(text, day_match):
    schedule = parse_schedule(text, "America/New_York", day_match=day_match)
    schedule.next_after_ts(0)
    for ts in (0, 4_000_000_000, 4_133_980_799):
        assert lines(schedule.next_after_ts, ts) < STEP_LINES
        assert lines(schedule.previous_before_ts, ts) < STEP_LINES
    # Counting walks the months and clock changes, never the runs: 131 years of seconds.
    assert lines(schedule.count_ts, 0, 4_133_980_799) < 30_000
    assert lines(schedule.count_ts, 1_700_000_000, 1_731_536_000) < 500


def test_s12_a_text_of_200_characters_is_read_and_one_of_201_is_not():
    longest = "0 0 1 1 " + ",".join(["1"] * 96)
    assert len(longest) == 199
    parse_schedule(longest)
    assert parse_schedule(f"  {longest}\t") == parse_schedule(longest)
    with pytest.raises(InvalidSchedule, match="the schedule has 201 characters; 200 are allowed"):
        parse_schedule(longest + ",1")


@given(
    st.one_of(
        st.text(max_size=220),
        st.text(alphabet="0123456789*/,-?LWH#@ ()\tJANMONFRI", max_size=60),
        st.lists(
            st.text(alphabet="0123456789*/,-LWH#()", min_size=1, max_size=8), min_size=5, max_size=6
        ).map(" ".join),
    )
)
@settings(
    max_examples=int(os.environ.get("SCHEDULE_EXAMPLES", "1000")),
    deadline=None,
    derandomize="SCHEDULE_EXAMPLES" not in os.environ,
)
def test_any_text_is_refused_with_a_reason_or_gives_a_schedule_that_runs(text):
    try:
        schedule = parse_schedule(text, "Europe/Paris", key="job")
    except InvalidSchedule as error:
        assert error.problems
        assert all(problem.message and problem.field for problem in error.problems)
        return
    schedule.describe()
    if not schedule.text.startswith("@"):
        found = schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC))
        assert schedule.previous_before(found + timedelta(seconds=1)) == found
        assert schedule.count(found - timedelta(seconds=1), found) == 1


@pytest.mark.parametrize("text", [None, 5, b"* * * * *", ["*"], object()])
def test_what_is_not_a_text_is_refused(text):
    with pytest.raises(InvalidSchedule, match="must be a text"):
        parse_schedule(text)


@pytest.mark.parametrize(
    "zone",
    [
        "localtime",
        "posixrules",
        "../../etc/passwd",
        "/etc/localtime",
        "posix/Europe/Paris",
        "right/UTC",
        "Europe/Paris\0",
        "Europe/../Europe/Paris",
        "UTC+2",
        "+02:00",
        "",
        " UTC",
        "utc2",
        "x" * 100_000,
        "\ud800",
        None,
        7,
    ],
    ids=lambda zone: ascii(zone)[:30],
)
def test_s30_only_names_of_the_zone_database_are_zones(zone):
    with pytest.raises(InvalidSchedule) as caught:
        parse_schedule("@daily", zone)
    [problem] = caught.value.problems
    assert problem.field == "timezone"
    assert len(problem.message) < 200
    problem.message.encode()


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2101, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
    ],
    ids=str,
)
@pytest.mark.parametrize("text", ["* * * * *", "@every 1s", "@at 2030-01-01T00:00:00", "@manual"])
def test_s30_moments_outside_1970_to_2100_are_refused(moment, text):
    schedule = parse_schedule(text)
    inside = datetime(2026, 1, 1, tzinfo=UTC)
    for ask in (
        lambda: schedule.next_after(moment),
        lambda: schedule.previous_before(moment),
        lambda: schedule.count(moment, inside),
        lambda: schedule.count(inside, moment),
        lambda: schedule.between(moment, inside),
    ):
        with pytest.raises(Invalid, match=r"moment: .* is not allowed \(1970 to 2100\)"):
            ask()


@pytest.mark.parametrize("text", ["* * * * * *", "@every 1s"])
def test_the_ends_of_time_are_ends(text):
    schedule = parse_schedule(text)
    last = datetime(2100, 12, 31, 23, 59, 59, tzinfo=UTC)
    first = datetime(1970, 1, 1, tzinfo=UTC)

    assert schedule.next_after(last) is None
    assert schedule.next_after(last - timedelta(seconds=1)) == last
    assert schedule.previous_before(first) is None
    assert schedule.previous_before(first + timedelta(seconds=1)) == first
    # Beyond them, in Unix seconds, there is simply nothing.
    assert schedule.next_after_ts(-(10**12)) == 0
    assert schedule.next_after_ts(10**12) is None
    assert schedule.previous_before_ts(10**12) == 4_133_980_799
    assert schedule.previous_before_ts(-(10**12)) is None
    assert schedule.count_ts(-(10**12), 10**12) == 4_133_980_800
    assert schedule.count_ts(10**12, -(10**12)) == 0
