"""The node as a real process, with real signals: alone, among others, killed, frozen, drained."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import Count, F

from scheduler_app import lifecycle
from scheduler_app.lifecycle import Run, Selection
from scheduler_app.models import BulkOperation, Execution, Gap, Job, Node, NodeState, Status

from .conftest import DEADLINE_S, wait_for

EVERY_SECOND = "* * * * * *"


def lines(path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def verdicts(job: Job) -> Counter:
    """How many verdicts each fire time of an every-second job has, between its first and its last execution."""
    fired = list(job.executions.filter(trigger="schedule").values_list("scheduled_for", flat=True))
    counts = Counter(dict.fromkeys(_seconds(min(fired), max(fired)), 0))
    counts.update(fired)
    for gap in job.gaps.all():
        counts.update(moment for moment in _seconds(gap.first_at, gap.last_at) if moment in counts)
    return counts


def _seconds(first, last):
    while first <= last:
        yield first
        first += timedelta(seconds=1)


def test_a_job_fires_every_second_never_early_and_its_outcome_is_stored(start_node, make_job):
    job = make_job("add", {"a": 2, "b": 3}, schedule=EVERY_SECOND, on_overlap="allow")
    start_node()

    wait_for(lambda: job.executions.filter(status="succeeded").count() >= 5, what="5 runs")

    assert set(verdicts(job).values()) == {1}
    run = job.executions.filter(status="succeeded").latest("scheduled_for")
    assert run.result == 5
    assert run.node.name == "node-1"
    assert run.attempt == 1
    assert not Execution.objects.filter(started_at__lt=F("scheduled_for")).exists()


def test_three_nodes_share_the_work_and_no_fire_time_runs_twice(start_node, make_job):
    jobs = [
        make_job(schedule=EVERY_SECOND, on_overlap="allow", name=f"shared {number}")
        for number in range(30)
    ]
    nodes = [start_node("--threads", "4", ready=False) for _ in range(3)]
    for node in nodes:
        node.wait_ready()

    wait_for(
        lambda: Execution.objects.filter(status="succeeded").values("node").distinct().count() == 3,
        what="work on all three nodes",
    )
    seen = Execution.objects.count()
    wait_for(lambda: Execution.objects.count() > seen + 100, what="100 more runs")

    for job in jobs:
        assert set(verdicts(job).values()) == {1}


def test_what_a_killed_node_held_runs_again_and_the_others_go_on(
    start_node, make_job, tmp_path, finished
):
    path = tmp_path / "side.log"
    ticking = make_job(schedule=EVERY_SECOND, on_overlap="allow")
    held = make_job("note_slowly", {"path": str(path), "seconds": 5}, timeout_s=60)
    nodes = {node.name: node for node in (start_node(), start_node())}
    [execution] = lifecycle.run_now([held.pk], by="tester")
    wait_for(lambda: lines(path), what="the beginning of the slow run")
    execution.refresh_from_db()
    victim = nodes.pop(execution.node.name)

    victim.signal(signal.SIGKILL)

    execution = finished(execution)
    assert execution.status == Status.SUCCEEDED
    assert (execution.crashes, execution.attempt) == (1, 1)
    assert execution.node.name in nodes
    assert [entry["reason"] for entry in execution.failures] == ["node_died"]
    assert victim.row.state == NodeState.DEAD
    assert [line.split()[-1] for line in lines(path)] == ["began", "began", "ended"]
    before = ticking.executions.count()
    wait_for(lambda: ticking.executions.count() > before + 2, what="more ticks")
    assert set(verdicts(ticking).values()) == {1}


def test_a_frozen_node_is_replaced_and_cannot_write_when_it_wakes(
    start_node, make_job, tmp_path, finished
):
    path = tmp_path / "side.log"
    held = make_job("note_slowly", {"path": str(path), "seconds": 5}, timeout_s=60)
    frozen = start_node()
    [execution] = lifecycle.run_now([held.pk], by="tester")
    wait_for(lambda: lines(path), what="the beginning of the run")
    frozen.signal(signal.SIGSTOP)
    start_node()
    execution = finished(execution)
    outcome = (execution.status, execution.token, execution.finished_at, execution.node_id)

    frozen.signal(signal.SIGCONT)

    assert frozen.wait_exit() == 75
    assert "declared dead" in frozen.log
    execution.refresh_from_db()
    assert outcome == (
        execution.status,
        execution.token,
        execution.finished_at,
        execution.node_id,
    )
    assert execution.node.name == "node-2"


def test_sigterm_lets_running_work_finish(start_node, make_job, tmp_path, finished):
    path = tmp_path / "side.log"
    job = make_job("note_slowly", {"path": str(path), "seconds": 1.5})
    node = start_node()
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: lines(path), what="the beginning of the run")

    node.signal(signal.SIGTERM)

    assert node.wait_exit() == 0
    execution = finished(execution)
    assert (execution.status, execution.result) == (Status.SUCCEEDED, "ended")
    assert node.row.state == NodeState.STOPPED


@pytest.mark.parametrize("task", ["note_slowly", "sleep_deaf"])
def test_a_second_signal_hands_back_at_once_and_uncounted(start_node, make_job, tmp_path, task):
    path = str(tmp_path / "side.log")
    arguments = {"seconds": 600} | ({"path": path} if task == "note_slowly" else {})
    job = make_job(task, arguments)
    node = start_node()
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: Execution.objects.exclude(started_at=None).exists(), what="the run")

    node.signal(signal.SIGINT)
    wait_for(lambda: node.row.state == NodeState.DRAINING, what="the draining")
    node.signal(signal.SIGINT)

    assert node.wait_exit() == 0
    execution.refresh_from_db()
    assert execution.status in (Status.READY, Status.SUCCEEDED)
    if task == "sleep_deaf":
        assert (execution.status, execution.attempt, execution.crashes) == (Status.READY, 0, 0)


def test_what_outlasts_the_drain_is_handed_back(start_node, make_job):
    job = make_job("sleep_deaf", {"seconds": 600})
    node = start_node(drain_timeout=0.5, kill_grace=0.5)
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: Execution.objects.exclude(started_at=None).exists(), what="the run")

    node.signal(signal.SIGTERM)

    assert node.wait_exit() == 0
    execution.refresh_from_db()
    assert (execution.status, execution.reason) == (Status.READY, "drained")
    assert (execution.attempt, execution.crashes, execution.node_id) == (0, 0, None)


def test_a_node_is_drained_from_elsewhere(start_node, make_job, tmp_path, finished):
    path = tmp_path / "side.log"
    job = make_job("note_slowly", {"path": str(path), "seconds": 1.5}, on_overlap="allow")
    # Beats so rarely that only a notification can bring it the news in time.
    node = start_node(lease=300, poll_interval=100)
    wait_for(lambda: node.row.listening, what="the listener")
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: lines(path), what="the beginning of the run")

    assert lifecycle.drain_node(node.row.pk, by="ana")
    [late] = lifecycle.run_now([job.pk], by="tester")

    assert node.wait_exit() == 0
    assert finished(execution).status == Status.SUCCEEDED
    late.refresh_from_db()
    assert (late.status, late.attempt) == (Status.READY, 0)
    assert (node.row.state, node.row.state_reason) == (NodeState.STOPPED, "drained, as ana asked")


def test_the_first_signal_after_a_request_to_drain_does_not_hurry(
    start_node, make_job, tmp_path, finished
):
    path = tmp_path / "side.log"
    job = make_job("note_slowly", {"path": str(path), "seconds": 2})
    node = start_node()
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: lines(path), what="the beginning of the run")
    lifecycle.drain_node(node.row.pk, by="ana")
    wait_for(lambda: "asked from elsewhere" in node.log, what="the request")

    node.signal(signal.SIGTERM)

    assert node.wait_exit() == 0
    assert finished(execution).result == "ended"


def test_a_node_may_be_given_a_drain_timeout_of_its_own(start_node, make_job):
    job = make_job("sleep_deaf", {"seconds": 600})
    node = start_node("--drain", "0", kill_grace=0.1)
    [execution] = lifecycle.run_now([job.pk], by="tester")
    wait_for(lambda: Execution.objects.filter(status="running").exists(), what="the run")

    node.signal(signal.SIGTERM)

    assert node.wait_exit() == 0
    execution.refresh_from_db()
    assert (execution.status, execution.reason) == (Status.READY, "drained")


def test_a_draining_node_takes_nothing_new(start_node, make_job, tmp_path):
    slow = make_job("note_slowly", {"path": str(tmp_path / "a"), "seconds": 3})
    late = make_job("note", {"path": str(tmp_path / "b")})
    node = start_node()
    lifecycle.run_now([slow.pk], by="tester")
    wait_for(lambda: lines(tmp_path / "a"), what="the slow run")
    node.signal(signal.SIGTERM)
    wait_for(lambda: node.row.state == NodeState.DRAINING, what="the draining")

    lifecycle.run_now([late.pk], by="tester")

    assert node.wait_exit() == 0
    assert lines(tmp_path / "b") == []


def test_a_node_takes_only_its_queues(start_node, make_job, finished):
    mail = make_job(queue="mail", name="mail")
    other = make_job(queue="other", name="other")
    start_node("--queues", "mail, reports")
    [left], [taken] = (lifecycle.run_now([job.pk], by="tester") for job in (other, mail))

    assert finished(taken).status == Status.SUCCEEDED
    left.refresh_from_db()
    assert left.status == Status.READY


def test_a_higher_priority_starts_first(start_node, make_job, tmp_path):
    path = tmp_path / "side.log"
    jobs = [
        make_job("note", {"path": str(path), "text": str(priority)}, priority=priority)
        for priority in (-100, 0, 7, 100)
    ]
    lifecycle.run_now([job.pk for job in jobs], by="tester")

    start_node("--threads", "1")

    wait_for(lambda: len(lines(path)) == 4, what="four runs")
    assert [line.split()[-1] for line in lines(path)] == ["100", "7", "0", "-100"]


def test_run_now_is_picked_up_long_before_the_next_poll(start_node, make_job, finished):
    job = make_job()
    node = start_node(poll_interval=100, lease=300)
    wait_for(lambda: node.row.listening, what="the listener")
    began = time.monotonic()

    [execution] = lifecycle.run_now([job.pk], by="tester")

    finished(execution)
    assert time.monotonic() - began < 90


@pytest.mark.parametrize("options", [{}, {"pooled": 1}], ids=["listening", "pooled"])
def test_short_runs_that_wait_for_each_other_do_not_wait_for_the_tick(
    start_node, make_job, options
):
    """Ticks, one a second, would take twice as long for them as there is time."""
    runs = int(2 * DEADLINE_S)
    job = make_job()
    start_node(**options)

    lifecycle.run_many([Run(job.pk)] * runs, by="tester")

    done = job.executions.filter(status=Status.SUCCEEDED)
    wait_for(lambda: done.count() == runs, what=f"{runs} runs, one after another")


def test_polling_alone_is_enough_behind_a_pooler(start_node, make_job, finished):
    job = make_job()
    node = start_node(pooled=1)

    [execution] = lifecycle.run_now([job.pk], by="tester")

    assert finished(execution).status == Status.SUCCEEDED
    assert not node.row.listening
    assert "not listening" in node.log


def test_a_node_goes_on_when_its_connections_are_cut(start_node, make_job, tmp_path, finished):
    path = tmp_path / "side.log"
    ticking = make_job(schedule=EVERY_SECOND, on_overlap="allow")
    slow = make_job("note_slowly", {"path": str(path), "seconds": 1.5})
    node = start_node()
    [execution] = lifecycle.run_now([slow.pk], by="tester")
    wait_for(lambda: lines(path), what="the slow run")

    for _ in range(5):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE application_name LIKE 'scheduler %%' AND datname = current_database()
                """
            )
        time.sleep(0.2)

    execution = finished(execution)
    assert (execution.status, execution.crashes) == (Status.SUCCEEDED, 0)
    before = ticking.executions.filter(status="succeeded").count()
    wait_for(
        lambda: ticking.executions.filter(status="succeeded").count() > before + 2, what="ticks"
    )
    assert set(verdicts(ticking).values()) == {1}
    assert node.process.poll() is None
    assert "Traceback" not in node.log


def test_without_a_database_it_waits_and_says_so_in_one_line(start_node, process_env):
    node = start_node(
        ready=False, env={"DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/nothing"}
    )
    wait_for(lambda: "database trouble" in node.log, what="the sentence")
    time.sleep(1.5)

    trouble = [line for line in node.log.splitlines() if "database trouble" in line]
    assert len(trouble) == 1, node.log
    assert "Traceback" not in node.log
    assert "secret" not in node.log
    assert node.process.poll() is None
    node.signal(signal.SIGTERM)
    assert node.wait_exit() == 0


def test_a_node_that_starts_before_the_tables_says_what_to_do(start_node, transactional_db):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE scheduler_app_node RENAME TO scheduler_app_node_away")
    try:
        node = start_node(ready=False)
        wait_for(lambda: "manage.py migrate" in node.log, what="the advice")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE scheduler_app_node_away RENAME TO scheduler_app_node")
    node.wait_ready()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--threads", "0"], "--threads"),
        (["--threads", "many"], "--threads"),
        (["--queues", " , "], "--queues"),
        (["--name", "x" * 101], "--name"),
        (["--drain", "-1"], "--drain"),
        (["--drain", "nan"], "--drain"),
    ],
)
def test_a_wrong_option_is_named(process_env, arguments, word):
    answer = subprocess.run(
        [sys.executable, "manage.py", "runscheduler", *arguments],
        cwd=settings.BASE_DIR,
        env=process_env,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert answer.returncode != 0
    assert word in answer.stderr
    assert "Traceback" not in answer.stderr


def test_restarting_a_node_is_a_new_row_and_it_goes_on(start_node, make_job):
    job = make_job(schedule=EVERY_SECOND, on_overlap="allow")
    # On a slow machine a restart takes longer than what is not yet missed.
    first = start_node(misfire_after=60)
    wait_for(lambda: job.executions.filter(status="succeeded").count() >= 2, what="two runs")
    first.signal(signal.SIGTERM)
    first.wait_exit()
    seen = job.executions.count()

    start_node(misfire_after=60)

    wait_for(
        lambda: job.executions.filter(status="succeeded").count() >= seen + 3, what="more runs"
    )
    assert set(verdicts(job).values()) == {1}
    assert Node.objects.aggregate(rows=Count("pk"))["rows"] == 2
    assert not Gap.objects.filter(reason="coalesced").exists()


def test_a_node_does_what_the_web_left_of_a_bulk_operation(start_node, make_job):
    job = make_job("echo", max_running=50)
    failed = [
        Execution(
            job=job,
            revision=job.revisions.get(),
            trigger="manual",
            scheduled_for=job.created_at,
            run_after=job.created_at,
            status="failed",
            finished_at=job.created_at,
        )
        for _ in range(700)
    ]
    Execution.objects.bulk_create(failed)
    start_node()

    key = uuid4()
    lifecycle.start_bulk(key, "retry", Selection(jobs=(job.pk,)), by="ana", budget_s=0)

    operation = BulkOperation.objects.get()
    wait_for(lambda: operation.refresh_from_db() or operation.finished_at, what="all retries")
    assert operation.changed == 700
    wait_for(lambda: not job.executions.exclude(status="succeeded").exists(), what="their ends")
