"""What a pool of threads begins, and what it does not."""

from __future__ import annotations

import queue
import time
from typing import Any

from scheduler_app.conf import SchedulerConfig
from scheduler_app.engine.children import Children
from scheduler_app.engine.database import DatabaseClock
from scheduler_app.engine.gauges import Gauges
from scheduler_app.engine.pool import Pool
from scheduler_app.lifecycle import HandBack

from .test_ready_queue import NOON, claimed

DEADLINE_S = 60.0


def test_what_was_claimed_before_the_lease_was_lost_does_not_begin():
    """Others may run it by now. Proves I11, as the fault F9 does with a network that stands still."""
    holding = [False]
    outcomes: queue.Queue[Any] = queue.Queue()
    clock = DatabaseClock()
    clock.set(NOON, time.monotonic())
    config, gauges = SchedulerConfig(), Gauges()
    pool = Pool(
        config,
        threads=1,
        node_name="a",
        clock=clock,
        children=Children(config, gauges),
        gauges=gauges,
        holds_lease=lambda: holding[0],
        on_outcome=outcomes.put,
        on_idle=lambda: None,
        on_worn_out=lambda: None,
    )
    pool.start()

    pool.queue.put([claimed(1)])
    assert outcomes.get(timeout=DEADLINE_S) == HandBack(1, 1, reason="fenced")

    holding[0] = True
    pool.queue.put([claimed(2)])
    # It has begun, and found that its target is unknown here.
    assert outcomes.get(timeout=DEADLINE_S).reason == "unknown_task"
    pool.close()
