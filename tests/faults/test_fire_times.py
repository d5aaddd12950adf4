"""The checker's own reading of schedules, against another plain one; neither has anything of the product's."""

from __future__ import annotations

import pytest

from scheduler_app.management.drill.fire_times import fire_times
from tests.rules.reference_cron import Reference

T0 = 1_900_000_000
DAY_S = 86_400


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * * *",
        "*/7 * * * * *",
        "5,35 * * * * *",
        "0 */15 * * * *",
        "0 30 2 * * *",
        "0 0 12 * * 0,3",
    ],
)
def test_cron_is_read_as_by_another(schedule):
    until = T0 + (600 if schedule.startswith(("*", "5")) else 4 * DAY_S)

    assert list(fire_times(schedule, T0 + 1, until)) == Reference(schedule, "UTC").fires(T0, until)


def test_an_interval_counts_from_1970():
    assert list(fire_times("@every 3s", 10.5, 20)) == [12, 15, 18]


def test_one_moment_is_one_fire_time():
    assert list(fire_times("@at 2030-03-17T17:46:40Z", T0 - 10, T0 + 10)) == [T0]
    assert list(fire_times("@at 2030-03-17T17:46:40Z", T0 + 1, T0 + 10)) == []


def test_by_hand_only_has_none():
    assert list(fire_times("@manual", T0, T0 + 100)) == []
