"""Clocks that are wrong, that leap, that change for summer, and clocks that went on while everything was off."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler_app.management.drill.evidence import Evidence
from tests.rules.reference_cron import Reference

from .catalogue import fault, no_reruns_and_no_exits
from .cluster import Stage
from .plan import Wanted, work

# --- F10: the nodes' clocks are wrong -------------------------------------------------------------

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
/* The wall clock of this process is wrong: by CLOCK_OFF seconds, and by CLOCK_STEP more or less, turn and turn about. */
static long wrong(long now) {
    const char *off = getenv("CLOCK_OFF"), *step = getenv("CLOCK_STEP");
    long by = off ? atol(off) : 0;
    if (step) by += (now / 5) % 2 ? atol(step) : -atol(step);
    return by;
}
int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(id, ts);
    if (!answer && id == CLOCK_REALTIME) ts->tv_sec += wrong(ts->tv_sec);
    return answer;
}
int gettimeofday(struct timeval *tv, void *tz) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out) *out = ts.tv_sec;
    return ts.tv_sec;
}
"""
COMPILER = shutil.which("cc") or shutil.which("gcc")


def wrong_clocks(stage: Stage) -> None:
    """Each node gets another wrong clock, by a library that is loaded before all others."""
    if COMPILER is None:
        stage.ledger.note("there is no C compiler here, so the nodes' clocks were right after all")
        return
    source, library = stage.directory / "clock.c", stage.directory / "clock.so"
    source.write_text(SHIM)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    wrongs = (
        {"CLOCK_OFF": "90"},
        {"CLOCK_OFF": "-20", "CLOCK_STEP": "3600"},
        {"CLOCK_OFF": str(366 * 86_400)},
    )
    for keeper, wrong in zip(stage.nodes.values(), wrongs, strict=True):
        keeper.environment |= {"LD_PRELOAD": str(library), **wrong}


@fault(
    "F10",
    "the nodes' own clocks are wrong by minutes, by a year, and step by an hour",
    quick_s=25,
    long_s=300,
    before=wrong_clocks,
    expect=no_reruns_and_no_exits,
    seconds={"late_p99_s": 1.0, "late_max_s": 2.0},
)
def nodes_clocks(stage: Stage, seconds: float) -> None:
    time.sleep(seconds)


# --- F11: the database's clock leaps --------------------------------------------------------------


@fault(
    "F11",
    "the database's clock leaps an hour ahead, and half a minute back",
    quick_s=30,
    long_s=300,
    expect=no_reruns_and_no_exits,
)
def database_clock(stage: Stage, seconds: float) -> None:
    time.sleep(seconds / 6)
    stage.step_clock(3600.0)
    time.sleep(seconds / 4)
    stage.step_clock(3600.0 - 30.0)
    # What it showed twice must not fire twice, and after it there is something to fire again.
    time.sleep(max(35.0, seconds / 2))


# --- F12: clocks change -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Night:
    """A change of a zone's clock, and the moments around it that are lived through; the time between is leapt over."""

    zone: str
    moments: tuple[str, ...]
    fixed: str
    """A time of day that the clock jumps over or shows twice."""


NIGHTS = (
    Night("America/New_York", ("2031-03-09 07:00",), "30 2 * * *"),
    Night("Europe/Berlin", ("2031-03-30 01:00",), "30 2 * * *"),
    Night("Australia/Lord_Howe", ("2031-04-05 14:45", "2031-04-05 15:15"), "45 1 * * *"),
    Night("Australia/Lord_Howe", ("2031-10-04 15:30",), "15 2 * * *"),
    Night("Europe/Berlin", ("2031-10-26 00:30", "2031-10-26 01:30"), "30 2 * * *"),
    Night("America/New_York", ("2031-11-02 05:30", "2031-11-02 06:30"), "30 1 * * *"),
    Night("Africa/Casablanca", ("2032-01-18 02:00",), "30 2 * * *"),
    Night("Antarctica/Troll", ("2032-03-28 01:00",), "30 2 * * *"),
)
BEFORE_S, AFTER_S = 6.0, 5.0


def _jobs_of(number: int, night: Night) -> list[Wanted]:
    def wanted(kind: str, schedule: str) -> Wanted:
        reference = Reference(schedule, night.zone)
        return Wanted(
            f"{kind} in night {number} of {night.zone}",
            schedule,
            work(on_overlap="allow", timezone=night.zone),
            moments=lambda since, until: reference.fires(int(since), int(until)),
        )

    return [
        wanted("fixed", night.fixed),
        wanted("rhythm", "*/10 * * * *"),
        wanted("seconds", "*/5 * * * * *"),
    ]


NIGHT_JOBS = {number: _jobs_of(number, night) for number, night in enumerate(NIGHTS)}


@fault(
    "F12",
    "the nights in which clocks change, lived through by three nodes",
    quick_s=len(NIGHTS) * 20.0,
    long_s=len(NIGHTS) * 20.0,
    expect=no_reruns_and_no_exits,
    more_jobs=tuple(job for jobs in NIGHT_JOBS.values() for job in jobs),
    only_more=True,
)
def nights(stage: Stage, seconds: float) -> None:
    stage.switch_off()
    for number, night in enumerate(NIGHTS[: max(1, int(seconds / 20.0))]):
        ids = [stage.ids[job.name] for job in NIGHT_JOBS[number]]
        for place, text in enumerate(night.moments):
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
            begin = moment - timedelta(seconds=BEFORE_S)
            stage.step_clock(round(begin.timestamp() - time.time(), 3))
            if place == 0:
                stage.switch_on(ids)
            time.sleep(BEFORE_S + AFTER_S)
        stage.switch_off(ids)
        stage.wait(stage.at_rest, "the night to be over")


# --- F18: a long absence ----------------------------------------------------------------------------

POLICIES = {"latest": "latest", "none": "skip", "all": "all"}
EVERY_SECOND = tuple(
    Wanted(
        f"after absence {name}",
        "* * * * * *",
        work(on_overlap="allow", on_misfire=policy),
    )
    for name, policy in POLICIES.items()
)
ROWS = """
SELECT
    (SELECT count(*) FROM scheduler_app_execution WHERE job_id = %(job)s AND id > %(execution)s),
    (SELECT count(*) FROM scheduler_app_gap WHERE job_id = %(job)s AND id > %(gap)s),
    (SELECT COALESCE(sum(count), 0) FROM scheduler_app_gap WHERE job_id = %(job)s)
"""


def absent_for_a_year(stage: Stage, evidence: Evidence) -> list[str]:
    """Off for a year by the cluster's clock: what coming back costs in rows, gaps and seconds of CPU."""
    problems = []
    ids = [stage.ids[wanted.name] for wanted in EVERY_SECOND]
    stage.sql("UPDATE scheduler_app_job SET enabled = true WHERE id = ANY(%s)", ids)
    _live_shortly(stage, "before the year", ids)
    [[execution, gap]] = stage.sql(
        "SELECT (SELECT max(id) FROM scheduler_app_execution), (SELECT max(id) FROM scheduler_app_gap)"
    )
    stage.step_clock(stage.clock[-1].offset + 365 * 86_400.0)
    cpu_s = _live_shortly(stage, "after the year", ids)
    for wanted in EVERY_SECOND:
        job = stage.ids[wanted.name]
        [[rows, gaps, covered]] = stage.connection.execute(
            ROWS, {"job": job, "execution": execution, "gap": gap}
        ).fetchall()
        stage.ledger.note(
            f"a year of every second, {wanted.name}: {rows} executions, {gaps} gaps of {covered} fire times"
        )
        allowed = 130 if wanted.fields["on_misfire"] == "all" else 30
        if rows > allowed or gaps > 10:
            problems.append(f"{wanted.name}: {rows} executions and {gaps} gaps for a year")
        if covered < 365 * 86_400 - 200:
            problems.append(f"{wanted.name}: gaps cover {covered} fire times of a year")
    stage.ledger.note(
        f"coming back after a year took {cpu_s:.2f} s of CPU, the node's start included"
    )
    return problems


def _live_shortly(stage: Stage, name: str, ids: list[int]) -> float:
    """A node that lives until these jobs are planned; the seconds of CPU that it took, its start included."""
    keeper = stage.add_node(name, {})
    keeper.start()
    stage.wait(
        lambda: (
            stage.active_nodes()
            and not stage.number(
                "SELECT count(*) FROM scheduler_app_jobplan WHERE job_id = ANY(%s) "
                "AND (dirty OR next_fire_at < scheduler_now() - interval '3 seconds')",
                ids,
            )
        ),
        "the jobs to be planned",
    )
    fields = Path(f"/proc/{keeper.pid}/stat").read_text().rpartition(")")[2].split()
    keeper.stop()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@fault(
    "F18",
    "all nodes are off for an hour, then for a year, for each policy of missed fire times",
    quick_s=10,
    long_s=10,
    more_jobs=EVERY_SECOND,
    after=absent_for_a_year,
)
def absence(stage: Stage, seconds: float) -> None:
    time.sleep(seconds / 3)
    for keeper in stage.nodes.values():
        keeper.hold()
        keeper.send(signal.SIGTERM)
    stage.wait(lambda: not any(keeper.pid for keeper in stage.nodes.values()), "all nodes to end")
    stage.step_clock(3600.0)
    for keeper in stage.nodes.values():
        keeper.go_on()
    stage.wait_all_active()
    time.sleep(seconds)
