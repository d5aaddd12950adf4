"""Measure speed and cost, beside what PostgreSQL itself can do on the same machine in the same run.

    python -m benchmarks                        everything, three rounds each
    python -m benchmarks drain herd             these workloads, all contenders
    python -m benchmarks drain scheduler        this workload, this contender

Results are printed as a table, each figure the median of the rounds, and appended as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import own, workloads
from benchmarks.cluster import Cluster, cluster
from benchmarks.contenders import CONTENDERS, ROOT, Contender
from benchmarks.limit import limit
from benchmarks.report import table
from benchmarks.workloads import Figures, GaveUp

Run = Callable[[Contender, Cluster], Figures]

WORKLOADS: dict[str, dict[str, tuple[str, Run]]] = {
    "drain": {
        "drain of 20,000, one node": ("enqueue", partial(workloads.drain, count=20_000, workers=1)),
        "drain of 20,000, two nodes": (
            "enqueue",
            partial(workloads.drain, count=20_000, workers=2),
        ),
    },
    "pickup": {"pick-up, 300": ("pickup", partial(workloads.pickup, count=300))},
    "herd": {
        "herd of 1,000": ("at", partial(workloads.herd, count=1000, workers=1)),
        "herd of 10,000": ("at", partial(workloads.herd, count=10_000, workers=1)),
        "herd of 10,000, two nodes": ("at", partial(workloads.herd, count=10_000, workers=2)),
    },
    "seconds": {
        f"{count:,} jobs every second": (
            "every_second",
            partial(workloads.every_second, count=count, seconds=30),
        )
        for count in (100, 1000, 3000)
    },
}
OWN: dict[str, dict[str, Callable[[Cluster], Figures]]] = {
    "scale": {
        f"{jobs:,} jobs, none due": partial(own.scale, jobs=jobs)
        for jobs in (1000, 100_000, 1_000_000)
    },
    "growth": {
        **{
            f"1,000 jobs every second beside {finished:,} finished": partial(
                own.growth, finished=finished
            )
            for finished in (0, 1_000_000)
        },
        "1,000 jobs every second while 1,000,000 are pruned": partial(
            own.growth, finished=1_000_000, pruning=True
        ),
    },
    "http": {"1,000 HTTP jobs every second": partial(own.http, jobs=1000, seconds=30)},
}
LIMITS: dict[str, Callable[[Cluster], Figures]] = {
    f"limit, {batch} a batch, {connections} connection{'s'[: connections > 1]}": partial(
        limit, count=count, batch=batch, connections=connections
    )
    for batch, count in ((1, 4000), (100, 40_000), (500, 60_000))
    for connections in (1, 2)
}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    names = [*WORKLOADS, *OWN, "limit", *CONTENDERS]
    options.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names)}")
    options.add_argument("--rounds", type=int, default=3, help="a figure is their median")
    options.add_argument("--json", type=Path, default=ROOT / "var" / "benchmarks" / "results.jsonl")
    given = options.parse_args()
    if unknown := [name for name in given.names if name not in names]:
        options.error(f"{', '.join(unknown)}: choose from {', '.join(names)}")
    chosen = [name for name in given.names if name in CONTENDERS] or list(CONTENDERS)
    wanted = [name for name in given.names if name not in CONTENDERS] or [*WORKLOADS, *OWN, "limit"]
    say(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    results: list[dict[str, Any]] = []
    with cluster() as server:
        if "limit" in wanted:
            for title, run in LIMITS.items():
                results.append(measure(title, "postgresql", partial(run, server), given.rounds))
        for workload in (name for name in wanted if name in OWN):
            for title, run in OWN[workload].items():
                results.append(measure(title, "scheduler", partial(run, server), given.rounds))
        for workload in (name for name in wanted if name in WORKLOADS):
            for title, (command, work) in WORKLOADS[workload].items():
                for name in chosen:
                    contender = CONTENDERS[name]
                    if command not in contender.can:
                        results.append({"workload": title, "contender": name, "says": "cannot"})
                        continue
                    step = partial(work, contender, server)
                    results.append(measure(title, name, step, given.rounds))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    with given.json.open("a") as file:
        for result in results:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            file.write(json.dumps({"at": at, "cores": os.cpu_count(), **result}) + "\n")
    print(table(results))


def measure(title: str, contender: str, run: Callable[[], Figures], rounds: int) -> dict[str, Any]:
    """The medians of some rounds; one that gave up says why instead."""
    found: list[Figures] = []
    for number in range(rounds):
        say(f"{title}: {contender}, round {number + 1} of {rounds}")
        try:
            found.append(run())
        except GaveUp as error:
            return {"workload": title, "contender": contender, "says": f"gave up: {error}"}
        say("  " + "  ".join(f"{name}={value:,.4g}" for name, value in found[-1].items()))
    figures = {name: median(figures[name] for figures in found) for name in found[0]}
    return {"workload": title, "contender": contender, "figures": figures}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
