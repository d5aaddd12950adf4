"""What is a secret, how it is hidden, and how it stays when its mask comes back."""

from __future__ import annotations

import time

import pytest

from scheduler_app.rules.masking import (
    MASK,
    has_mask,
    is_secret_key,
    mask_places,
    masked,
    masked_lines,
    masked_text,
    unmasked,
)


@pytest.mark.parametrize(
    "key",
    [
        *("password", "db_password", "dbPassword", "PASSWD", "pwd", "Authorization", "auth"),
        *("X-Api-Key", "apikey", "api_key", "accessKey", "private-key", "client_secret"),
        *("token", "access_token", "accesstoken", "X-Auth-Token", "Set-Cookie", "DSN", "jwt"),
        *("credentials", "passphrase", "Proxy-Authorization", "bearer"),
    ],
)
def test_a_key_that_names_a_secret(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    ["max_tokens", "author", "authority", "key", "monkey", "passenger", "name", "", "cookied"],
)
def test_a_key_that_does_not(key: str) -> None:
    assert not is_secret_key(key)


def test_secrets_are_hidden_at_any_depth_and_put_back_at_their_places() -> None:
    stored = {
        "headers": {"Authorization": "Bearer x", "Accept": "a"},
        "list": [{"password": "p", "n": 1}, "https://u:p@h/?token=t&a=1"],
        "credentials": {"user": "u", "key": [1]},
        "token": "",
        "secret": None,
        "n": 5,
    }
    shown = masked(stored)

    assert shown == {
        "headers": {"Authorization": MASK, "Accept": "a"},
        "list": [{"password": MASK, "n": 1}, f"https://u:{MASK}@h/?token={MASK}&a=1"],
        "credentials": MASK,
        "token": "",
        "secret": None,
        "n": 5,
    }
    assert unmasked(shown, stored) == stored
    assert mask_places(shown) == [
        "headers.Authorization",
        "list.0.password",
        "list.1",
        "credentials",
    ]
    assert not has_mask(stored)


def test_a_mask_without_a_stored_value_stays_a_mask() -> None:
    given = {"headers": {"Authorization": MASK}, "url": f"https://u:{MASK}@other/"}

    kept = unmasked(given, {"headers": {}, "url": "https://u:p@h/"})

    assert kept == given
    assert mask_places(kept, "arguments") == ["arguments.headers.Authorization", "arguments.url"]


def test_asterisks_elsewhere_are_only_asterisks() -> None:
    assert not has_mask({"comment": MASK, "title": f"see {MASK}"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pw@db/x", f"postgresql://me:{MASK}@db/x"),
        ("https://h/?api_key=1&b=2", f"https://h/?api_key={MASK}&b=2"),
        ("failed: password=hunter2 at line 3", f"failed: password={MASK} at line 3"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("{'Authorization': 'Basic abc='}", f"{{'Authorization': 'Basic {MASK}'}}"),
        ("https://example.com/a?b=c", "https://example.com/a?b=c"),
        ("Basic authentication failed", "Basic authentication failed"),
    ],
)
def test_secrets_within_a_text_are_hidden(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert masked_text(shown) == shown


CUT = "one\nhttps://u:SEKRETPASS9@host/\npassword=hunter2canary\nend"


@pytest.mark.parametrize("size", range(1, len(CUT) + 1))
def test_a_secret_that_is_cut_in_two_is_hidden(size: int) -> None:
    pieces = [CUT[at : at + size] for at in range(0, len(CUT), size)]

    assert "".join(masked_lines(pieces)) == masked_text(CUT)


def test_lines_come_as_soon_as_they_are_whole_and_one_without_end_comes_too() -> None:
    pieces = masked_lines(["one\ntw", "o\n", "x" * 10, "x" * 70_000, "y", "\nz"])

    assert list(pieces) == ["one\n", "two\n", "x" * 70_010, "y\n", "z"]


@pytest.mark.parametrize(
    "text", ["://a:", "=", "?a=", "authorization:", "authorization: bearer ", "a" * 5, " "]
)
def test_hostile_texts_take_time_in_proportion_to_their_length(text: str) -> None:
    def seconds(times: int) -> float:
        began = time.process_time()
        masked_text(text * times)
        return time.process_time() - began

    # Quadratic would be nine hundred times more for thirty times the length.
    assert seconds(30_000) < 300 * max(seconds(1000), 0.001)
