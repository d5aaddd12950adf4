"""A job's fire times: its schedule within its window, shifted by its jitter."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import TICK, Timetable, jitter_of

from .moments import NOON, after_noon, at

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


def timetable(schedule: str = "*/10 * * * * *", **fields: object) -> Timetable:
    return Timetable.of(JobSpec(schedule=schedule, **fields))


def seconds(moments) -> list[float]:
    return [(moment - NOON).total_seconds() for moment in moments]


def test_a_range_leaves_out_its_start_and_includes_its_end():
    table = timetable()

    assert seconds(table.between(NOON, after_noon(30))) == [10, 20, 30]
    assert table.count(NOON, after_noon(30)) == 3
    assert table.next_after(after_noon(10)) == after_noon(20)
    assert table.previous_before(after_noon(10)) == NOON
    assert table.next_after(after_noon(10) - TICK) == after_noon(10)
    assert table.previous_before(after_noon(10) + TICK) == after_noon(10)


def test_both_ends_of_the_window_are_fire_times():
    table = timetable(start_at=after_noon(20), end_at=after_noon(40))

    assert seconds(table.between(after_noon(-100), after_noon(100))) == [20, 30, 40]
    assert table.count(after_noon(-100), after_noon(100)) == 3
    assert table.next_after(after_noon(-100)) == after_noon(20)
    assert table.next_after(after_noon(20)) == after_noon(30)
    assert table.next_after(after_noon(39)) == after_noon(40)
    assert table.next_after(after_noon(40)) is None
    assert table.previous_before(after_noon(100)) == after_noon(40)
    assert table.previous_before(after_noon(20)) is None


def test_a_window_between_two_fire_times_holds_none():
    table = timetable(start_at=after_noon(21), end_at=after_noon(29))

    assert table.next_after(NOON) is None
    assert table.previous_before(after_noon(100)) is None
    assert table.count(NOON, after_noon(100)) == 0
    assert list(table.between(NOON, after_noon(100))) == []


def test_a_range_that_ends_before_it_starts_is_empty():
    table = timetable(end_at=after_noon(10))

    assert table.count(after_noon(50), after_noon(20)) == 0
    assert list(table.between(after_noon(50), after_noon(60))) == []


@pytest.mark.parametrize(
    ("start_at", "end_at"),
    [
        (EARLIEST, None),
        (None, LATEST),
        (EARLIEST, LATEST),
        (at("1969-12-31 23:59:59"), at("2101-01-01 00:00:00")),
    ],
)
def test_a_window_wider_than_time_itself_leaves_all_fire_times(start_at, end_at):
    table = timetable(start_at=start_at, end_at=end_at)

    assert table.next_after(NOON) == after_noon(10)
    assert table.previous_before(NOON) == after_noon(-10)
    assert table.count(NOON, after_noon(60)) == 6
    assert seconds(table.between(NOON, after_noon(30))) == [10, 20, 30]


@pytest.mark.parametrize(
    "window",
    [
        {"start_at": at("2500-01-01")},
        {"start_at": LATEST},
        {"end_at": EARLIEST},
        {"end_at": at("1969-01-01")},
    ],
)
def test_a_window_beyond_time_itself_holds_no_fire_time(window):
    table = timetable(**window)

    assert table.next_after(NOON) is None
    assert table.previous_before(NOON) is None
    assert table.count(NOON, after_noon(60)) == 0
    assert list(table.between(NOON, after_noon(60))) == []


def test_there_is_no_fire_time_after_the_end_of_time():
    assert timetable().next_after(at("9999-12-31 23:59:59")) is None


def test_jitter_shifts_every_fire_time_by_the_same_amount():
    shift = jitter_of("report", 10).total_seconds()
    table = timetable(name="report", jitter_s=10)

    assert shift > 0, "choose another name: this one tests nothing"
    assert seconds(table.between(NOON, after_noon(30))) == [shift, 10 + shift, 20 + shift]
    assert table.next_after(NOON) == after_noon(shift)
    assert table.previous_before(NOON) == after_noon(shift - 10)
    assert table.count(NOON, after_noon(shift)) == 1


def test_the_window_holds_for_the_shifted_fire_times():
    shift = jitter_of("report", 10).total_seconds()
    table = timetable(name="report", jitter_s=10, start_at=NOON, end_at=after_noon(20))

    assert seconds(table.between(after_noon(-60), after_noon(60))) == [shift, 10 + shift]


def test_jitter_spreads_jobs_over_its_whole_range_and_never_reaches_its_end():
    shifts = {jitter_of(f"job {number}", 60).total_seconds() for number in range(2000)}

    assert shifts == set(range(60))


@pytest.mark.parametrize("jitter_s", [0, -5])
def test_without_jitter_nothing_is_shifted(jitter_s):
    assert jitter_of("report", jitter_s) == timedelta(0)


def test_the_jitter_of_a_job_never_changes():
    """Another value after an upgrade would move the fire times of every job that has one."""
    assert jitter_of("report", 3600) == timedelta(seconds=1939)


def test_a_schedule_that_cannot_be_read_is_refused():
    with pytest.raises(Invalid, match="minute"):
        timetable("99 * * * *")


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    every=st.integers(1, 40),
    jitter_s=st.integers(0, 50),
    anchor=st.integers(-100, 100),
    window=st.tuples(st.none() | st.integers(-80, 80), st.none() | st.integers(-80, 80)),
    moment=st.integers(-200, 200),
    length=st.integers(-10, 150),
    fraction=st.sampled_from([0, 0.000001, 0.5, 0.999999]),
)
def test_all_questions_agree_with_looking_at_every_second(
    every, jitter_s, anchor, window, moment, length, fraction
):
    start_at, end_at = (None if edge is None else after_noon(edge) for edge in window)
    table = timetable(
        f"@every {every}s",
        name="job",
        anchor_at=after_noon(anchor),
        jitter_s=jitter_s,
        start_at=start_at,
        end_at=end_at,
    )
    shift = round(jitter_of("job", jitter_s).total_seconds())
    expected = [
        after_noon(second)
        for second in range(-500, 500)
        if (second - shift - anchor) % every == 0
        and (start_at is None or start_at <= after_noon(second))
        and (end_at is None or after_noon(second) <= end_at)
    ]
    start, end = after_noon(moment + fraction), after_noon(moment + fraction + length)
    within = [found for found in expected if start < found <= end]

    assert list(table.between(start, end)) == within
    assert table.count(start, end) == len(within)
    assert table.next_after(start) == next((found for found in expected if found > start), None)
    assert table.previous_before(start) == next(
        (found for found in reversed(expected) if found < start), None
    )
