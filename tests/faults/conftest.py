"""One cluster for all faults of a process, and their figures at the end of the run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL of the suite's own. What a failed fault left, pictures above all, stays to be looked at."""
    directory = Path(tempfile.mkdtemp(prefix="jobscheduler-faults-"))
    # Lets the unprivileged user through that runs the server when tests run as root.
    os.chmod(directory, 0o711)
    cluster = Cluster(directory)
    yield cluster
    cluster.close()
    if not any(directory.glob("stage-*")):
        shutil.rmtree(directory, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each fault."""
    lines = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == "fault" and report.when == "call"
    ]
    if lines:
        terminalreporter.section("faults")
        for line in sorted(lines):
            terminalreporter.write_line(line)
