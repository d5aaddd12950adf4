"""What a run consists of: the workloads with their sizes, and who takes part in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import own, workloads
from benchmarks.cluster import Cluster
from benchmarks.contenders import Contender
from benchmarks.limit import limit
from benchmarks.workloads import GIVE_UP_AFTER_S, HERD_OVER_AFTER_S, Figures

KINDS = ("limit", "drain", "pickup", "herd", "seconds", "scale", "growth", "enqueue", "http")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One workload of one size."""

    kind: str
    title: str
    run: Callable[[Contender, Cluster], Figures]
    command: str = ""
    """What a contender must know to take part."""
    only: str = ""
    """Who alone takes part, where it is not every contender."""
    nodes: int = 1
    """How many workers; of a limit, how many connections."""
    batch: int = 0
    """Of a limit: how many rows a transaction."""
    shared_store: bool = False
    """Whether its workers must not run each other's tasks again; else it counts how often they do."""


def quick() -> Iterator[Entry]:
    """Ten minutes for all contenders: smaller sizes, less patience, one node."""
    for batch, count, connections in ((1, 2000, 1), (500, 60_000, 1)):
        yield _limit(batch, count, connections)
    yield _drain(10_000, 1, within_s=10)
    yield _pickup(60, within_s=20)
    yield _herd(1000, 1, within_s=45)
    yield _seconds(1000, seconds=10)


def usual() -> Iterator[Entry]:
    """What is measured unless asked otherwise."""
    for batch, count in ((1, 4000), (100, 40_000), (500, 60_000)):
        for connections in (1, 2):
            yield _limit(batch, count, connections)
    for nodes in (1, 2):
        yield _drain(20_000, nodes)
    yield _pickup(300)
    for count, nodes in ((1000, 1), (10_000, 1), (10_000, 2)):
        yield _herd(count, nodes)
    yield _seconds(100, nodes=2)
    for count in (100, 1000, 3000):
        yield _seconds(count)
    for jobs in (1000, 100_000, 1_000_000):
        yield _own("scale", f"{jobs:,} jobs, none due", partial(own.scale, jobs=jobs))
    for finished in (0, 1_000_000):
        yield _growth(finished)
    yield _own(
        "growth",
        "1,000 jobs every second while 1,000,000 are pruned",
        partial(own.growth, finished=1_000_000, pruning=True),
    )
    yield _own("enqueue", "runs and tasks, one by one and in bulk", own.enqueue)
    yield _own("http", "1,000 HTTP jobs every second", partial(own.http, jobs=1000, seconds=30))


def all_of_them() -> Iterator[Entry]:
    """And what takes long."""
    yield from usual()
    yield _growth(10_000_000)


def _limit(batch: int, count: int, connections: int) -> Entry:
    return Entry(
        kind="limit",
        title=f"limit, {batch} a batch, {connections} connection{'s'[: connections > 1]}",
        run=_alone(partial(limit, count=count, batch=batch, connections=connections)),
        only="postgresql",
        nodes=connections,
        batch=batch,
    )


def _drain(count: int, nodes: int, within_s: float = GIVE_UP_AFTER_S) -> Entry:
    return Entry(
        kind="drain",
        title=f"drain of {count:,}, {_nodes(nodes)}",
        run=partial(workloads.drain, count=count, workers=nodes, within_s=within_s),
        command="enqueue",
        nodes=nodes,
        shared_store=nodes > 1,
    )


def _pickup(count: int, within_s: float = GIVE_UP_AFTER_S) -> Entry:
    return Entry(
        kind="pickup",
        title=f"pick-up, {count}",
        run=partial(workloads.pickup, count=count, within_s=within_s),
        command="pickup",
    )


def _herd(count: int, nodes: int, within_s: float = HERD_OVER_AFTER_S) -> Entry:
    return Entry(
        kind="herd",
        title=f"herd of {count:,}, {_nodes(nodes)}",
        run=partial(workloads.herd, count=count, workers=nodes, within_s=within_s),
        command="at",
        nodes=nodes,
        shared_store=nodes > 1,
    )


def _seconds(count: int, *, nodes: int = 1, seconds: int = 30) -> Entry:
    return Entry(
        kind="seconds",
        title=f"{count:,} jobs every second for {seconds} s, {_nodes(nodes)}",
        run=partial(workloads.every_second, count=count, seconds=seconds, workers=nodes),
        command="every_second",
        nodes=nodes,
    )


def _growth(finished: int) -> Entry:
    return _own(
        "growth",
        f"1,000 jobs every second beside {finished:,} finished",
        partial(own.growth, finished=finished),
    )


def _own(kind: str, title: str, run: Callable[[Cluster], Figures]) -> Entry:
    return Entry(kind=kind, title=title, run=_alone(run), only="scheduler")


def _alone(run: Callable[[Cluster], Figures]) -> Callable[[Contender, Cluster], Figures]:
    return lambda _, cluster: run(cluster)


def _nodes(count: int) -> str:
    return "one node" if count == 1 else "two nodes"
