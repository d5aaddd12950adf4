"""The database's time as a node carries it on, and how it notices that the clock has leapt."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from scheduler_app.engine import database
from scheduler_app.engine.database import DatabaseClock

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def monotonic(monkeypatch) -> SimpleNamespace:
    """The node's monotonic clock, moved by hand."""
    moved = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=lambda: moved.now))
    return moved


def after_noon(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_before_an_answer_it_knows_no_time():
    with pytest.raises(RuntimeError):
        DatabaseClock().now()


def test_between_answers_it_goes_on():
    clock = DatabaseClock()
    clock.set(NOON, time.monotonic())

    assert NOON <= clock.now() < NOON + HOUR
    assert clock.now() <= clock.now()


def test_answers_that_follow_each_other_are_no_leap():
    clock = DatabaseClock()
    for _ in range(3):
        clock.set(NOON, time.monotonic())

    assert clock.steady_s > 1e9


@pytest.mark.parametrize("leap", [HOUR, -HOUR])
def test_a_leap_either_way_is_noticed_and_told_once(leap, caplog):
    clock = DatabaseClock()
    clock.set(NOON, time.monotonic())
    with caplog.at_level(logging.WARNING, "scheduler_app"):
        clock.set(NOON + leap, time.monotonic())
        clock.set(NOON + leap, time.monotonic())

    assert clock.steady_s < 3600
    assert len([record for record in caplog.records if "leapt" in record.message]) == 1


@pytest.mark.parametrize("read_after_s", [0.0, 2.5, 5.0])
def test_an_answer_that_takes_long_is_no_leap_nor_is_the_next_one(monotonic, read_after_s):
    """Wherever in between the database read its clock: else slow answers would stop rescue for as long as they recur."""
    clock = DatabaseClock()
    clock.set(NOON, 1000.0)
    monotonic.now = 1015.0
    clock.set(after_noon(10 + read_after_s), 1010.0)
    assert clock.now() == after_noon(15)
    monotonic.now = 1015.1
    clock.set(after_noon(15.1), 1015.1)

    assert clock.steady_s > 1e9


def test_a_first_answer_that_takes_long_makes_no_leap_of_the_next_one(monotonic):
    clock = DatabaseClock()
    monotonic.now = 1005.0
    clock.set(NOON, 1000.0)
    clock.set(after_noon(5), 1005.0)

    assert clock.steady_s > 1e9
    assert clock.now() == after_noon(5)


@pytest.mark.parametrize("leap_s", [-3, 3])
def test_a_leap_that_an_answer_may_hide_is_noticed_at_the_next(monotonic, leap_s):
    clock = DatabaseClock()
    clock.set(NOON, 1000.0)
    monotonic.now = 1015.0
    clock.set(after_noon(12.5 + leap_s), 1010.0)
    assert clock.steady_s > 1e9
    monotonic.now = 1016.0
    clock.set(after_noon(16 + leap_s), 1016.0)

    assert clock.steady_s == 0
    assert clock.now() == after_noon(16 + leap_s)
