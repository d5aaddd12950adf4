"""What is measured: each workload runs one contender once, on an empty database, and gives named figures."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median

import psutil

from benchmarks import starts
from benchmarks.cluster import Cluster
from benchmarks.contenders import Contender
from benchmarks.starts import Start

Figures = dict[str, float]

GIVE_UP_AFTER_S = 180.0
LEAD_S = 4
"""Between the moment that jobs are stored and the one that they fire at."""


class GaveUp(Exception):
    """The contender did not get there in time."""


class Stage:
    """One contender on one empty database."""

    def __init__(self, contender: Contender, cluster: Cluster, directory: Path) -> None:
        self.contender, self.cluster = contender, cluster
        self.starts = directory / "starts"
        self._log = (directory / "log").open("wb")
        self.env = contender.environment(cluster.fresh_database(), self.starts)

    def run(self, *arguments: object) -> str:
        """A command to its end; what it printed."""
        done = subprocess.run(
            self.contender.command(*arguments),
            env=self.env,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise GaveUp(f"{arguments[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    @contextmanager
    def workers(
        self, count: int = 1, arguments: Sequence[str] = ()
    ) -> Iterator[list[psutil.Process]]:
        """That many worker processes, ready; ended at the end."""
        processes = [
            subprocess.Popen(
                self.contender.command("work", *arguments),
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,
            )
            for _ in range(count)
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                while (line := process.stdout.readline()) and line.strip() != b"ready":
                    pass
            yield [psutil.Process(process.pid) for process in processes]
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def wait_until(self, question: Callable[[], bool], within_s: float = GIVE_UP_AFTER_S) -> None:
        deadline = time.monotonic() + within_s
        while not question():
            if time.monotonic() > deadline:
                raise GaveUp(f"not done after {within_s:g} s")
            time.sleep(0.02)

    def recorded(self) -> list[Start]:
        return starts.read(self.starts)


@contextmanager
def stage(contender: Contender, cluster: Cluster) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        found = Stage(contender, cluster, Path(directory))
        found.run("setup")
        yield found


def drain(contender: Contender, cluster: Cluster, *, count: int, workers: int) -> Figures:
    """No-op tasks wait; how many a second, from the first start to the last outcome stored."""
    with stage(contender, cluster) as on:
        on.run("enqueue", count)
        before = cluster.cost()

        def is_done() -> bool:
            if contender.finished:
                return cluster.number(contender.finished) >= count
            return starts.count(on.starts) >= count

        with on.workers(workers):
            on.wait_until(is_done)
            ended = time.time()
        cost = cluster.cost() - before
        found = on.recorded()
    took = ended - min(start.at for start in found)
    return {
        "per_s": count / took,
        "doubled": len(found) - len({start.number for start in found}),
        "postgres_cpu_ms_per_1000": cost.postgres_cpu_s * 1e6 / count,
        "transactions_per_run": cost.transactions / count,
    }


def pickup(contender: Contender, cluster: Cluster, *, count: int) -> Figures:
    """An idle system; from the commit of a "run now" to its start."""
    with stage(contender, cluster) as on, on.workers():
        time.sleep(2)
        committed = [float(line) for line in on.run("pickup", count).split()]
        on.wait_until(lambda: starts.count(on.starts) >= count)
        begun = {start.number: start.at for start in on.recorded()}
    waits = [begun[number] - at for number, at in enumerate(committed)]
    return {"p50_ms": quantile(waits, 0.5) * 1000, "p99_ms": quantile(waits, 0.99) * 1000}


def herd(contender: Contender, cluster: Cluster, *, count: int, workers: int) -> Figures:
    """Jobs that are all due at one instant; how late they start."""
    with stage(contender, cluster) as on, on.workers(workers):
        instant = int(time.time()) + LEAD_S + count // 300
        on.run("at", instant, count)
        if time.time() > instant - 1:
            raise GaveUp("storing the jobs took until they were due")
        with suppress(GaveUp):  # what is missing is counted
            on.wait_until(lambda: starts.count(on.starts) >= count, 60)
        time.sleep(1)
        found = on.recorded()
    return lateness([start.at - instant for start in found]) | {
        "missed": count - len({start.number for start in found}),
        "doubled": len(found) - len({start.number for start in found}),
    }


def every_second(
    contender: Contender,
    cluster: Cluster,
    *,
    count: int,
    seconds: int,
    prepare: Callable[[Stage], None] | None = None,
) -> Figures:
    """Jobs that each fire every second; lateness, misses, and what they cost."""
    with stage(contender, cluster) as on, ExitStack() as stack:
        if prepare:
            prepare(on)
        workers = stack.enter_context(on.workers())
        on.run("every_second", count, seconds)
        # The first second after everything is stored, and a few more to come into step.
        begin = int(time.time()) + LEAD_S
        time.sleep(begin - time.time() - 0.5)
        before, busy = cluster.cost(), cpu_s(workers)
        time.sleep(seconds)
        cost, busy = cluster.cost() - before, cpu_s(workers) - busy
        time.sleep(3)
        found = on.recorded()
    return in_time(found, range(begin, begin + seconds), count) | {
        "node_cpu_s_per_s": busy / seconds,
        "postgres_cpu_s_per_s": cost.postgres_cpu_s / seconds,
        "transactions_per_run": cost.transactions / (count * seconds),
    }


def in_time(found: Sequence[Start], instants: range, jobs: int) -> Figures:
    """Each (job, instant) should have one start; where tasks are not told, a start belongs to the second it is in."""
    wanted = [
        (start.number, int(start.fire_time or start.at), start.at)
        for start in found
        if int(start.fire_time or start.at) in instants
    ]
    times = Counter((number, instant) for number, instant, _ in wanted)
    return lateness([at - instant for _, instant, at in wanted]) | {
        "missed": jobs * len(instants) - len(times),
        "doubled": sum(times.values()) - len(times),
    }


def lateness(late: Sequence[float]) -> Figures:
    if not late:
        return {}
    return {
        "p50_ms": quantile(late, 0.5) * 1000,
        "p99_ms": quantile(late, 0.99) * 1000,
        "last_ms": max(late) * 1000,
    }


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return (
        median(ordered) if part == 0.5 else ordered[min(len(ordered) - 1, int(len(ordered) * part))]
    )


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Of the processes and all that they started."""
    total = 0.0
    for process in processes:
        for one in (process, *process.children(recursive=True)):
            spent = one.cpu_times()
            total += spent.user + spent.system
    return total
