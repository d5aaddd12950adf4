"""Columns of values as PostgreSQL writes arrays, for statements that take hundreds of rows at once.

psycopg asks every element for its type and its quoting, which takes longer than the statement itself; here a column
knows what it holds. The statement names the type: `%(ids)s::bigint[]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

NULL = "NULL"


def numbers(values: Iterable[float | None]) -> str:
    """Integers or floats."""
    return f"{{{','.join([NULL if value is None else str(value) for value in values])}}}"


def moments(values: Iterable[datetime | None]) -> str:
    """Aware datetimes."""
    return f"{{{','.join([NULL if value is None else _written(value) for value in values])}}}"


def texts(values: Iterable[str | None]) -> str:
    """Any text, JSON among it."""
    return f"{{{','.join([NULL if value is None else _quoted(value) for value in values])}}}"


@lru_cache(maxsize=4096)
def _written(moment: datetime) -> str:
    # Many are due at the same one.
    return moment.isoformat()


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
