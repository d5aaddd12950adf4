"""What the audit trail keeps of a change."""

from __future__ import annotations

import pytest

from scheduler_app.rules.differences import LONGEST, differences
from scheduler_app.rules.masking import MASK


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"queue": "a"}, {"queue": "a"}, {}),
        ({"queue": "a"}, {"queue": "b"}, {"queue": {"old": "a", "new": "b"}}),
        ({}, {"queue": "b"}, {"queue": {"old": None, "new": "b"}}),
        ({"queue": "a"}, {}, {"queue": {"old": "a", "new": None}}),
        ({"reason": ""}, {"reason": None}, {}),
        ({"tags": []}, {"tags": None}, {}),
        ({"enabled": True}, {"enabled": False}, {"enabled": {"old": True, "new": False}}),
        ({"jitter_s": 0}, {"jitter_s": None}, {"jitter_s": {"old": 0, "new": None}}),
    ],
)
def test_the_fields_that_differ_are_told(old, new, expected):
    assert differences(old, new) == expected


def test_arguments_are_compared_key_by_key():
    old = {"arguments": {"a": 1, "b": {"c": 2}, "gone": 3}}
    new = {"arguments": {"a": 1, "b": {"c": 4}, "here": 5}}

    assert differences(old, new) == {
        "arguments.b": {"old": {"c": 2}, "new": {"c": 4}},
        "arguments.gone": {"old": 3, "new": None},
        "arguments.here": {"old": None, "new": 5},
    }


def test_a_secret_that_changed_is_told_of_but_not_told():
    old = {"arguments": {"password": "hunter2", "headers": {"Authorization": "Bearer one"}}}
    new = {"arguments": {"password": "hunter3", "headers": {"Authorization": "Bearer two"}}}

    assert differences(old, new) == {
        "arguments.password": {"old": MASK, "new": MASK},
        "arguments.headers": {
            "old": {"Authorization": MASK},
            "new": {"Authorization": MASK},
        },
    }
    assert differences({}, {"target": "https://me:pass@host/"})["target"]["new"] == (
        f"https://me:{MASK}@host/"
    )


def test_a_long_value_is_cut():
    kept = differences({}, {"arguments": {"text": "x" * 10_000}})["arguments"]["new"]

    assert len(kept) < LONGEST + 50
    assert kept.endswith("… (10,012 characters)")
