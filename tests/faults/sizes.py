"""How large nodes are: threads, open files, memory, connections; what must not grow with the work that was done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from .cluster import Stage

MORE_MEMORY_MB = 20
MORE_THREADS = 4
MORE_FILES = 12
"""A node opens its connections when it needs them first, and a hundred programs warm nothing."""
MORE_BACKENDS = 6


class Size(NamedTuple):
    """One process."""

    threads: int
    files: int
    memory_mb: int


def size_of(pid: int) -> Size:
    """What the kernel says of it."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    memory_kb = int(status["VmRSS"].split()[0])
    return Size(int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")), memory_kb // 1024)


class Sizes:
    """The nodes of a stage as they are now, to be compared with what becomes of them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before = self._now()
        self._backends = self._count_backends()

    def compare(self, work: str) -> None:
        """Note how large they are after this work; that they grew is a problem of the stage."""
        for name, after in self._now().items():
            before = self._before[name]
            self._stage.ledger.note(
                f"{name} after {work}: threads {before.threads} to {after.threads}, files {before.files} to "
                f"{after.files}, memory {before.memory_mb} to {after.memory_mb} MB"
            )
            if (
                after.threads > before.threads + MORE_THREADS
                or after.files > before.files + MORE_FILES
                or after.memory_mb > before.memory_mb + MORE_MEMORY_MB
            ):
                self._stage.problems.append(f"{name} grew from {before} to {after} with {work}")
        backends = self._count_backends()
        self._stage.ledger.note(f"connections: {self._backends} to {backends}")
        if backends > self._backends + MORE_BACKENDS:
            self._stage.problems.append(
                f"connections grew from {self._backends} to {backends} with {work}"
            )

    def _now(self) -> dict[str, Size]:
        return {keeper.name: size_of(keeper.pid) for keeper in self._stage.nodes.values()}

    def _count_backends(self) -> int:
        return self._stage.number(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name <> 'drill'"
        )
