"""Which task started when: a file that the tasks of every contender append to, in one write each.

Standard library alone: contenders import it in virtual environments of their own.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import NamedTuple

_RECORD = struct.Struct("<qdd")


class Start(NamedTuple):
    """One start of a task."""

    number: int
    """Which job, or which call."""
    fire_time: float
    """Unix seconds; 0 where the contender does not tell its tasks."""
    at: float
    """Unix seconds."""


_file: int | None = None


def record(number: int, fire_time: float = 0.0) -> None:
    """What every task does, and all that it does."""
    global _file
    at = time.time()
    if _file is None:
        _file = os.open(os.environ["BENCH_STARTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_file, _RECORD.pack(number, fire_time, at))


def read(path: Path) -> list[Start]:
    """All starts so far."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = len(data) - len(data) % _RECORD.size
    return [Start(*fields) for fields in _RECORD.iter_unpack(data[:whole])]


def count(path: Path) -> int:
    """How many starts so far."""
    return path.stat().st_size // _RECORD.size if path.exists() else 0
