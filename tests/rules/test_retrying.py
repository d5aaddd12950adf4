"""When a failed execution is tried again."""

import random

import pytest

from scheduler_app.rules.retrying import may_retry, retry_delay_s
from scheduler_app.rules.spec import JobSpec


class Chance(random.Random):
    """Draws one end of the range, or a place between."""

    def __init__(self, place: float) -> None:
        super().__init__()
        self.place = place

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.place


LOWEST, MIDDLE, HIGHEST = Chance(0), Chance(0.5), Chance(1)


@pytest.mark.parametrize(
    ("attempt", "delay_s"), [(1, 10), (2, 20), (3, 40), (8, 1280), (10, 3600), (1000, 3600)]
)
def test_each_attempt_waits_longer_up_to_the_cap(attempt, delay_s):
    spec = JobSpec(retry_backoff_s=10, retry_factor=2, retry_cap_s=3600, retry_jitter=0.1)

    assert retry_delay_s(spec, attempt=attempt, chance=MIDDLE) == delay_s


def test_a_factor_of_one_waits_the_same_each_time():
    spec = JobSpec(retry_backoff_s=7, retry_factor=1)

    assert {retry_delay_s(spec, attempt=n, chance=MIDDLE) for n in range(1, 50)} == {7}


def test_an_attempt_number_beyond_the_range_of_floats_waits_the_cap():
    spec = JobSpec(retry_backoff_s=1, retry_factor=100, retry_cap_s=60)

    assert retry_delay_s(spec, attempt=1000, chance=MIDDLE) == 60


def test_the_jitter_spreads_by_its_share_of_the_capped_delay():
    spec = JobSpec(retry_backoff_s=1000, retry_cap_s=100, retry_jitter=0.25)

    assert retry_delay_s(spec, attempt=3, chance=LOWEST) == 75
    assert retry_delay_s(spec, attempt=3, chance=HIGHEST) == 125


def test_without_a_given_chance_executions_that_failed_together_return_apart():
    spec = JobSpec(retry_backoff_s=10, retry_jitter=0.5)

    delays = {retry_delay_s(spec, attempt=1) for _ in range(50)}

    assert len(delays) > 25
    assert all(5 <= delay <= 15 for delay in delays)


@pytest.mark.parametrize(
    "spec",
    [JobSpec(retry_backoff_s=0), JobSpec(retry_cap_s=0), JobSpec(retry_jitter=1)],
    ids=["no backoff", "no cap", "full jitter"],
)
def test_a_delay_is_never_negative(spec):
    assert retry_delay_s(spec, attempt=1, chance=LOWEST) == 0


@pytest.mark.parametrize(
    ("max_attempts", "attempt", "permanent", "expected"),
    [
        (1, 1, False, False),
        (3, 1, False, True),
        (3, 2, False, True),
        (3, 3, False, False),
        (3, 4, False, False),  # one more by hand, after the last
        (3, 1, True, False),
    ],
)
def test_a_retry_needs_an_attempt_left_and_a_chance_to_help(
    max_attempts, attempt, permanent, expected
):
    spec = JobSpec(max_attempts=max_attempts)

    assert may_retry(spec, attempt=attempt, permanent=permanent) is expected
