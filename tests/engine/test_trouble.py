"""Database trouble on real nodes: stalls, outages, refusals, jumps of the clock, deaf connections."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import errors

from scheduler_app import lifecycle
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.trouble import DEAF, Trouble, trouble_of
from scheduler_app.engine.watchdog import Watchdog
from scheduler_app.management.drill.proxy import Proxy
from scheduler_app.models import Execution, LogChunk, Node, NodeState, Status
from tests.lifecycle.support import replace_clock

from .conftest import wait_for


@pytest.fixture
def proxy(transactional_db) -> Iterator[Proxy]:
    connection.ensure_connection()
    info = connection.connection.info
    is_local = info.host.startswith("/")
    target = f"{info.host}/.s.PGSQL.{info.port}" if is_local else (info.host, info.port)
    opened = Proxy(target)
    yield opened
    opened.close()


@pytest.fixture
def proxy_url(proxy: Proxy) -> str:
    given = connection.settings_dict
    user = ":".join(quote(given[name], safe="") for name in ("USER", "PASSWORD") if given[name])
    return f"postgresql://{user}@127.0.0.1:{proxy.port}/{given['NAME']}"


# --- Calls that bring no answer -----------------------------------------------------------------


def test_a_call_without_an_answer_is_cut_at_its_deadline(proxy, proxy_url):
    """Proves I38."""
    watchdog = Watchdog()
    with psycopg.connect(proxy_url, autocommit=True) as opened:
        with watchdog.within(60, opened) as patient:
            opened.execute("SELECT 1")
        proxy.stall()
        began = time.monotonic()

        with pytest.raises(psycopg.OperationalError), watchdog.within(0.5, opened) as call:
            opened.execute("SELECT 1")

        assert (call.was_cut, patient.was_cut) == (True, False)
        assert time.monotonic() - began < 30


def test_a_stalled_node_stops_what_it_runs_before_others_may_run_it(
    start_node, make_job, proxy, proxy_url, tmp_path, finished
):
    """Proves I11."""
    path, pid = tmp_path / "side.log", tmp_path / "pid"
    cooperating = make_job("note_slowly", {"path": str(path), "seconds": 600}, timeout_s=900)
    own_process = make_job("tell_pid_and_sleep", {"path": str(pid)}, timeout_s=900)
    own_process.isolation = "process"
    lifecycle.save_job(own_process, by="tester")
    stalled = start_node(lease=4, env={"DATABASE_URL": proxy_url})
    lifecycle.run_now([cooperating.pk, own_process.pk], by="tester")
    wait_for(lambda: path.exists() and pid.exists() and pid.read_text(), what="both runs")
    child = int(pid.read_text())

    proxy.stall()

    wait_for(lambda: "what runs is asked to stop running=2" in stalled.log, what="the fence")
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), what="the end of the child")
    assert set(Execution.objects.values_list("status", flat=True)) == {Status.RUNNING}
    start_node(lease=4)
    wait_for(lambda: stalled.row.state == NodeState.DEAD, what="the burial")
    proxy.flow()
    assert stalled.wait_exit() == 75
    assert "state=stalled" in stalled.log


def test_an_outage_of_everything_runs_nothing_again(
    start_node, make_job, proxy, proxy_url, finished
):
    """Proves I37: leases that ended meanwhile are renewed before anybody takes them over."""
    job = make_job("sleep_deaf", {"seconds": 9}, on_overlap="allow")
    options = {"lease": 3, "outage_grace": 10, "env": {"DATABASE_URL": proxy_url}}
    nodes = [start_node("--threads", "1", ready=False, **options) for _ in range(2)]
    for node in nodes:
        node.wait_ready()
    runs = lifecycle.run_now([job.pk], by="tester") + lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: Execution.objects.filter(status="running").count() == 2, what="both runs")

    proxy.refuse()
    time.sleep(5)
    proxy.accept()

    for run in map(finished, runs):
        assert (run.status, run.attempt, run.crashes) == (Status.SUCCEEDED, 1, 0)
        assert run.failures == []
    assert set(Node.objects.values_list("state", flat=True)) == {NodeState.ACTIVE}


def test_a_jump_of_the_databases_clock_buries_nobody(start_node, make_job):
    """Proves I8b."""
    nodes = [start_node(ready=False, lease=3, outage_grace=2) for _ in range(2)]
    for node in nodes:
        node.wait_ready()
    try:
        for hours in (1, 2, 3):
            replace_clock(f"SELECT statement_timestamp() + interval '{hours} hours'")
            ticks = dict(Node.objects.values_list("pk", "last_tick_at"))
            wait_for(
                lambda ticks=ticks: all(
                    node.last_tick_at > ticks[node.pk] for node in Node.objects.all()
                ),
                what="a sweep of both",
            )
        assert set(Node.objects.values_list("state", flat=True)) == {NodeState.ACTIVE}
        assert any("clock leapt" in node.log for node in nodes)
    finally:
        replace_clock("SELECT statement_timestamp()")


# --- Refusals have names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "name", "advice"),
    [
        (errors.ReadOnlySqlTransaction("cannot execute"), "read_only", "standby"),
        (errors.UndefinedTable("no table"), "missing_migration", "manage.py migrate"),
        (errors.UndefinedColumn("no column"), "missing_migration", "manage.py migrate"),
        (errors.InsufficientPrivilege("denied"), "no_permission", "Grant"),
        (errors.DiskFull("could not extend file"), "disk_full", "Make room"),
        (errors.TooManyConnections("sorry"), "too_many_connections", "max_connections"),
        (
            psycopg.OperationalError("FATAL:  sorry, too many clients already"),
            *("too_many_connections",) * 2,
        ),
        (psycopg.OperationalError("password authentication failed"), "no_permission", "password"),
        (psycopg.OperationalError("connection refused"), "unreachable", "refused"),
        (errors.AdminShutdown("terminating"), "unreachable", "terminating"),
        (errors.LockNotAvailable("lock"), "locked", "lock"),
        (errors.QueryCanceled("timeout"), "slow", "timeout"),
        (psycopg.InternalError("broken"), "error", "broken"),
    ],
)
def test_trouble_has_a_name_and_says_what_to_do(error, name, advice):
    trouble = trouble_of(error)

    assert trouble.name == name
    if name != "too_many_connections":
        assert advice in trouble.sentence


def test_a_full_disk_is_shown_and_outcomes_are_recorded_nevertheless(
    start_node, make_job, finished
):
    """Proves I39: what only needs an update goes on, the log comes when there is room."""
    node = start_node()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
            CREATE TRIGGER disk_is_full BEFORE INSERT ON scheduler_app_logchunk
            FOR EACH ROW EXECUTE FUNCTION disk_is_full();
            """
        )
    try:
        job = make_job("print_much", {"lines": 2, "text": "kept"})
        [execution] = lifecycle.run_now([job.pk], by="tester")

        execution = finished(execution)

        assert execution.status == Status.SUCCEEDED
        wait_for(lambda: node.row.trouble == "disk_full", what="the word for it")
        assert "Make room" in node.row.trouble_note
        assert "state=disk_full" in node.log
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "DROP TRIGGER disk_is_full ON scheduler_app_logchunk; DROP FUNCTION disk_is_full()"
            )

    def log() -> str:
        return "".join(chunk.text for chunk in LogChunk.objects.filter(execution=execution))

    wait_for(lambda: log() == "kept 0\nkept 1\n", what="the log")
    wait_for(lambda: node.row.trouble == "", what="the end of the trouble")


# --- Parts that hang, ears that do not hear -------------------------------------------------------


def test_a_deaf_listener_is_noticed_and_shown_and_nothing_waits_for_it(
    start_node, make_job, proxy, proxy_url, finished
):
    proxy.deafen("scheduler listener")
    node = start_node(env={"DATABASE_URL": proxy_url})
    [execution] = lifecycle.run_now([make_job().pk], by="tester")

    assert finished(execution).status == Status.SUCCEEDED
    wait_for(lambda: node.row.trouble == DEAF, what="the word for it")
    assert "only polls" in node.row.trouble_note
    assert not node.row.listening

    proxy.deafen()
    proxy.cut()
    wait_for(lambda: node.row.listening, what="ears")
    wait_for(lambda: node.row.trouble == "", what="the end of the trouble")


def test_a_part_that_misses_three_turns_is_late(monkeypatch):
    monkeypatch.setattr("scheduler_app.engine.gauges.SLACK_S", 0.0)
    gauges = Gauges()
    gauges.turned("quick", 0.0)
    gauges.turned("slow", 100.0)
    gauges.turned("done", 0.0)
    gauges.over("done")
    time.sleep(0.01)

    assert list(gauges.late()) == ["quick"]
    assert set(gauges.turn_ages()) == {"quick", "slow"}


def test_of_two_troubles_the_one_that_costs_more_than_time_is_told():
    gauges = Gauges()
    gauges.troubled("listener", Trouble(DEAF, "hears nothing"))
    gauges.troubled("recorder", Trouble("disk_full", "full"))
    assert gauges.trouble().name == "disk_full"

    gauges.troubled("recorder", None)

    assert gauges.trouble().name == DEAF


HANGING = """
import os, sys, time
import django
django.setup()
from django.core.management import call_command
from scheduler_app.engine import gauges, recorder
gauges.SLACK_S = 1.0
def hang_here(self):
    time.sleep(600)
recorder.Recorder._write_progress = hang_here
call_command("runscheduler", "--name", "hanging", "--drain", "0")
"""


def test_a_node_with_a_part_that_hangs_ends_to_be_started_again(process_env, tmp_path):
    """Proves I34."""
    log = tmp_path / "log"
    with log.open("w") as file:
        code = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HANGING)],
            cwd=settings.BASE_DIR,
            check=False,
            env=process_env | {"DJANGO_SETTINGS_MODULE": "tests.node_settings"},
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=120,
        ).returncode

    assert code == 75, log.read_text()
    assert "its part recorder has not completed a turn" in log.read_text()
    assert "hang_here" in log.read_text()
    assert Node.objects.get().state == NodeState.STOPPED
    assert "its part recorder" in Node.objects.get().state_reason


def test_a_node_whose_threads_are_stuck_ends_to_be_started_again(start_node, make_job):
    """Proves I32."""
    node = start_node("--threads", "2", kill_grace=0.1)
    job = make_job("sleep_deaf", {"seconds": 600}, timeout_s=0.2, on_overlap="allow")
    for _ in range(2):
        lifecycle.run_now([job.pk], by="tester")

    assert node.wait_exit() == 75
    assert "2 of 2 threads are stuck" in node.row.state_reason
    assert set(Execution.objects.values_list("reason", flat=True)) == {"timed_out"}


# --- Ends that lose nothing -----------------------------------------------------------------------


def test_what_could_not_be_written_before_the_end_is_written_by_the_next_node_of_the_host(
    start_node, make_job, proxy, proxy_url, tmp_path, finished
):
    """Proves I16."""
    path, spool = tmp_path / "side.log", tmp_path / "spool"
    job = make_job("note_slowly", {"path": str(path), "seconds": 5})
    node = start_node(lease=300, spool_directory=spool, env={"DATABASE_URL": proxy_url})
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(path.exists, what="the beginning of the run")
    proxy.refuse()
    node.signal(15)
    assert node.wait_exit() == 0
    [kept] = spool.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    execution.refresh_from_db()
    assert execution.status == Status.RUNNING
    token = execution.token

    start_node(lease=300, spool_directory=spool)

    execution = finished(execution)
    assert (execution.status, execution.result, execution.token) == (
        Status.SUCCEEDED,
        "ended",
        token,
    )
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["began", "ended"]
    wait_for(lambda: not list(spool.iterdir()), what="the file's end")


def test_what_may_run_once_at_most_is_lost_and_not_handed_back(start_node, make_job):
    job = make_job("sleep_deaf", {"seconds": 600}, guarantee="at_most_once")
    node = start_node("--drain", "0", kill_grace=0.1)
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: Execution.objects.exclude(started_at=None).exists(), what="the run")

    node.signal(15)

    assert node.wait_exit() == 0
    execution.refresh_from_db()
    assert (execution.status, execution.reason, execution.attempt) == (Status.LOST, "drained", 1)
