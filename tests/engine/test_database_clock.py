"""The database's time as a node carries it on, and how it notices that the clock has leapt."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_app.engine.database import DatabaseClock

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_before_an_answer_it_knows_no_time():
    with pytest.raises(RuntimeError):
        DatabaseClock().now()


def test_between_answers_it_goes_on():
    clock = DatabaseClock()
    clock.set(NOON)

    assert NOON <= clock.now() < NOON + HOUR
    assert clock.now() <= clock.now()


def test_answers_that_follow_each_other_are_no_leap():
    clock = DatabaseClock()
    for _ in range(3):
        clock.set(NOON)

    assert clock.steady_s > 1e9


@pytest.mark.parametrize("leap", [HOUR, -HOUR])
def test_a_leap_either_way_is_noticed_and_told_once(leap, caplog):
    clock = DatabaseClock()
    clock.set(NOON)
    with caplog.at_level(logging.WARNING, "scheduler_app"):
        clock.set(NOON + leap)
        clock.set(NOON + leap)

    assert clock.steady_s < 3600
    assert len([record for record in caplog.records if "leapt" in record.message]) == 1
