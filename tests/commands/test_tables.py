"""Tables fit the terminal and nothing in them steers it (S18)."""

from __future__ import annotations

from scheduler_app.management.tables import columns_of, line, safe, table


def test_columns_are_aligned_and_nothing_is_cut_without_a_width():
    assert table(("A", "LONG HEAD"), [("x" * 300, 1), ("y", None)], None) == [
        "A" + " " * 299 + "  LONG HEAD",
        "x" * 300 + "  1",
        "y" + " " * 299 + "  None",
    ]


def test_the_widest_columns_are_cut_until_all_fit():
    lines = table(("NAME", "STATE"), [("n" * 50, "paused"), ("short", "enabled")], 30)

    assert lines == [
        "NAME                   STATE",
        "n" * 20 + "…  paused",
        "short                  enabled",
    ]
    assert max(map(columns_of, lines)) <= 30


def test_the_first_column_is_cut_less_than_the_others():
    lines = table(("NAME", "SCHEDULE"), [("n" * 20, "s" * 30)], 36)

    assert lines[1] == "n" * 20 + "  " + "s" * 13 + "…"


def test_wide_characters_take_two_columns_and_are_cut_whole():
    lines = table(("NAME", "X"), [("日本語の仕事" * 3, "1"), ("e\u0301", "2")], 16)

    assert lines == ["NAME           X", "日本語の仕事…  1", "e\u0301" + " " * 14 + "2"]
    assert max(map(columns_of, lines)) <= 16


def test_s18_a_terminal_is_not_steered():
    hostile = "\x1b[2Ja\x1b]0;title\x07b\r\x00\u202ec\nd"

    assert "\x1b" not in safe(hostile) and "\x07" not in safe(hostile)
    assert "\n" not in line(hostile) and "\u202e" not in line(hostile)
