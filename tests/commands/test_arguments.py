"""Moments and durations as people write them behind a command; everything else is refused with a sentence."""

from __future__ import annotations

import contextlib
from datetime import datetime

import pytest
from django.core.management.base import CommandError
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.management.arguments import read_moment, read_seconds
from tests.rules.moments import NOON, at


@pytest.fixture(autouse=True)
def transactional_db() -> None:
    """None of this asks the database."""


def read(text: str, zone: str = "UTC", now: datetime = NOON) -> datetime:
    return read_moment("--at", text, zone=zone, now=now)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-31T09:00:05", "2030-01-31 09:00:05"),
        ("2030-01-31 09:00", "2030-01-31 09:00:00"),
        ("2030-01-31t09:00z", "2030-01-31 09:00:00"),
        ("2030-01-31T09:00:05.25", "2030-01-31 09:00:05.25"),
        ("2030-01-31", "2030-01-31 00:00:00"),
        ("2030-01-31Z", "2030-01-31 00:00:00"),
        ("2030-01-31 +02:00", "2030-01-30 22:00:00"),
        ("2030-01-31T09:00+0200", "2030-01-31 07:00:00"),
        ("2030-01-31 09:00 -05:30", "2030-01-31 14:30:00"),
        ("  2030-01-31 09:00 ", "2030-01-31 09:00:00"),
        ("09:00", "2030-01-01 09:00:00"),
        ("23:59:59Z", "2030-01-01 23:59:59"),
        ("00:30+13:00", "2030-01-01 11:30:00"),
        ("now", "2030-01-01 12:00:00"),
        ("NOW", "2030-01-01 12:00:00"),
        ("2h ago", "2030-01-01 10:00:00"),
        ("1d 2h 30m ago", "2029-12-31 09:30:00"),
        ("90s ago", "2030-01-01 11:58:30"),
        ("in 1w", "2030-01-08 12:00:00"),
        ("1970-01-01", "1970-01-01 00:00:00"),
        ("2100-12-31T23:59:59.999999", "2100-12-31 23:59:59.999999"),
    ],
)
def test_moments(text, expected):
    assert read(text) == at(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-07-01 09:00", "2030-07-01 07:00:00"),
        ("2030-07-01 09:00Z", "2030-07-01 09:00:00"),
        # Jumped over: the first moment after the jump. Twice: the first.
        ("2030-03-31 02:30", "2030-03-31 01:00:00"),
        ("2030-10-27 02:30", "2030-10-27 00:30:00"),
        ("2030-10-27 02:30+01:00", "2030-10-27 01:30:00"),
    ],
)
def test_without_an_offset_a_moment_is_read_in_the_jobs_zone(text, expected):
    assert read(text, "Europe/Paris") == at(expected)


def test_a_time_alone_is_of_today_where_it_is_read():
    evening = at("2030-01-01 22:30:00")

    assert read("00:10", "Asia/Tokyo", evening) == at("2030-01-01 15:10:00")
    assert read("00:10+09:00", "UTC", evening) == at("2030-01-01 15:10:00")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "x", "yesterday", "noon", "2030", "2030-1-1", "30-01-01", "2030-02-30", "2030-13-01"),
        *("2030-01-01T", "2030-01-01T9:00", "2030-01-01T24:00", "2030-01-01T09:60", "2030-01-01T09:00:60"),
        *("2030-01-01X09:00", "2030-01-01  09:00", "2030-01-01T09:00+25:00", "2030-01-01T09:00+02:60"),
        *("2030-01-01T09:00 CET", "2030-W01-1", "20300101", "1893456000", "٢٠٣٠-01-01", "0000-01-01"),
        *("2h", "ago", "in", "in 2h ago", "2x ago", "-2h ago", "2 ago", "h ago", "1.5h ago", "2030-01-01\n"),
        *("\x00", "\x1b[31m", "\udcff", "2030-01-01\x00", "Z", "+02:00", "Q" * 100_000, "1s" * 50_000),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_what_is_allowed(text):
    with pytest.raises(CommandError) as refused:
        read(text)

    sentence = str(refused.value)
    assert sentence.startswith("--at: '")
    assert "is not a moment; write 2030-01-31T09:00:00" in sentence
    assert len(sentence) < 400 and sentence.isprintable()


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("1969-12-31T23:59:59", "UTC"),
        ("1970-01-01T00:00:00+00:01", "UTC"),
        ("2101-01-01", "UTC"),
        ("0001-01-01", "UTC"),
        ("0001-01-01T00:00+23:00", "UTC"),
        ("9999-12-31T23:59-23:00", "UTC"),
        ("1970-01-01", "Asia/Tokyo"),
        ("2100-12-31T23:59:59", "America/New_York"),
        ("999999999w ago", "UTC"),
        ("in 999999999w", "UTC"),
        ("in 100000w", "UTC"),
    ],
)
def test_moments_that_schedules_do_not_know_are_refused(text, zone):
    with pytest.raises(CommandError, match="is not allowed; moments are from 1970 to 2100"):
        read(text, zone)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=30) | st.from_regex(r"[0-9T:.+Zago hdmsin-]{0,30}", fullmatch=True))
def test_whatever_is_written_is_read_or_refused(text):
    with contextlib.suppress(CommandError):
        assert 1970 <= read(text, "Europe/Paris").year <= 2100


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("2.5", 2.5), ("1e3", 1000), (" 90 ", 90)])
def test_durations(text, seconds):
    assert read_seconds("--duration", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "-0.1", "nan", "inf", "-inf", "1_0", "٣", "5s", "31622401", "1e400", "\x00"]
)  # fmt: skip
def test_durations_that_are_none_are_refused(text):
    with pytest.raises(CommandError, match="give seconds from 0 to 31,622,400") as refused:
        read_seconds("--duration", text)
    assert str(refused.value).isprintable()
