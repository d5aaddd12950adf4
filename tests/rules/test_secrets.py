"""References to secrets, and how their values are hidden (S16)."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from scheduler_app.rules.masking import MASK, masked
from scheduler_app.rules.secrets import Scrubber, unreadable_references, with_values

CANARY = 'hunter2/"ä+ canary'


def test_references_are_found_and_replaced_anywhere_in_texts():
    arguments = {
        "headers": {"Authorization": "Bearer secret://api-token"},
        "items": ["secret://a.b", {"x": "secret://a.b and secret://c."}],
        "secret://key": 5,
    }

    assert with_values(arguments, {"api-token": "T", "a.b": "AB", "c": "C"}) == {
        "headers": {"Authorization": "Bearer T"},
        "items": ["AB", {"x": "AB and C."}],
        "secret://key": 5,
    }


def test_a_value_that_looks_like_a_reference_is_not_resolved_again():
    assert with_values("secret://a", {"a": "secret://b", "b": "no"}) == "secret://b"


@pytest.mark.parametrize("text", ["secret://", "secret:// name", "x secret://-a", "secret://ä"])
def test_a_reference_without_a_name_is_unreadable(text):
    assert unreadable_references({"a": [text]}) == [text]


@pytest.mark.parametrize(
    "spelling",
    [
        CANARY,
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        repr(CANARY),
        quote(CANARY, safe=""),
        base64.b64encode(CANARY.encode()).decode(),
    ],
)
def test_a_known_value_is_hidden_in_every_spelling(spelling):
    hidden = Scrubber([CANARY])(f"before {spelling} after")

    assert MASK in hidden
    assert "hunter2" not in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")


def test_the_lines_of_a_long_secret_are_hidden_one_by_one():
    scrub = Scrubber(["-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"])

    assert scrub("a MIIEvQIBADANBg b") == f"a {MASK} b"


def test_a_secret_that_holds_another_goes_as_a_whole():
    assert Scrubber(["abcdef", "abcdefghi"])("x abcdefghi x abcdef x") == f"x {MASK} x {MASK} x"


def test_the_start_of_a_secret_before_a_cut_is_hidden():
    assert Scrubber(["correct horse battery"])("says correct hor… and") == f"says {MASK}… and"


def test_nothing_known_changes_nothing():
    text = "anything … at all"

    assert Scrubber([])(text) is text


def test_a_reference_is_shown_and_a_value_is_not():
    assert masked(
        {
            "Authorization": "Bearer secret://token",
            "password": "secret://db",
            "api_key": "sk-12345",
            "token": "secret://a plus more",
        }
    ) == {
        "Authorization": "Bearer secret://token",
        "password": "secret://db",
        "api_key": MASK,
        "token": MASK,
    }
