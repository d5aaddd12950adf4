"""Log lines that stay lines."""

from __future__ import annotations

import logging
import sys

from jobscheduler.logs import LineFormatter


def line(message: str, *arguments: object, **extra: object) -> str:
    record = logging.LogRecord("name", logging.INFO, "", 0, message, arguments, None)
    record.__dict__.update(extra)
    return LineFormatter("%(asctime)s %(levelname)s %(message)s").format(record)


def test_times_are_utc_with_milliseconds() -> None:
    assert line("started", created=1_700_000_000.25) == "2023-11-14T22:13:20.250Z INFO started"


def test_s18_no_value_can_begin_a_line_or_move_the_cursor() -> None:
    said = line("job %s", "x\n2026 ERROR forged \x1b[2J\r\u202e\u2028end")

    assert said.endswith(r"job x\n2026 ERROR forged \x1b[2J\r\u202e\u2028end")
    assert said.isprintable()


def test_s18_a_traceback_stays_in_its_line() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        said = line("failed", exc_info=sys.exc_info())

    assert "\n" not in said
    assert said.endswith("ValueError: wrong")
