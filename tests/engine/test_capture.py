"""What running code prints, bounded."""

import contextvars
import logging
import sys

import pytest

from scheduler_app.engine import capture
from scheduler_app.engine.capture import HEAD_CHARS, LINE_CHARS, TAIL_CHARS, AttemptLog


@pytest.fixture
def captured(monkeypatch):
    """Run a function as an attempt would, in its own context; returns what was captured."""
    root = logging.getLogger()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)

    def run(function) -> str:
        # Pytest's own handlers, which raise for a record that cannot be formatted, step aside.
        monkeypatch.setattr(root, "handlers", [])
        capture.install()
        log = AttemptLog()

        def body():
            capture.start(log)
            function()

        contextvars.copy_context().run(body)
        rest = log.take_rest()
        return "" if rest is None else rest[1]

    return run


def test_prints_and_log_records_of_an_attempt_are_kept(captured):
    def body():
        print("one", "two")
        print("to stderr", file=sys.stderr)
        logging.getLogger("shop").warning("stock is low: %s", 3)

    lines = captured(body).splitlines()

    assert lines[:2] == ["one two", "to stderr"]
    assert lines[2].endswith("WARNING shop: stock is low: 3")


def test_a_log_record_that_does_not_fit_its_text_harms_nobody(captured):
    assert "could not be formatted" in captured(
        lambda: logging.getLogger("shop").warning("%d items", "many")
    )


def test_what_is_printed_outside_of_an_attempt_goes_where_it_went_before(captured, capsys):
    assert captured(lambda: print("inside")) == "inside\n"
    print("outside")

    assert capsys.readouterr().out == "outside\n"


def test_a_flood_keeps_its_beginning_and_its_end():
    log = AttemptLog()
    for number in range(300_000):
        log.write(f"line {number}\n")

    _, text = log.take_rest()

    assert len(text) <= HEAD_CHARS + TAIL_CHARS + 100
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("line 299999\n")
    assert "characters left out" in text


def test_a_line_without_an_end_takes_bounded_memory():
    log = AttemptLog()
    for _ in range(1000):
        log.write("x" * 100_000)

    _, text = log.take_rest()

    assert text == "x" * LINE_CHARS + " … line cut\n"


def test_pieces_taken_meanwhile_join_to_the_whole():
    log = AttemptLog()
    pieces = []
    for number in range(10):
        log.write(f"{number}\nhalf")
        if (fresh := log.take_fresh()) is not None:
            pieces.append(fresh)
        log.write(" line\n")
    pieces.append(log.take_rest())

    assert [seq for seq, _ in pieces] == list(range(len(pieces)))
    assert "".join(text for _, text in pieces) == "".join(f"{n}\nhalf line\n" for n in range(10))


def test_what_the_database_cannot_store_is_replaced():
    log = AttemptLog()
    log.write("a\x00b\ud800c\n")

    assert log.take_rest() == (0, "a\ufffdb\ufffdc\n")
