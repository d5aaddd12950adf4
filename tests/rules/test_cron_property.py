"""Random texts, zones and moments, mostly around clock changes: the product agrees with the reference.

`SCHEDULE_EXAMPLES=50000 pytest tests/rules/test_cron_property.py` looks for longer.
"""

from __future__ import annotations

import os
from functools import cache
from zoneinfo import available_timezones

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_app.rules.schedules import InvalidSchedule, parse_schedule

from .reference_cron import MONTHS, WEEKDAYS, Reference, clock_changes

EXAMPLES = int(os.environ.get("SCHEDULE_EXAMPLES", "150"))
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="SCHEDULE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)

# Half-hour and two-hour changes, changes at midnight, a lost day, winter time as the exception, offsets
# with seconds, Ramadan, and the ordinary.
ODD_ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "America/Asuncion",
    "America/Caracas",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/London",
    "Europe/Moscow",
    "Europe/Volgograd",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Pacific/Kwajalein",
    "UTC",
]
ZONES = sorted(set(ODD_ZONES) & available_timezones())
YEARS = (1971, 2037)


@cache
def changes_of(zone: str) -> list[int]:
    return clock_changes(zone, *YEARS) or [1_000_000_000]


@st.composite
def field(draw, low: int, high: int, favourites: tuple[int, ...] = (), *, rich: bool = True):
    """One field of a text; the favourites come up often."""

    def value() -> int:
        if favourites and draw(st.booleans()):
            return draw(st.sampled_from(favourites))
        return draw(st.integers(low, high))

    def piece() -> str:
        form = draw(st.sampled_from("vvvvrrswa" if rich else "vvr"))
        if form == "v":
            return str(value())
        if form == "s":
            return f"*/{draw(st.integers(2, high))}"
        if form == "a":
            return f"{value()}/{draw(st.integers(1, high))}"
        start, end = value(), value()
        if form == "r" and start <= end and draw(st.booleans()):
            return f"{start}-{end}/{draw(st.integers(1, high))}"
        return f"{start}-{end}"

    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(["*", "*", "*/1"]))
    return ",".join(piece() for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))))


@st.composite
def day_field(draw):
    form = draw(st.sampled_from(["*", "*", "?", "field", "field", "L", "W", "list"]))
    if form == "field":
        return draw(field(1, 31, (1, 28, 29, 30, 31)))
    if form == "W":
        return f"{draw(st.integers(1, 31))}W"
    if form == "list":
        return f"{draw(st.integers(1, 31))},L"
    return form


@st.composite
def weekday_field(draw):
    form = draw(st.sampled_from(["*", "*", "*", "?", "field", "name", "range", "#", "L", "mixed"]))
    name = draw(st.sampled_from([*WEEKDAYS, *"01234567"]))
    nth = f"{name}#{draw(st.integers(1, 5))}"
    if form == "field":
        return draw(field(0, 6))
    if form == "name":
        return name.upper()
    if form == "range":
        other = draw(st.sampled_from([*WEEKDAYS, *"01234567"]))
        return f"{name}-{other}"
    if form == "mixed":
        return f"{name},{draw(st.integers(0, 6))}L,{nth}"
    return {"#": nth, "L": f"{name}L"}.get(form, form)


@st.composite
def month_field(draw):
    if draw(st.booleans()):
        return "*"
    if draw(st.integers(0, 3)) == 0:
        return "-".join(draw(st.sampled_from(MONTHS)) for _ in range(2))
    return draw(field(1, 12, (2, 3, 10, 11), rich=False))


hour_field = field(0, 23, (0, 1, 2, 3, 23))
minute_field = field(0, 59, (0, 15, 29, 30, 45, 59))
second_field = st.one_of(st.sampled_from(["0", "0", "15", "*/20", "30,59"]), field(0, 59, (0, 59)))


@st.composite
def texts(draw):
    """A text that is right, as far as its fields go."""
    fields = [draw(minute_field), draw(hour_field), draw(day_field())]
    fields += [draw(month_field()), draw(weekday_field())]
    if draw(st.integers(0, 3)) == 0:
        fields.insert(0, draw(second_field))
    return " ".join(fields)


@st.composite
def moments(draw):
    """A zone and a moment in it, mostly within hours of a clock change."""
    zone = draw(st.sampled_from(ZONES))
    moment = draw(st.sampled_from(changes_of(zone)))
    hours = draw(st.sampled_from([0, 1, 1, 3, 30]))
    return zone, moment + draw(st.integers(-3600 * hours, 3600 * hours))


@given(texts(), moments(), st.sampled_from(["or", "or", "and"]), st.integers(0, 40 * 3600))
@thorough
def test_around_clock_changes_every_answer_is_the_reference_s(text, place, day_match, stretch):
    zone, start = place
    try:
        schedule = parse_schedule(text, zone, day_match=day_match)
    except InvalidSchedule as error:
        assert "never runs" in str(error) or "reversed range" in str(error), error
        return
    reference = Reference(text, zone, day_match)
    per_hour = len(reference.minutes) * len(reference.seconds)
    end = start + (stretch if per_hour <= 60 else stretch // 20)
    expected = reference.fires(start, end)

    assert list(schedule.between_ts(start, end)) == expected
    assert schedule.count_ts(start, end) == len(expected)
    backwards = []
    found = schedule.previous_before_ts(end + 1)
    while found is not None and found > start:
        backwards.append(found)
        found = schedule.previous_before_ts(found)
    assert backwards[::-1] == expected
    middle = start + stretch // 3
    later = [ts for ts in expected if ts > middle]
    if later:
        assert schedule.next_after_ts(middle) == later[0]


@given(
    day_field(),
    month_field(),
    weekday_field(),
    st.sampled_from(["0 0", "30 2", "59 23", "*/20 1"]),
    moments(),
    st.sampled_from(["or", "and"]),
)
@thorough
def test_days_far_apart_are_the_reference_s_and_never_means_never(
    day, month, weekday, time, place, day_match
):
    zone, start = place
    text = f"{time} {day} {month} {weekday}"
    reference = Reference(text, zone, day_match)
    # Any 40 years hold every kind of month, but for those around 2100.
    expected = reference.next_after(start, years=41)
    try:
        schedule = parse_schedule(text, zone, day_match=day_match)
    except InvalidSchedule as error:
        assert "never runs" in str(error) or "reversed range" in str(error), error
        assert expected is None or "reversed range" in str(error)
        return
    assert schedule.next_after_ts(start) == expected
    assert expected is not None
    assert schedule.previous_before_ts(expected + 1) == expected
    assert schedule.count_ts(start, expected) == 1
    assert schedule.count_ts(start, expected - 1) == 0
