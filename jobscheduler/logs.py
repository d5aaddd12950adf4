"""Log lines that stay lines, whatever a job's name, output or error contains."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from scheduler_app.targets.secrets import scrub

# Line breaks of every kind, the escape character, and what reverses the direction of writing.
_ESCAPED = {
    code: repr(chr(code))[1:-1]
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))
}


class LineFormatter(logging.Formatter):
    """One record is one line, tracebacks too, without the secrets of jobs; times are UTC with milliseconds."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record)).translate(_ESCAPED)
