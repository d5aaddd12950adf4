"""How moments, durations and hostile texts read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scheduler_app.admin.display import clock, duration, printable, relative, span, zone_of

NOON = datetime(2030, 7, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "2030-07-01 12:00:00 UTC"),
        ("Europe/Berlin", "2030-07-01 14:00:00 +02:00"),
        ("Asia/Kathmandu", "2030-07-01 17:45:00 +05:45"),
        ("America/St_Johns", "2030-07-01 09:30:00 -02:30"),
    ],
)
def test_a_moment_has_seconds_and_its_offset(zone: str, shown: str) -> None:
    assert clock(NOON, ZoneInfo(zone)) == shown


def test_a_zone_that_does_not_exist_is_shown_as_utc() -> None:
    assert zone_of("../../etc/passwd").key == "UTC"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "now"),
        (0.9, "now"),
        (-0.9, "now"),
        (1, "in 1 s"),
        (-59.9, "59 s ago"),
        (60, "in 1 min"),
        (-61, "1 min 1 s ago"),
        (7200 + 600, "in 2 h 10 min"),
        (86_400 * 3, "in 3 d"),
        (-86_400 * 800, "2 y 70 d ago"),
    ],
)
def test_a_distance_has_two_units_at_most(seconds: float, shown: str) -> None:
    assert relative(NOON + timedelta(seconds=seconds), NOON) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.0034, "3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (4.24, "4.2 s"),
        (59.96, "1 min"),
        (62, "1 min 2 s"),
        (3600, "1 h"),
        (-0.25, "-250 ms"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
    assert duration(timedelta(seconds=seconds)) == shown


def test_a_span_never_rounds_up() -> None:
    assert span(timedelta(seconds=3599)) == "59 min 59 s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31;1mred\x1b[0m plain", "red plain"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("a\x00b\x07c\x7f", "a␀b␇c␡"),
        ("10 %\r20 %\r\nend", "10 %\n20 %\nend"),
        ("user\u202egnp.exe", "user⟦U+202E⟧gnp.exe"),
        ("ünïcödé → 漢字 🙂\tand\nlines", "ünïcödé → 漢字 🙂\tand\nlines"),
        ("\x1b", ""),
    ],
)
def test_text_is_shown_without_its_power_over_the_terminal_or_the_page(
    text: str, shown: str
) -> None:
    assert printable(text) == shown
