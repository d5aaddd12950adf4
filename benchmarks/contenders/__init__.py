"""The systems that are compared: each a folder with an `app.py`, run in a virtual environment of its own.

`app.py COMMAND` reads the database's URL from BENCH_URL and knows the commands

    setup                   create tables
    work                    run tasks and fire schedules until SIGTERM; prints "ready" when it can
    enqueue N               N no-op tasks, as fast as it can
    pickup N                N tasks one by one on an idle system; prints the moment of each commit, a line each
    every_second N SECONDS  N jobs, each firing every second from the next one on
    at MOMENT N             N jobs that fire once, at that Unix second

and its tasks call `starts.record(number, fire_time)`. What it cannot do it leaves out of `can`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = ROOT / "var" / "benchmarks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One system in its own best sensible configuration."""

    name: str
    can: tuple[str, ...]
    """Commands besides setup and work."""
    finished: str = ""
    """SQL that counts outcomes that are stored; empty where none are."""
    note: str = ""
    """How it is configured, for the table's foot."""
    own_environment: bool = True

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / self.name

    def python(self) -> Path:
        """The interpreter that has the contender installed, as its requirements file pins it."""
        if not self.own_environment:
            return Path(sys.executable)
        requirements = self.folder / "requirements.txt"
        wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
        directory = ENVIRONMENTS / self.name
        python, stamp = directory / "bin" / "python", directory / ".installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            venv.create(directory, clear=True, with_pip=True)
            pip = [python, "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
            subprocess.run([*pip, "--requirement", requirements], check=True)
            stamp.write_text(wanted)
        return python

    def command(self, *arguments: object) -> list[str]:
        return [str(self.python()), str(self.folder / "app.py"), *map(str, arguments)]

    def environment(self, url: str, starts: Path) -> dict[str, str]:
        return os.environ | {
            "BENCH_URL": url,
            "BENCH_STARTS": str(starts),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}",
            "PYTHONUNBUFFERED": "1",
        }


SCHEDULER = Contender(
    name="scheduler",
    can=("enqueue", "pickup", "every_second", "at"),
    finished="SELECT count(*) FROM scheduler_app_execution WHERE status = 'succeeded'",
    note="one node, 10 threads, defaults; history kept",
    own_environment=False,
)

CONTENDERS = {contender.name: contender for contender in (SCHEDULER,)}
