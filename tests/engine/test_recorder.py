"""The recorder beside somebody who holds a job's plan."""

from __future__ import annotations

import time

import psycopg
import pytest

from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.engine import database
from scheduler_app.engine import recorder as recorder_module
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.recorder import Recorder
from scheduler_app.lifecycle import Claimed, Finished, HandBack, SpecCache
from scheduler_app.models import Execution, database_now

from .conftest import wait_for


@pytest.fixture
def connection(transactional_db):
    with database.connect(get_config(), "test") as connection:
        yield connection


@pytest.fixture
def told() -> list[float]:
    """In how many seconds something can be claimed, as the scheduler is told."""
    return []


@pytest.fixture
def recorder(transactional_db, told: list[float]) -> Recorder:
    """Not started yet."""
    return Recorder(
        get_config(),
        SpecCache(),
        gauges=Gauges(),
        progress=lambda: ([], []),
        on_retry=told.append,
    )


def claim_all(connection: psycopg.Connection) -> list[Claimed]:
    """What is ready, for a node of its own."""
    node_id = lifecycle.register_node(
        connection, name="n", host="h", pid=1, release="", queues=(), threads=3
    )
    return lifecycle.claim(connection, SpecCache(), node_id=node_id, limit=3)


def test_a_plan_that_somebody_holds_keeps_back_the_outcomes_of_that_job_alone(
    connection: psycopg.Connection, recorder: Recorder, make_job, monkeypatch
):
    monkeypatch.setitem(database.SESSION_SETTINGS, "lock_timeout", "200ms")
    jobs = [make_job(max_attempts=2, name=f"job {number}") for number in range(3)]
    lifecycle.run_now([job.pk for job in jobs], by="tester")
    claimed = claim_all(connection)
    now = database_now()
    recorder.start()
    with database.connect(get_config(), "holder") as holder, holder.transaction():
        holder.execute(
            "SELECT FROM scheduler_app_jobplan WHERE job_id = %s FOR UPDATE", [jobs[0].pk]
        )
        recorder.put(
            *(
                Finished(
                    id=item.id,
                    token=item.token,
                    attempt=1,
                    job_id=item.job_id,
                    status="failed",
                    started_at=now,
                    finished_at=now,
                    retry_s=60,
                )
                for item in claimed
            )
        )

        waiting = wait_for(
            lambda: (
                Execution.objects.filter(status="ready").count() == 2
                and Execution.objects.get(status="running")
            ),
            what="the outcomes of the other two jobs",
        )
        assert waiting.job_id == jobs[0].pk

    assert recorder.close(60)
    assert Execution.objects.filter(status="ready").count() == 3


def test_a_plan_that_somebody_holds_keeps_back_what_is_handed_back_of_that_job_alone(
    connection: psycopg.Connection, recorder: Recorder, make_job, monkeypatch
):
    monkeypatch.setitem(database.SESSION_SETTINGS, "lock_timeout", "200ms")
    jobs = [make_job(name=f"job {number}") for number in range(2)]
    lifecycle.run_now([job.pk for job in jobs], by="tester")
    held, free = sorted(
        claim_all(connection),
        key=lambda item: item.job_id != jobs[0].pk,
    )
    recorder.start()
    with database.connect(get_config(), "holder") as holder, holder.transaction():
        holder.execute(
            "SELECT FROM scheduler_app_jobplan WHERE job_id = %s FOR UPDATE", [jobs[0].pk]
        )
        recorder.put(HandBack(held.id, held.token), HandBack(free.id, free.token))
        wait_for(
            lambda: Execution.objects.get(pk=free.id).status == "ready",
            what="what is handed back of the other job",
        )
        assert Execution.objects.get(pk=held.id).status == "running"

    assert recorder.close(60)
    assert Execution.objects.filter(status="ready").count() == 2


def test_outcomes_wait_for_each_other_while_something_is_due_unless_somebody_waits_for_them(
    connection: psycopg.Connection, recorder: Recorder, make_job, monkeypatch
):
    monkeypatch.setattr(recorder_module, "GATHER_WHILE_FIRING_S", 3600)
    lifecycle.run_now([make_job(name="a").pk], by="tester")
    [held] = claim_all(connection)
    now = database_now()
    recorder.is_firing = True
    recorder.start()
    recorder.put(
        Finished(
            id=held.id,
            token=held.token,
            attempt=1,
            job_id=held.job_id,
            status="succeeded",
            started_at=now,
            finished_at=now,
        )
    )

    time.sleep(0.2)
    assert recorder.backlog == 1
    assert recorder.flush(30)

    assert Execution.objects.get().status == "succeeded"
    recorder.close(10)


def succeeded(claimed: Claimed) -> Finished:
    """A run of a job of the default overlap policy, over."""
    now = database_now()
    return Finished(
        id=claimed.id,
        token=claimed.token,
        attempt=claimed.attempt,
        job_id=claimed.job_id,
        status="succeeded",
        started_at=now,
        finished_at=now,
        limited=True,
    )


def test_what_waited_for_a_stored_outcome_is_ready_and_the_node_is_told_to_claim_it(
    connection: psycopg.Connection, recorder: Recorder, told, make_job
):
    job = make_job()
    lifecycle.run_many([lifecycle.Run(job.pk)] * 2, by="tester")
    [claimed] = claim_all(connection)
    recorder.start()

    recorder.put(succeeded(claimed))

    assert recorder.close(60)
    assert list(job.executions.order_by("id").values_list("status", flat=True)) == [
        *("succeeded", "ready")
    ]
    assert told == [0.0]


def test_what_waits_is_left_to_a_tick_while_somebody_holds_the_plan_and_nothing_else_waits_for_it(
    connection: psycopg.Connection, recorder: Recorder, told, make_job, caplog
):
    """The outcome itself is stored, and what waits for other outcomes begins: the lock is not waited for as others are."""
    held, free = make_job(), make_job()
    lifecycle.run_many([lifecycle.Run(job.pk) for job in (held, held, free, free)], by="tester")
    claimed = claim_all(connection)
    recorder.start()
    with database.connect(get_config(), "holder") as holder, holder.transaction():
        holder.execute("SELECT FROM scheduler_app_jobplan WHERE job_id = %s FOR UPDATE", [held.pk])

        recorder.put(*map(succeeded, claimed))

        assert recorder.close(60)
    assert [
        list(job.executions.order_by("id").values_list("status", flat=True)) for job in (held, free)
    ] == [["succeeded", "blocked"], ["succeeded", "ready"]]
    assert told == [0.0]
    assert "database trouble" not in caplog.text
