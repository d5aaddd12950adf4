"""What a pool of threads begins, and what it does not."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from scheduler_app.conf import SchedulerConfig
from scheduler_app.engine.children import Child, Children
from scheduler_app.engine.database import DatabaseClock
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.pool import Pool
from scheduler_app.lifecycle import HandBack
from scheduler_app.rules.spec import JobSpec

from .conftest import wait_for
from .test_ready_queue import NOON, claimed

DEADLINE_S = 60.0

Outcomes = queue.Queue[Any]


@pytest.fixture
def outcomes() -> Outcomes:
    return queue.Queue()


@pytest.fixture
def start_pool(outcomes) -> Iterator[Callable[..., Pool]]:
    """Start pools of two threads that hand over to `outcomes`."""
    pools: list[Pool] = []

    def start(
        *, holds_lease: Callable[[], bool] = lambda: True, children: Children | None = None
    ) -> Pool:
        clock = DatabaseClock()
        clock.set(NOON, time.monotonic())
        config, gauges = SchedulerConfig(kill_grace=0.1), Gauges()
        pool = Pool(
            config,
            threads=2,
            node_name="a",
            clock=clock,
            children=children or Children(config, gauges),
            gauges=gauges,
            holds_lease=holds_lease,
            on_outcome=outcomes.put,
            on_idle=lambda: None,
            on_worn_out=lambda: None,
        )
        pools.append(pool)
        pool.start()
        return pool

    yield start
    for pool in pools:
        pool.close()


def test_what_was_claimed_before_the_lease_was_lost_does_not_begin(start_pool, outcomes):
    """Others may run it by now. Proves I11, as the fault F9 does with a network that stands still."""
    holding = [False]
    pool = start_pool(holds_lease=lambda: holding[0])

    pool.queue.put([claimed(1)])
    assert outcomes.get(timeout=DEADLINE_S) == HandBack(1, 1, reason="fenced")

    holding[0] = True
    pool.queue.put([claimed(2)])
    # It has begun, and found that its target is unknown here.
    assert outcomes.get(timeout=DEADLINE_S).reason == "unknown_task"


class SlowChildren(Children):
    """There is nothing to fork from until `there`."""

    def __init__(self) -> None:
        super().__init__(SchedulerConfig(), Gauges())
        self.there = threading.Event()
        self.waiting = threading.Semaphore(0)

    def child(self) -> Child:
        return SlowChild(self, 1)

    def prepare(self) -> Any:
        self.waiting.release()
        self.there.wait()


class SlowChild(Child):
    """It must never run."""

    def run(self, *given: object) -> Any:
        raise AssertionError("it began")


@pytest.fixture
def slow() -> Iterator[SlowChildren]:
    children = SlowChildren()
    yield children
    children.there.set()


def wanting_a_process(number: int, **fields: Any) -> Any:
    return replace(claimed(number), spec=JobSpec(isolation="process", **fields))


def test_what_waits_for_a_process_is_known_and_has_not_begun(start_pool, outcomes, slow):
    pool = start_pool(children=slow)
    pool.queue.put([wanting_a_process(1, timeout_s=0.001, guarantee="at_most_once")])
    slow.waiting.acquire(timeout=DEADLINE_S)

    assert pool.held() == {(1, 1)}
    wait_for(lambda: (pool.busy, pool.children) == (1, 1), what="the attempt")
    # Its time has not begun: nothing is shown, no timeout passes.
    pool.cancel([(1, 1)])
    time.sleep(0.5)
    assert pool.progress() == ([], [])
    assert pool.stuck == 0

    slow.there.set()
    assert outcomes.get(timeout=DEADLINE_S).status == "cancelled"
    wait_for(lambda: pool.busy == 0, what="its end")


def test_what_waits_for_a_process_until_the_lease_is_lost_does_not_begin(
    start_pool, outcomes, slow
):
    holding = [True]
    pool = start_pool(holds_lease=lambda: holding[0], children=slow)
    pool.queue.put([wanting_a_process(1, guarantee="at_most_once")])
    slow.waiting.acquire(timeout=DEADLINE_S)

    holding[0] = False
    slow.there.set()

    assert outcomes.get(timeout=DEADLINE_S) == HandBack(1, 1, reason="fenced")


def test_what_waits_for_a_process_when_the_node_ends_is_handed_back(start_pool, slow):
    pool = start_pool(children=slow)
    pool.queue.put([wanting_a_process(1, guarantee="at_most_once")])
    slow.waiting.acquire(timeout=DEADLINE_S)

    assert pool.abandon_all() == [HandBack(1, 1, reason="drained")]
