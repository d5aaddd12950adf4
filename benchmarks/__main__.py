"""Measure speed and cost beside other schedulers and what PostgreSQL itself can do, on one machine in one run.

    python -m benchmarks                        what is usual, three rounds each
    python -m benchmarks drain herd             these workloads, all contenders
    python -m benchmarks drain scheduler huey   this workload, these contenders
    python -m benchmarks --quick --rounds 1     smaller sizes, ten minutes
    python -m benchmarks --all                  and what takes long: hours

Results are printed as a table, each figure the median of the rounds, and appended as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import entries
from benchmarks.cluster import Cluster, cluster
from benchmarks.contenders import CONTENDERS, ROOT, Contender
from benchmarks.contenders.environments import Unavailable
from benchmarks.entries import KINDS, Entry
from benchmarks.report import table
from benchmarks.workloads import Figures, GaveUp

Result = dict[str, Any]


def main() -> None:
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and workers end with it
    chosen = [name for name in CONTENDERS if name in given.names] or list(CONTENDERS)
    wanted = [kind for kind in KINDS if kind in given.names] or list(KINDS)
    say(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    absent = {name: why for name in chosen if (why := reason_for_absence(CONTENDERS[name]))}
    deadline = time.monotonic() + 60 * given.minutes
    results = []
    with cluster() as server:
        for entry in selection(given):
            if entry.kind not in wanted:
                continue
            for result in measured(entry, server, chosen, absent, given.rounds, deadline):
                append(result, given.json)
                results.append(result)
    taking_part = dict.fromkeys(result["contender"] for result in results)
    notes = {name: CONTENDERS[name].note for name in taking_part if name in CONTENDERS}
    print(table(results, notes))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    names = [*KINDS, *CONTENDERS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names)}")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="smaller sizes, less patience")
    extent.add_argument("--all", action="store_true", help="also what takes long")
    parser.add_argument("--rounds", type=int, default=3, help="a figure is their median")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="after which nothing more is begun"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "benchmarks" / "results.jsonl")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in names]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(names)}")
    return given


def selection(given: argparse.Namespace) -> Iterator[Entry]:
    if given.quick:
        return entries.quick()
    return entries.all_of_them() if given.all else entries.usual()


def reason_for_absence(contender: Contender) -> str:
    """Why it cannot take part; installs what it needs, so that this is in nobody's figures."""
    try:
        contender.prepare()
    except Unavailable as error:
        say(f"{contender.name}: {error}")
        return str(error)
    return ""


def measured(
    entry: Entry,
    server: Cluster,
    chosen: Sequence[str],
    absent: dict[str, str],
    rounds: int,
    deadline: float,
) -> Iterator[Result]:
    """The results of one workload, one contender after the other."""
    for name in [entry.only] if entry.only else chosen:
        contender = CONTENDERS.get(name, CONTENDERS["scheduler"])
        result: Result = {
            "workload": entry.title,
            "kind": entry.kind,
            "nodes": entry.nodes,
            "batch": entry.batch,
            "contender": name,
        }
        if name in absent:
            yield result | {"says": f"cannot: {absent[name]}"}
        elif entry.command and not contender.can_run(entry.command, entry.shared_store):
            yield result | {"says": "cannot"}
        elif time.monotonic() > deadline:
            yield result | {"says": "left out, as the time was over"}
        else:
            run = partial(entry.run, contender, server)
            yield result | in_rounds(f"{entry.title}: {name}", run, rounds)


def in_rounds(what: str, run: Callable[[], Figures], rounds: int) -> Result:
    """The medians of some rounds; one that gave up says why instead."""
    found: list[Figures] = []
    for number in range(rounds):
        say(f"{what}, round {number + 1} of {rounds}")
        try:
            found.append(run())
        except GaveUp as error:
            return said(f"gave up: {error}")
        except Exception as error:  # one contender's trouble is not the end of a run of hours
            return said(f"failed: {type(error).__name__}: {error}")
        say("  " + "  ".join(f"{name}={value:,.4g}" for name, value in found[-1].items()))
    return {"figures": medians(found)}


def said(text: str) -> Result:
    short = " ".join(text.split())[:200]
    say(f"  {short}")
    return {"says": short}


def medians(found: Sequence[Figures]) -> Figures:
    """Of each figure, over the rounds that have it."""
    names = dict.fromkeys(name for figures in found for name in figures)
    return {name: median(figures[name] for figures in found if name in figures) for name in names}


def append(result: Result, file: Path) -> None:
    """At once: a run takes hours."""
    file.parent.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with file.open("a") as lines:
        lines.write(json.dumps({"at": at, "cores": os.cpu_count(), **result}) + "\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
