"""Counting: into the right bucket, and in one order."""

from __future__ import annotations

import pytest

from scheduler_app.rules.tallies import BUCKETS, DRIFT, FINISHED, FIRED, Tallies, outcome_of


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(-3, 0), (0, 0), (0.01, 0), (0.0101, 1), (1, 6), (3600, 12), (1e9, 13)]
)
def test_a_duration_lies_in_the_first_bucket_that_holds_it(seconds, bucket):
    tallies = Tallies()

    tallies.observe(DRIFT, seconds)

    assert list(tallies.rows()) == [(DRIFT, "", bucket, 1, max(0, seconds))]


def test_equal_things_are_one_row_and_rows_have_one_order():
    tallies = Tallies()
    tallies.observe(DRIFT, 2)
    tallies.add(FIRED, number=3)
    tallies.add(FINISHED, "succeeded")
    tallies.add(FINISHED, "failed")
    tallies.add(FIRED)
    tallies.observe(DRIFT, 2.25)

    assert list(tallies.rows()) == [
        (DRIFT, "", 7, 2, 4.25),
        (FINISHED, "failed", 0, 1, 0),
        (FINISHED, "succeeded", 0, 1, 0),
        (FIRED, "", 0, 4, 0),
    ]


def test_a_timeout_is_an_outcome_of_its_own():
    assert outcome_of("failed", "timed_out") == "timed_out"
    assert outcome_of("failed", "raised") == "failed"
    assert outcome_of("lost", "node_died") == "lost"


def test_bounds_ascend():
    for bounds in BUCKETS.values():
        assert list(bounds) == sorted(set(bounds))
