"""What is measured: each workload runs one contender once, on an empty database, and gives named figures."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
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
from benchmarks.redis_server import redis
from benchmarks.starts import Start

Figures = dict[str, float]

GIVE_UP_AFTER_S = 180.0
HERD_OVER_AFTER_S = 60.0
"""What has not started by then is missed."""
READY_WITHIN_S = 60.0
LEAD_S = 4
"""Between the moment that jobs are stored and the one that they fire at."""
MISSED_AFTER_S = 15
"""A run that has not started so long after the last instant was missed, not late."""
HERD_LEAD_S = 10
"""In which jobs are stored, besides a second for each 300, and workers start where they come second."""


class GaveUp(Exception):
    """The contender did not get there in time."""


class Stage:
    """One contender on one empty database."""

    def __init__(self, contender: Contender, cluster: Cluster, directory: Path) -> None:
        self.contender, self.cluster = contender, cluster
        self.starts = directory / "starts"
        self._log = directory / "log"
        self.env = contender.environment(cluster.fresh_database(), self.starts)

    def run(self, *arguments: object, within_s: float = GIVE_UP_AFTER_S) -> str:
        """A command to its end; what it printed."""
        try:
            done = subprocess.run(
                self.contender.command(*arguments),
                env=self.env,
                capture_output=True,
                text=True,
                timeout=within_s,
            )
        except subprocess.TimeoutExpired:
            raise GaveUp(f"{arguments[0]} was not done after {within_s:g} s") from None
        if done.returncode != 0:
            raise GaveUp(f"{arguments[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    @contextmanager
    def workers(
        self, count: int = 1, arguments: Sequence[str] = ()
    ) -> Iterator[list[psutil.Process]]:
        """That many worker processes, ready; ended at the end."""
        command = self.contender.command("work", *arguments)
        with self._log.open("ab") as log:
            processes = [
                subprocess.Popen(
                    command,
                    env=self.env,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
                for _ in range(count)
            ]
        try:
            for process in processes:
                self._wait_until_ready(process)
            yield [psutil.Process(process.pid) for process in processes]
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)  # and what it started
                    process.wait()

    @contextmanager
    def scheduled(self, workers: int, *command: object) -> Iterator[list[psutil.Process]]:
        """Workers, and the jobs that a command stores, in the order that the contender needs."""
        if self.contender.schedules_first:
            self.run(*command)
        with self.workers(workers) as processes:
            if not self.contender.schedules_first:
                self.run(*command)
            yield processes

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        # A pipe is read without a timeout, but not from a process that has ended.
        timer = threading.Timer(READY_WITHIN_S, process.kill)
        timer.start()
        try:
            while (line := process.stdout.readline()).strip() != b"ready":
                if not line:
                    raise GaveUp(f"the worker ended: {self._log.read_text()[-500:].strip()}")
        finally:
            timer.cancel()

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
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, ExitStack() as stack:
        directory = Path(name)
        found = Stage(contender, cluster, directory)
        if contender.redis:
            found.env["BENCH_REDIS"] = str(stack.enter_context(redis(directory)))
        found.run("setup")
        yield found


def drain(
    contender: Contender,
    cluster: Cluster,
    *,
    count: int,
    workers: int,
    within_s: float = GIVE_UP_AFTER_S,
) -> Figures:
    """No-op tasks wait; how many a second, from the first start to the last outcome stored, or to the end of patience."""
    with stage(contender, cluster) as on:
        on.run("enqueue", count)
        cluster.analyze()
        before = cluster.cost()

        def is_done() -> bool:
            # The database is asked when the tasks have started, as asking costs it time.
            return starts.count(on.starts) >= count and finished(on, count) >= count

        with on.workers(workers):
            with suppress(GaveUp):  # the rate so far counts
                on.wait_until(is_done, within_s)
            done, ended = finished(on, count), time.time()
        cost = cluster.cost() - before
        found = on.recorded()
    if not done:
        raise GaveUp(f"nothing was done after {within_s:g} s")
    took = ended - min(start.at for start in found)
    return {
        "per_s": done / took,
        "left": count - done,
        "doubled": len(found) - len({start.number for start in found}),
        "postgres_cpu_ms_per_1000": cost.postgres_cpu_s * 1e6 / done,
        "transactions_per_run": cost.transactions / done,
    }


def finished(on: Stage, count: int) -> int:
    """How many of so many tasks have their outcome stored; have started, where none are."""
    if on.contender.finished:
        return on.cluster.number(on.contender.finished)
    if on.contender.unfinished:
        return count - on.cluster.number(on.contender.unfinished)
    return min(count, len({start.number for start in on.recorded()}))


def pickup(
    contender: Contender, cluster: Cluster, *, count: int, within_s: float = GIVE_UP_AFTER_S
) -> Figures:
    """An idle system; from the commit of a "run now" to its start."""
    with stage(contender, cluster) as on, on.workers():
        time.sleep(2)
        committed = [float(line) for line in on.run("pickup", count).split()]
        on.wait_until(lambda: starts.count(on.starts) >= count, within_s)
        begun = {start.number: start.at for start in on.recorded()}
    waits = [begun[number] - at for number, at in enumerate(committed)]
    return {"p50_ms": quantile(waits, 0.5) * 1000, "p99_ms": quantile(waits, 0.99) * 1000}


def herd(
    contender: Contender,
    cluster: Cluster,
    *,
    count: int,
    workers: int,
    within_s: float = HERD_OVER_AFTER_S,
) -> Figures:
    """Jobs that are all due at one instant; how late they start."""
    with stage(contender, cluster) as on:
        instant = int(time.time()) + HERD_LEAD_S + count // 300
        with on.scheduled(workers, "at", instant, count):
            if time.time() > instant - 1:
                raise GaveUp("storing the jobs took until they were due")
            cluster.analyze()
            time.sleep(instant - time.time())
            with suppress(GaveUp):  # what is missing is counted
                on.wait_until(lambda: starts.count(on.starts) >= count, within_s)
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
    workers: int = 1,
    prepare: Callable[[Stage], None] | None = None,
) -> Figures:
    """Jobs that each fire every second; lateness, misses, and what they cost."""
    with stage(contender, cluster) as on:
        if prepare:
            prepare(on)
        with on.scheduled(workers, "every_second", count, seconds) as processes:
            # The first second after everything is stored, and a few more to come into step.
            begin = int(time.time()) + LEAD_S
            time.sleep(begin - time.time() - 0.5)
            before, busy = cluster.cost(), cpu_s(processes)
            time.sleep(seconds)
            cost, busy = cluster.cost() - before, cpu_s(processes) - busy
            found = _when_all_have_started(on, range(begin, begin + seconds), count)
    return in_time(found, range(begin, begin + seconds), count) | {
        "node_cpu_s_per_s": busy / seconds,
        "postgres_cpu_s_per_s": cost.postgres_cpu_s / seconds,
        "transactions_per_run": cost.transactions / (count * seconds),
    }


def _when_all_have_started(on: Stage, instants: range, jobs: int) -> list[Start]:
    """What has started when nothing is missing, or when it is too late."""
    time.sleep(max(instants.stop + 1 - time.time(), 0))
    while in_time(found := on.recorded(), instants, jobs)["missed"]:
        told = any(start.fire_time for start in found)
        if not told or time.time() > instants.stop + MISSED_AFTER_S:
            break
        time.sleep(0.5)
    return found


def in_time(found: Sequence[Start], instants: range, jobs: int) -> Figures:
    """Each (job, instant) should have one start; where tasks are not told theirs, each job one for each instant."""
    if not any(start.fire_time for start in found):
        return _in_number(found, instants, jobs)
    wanted = [
        (start.number, int(start.fire_time), start.at)
        for start in found
        if int(start.fire_time) in instants
    ]
    times = Counter((number, instant) for number, instant, _ in wanted)
    return lateness([at - instant for _, instant, at in wanted]) | {
        "missed": jobs * len(instants) - len(times),
        "doubled": sum(times.values()) - len(times),
    }


def _in_number(found: Sequence[Start], instants: range, jobs: int) -> Figures:
    """Runs that fire in step with themselves, not with the clock, are late against nothing, but can be counted."""
    times = Counter(start.number for start in found if int(start.at) in instants)
    return {
        "missed": sum(max(len(instants) - times[number], 0) for number in range(jobs)),
        "doubled": sum(max(times[number] - len(instants), 0) for number in range(jobs)),
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
