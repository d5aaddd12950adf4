"""What a turn of the loop asks of the database: one statement while there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest

from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.engine.children import Children
from scheduler_app.engine.database import DatabaseClock, Session
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.heartbeat import Heartbeat
from scheduler_app.engine.listener import Listener
from scheduler_app.engine.pool import Pool
from scheduler_app.engine.recorder import Recorder
from scheduler_app.engine.scheduler import Scheduler
from scheduler_app.engine.wake import Wake
from scheduler_app.lifecycle import Condition, SpecCache, notices
from scheduler_app.models import Execution, Job, JobPlan, database_now


class CountingSession(Session):
    """A session that counts what it is asked."""

    calls = 0

    def call(self, step):
        self.calls += 1
        return super().call(step)


@pytest.fixture
def session(transactional_db) -> Iterator[CountingSession]:
    session = CountingSession(get_config(), "scheduler", Gauges())
    yield session
    session.close()


@pytest.fixture
def scheduler(session: CountingSession) -> Scheduler:
    """The loop of a node whose threads were not started, so that nothing moves but by its turns."""
    config, gauges, clock, specs = get_config(), Gauges(), DatabaseClock(), SpecCache()

    def register(connection: psycopg.Connection) -> int:
        return lifecycle.register_node(
            connection, name="n", host="h", pid=1, release="", queues=(), threads=3
        )

    node_id = session.call(register)
    return Scheduler(
        config,
        node_id=node_id,
        queues=(),
        specs=specs,
        clock=clock,
        pool=Pool(
            config,
            threads=3,
            node_name="n",
            clock=clock,
            children=Children(config, gauges),
            gauges=gauges,
            holds_lease=lambda: True,
            on_outcome=lambda outcome: None,
            on_idle=lambda: None,
            on_worn_out=lambda: None,
        ),
        recorder=Recorder(
            config,
            specs,
            gauges=gauges,
            progress=lambda: ([], []),
            on_retry=lambda seconds: None,
        ),
        heartbeat=Heartbeat(
            config,
            node_id=node_id,
            gauges=gauges,
            clock=clock,
            condition=Condition,
            on_drain_requested=lambda by: None,
            on_declared_dead=lambda: None,
        ),
        listener=Listener(
            config,
            node_id=node_id,
            gauges=gauges,
            on_notice=lambda notice: None,
            on_change=lambda: None,
        ),
        session=session,
        wake=Wake(),
    )


def calls_of(turn: Callable[[], float], session: CountingSession) -> int:
    before = session.calls
    turn()
    return session.calls - before


def test_an_idle_turn_is_one_statement_with_all_chores_or_without(
    scheduler, session, make_job: Callable[..., Job]
):
    make_job(schedule="@yearly")
    assert calls_of(scheduler.turn, session) == 2  # looks, and plans the new job
    # The first turn looked round; at the next there is nothing to look for, and so on.
    assert [calls_of(scheduler.turn, session) for _ in range(3)] == [1, 1, 1]


def test_what_is_ready_costs_a_claim_and_what_is_running_costs_nothing(
    scheduler, session, make_job
):
    job = make_job(on_overlap="allow")
    scheduler.turn()
    lifecycle.run_now([job.pk], by="ann")
    assert calls_of(scheduler.turn, session) == 2
    assert Execution.objects.get().status == "running"
    assert calls_of(scheduler.turn, session) == 1


def test_due_jobs_cost_the_same_however_many_there_are(scheduler, session, make_job):
    for number in range(20):
        make_job(name=f"job {number}", schedule="* * * * * *", on_overlap="allow")
    scheduler.turn()
    moment = database_now().replace(microsecond=0)
    JobPlan.objects.update(next_fire_at=moment, decided_until=moment - timedelta(seconds=1))
    # Looks, fires, claims; and tells the others when more is due than it can start.
    assert calls_of(scheduler.turn, session) in (3, 4)
    assert Execution.objects.count() >= 20


def test_what_was_claimed_ahead_does_not_begin_once_its_job_is_paused(scheduler, make_job):
    """Proves I4 for what waits on a node: its threads were not started, so all of it was claimed ahead."""
    paused, going_on = (make_job(name=name, on_overlap="allow") for name in ("a", "b"))
    scheduler.turn()
    for job in (paused, going_on):
        Execution.objects.filter(
            pk__in=[run.pk for run in lifecycle.run_now([job.pk], by="ann")]
        ).update(trigger="schedule")
    scheduler.turn()
    assert set(Execution.objects.values_list("status", flat=True)) == {"running"}

    lifecycle.pause([paused.pk], by="ann")
    scheduler.heard(notices.PLAN)
    scheduler.turn()

    assert scheduler._pool.queue.waiting() == [going_on.executions.get().pk]
    assert scheduler._recorder.held() == {(paused.executions.get().pk, 1)}
