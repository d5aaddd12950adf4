"""The logic of the benchmarks: what is late, missed and doubled, who is compared with what, and who cannot take part."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import entries, starts
from benchmarks.contenders import CONTENDERS, PEERS, SCHEDULER, environments
from benchmarks.contenders.environments import Unavailable
from benchmarks.loadtest import too_slow
from benchmarks.report import best_peer, table
from benchmarks.starts import Start
from benchmarks.workloads import GaveUp, in_time


def result(contender: str, kind: str = "drain", nodes: int = 1, **figures: float) -> dict[str, Any]:
    return {
        "workload": f"a {kind}",
        "kind": kind,
        "nodes": nodes,
        "batch": 0,
        "contender": contender,
        "figures": figures,
    }


def limit(per_s: float, nodes: int = 1, batch: int = 500) -> dict[str, Any]:
    given = result("postgresql", "limit", nodes, per_s=per_s)
    return given | {"workload": f"limit {batch} {nodes}", "batch": batch}


def row(text: str, contender: str) -> str:
    [found] = [line for line in text.splitlines() if line.startswith(f"  {contender} ")]
    return found


# --- Late, missed, doubled ---


def test_each_job_and_instant_wants_one_start():
    found = [
        *(Start(0, second, second + 0.25) for second in (100, 101, 102)),
        *(Start(1, second, second + 0.75) for second in (100, 102)),
        Start(1, 102, 103.5),
        Start(0, 99, 100.5),  # of an instant before the window
    ]

    figures = in_time(found, range(100, 103), jobs=2)

    assert (figures["missed"], figures["doubled"]) == (1, 1)
    assert figures["last_ms"] == pytest.approx(1500)
    assert figures["p50_ms"] == pytest.approx(500)


def test_where_tasks_are_not_told_their_fire_time_runs_are_counted_and_nothing_is_called_late():
    regular = [Start(0, 0, second + 0.95) for second in range(100, 110)]
    sparse = [Start(1, 0, float(second)) for second in range(100, 110, 2)]
    eager = [Start(2, 0, second + half) for second in range(100, 110) for half in (0.1, 0.6)]

    figures = in_time([*regular, *sparse, *eager], range(100, 110), jobs=4)

    assert figures == {"missed": 5 + 10, "doubled": 10}


def test_starts_are_read_as_they_were_recorded(tmp_path, monkeypatch):
    file = tmp_path / "starts"
    monkeypatch.setenv("BENCH_STARTS", str(file))
    monkeypatch.setattr(starts, "_file", None)

    starts.record(7, 100.0)
    starts.record(8)

    assert starts.count(file) == 2
    assert [(start.number, start.fire_time) for start in starts.read(file)] == [(7, 100.0), (8, 0)]


# --- Rounds ---


def test_a_figure_is_the_median_of_the_rounds_that_have_it():
    found = benchmarks.medians([{"per_s": 3, "missed": 0}, {"per_s": 1}, {"per_s": 2}])

    assert found == {"per_s": 2, "missed": 0}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (GaveUp("not done\nafter 180 s"), "gave up: not done after 180 s"),
        (OSError("disk full"), "failed: OSError: disk full"),
    ],
)
def test_a_contender_in_trouble_says_so_and_the_run_goes_on(error, says):
    def run() -> dict[str, float]:
        raise error

    assert benchmarks.in_rounds("drain", run, rounds=3) == {"says": says}


def measured(
    entry: entries.Entry, *, absent: dict[str, str] | None = None, over: bool = False
) -> dict[str, Any]:
    """What each contender says or how many figures it has, without a server."""
    deadline = float("-inf") if over else float("inf")
    found = benchmarks.measured(entry, None, list(CONTENDERS), absent or {}, 1, deadline)
    return {one["contender"]: one.get("says") or one["figures"] for one in found}


def entry(**fields: Any) -> entries.Entry:
    given: dict[str, Any] = {"kind": "drain", "title": "a drain", "command": "enqueue"}
    return entries.Entry(**given | {"run": lambda contender, cluster: {"per_s": 1.0}} | fields)


def test_a_contender_that_does_not_know_the_command_cannot():
    says = measured(entry(kind="seconds", command="every_second"))

    assert says["huey"] == "cannot"
    assert says["procrastinate"] == {"per_s": 1.0}


def test_a_contender_that_is_made_for_one_process_cannot_share_a_store():
    assert measured(entry(shared_store=True))["apscheduler"] == "cannot"
    assert measured(entry(shared_store=False))["apscheduler"] == {"per_s": 1.0}


def test_a_contender_that_is_not_there_says_why_and_the_others_go_on():
    says = measured(entry(), absent={"celery": "no redis-server"})

    assert says["celery"] == "cannot: no redis-server"
    assert says["scheduler"] == {"per_s": 1.0}


def test_nothing_is_begun_when_the_time_is_over():
    assert set(measured(entry(), over=True).values()) == {"left out, as the time was over"}


# --- Installing ---


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Nothing installed, and nothing that could be: pip and npm end with an error."""
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(environments, "_install", refuse)
    monkeypatch.setattr(environments.venv, "create", lambda directory, **_: directory.mkdir())


def refuse(*command: object) -> None:
    raise Unavailable("not installed: no network")


def test_what_cannot_be_installed_is_a_reason(no_network, capsys):
    peers = {
        peer.name: benchmarks.reason_for_absence(peer) for peer in PEERS if peer.runtime == "python"
    }

    assert set(peers.values()) == {"not installed: no network"}
    assert benchmarks.reason_for_absence(SCHEDULER) == ""


def test_without_npm_a_contender_of_node_cannot(no_network, monkeypatch):
    monkeypatch.setattr(environments.shutil, "which", lambda name: None)

    assert benchmarks.reason_for_absence(CONTENDERS["pg-boss"]) == "no npm"


def test_without_a_redis_server_a_contender_that_needs_one_cannot(no_network, monkeypatch):
    monkeypatch.setattr(environments.shutil, "which", lambda name: None)
    contender = replace(CONTENDERS["huey"], runtime="own")

    assert benchmarks.reason_for_absence(contender) == "no redis-server: not installed: no network"


def test_the_redis_server_of_the_machine_comes_first(monkeypatch):
    monkeypatch.setattr(environments.shutil, "which", lambda name: f"/usr/bin/{name}")

    assert environments.redis_server() == Path("/usr/bin/redis-server")


def test_an_installation_that_fails_gives_its_last_line():
    with pytest.raises(Unavailable, match=r"^not installed: no such package$"):
        environments._install(sys.executable, "-c", "exit('trying\\nno such package')")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_is_pinned_and_says_how_it_is_configured(peer):
    program = peer.folder / ("app.mjs" if peer.runtime == "node" else "app.py")
    pinned = peer.folder / ("package-lock.json" if peer.runtime == "node" else "requirements.txt")

    assert program.exists() and pinned.exists() and peer.note
    if peer.runtime == "python":
        lines = [line for line in pinned.read_text().splitlines() if not line.startswith("#")]
        assert lines and all("==" in line for line in lines)


# --- The table ---


def test_a_drain_is_compared_with_the_limit_of_as_many_connections_and_the_best_peer():
    results = [
        limit(1000, batch=1),
        limit(40_000),
        limit(60_000, nodes=2),
        result("scheduler", nodes=2, per_s=30_000),
        result("huey", nodes=2, per_s=600),
        result("pg-boss", nodes=2, per_s=15_000),
    ]

    text = table(results)

    assert row(text, "scheduler").endswith("0.50 of the limit  2.00 of pg-boss's per_s")
    assert row(text, "pg-boss").endswith("0.25 of the limit  best peer")
    assert row(text, "huey").endswith("0.01 of the limit  0.04 of pg-boss's per_s")


def test_of_times_the_shortest_is_best_and_they_have_no_limit():
    results = [
        limit(40_000),
        result("scheduler", "pickup", p50_ms=3),
        result("huey", "pickup", p50_ms=1.5),
        result("celery", "pickup", p50_ms=6),
    ]

    text = table(results)

    assert row(text, "scheduler").endswith("3  2.00 of huey's p50_ms")
    assert row(text, "celery").endswith("6  4.00 of huey's p50_ms")


def test_a_peer_that_misses_runs_is_not_the_best_however_fast():
    hasty = result("celery", "herd", last_ms=10, missed=900, doubled=0)
    thorough = result("huey", "herd", last_ms=5000, missed=0, doubled=0)
    silent = result("pgqueuer", "herd", missed=0, doubled=0) | {"figures": {"missed": 0}}

    assert best_peer([hasty, thorough, silent]) is thorough


def test_the_table_says_who_cannot_and_ends_with_the_configurations():
    says = result("huey", "seconds") | {"says": "cannot"}
    del says["figures"]

    text = table([says, result("apscheduler", "seconds", missed=0, p99_ms=0)], {"huey": "Redis"})

    assert row(text, "huey").split() == ["huey", "cannot"]
    assert text.endswith("\n\nhuey: Redis")


# --- The selection ---


def test_the_quick_run_is_for_all_contenders_and_only_all_has_the_largest_history():
    quick, usual, everything = (
        [one.title for one in benchmarks.selection(Namespace(quick=quick, all=all_of_them))]
        for quick, all_of_them in ((True, False), (False, False), (False, True))
    )

    assert set(everything) - set(usual) == {"1,000 jobs every second beside 10,000,000 finished"}
    assert all(not one.only or one.kind == "limit" for one in entries.quick())
    assert len(set(everything)) == len(everything) and len(set(quick)) == len(quick)
    assert {one.kind for one in entries.usual()} == set(entries.KINDS)


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, []),
        ({"accepted": 149}, ["149 single calls a second, not 150."]),
        ({"in_bulk": 999}, ["999 runs a second in bulk, not 1,000."]),
        ({"p99_ms": 100}, ["p99 100 ms at 50 a second, not below 100."]),
    ],
)
def test_a_strict_load_test_says_what_is_too_slow(
    figures: dict[str, float], said: list[str]
) -> None:
    assert too_slow(**{"accepted": 150, "in_bulk": 1000, "p99_ms": 99, **figures}) == said
