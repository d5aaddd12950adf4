"""Terminal colours become styles; nothing else is understood, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_app.rules.ansi import COLOURS, STYLES, coloured


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", [("", "")]),
        ("plain", [("", "plain"), ("", "")]),
        ("\x1b[31mred\x1b[0m.", [("red", "red"), ("", "."), ("", "")]),
        ("\x1b[1;32mok\x1b[22m!", [("bold green", "ok"), ("green", "!"), ("green", "")]),
        ("\x1b[91ma\x1b[39mb", [("red", "a"), ("", "b"), ("", "")]),
        ("\x1b[38;5;12ma\x1b[38;2;1;2;31mb", [("blue", "a"), ("", "b"), ("", "")]),
        ("\x1b[48;5;1;4mx\x1b[m", [("underline", "x"), ("", "")]),
        ("\x1b[38;5mx", [("", "x"), ("", "")]),
        ("\x1b[31\x1b[2K", [("", "\x1b[31\x1b[2K"), ("", "")]),
        ("\x9b3mx", [("italic", "x"), ("italic", "")]),
    ],
)
def test_colours_are_taken_out(text: str, pieces: list[tuple[str, str]]) -> None:
    assert list(coloured(text)) == pieces


def test_a_style_goes_on_in_the_next_text() -> None:
    *_, (style, _) = coloured("\x1b[1;31mbegin")
    assert list(coloured(" end", style)) == [("bold red", " end"), ("bold red", "")]


@settings(deadline=None, derandomize=True, database=None)
@given(st.text(alphabet="\x1b[]\x9bm0123456789;:<x\n"))
def test_whatever_was_printed_the_styles_are_known_words(text: str) -> None:
    for style, piece in coloured(text):
        assert set(style.split()) <= {*STYLES, *COLOURS}
        assert piece in text
