"""Say every few seconds that the node lives, on a connection that nothing else can keep busy."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg

from scheduler_app import lifecycle
from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import Condition, Contact

from .database import DatabaseClock, Session, Unavailable
from .gauges import Gauges
from .threads import start_guarded
from .wake import Wake

logger = logging.getLogger(__name__)

FENCE_MARGIN_S = 1.0
DEADLINE_S = 5.0
CONNECT_TIMEOUT_S = 3
LONGEST_BACKOFF_S = 1.0
"""Quicker than the other parts: after an outage a lease is renewed before anybody may take it over. The three together
are less than the outage grace."""


class Heartbeat:
    """A thread that keeps the node's lease."""

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        node_id: int,
        gauges: Gauges,
        clock: DatabaseClock,
        condition: Callable[[], Condition],
        on_drain_requested: Callable[[str], None],
        on_declared_dead: Callable[[], None],
    ) -> None:
        self._config = config
        self._node_id = node_id
        self._clock = clock
        self._condition = condition
        self._on_drain_requested = on_drain_requested
        self._on_declared_dead = on_declared_dead
        self._gauges = gauges
        self._session = Session(
            config,
            "heartbeat",
            gauges,
            deadline_s=min(DEADLINE_S, config.lease / 3),
            connect_timeout_s=CONNECT_TIMEOUT_S,
            longest_backoff_s=LONGEST_BACKOFF_S,
        )
        self._closing = threading.Event()
        self._wake = Wake()
        self._draining = False
        self._trusted_from = time.monotonic()

    @property
    def holds_lease(self) -> bool:
        """Whether others must regard this node as alive, on the safe side: counted from before the last answer."""
        age = time.monotonic() - self._trusted_from
        return age < self._config.lease - FENCE_MARGIN_S

    def start(self) -> None:
        """Start the thread."""
        self._thread = start_guarded("heartbeat", self._run, self._closing)

    def drain(self) -> None:
        """Let the node's row say that it drains."""
        self._draining = True
        self.beat_soon()

    def beat_soon(self) -> None:
        """Do not wait for the interval: there is something to say."""
        self._wake.call()

    def close(self) -> None:
        """Stop saying so."""
        self._closing.set()
        self._wake.call()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._gauges.tried("heartbeat", self._config.heartbeat_interval)
            asked = time.monotonic()
            try:
                contact = self._session.call(self._beat)
            except Unavailable:
                self._session.back_off(self._closing)
                continue
            if contact is None:
                if not self._closing.is_set():
                    self._on_declared_dead()
                break
            self._gauges.turned("heartbeat", self._config.heartbeat_interval)
            self._trusted_from = asked
            self._clock.set(contact.now, asked)
            if contact.drain_requested:
                self._on_drain_requested(contact.drain_requested_by)
            self._wake.sleep(self._config.heartbeat_interval)
        self._session.close()
        self._gauges.over("heartbeat")

    def _beat(self, connection: psycopg.Connection[Any]) -> Contact | None:
        condition = replace(self._condition(), draining=self._draining)
        return lifecycle.heartbeat(connection, self._node_id, condition)
