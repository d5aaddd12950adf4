"""How fast is "when next?", beside croniter and cronsim in the same run?

    python -m benchmarks.schedules [--rounds 2000]

cronsim is optional (`pip install cronsim`). Times are microseconds; each is one call, so the clock's own
cost (printed) is in it. Peers get what they need to answer in a zone: an aware start in that zone.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter

from scheduler_app.rules import cron_plan, schedules, zones
from scheduler_app.rules.schedules import InvalidSchedule, parse_schedule

ZONE = "America/New_York"
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
TEXTS = [
    "* * * * *",
    "*/5 * * * *",
    "30 2 * * *",
    "0 9-17/2 * * MON-FRI",
    "0 0 13 * 5",
    "0 0 L * *",
    "0 0 29 2 *",
    "* * * * * *",
    "*/15 * * * * *",
    "0 0 * 2 1#5",
]
REFUSED = [
    "60 * * * *",
    "0 0 31 2,4,6,9,11 *",
    "x" * 200,
    "1," * 99 + "1",
    "0 0 * * " + "SUN-SAT," * 23 + "XYZ",
]
LARGEST = [
    "0-59," * 31 + "0-59 * * * *",
    "*/2," * 45 + "*/2 * * * *",
    ",".join(f"{n}-{n - 1}" for n in range(1, 35)) + " * * * *",
]
MIX_ZONES = ["America/New_York", "Europe/Paris", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]

# croniter and cronsim count seconds, when there are six fields, from the first.
SIX: dict[str, Any] = {"second_at_beginning": True}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=2000, help="calls measured a cell")
    options.add_argument("--seconds", type=float, default=3.0, help="length of the throughput run")
    given = options.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, zone {ZONE}")
    cronsim = _cronsim()
    empty = _times(lambda: None, given.rounds)
    print(f"an empty call measures {_cell(empty).strip()} us\n")
    _next_runs(cronsim, given.rounds)
    _parsing(given.rounds)
    _counting()
    _throughput(given.seconds)


def _cronsim() -> Any:
    try:
        return importlib.import_module("cronsim").CronSim
    except ImportError:
        print("cronsim is not installed: its columns stay empty (pip install cronsim)")
        return None


def _next_runs(cronsim: Any, rounds: int) -> None:
    """Each call asks for the run after the one before."""
    print("next run, warm, us: median / p99")
    columns = ["ours, seconds", "ours, datetime", "croniter, kept", "croniter, new", "cronsim, new"]
    print(f"{'':24}" + "".join(f"{column:>20}" for column in columns))
    worst = []
    for text in TEXTS:
        cells = [_times(step, rounds) for step in (_ours_ts(text), _ours(text))]
        worst += cells[0]
        slow = max(rounds // 10, 50)
        cells.append(_times(_croniter_kept(text), slow))
        cells.append(_times(_croniter_new(text), slow))
        row = [_cell(cell) for cell in cells]
        row.append(_cell(_times(_cronsim_new(cronsim, text), slow)) if cronsim else "-")
        print(f"{text:24}" + "".join(f"{cell:>20}" for cell in row))
    print(f"{'all of ours':24}{_cell(worst):>20}\n")


def _ours_ts(text: str) -> Callable[[], object]:
    schedule, at = parse_schedule(text, ZONE), START

    def step() -> None:
        nonlocal at
        at = schedule.next_after_ts(at) or START

    step()
    return step


def _ours(text: str) -> Callable[[], object]:
    schedule = parse_schedule(text, ZONE)
    start = at = zones.utc(START)

    def step() -> None:
        nonlocal at
        at = schedule.next_after(at) or start

    return step


def _croniter_kept(text: str) -> Callable[[], object]:
    start = datetime.fromtimestamp(START, ZoneInfo(ZONE))
    kept = croniter(text, start, datetime, **SIX)
    limit = datetime(2090, 1, 1, tzinfo=UTC)

    def step() -> None:
        if kept.get_next() > limit:
            kept.set_current(start)

    return step


def _croniter_new(text: str) -> Callable[[], object]:
    start = datetime.fromtimestamp(START, ZoneInfo(ZONE))
    return lambda: croniter(text, start, datetime, **SIX).get_next()


def _cronsim_new(cronsim: Any, text: str) -> Callable[[], object]:
    start = datetime.fromtimestamp(START, ZoneInfo(ZONE))
    return lambda: next(cronsim(text, start))


def _parsing(rounds: int) -> None:
    print("reading a text, us: median / p99")

    def cold(text: str) -> Callable[[], object]:
        def read() -> None:
            schedules._parse.cache_clear()
            cron_plan.make_plan.cache_clear()
            _read(text)

        return read

    slow = max(rounds // 10, 50)
    for text in TEXTS[1:5] + LARGEST:
        theirs = _cell(_times(lambda text=text: croniter(text, START, **SIX), slow))  # type: ignore[misc]
        ours, again = _times(cold(text), slow), _times(lambda text=text: _read(text), slow)  # type: ignore[misc]
        print(
            f"{text[:24]:24}  ours, new {_cell(ours)}  known {_cell(again)}  croniter, new {theirs}"
        )
    for text in REFUSED:
        print(f"{text[:24]:24}  refused   {_cell(_times(cold(text), slow))}")
    zones.load_zone.cache_clear()
    started = perf_counter_ns()
    zones.load_zone(ZONE)
    print(f"{'a zone, the first time':24}  {(perf_counter_ns() - started) / 1e6:.1f} ms\n")


def _read(text: str) -> None:
    with contextlib.suppress(InvalidSchedule):
        parse_schedule(text, ZONE)


def _counting() -> None:
    print("counting a year and 131 years, us: median / p99")
    for text in ("* * * * * *", "30 2 * * *"):
        schedule = parse_schedule(text, ZONE)
        year = _times(lambda s=schedule: s.count_ts(START, START + 31_536_000), 500)  # type: ignore[misc]
        ever = _times(lambda s=schedule: s.count_ts(0, zones.END_OF_TIME - 1), 50)  # type: ignore[misc]
        print(f"{text:24}  {_cell(year)}  {_cell(ever)}")
    print()


def _throughput(seconds: float) -> None:
    print("fire times a minute: 1,000 texts in 5 zones, each after its own last one")
    for processes in (1, 2):
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            rates = pool.map(_rate, [seconds] * processes)
        print(
            f"{processes} process{'es' if processes > 1 else '  '}  {sum(rates) * 60 / 1e6:8.1f} million"
        )


def _rate(seconds: float) -> float:
    """Fire times a second of one process."""
    jobs: list[schedules.Schedule] = []
    forms = ["{} * * * *", "{} {} * * *", "*/{} * * * *", "{} {} * * 1-5", "{} {} {} * *"]
    for n in range(1000):
        minute = n % 14 + 2 if n % 5 == 2 else n % 60
        text = forms[n % 5].format(minute, n % 24, n % 28 + 1)
        jobs.append(parse_schedule(text, MIX_ZONES[n // 5 % 5]))
    last = [job.next_after_ts(START) or START for job in jobs]
    count, started = 0, perf_counter_ns()
    while perf_counter_ns() - started < seconds * 1e9:
        last = [job.next_after_ts(at) or START for job, at in zip(jobs, last, strict=True)]
        count += len(jobs)
    return count / (perf_counter_ns() - started) * 1e9


def _times(call: Callable[[], object], rounds: int) -> list[float]:
    """Microseconds of each call, after some that are not counted."""
    for _ in range(min(rounds, 20)):
        call()
    times = []
    for _ in range(rounds):
        started = perf_counter_ns()
        call()
        times.append((perf_counter_ns() - started) / 1000)
    return times


def _cell(times: list[float]) -> str:
    cut = statistics.quantiles(times, n=100)[98]
    return f"{statistics.median(times):8.1f} / {cut:.1f}"


if __name__ == "__main__":
    main()
