"""What a turn of the loop, and each other part of a node, asks of the database: hardly anything while there is nothing to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import psycopg
import pytest

from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.engine import database
from scheduler_app.engine import listener as listening
from scheduler_app.engine.children import Children
from scheduler_app.engine.database import DatabaseClock, Session, connect
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.heartbeat import Heartbeat
from scheduler_app.engine.listener import Listener
from scheduler_app.engine.pool import Pool
from scheduler_app.engine.recorder import Recorder
from scheduler_app.engine.scheduler import FIRST_BATCH, HOUSEKEEPING_INTERVAL_S, Scheduler
from scheduler_app.engine.upkeep import INTERVAL_S, Upkeep
from scheduler_app.engine.wake import Wake
from scheduler_app.lifecycle import Condition, SpecCache, notices, verdicts
from scheduler_app.models import Execution, Job, JobPlan, database_now
from tests.wire import Sent, sent_by

from .conftest import wait_for

MINUTE = timedelta(minutes=1)


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
    listener = Listener(
        config,
        node_id=node_id,
        gauges=gauges,
        on_notice=lambda notice: None,
        on_change=lambda: None,
    )
    listener._listening = True
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
        listener=listener,
        session=session,
        wake=Wake(),
    )


def make_planned_jobs(count: int) -> None:
    """Jobs that are due tomorrow, or when `make_due` says so."""
    Job.objects.bulk_create(
        Job(name=f"job {number}", schedule="* * * * * *", on_overlap="allow")
        for number in range(count)
    )
    JobPlan.objects.update(dirty=False, next_fire_at=database_now() + timedelta(days=1))


def make_due(jobs: int) -> None:
    moment = database_now().replace(microsecond=0)
    JobPlan.objects.filter(job__in=Job.objects.order_by("id")[:jobs]).update(
        next_fire_at=moment, decided_until=moment - timedelta(seconds=1)
    )


def put_off_chores(scheduler: Scheduler) -> None:
    """They have their second by the clock, and on a slow machine would come in the middle of what is looked at."""
    scheduler._next_housekeeping = time.monotonic() + 3600


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


def test_a_turn_that_promotes_is_followed_by_one_that_claims(scheduler, session, make_job):
    job = make_job()
    lifecycle.run_many([lifecycle.Run(job.pk)] * 2, by="ann")
    scheduler.turn()
    # Whoever ran it died before what waits for it was let go.
    job.executions.filter(status="running").update(status="succeeded", finished_at=database_now())
    scheduler._next_housekeeping = 0.0

    scheduler.turn()
    assert set(job.executions.values_list("status", flat=True)) == {"succeeded", "ready"}
    assert scheduler._wake.sleep(0)
    scheduler.turn()
    assert set(job.executions.values_list("status", flat=True)) == {"succeeded", "running"}


def test_due_jobs_cost_the_same_however_many_there_are(scheduler, session, make_job):
    make_planned_jobs(20)
    scheduler.turn()  # with the chores, so that the next has none
    make_due(20)
    # Looks, fires as many as it can start, and the others; and tells the other nodes of those.
    assert calls_of(scheduler.turn, session) in (3, 4, 5)
    assert Execution.objects.count() >= 20


def test_what_becomes_ready_while_a_node_fires_is_claimed_before_it_fires_on(
    scheduler, session, make_job, monkeypatch
):
    """The most urgent first: else it would wait for all that is due."""
    urgent = make_job(name="urgent", priority=100, on_overlap="allow")
    make_planned_jobs(60)
    scheduler.turn()  # with the chores, so that the next has none
    make_due(60)
    monkeypatch.setattr(scheduler, "_room", lambda: 10)
    step = lifecycle.fire_due_jobs
    batches: list[int] = []

    def fire_and_tell(*args: object, **options: object) -> lifecycle.Fired:
        if not batches:
            lifecycle.run_now([urgent.pk], by="ann")
            scheduler.heard(notices.READY)
        result = step(*args, **(options | {"limit": 10}))
        batches.append(result.jobs)
        return result

    monkeypatch.setattr(lifecycle, "fire_due_jobs", fire_and_tell)
    scheduler.turn()

    assert len(batches) > 3
    claimed = Execution.objects.exclude(claimed_at=None).order_by("-claimed_at")
    assert claimed.get(job=urgent).claimed_at < claimed[0].claimed_at


def make_due_once(jobs: int, **fields: object) -> None:
    """Jobs that are due now, and never again."""
    moment = database_now().replace(microsecond=0)
    others = Job.objects.count()
    created = Job.objects.bulk_create(
        Job(
            name=f"once {others + number}",
            schedule=f"@at {moment:%Y-%m-%dT%H:%M:%SZ}",
            on_overlap="allow",
            **fields,
        )
        for number in range(jobs)
    )
    JobPlan.objects.filter(job__in=created).update(
        dirty=False, next_fire_at=moment, decided_until=moment - timedelta(seconds=1)
    )


@pytest.fixture
def batches(scheduler, monkeypatch) -> list[list[object]]:
    """What happens in each batch that fires: when workers are woken, and when the statement that writes is sent."""
    scheduler.turn()
    put_off_chores(scheduler)
    monkeypatch.setattr(scheduler._pool, "_threads", 1000)
    scheduler._pool._measured.set()
    seen: list[list[object]] = []
    queue = scheduler._pool.queue
    step, execute, wake = lifecycle.fire_due_jobs, psycopg.Connection.execute, queue.wake

    def fire_and_note(*args: object, **options: object) -> lifecycle.Fired:
        seen.append([])
        fired = step(*args, **options)
        seen[-1].append(fired.jobs)
        return fired

    def wake_and_note() -> None:
        if queue._rests_until and seen:
            seen[-1].append("woken")
        wake()

    def execute_and_note(
        connection: psycopg.Connection, statement: str, *args: object, **options: object
    ):
        if statement == verdicts.WRITE_SQL:
            seen[-1].append("written")
        return execute(connection, statement, *args, **options)

    monkeypatch.setattr(lifecycle, "fire_due_jobs", fire_and_note)
    monkeypatch.setattr(queue, "wake", wake_and_note)
    monkeypatch.setattr(psycopg.Connection, "execute", execute_and_note)
    return seen


def test_what_a_batch_fired_begins_while_the_next_one_is_written(scheduler, batches):
    make_due_once(FIRST_BATCH + 50)

    scheduler.turn()

    first, second = batches
    assert first == ["written", FIRST_BATCH]
    # And of the last one, when it is the last.
    assert second == ["woken", "written", 50, "woken"]
    assert len(scheduler._pool.queue) == FIRST_BATCH + 50


def test_what_a_batch_fired_begins_before_the_next_one_that_cannot(scheduler, batches, monkeypatch):
    make_due_once(FIRST_BATCH + 50)
    monkeypatch.setattr(scheduler._pool, "_threads", FIRST_BATCH)

    scheduler.turn()

    first, second = batches
    assert first == ["written", FIRST_BATCH, "woken"]
    assert second == ["written", 50]


def test_what_a_batch_fired_begins_before_a_claim(scheduler, batches, monkeypatch):
    """The node looks for what it fired and did not take, and finds what has waited longer."""
    make_due_once(FIRST_BATCH)
    make_due_once(50, queue="of others")
    monkeypatch.setattr(scheduler, "_queues", ("default",))
    JobPlan.objects.filter(job__queue="of others").update(next_fire_at=database_now() - MINUTE)

    scheduler.turn()

    first, second = batches
    assert first == ["written", FIRST_BATCH, "woken"]
    assert second == ["written", 50, "woken"]
    assert len(scheduler._pool.queue) == FIRST_BATCH


def test_a_pause_between_two_batches_takes_back_what_has_not_begun(scheduler, batches, monkeypatch):
    make_due_once(FIRST_BATCH + 50)
    step = lifecycle.fire_due_jobs

    def pause_after_the_first(*args: object, **options: object) -> lifecycle.Fired:
        fired = step(*args, **options)
        if len(batches) == 1:
            lifecycle.pause_scope("all", by="ann")
            scheduler.heard(notices.PLAN)
        return fired

    monkeypatch.setattr(lifecycle, "fire_due_jobs", pause_after_the_first)
    scheduler.turn()

    assert len(scheduler._pool.queue) == 0
    assert len(scheduler._recorder.left()) == FIRST_BATCH


def test_a_node_that_ends_gives_back_what_it_never_heard_of(scheduler, session, make_job):
    """The answer of a commit was lost, and then it drains: its executions begin elsewhere, as if never taken."""
    job = make_job(on_overlap="allow", guarantee="at_most_once")
    scheduler.turn()
    lifecycle.run_now([job.pk], by="ann")
    scheduler.turn()
    assert Execution.objects.get().status == "running"
    scheduler._pool.queue.give_back(older_than_s=0)

    scheduler.give_back_strays_at_the_end()

    assert {(item.reason, item.id) for item in scheduler._recorder.left()} == {
        ("", Execution.objects.get().pk)
    }


# --- On the wire ------------------------------------------------------------------------------------


def sent_in(turn: Callable[[], object], session: Session) -> tuple[int, int]:
    """Statements and transactions of a turn."""
    with sent_by(session.call(lambda connection: connection)) as sent:
        turn()
    return sent.statements, sent.transactions


@contextmanager
def sent_by_new_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sent]]:
    """Counts what the connections that the engine opens inside send, from their first statement on."""
    found: list[Sent] = []
    with ExitStack() as stack:

        def connect(**parameters: object) -> psycopg.Connection:
            connection = psycopg.Connection.connect(**parameters)
            found.append(stack.enter_context(sent_by(connection)))
            return connection

        monkeypatch.setattr(database.psycopg, "connect", connect)
        yield found


def test_firing_one_job_and_firing_a_batch_is_as_many_statements(scheduler, session):
    scheduler.turn()
    counts = []
    for jobs in (1, FIRST_BATCH - 1, 500):
        # What is claimed waits for ever, as no thread was started.
        scheduler._pool.queue.give_back(older_than_s=0)
        make_due_once(jobs)
        put_off_chores(scheduler)
        counts.append(sent_in(scheduler.turn, session))

    assert Execution.objects.count() >= 500
    (one, one_transactions), (batch, batch_transactions), (many, many_transactions) = counts
    # As many as can start, then all others, or 200 and all others. The other nodes are told.
    assert one <= batch <= 2 * one + 6
    assert batch <= many <= 3 * one + 6
    assert batch_transactions <= 2 * one_transactions + 4
    assert many_transactions <= 3 * one_transactions + 4
    assert one <= 15
    assert one_transactions <= 3


def test_a_heartbeat_is_one_statement(scheduler, session):
    beat = scheduler._heartbeat._beat
    assert sent_in(lambda: session.call(beat), session) == (1, 1)


def test_listening_sends_nothing(transactional_db, monkeypatch):
    monkeypatch.setattr(listening, "HEAR_S", 0.01)
    gauges = Gauges()
    turns = []
    monkeypatch.setattr(gauges, "turned", lambda part, interval_s: turns.append(part))
    heard: list[str] = []
    listener = Listener(
        get_config(), node_id=1, gauges=gauges, on_notice=heard.append, on_change=lambda: None
    )
    with connect(get_config(), "listener") as ears, sent_by(ears) as sent:
        ears.execute(listening.LISTEN)
        thread = threading.Thread(target=listener._hear, args=(ears,), daemon=True)
        thread.start()
        wait_for(lambda: len(turns) > 5, what="turns of the listener")
        with connect(get_config(), "speaker") as speaker:
            notices.notify(speaker, notices.READY)
        wait_for(lambda: heard, what="a notification")
        listener.close()
        thread.join(60)

    assert heard == [notices.READY]
    assert sent.statements == 1  # LISTEN


def test_an_idle_minute_is_within_its_budget(scheduler, session, make_job, monkeypatch):
    """At most 90 transactions: one a second that looks, 20 heartbeats, and what little there is beside them."""
    config = get_config()
    make_job(schedule="@yearly")
    scheduler.turn()
    scheduler.turn()
    look = sent_in(scheduler.turn, session)
    beat = sent_in(lambda: session.call(scheduler._heartbeat._beat), session)
    with sent_by_new_connections(monkeypatch) as upkeep:
        part = Upkeep(config, Gauges())
        part._try(part._do_bulk)
        part._try(part._prune)
    part._session.close()

    assert look == beat == (1, 1)
    # Connects, looks for bulk operations, prunes.
    assert [sent.transactions for sent in upkeep] == [3]
    assert INTERVAL_S == 60
    a_minute = (
        60 / min(config.poll_interval, HOUSEKEEPING_INTERVAL_S)
        + 60 / config.heartbeat_interval
        + 60 / listening.ECHO_INTERVAL_S
        + upkeep[0].transactions
    )
    assert a_minute <= 86


@pytest.mark.parametrize("hears", [True, False])
def test_what_was_claimed_ahead_does_not_begin_once_its_job_is_paused(scheduler, make_job, hears):
    """Proves I4 for what waits on a node: its threads were not started, so all of it was claimed ahead.

    Where notifications do not arrive, each turn asks.
    """
    scheduler._listener._listening = hears
    paused, going_on = (make_job(name=name, on_overlap="allow") for name in ("a", "b"))
    scheduler.turn()
    for job in (paused, going_on):
        Execution.objects.filter(
            pk__in=[run.pk for run in lifecycle.run_now([job.pk], by="ann")]
        ).update(trigger="schedule")
    scheduler.turn()
    assert set(Execution.objects.values_list("status", flat=True)) == {"running"}

    lifecycle.pause([paused.pk], by="ann")
    if hears:
        scheduler.heard(notices.PLAN)
    scheduler.turn()

    assert scheduler._pool.queue.waiting() == [going_on.executions.get().pk]
    assert scheduler._recorder.held() == {(paused.executions.get().pk, 1)}
