"""What jobs write down themselves while they run: the one account of a run that no database can lose.

A line a step, appended in one write, so that the lines of many processes lie whole beside each other. Times are of the
monotonic clock, which all processes of a machine share and which nobody sets.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEEPEST = 5
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
    """Of the process that ran it, its parent, and so on; empty where it cannot be known."""
    began: float
    ended: float | None = None
    how: str = ""
    """returned, raised, stopped; empty while there is no end."""


def write(path: str | Path, step: str, **facts: Any) -> None:
    """Append a step of a run: `began`, `returned`, `raised` or `stopped`."""
    entry = {
        "step": step,
        "monotonic": time.monotonic(),
        "pids": ancestry(),
        **facts,
    }
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, (json.dumps(entry) + "\n").encode())
    finally:
        os.close(file)


def ancestry() -> list[int]:
    """This process, its parent and so on: a job may run in a child of a child of its node."""
    found = [os.getpid(), os.getppid()]
    while len(found) < DEEPEST and found[-1] > 1:
        try:
            status = Path(f"/proc/{found[-1]}/stat").read_text()
        except OSError:
            break
        found.append(int(status.rpartition(")")[2].split()[1]))
    return found


def read(path: Path) -> list[Run]:
    """The runs in the order in which they began."""
    lines = path.read_text().splitlines() if path.exists() else []
    return collect(lines, offset=time.time() - time.monotonic())


def collect(lines: Iterable[str], *, offset: float = 0.0) -> list[Run]:
    """Runs from the lines of a side log; a line that was cut off by a kill says nothing.

    `offset` leads from the monotonic clock to seconds since 1970; a writer that knows no monotonic clock says `at`.
    """
    runs: dict[str, Run] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        at = entry["monotonic"] + offset if "monotonic" in entry else entry["at"]
        if entry["step"] == "began":
            runs[entry["key"]] = Run(
                key=entry["key"],
                execution=entry["execution"],
                attempt=entry["attempt"],
                fire_time=entry["fire_time"],
                pids=tuple(entry["pids"]),
                began=at,
            )
        elif run := runs.get(entry["key"]):
            run.ended, run.how = at, entry["step"]
    return sorted(runs.values(), key=lambda run: run.began)
