"""Tables of text that fit the terminal, and texts of others without what would steer it."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence

from scheduler_app.admin.display import printable

NARROWEST = 8
"""A column is not cut below this; rather the lines wrap."""
GAP = "  "


def safe(text: object) -> str:
    """A text for the terminal: no escape sequences, no control characters but line breaks and tabs."""
    return printable(text)


def line(text: object) -> str:
    """The same on one line."""
    return " ".join(safe(text).split())


def terminal_width() -> int | None:
    """Columns of the terminal; None where nobody looks, and nothing has to be cut."""
    if columns := os.environ.get("COLUMNS", ""):
        return int(columns) if columns.isdecimal() and int(columns) > 0 else None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return None


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """Lines with aligned columns; where they are too wide for `width`, the widest are cut, the first one half as much."""
    cells = [[line(cell) for cell in row] for row in rows]
    widths = [max(map(columns_of, column)) for column in zip(heads, *cells, strict=True)]
    while width and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        widest = max(range(len(widths)), key=lambda place: widths[place] / (1 + (place == 0)))
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return [
        GAP.join(padded(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *cells)
    ]


def columns_of(text: str) -> int:
    """How many columns a terminal takes for it."""
    return sum(_columns(character) for character in text)


def padded(text: str, size: int) -> str:
    """The text in exactly `size` columns, cut with `…` if need be."""
    room = size - columns_of(text)
    if room >= 0:
        return text + " " * room
    kept = ""
    for character in text:
        if columns_of(kept) + _columns(character) > size - 1:
            break
        kept += character
    return padded(kept + "…", size)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
