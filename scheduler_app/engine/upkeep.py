"""What can wait: bulk operations, old history, in batches that nobody notices, and new time zone data."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import psycopg

from scheduler_app import lifecycle
from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import Keep, Position, notices

from .database import Session, Unavailable
from .gauges import Gauges
from .threads import start_guarded
from .wake import Wake

logger = logging.getLogger(__name__)

INTERVAL_S = 60.0
BUDGET_S = 20.0
"""Of each interval, the time that pruning may take."""
DEADLINE_S = 60.0
FIRST_ROWS = 50
"""Before it is known how long they take: with a log of a megabyte each, a thousand take seconds."""
SMALLEST_ROWS = 10
"""Much of what a batch costs does not depend on its rows, so that fewer would only take the longer for all."""
BATCH_ROWS = 1000
BATCH_S = 0.1
PAUSE_S = 0.05
LOOK_AGAIN_S = 6 * 3600.0
"""After this long pruning begins from the oldest again, for what was kept when it came by: it still ran, say."""
DAY_S = 86_400


class Upkeep:
    """A thread that wakes once a minute, or when somebody asks for a bulk operation."""

    def __init__(self, config: SchedulerConfig, gauges: Gauges) -> None:
        self._config = config
        self._gauges = gauges
        self._session = Session(config, "upkeep", gauges, deadline_s=DEADLINE_S)
        self._closing = threading.Event()
        self._wake = Wake()
        self._next_prune = 0.0
        self._position = Position()
        self._limit = FIRST_ROWS
        self._look_again_at = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._gauges.tried("upkeep", INTERVAL_S + BUDGET_S)
        start_guarded("upkeep", self._run, self._closing)

    def close(self) -> None:
        """Stop after the current batch."""
        self._closing.set()
        self._wake.call()

    def heard(self, notice: str) -> None:
        """A notification arrived; called from the listener's thread."""
        if notice == notices.BULK:
            self._wake.call()

    def _run(self) -> None:
        checked_zones = False
        while not self._closing.is_set():
            if not checked_zones:
                checked_zones = self._try(self._check_zones)
            self._try(self._do_bulk)
            if time.monotonic() >= self._next_prune and self._try(self._prune):
                self._next_prune = time.monotonic() + INTERVAL_S
            # Its connection would idle for most of the time.
            self._session.close()
            self._gauges.turned("upkeep", INTERVAL_S + BUDGET_S)
            self._wake.sleep(INTERVAL_S)
        self._gauges.over("upkeep")

    def _try(self, step: Callable[[], None]) -> bool:
        """Whether it went well. One that fails must not keep the others from their turn."""
        try:
            step()
        except (Unavailable, psycopg.Error) as error:
            logger.warning("upkeep failed, trying again in %g s: %s", INTERVAL_S, error)
            return False
        return True

    def _do_bulk(self) -> None:
        while self._session.call(lifecycle.do_bulk_chunk):
            self._gauges.turned("upkeep", INTERVAL_S + BUDGET_S)
            if self._closing.wait(PAUSE_S):
                break

    def _check_zones(self) -> None:
        """Once in a process's life, which reads the zone data once: has another release moved fire times?"""
        replanned = self._session.call(lifecycle.replan_moved_zones)
        if replanned:
            logger.info("planned anew after a change of time zone data jobs=%s", replanned)

    def _prune(self) -> None:
        config = self._config
        keep = Keep(
            age_s=config.retention_days * DAY_S,
            audit_age_s=config.audit_retention_days * DAY_S,
            log_age_s=config.log_retention_days * DAY_S,
            count=config.retention_count,
        )
        began = time.monotonic()
        if began >= self._look_again_at:
            self._position = Position()
            self._look_again_at = began + LOOK_AGAIN_S
        self._position.boundaries = None
        executions = 0
        while time.monotonic() - began < BUDGET_S:
            batch_began = time.monotonic()
            try:
                removed = self._session.call(
                    partial(lifecycle.prune, keep=keep, position=self._position, limit=self._limit)
                )
            except (Unavailable, psycopg.Error) as error:
                if isinstance(error, Unavailable) and error.took_too_long:
                    # The same again would be so for ever.
                    self._limit = max(1, self._limit // 4)
                # What the batch had walked past it did not remove.
                self._position = Position()
                raise
            if removed is None:
                return
            self._limit = next_limit(self._limit, time.monotonic() - batch_began)
            executions += removed.executions
            self._gauges.turned("upkeep", INTERVAL_S + BUDGET_S)
            if not removed.more or self._closing.wait(PAUSE_S):
                break
        if executions:
            logger.info("pruned executions=%s", executions)


def next_limit(limit: int, took_s: float) -> int:
    """How many rows the next batch may have, when one of `limit` took so long."""
    fitting = int(limit * BATCH_S / max(took_s, 0.001))
    least = limit + 1 if took_s < BATCH_S else min(limit, SMALLEST_ROWS)
    return min(BATCH_ROWS, 4 * limit, max(least, fitting))
