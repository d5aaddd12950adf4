"""What jobs write down themselves while they run: the one account of a run that no database can lose.

A line a step, appended in one write, so that the lines of many processes lie whole beside each other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "DRILL_SIDE_LOG"
"""The environment variable that names the file to the jobs."""


@dataclass(slots=True)
class Run:
    """One run of an execution, as the job itself wrote it down; times are seconds since 1970."""

    key: str
    """Made anew for every run, and part of its result: tells whose outcome a row holds."""
    execution: int
    attempt: int
    fire_time: float
    pids: tuple[int, ...]
    """Of the process that ran it and of its parent; empty where it cannot be known."""
    began: float
    ended: float | None = None
    how: str = ""
    """returned, raised, stopped; empty while there is no end."""


def write(path: str | Path, step: str, **facts: Any) -> None:
    """Append a step of a run: `began`, `returned`, `raised` or `stopped`."""
    entry = {
        "step": step,
        "at": time.time(),
        "monotonic": time.monotonic(),
        "pids": [os.getpid(), os.getppid()],
        **facts,
    }
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, (json.dumps(entry) + "\n").encode())
    finally:
        os.close(file)


def read(path: Path) -> list[Run]:
    """The runs in the order in which they began."""
    return collect(path.read_text().splitlines() if path.exists() else [])


def collect(lines: Iterable[str]) -> list[Run]:
    """Runs from the lines of a side log; a line that was cut off by a kill says nothing."""
    runs: dict[str, Run] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["step"] == "began":
            runs[entry["key"]] = Run(
                key=entry["key"],
                execution=entry["execution"],
                attempt=entry["attempt"],
                fire_time=entry["fire_time"],
                pids=tuple(entry["pids"]),
                began=entry["at"],
            )
        elif run := runs.get(entry["key"]):
            run.ended, run.how = entry["at"], entry["step"]
    return sorted(runs.values(), key=lambda run: run.began)
