"""Hear that something happened, to look sooner than the poll interval. Losing it loses nothing but time."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import CHANNEL

from .database import DEADLINE_S, FIRST_BACKOFF_S, LONGEST_BACKOFF_S, connect
from .gauges import Gauges
from .threads import start_guarded
from .trouble import DEAF, Trouble, trouble_of
from .watchdog import watchdog

logger = logging.getLogger(__name__)

HEAR_S = 5.0
ECHO_INTERVAL_S = 30.0
ECHO_WITHIN_S = 10.0
"""How long a notification to itself may take until the listener is taken for deaf."""
ECHO = "echo "

LISTEN = sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL))

NOT_HEARD = "Notifications do not arrive, so the node only polls: {}"


class Deaf(Exception):
    """A notification to itself did not arrive."""


class Listener:
    """A thread with a connection that listens.

    A connection that listens may be deaf, behind a pooler or a firewall, and no call would fail. So the node sends
    itself a notification, at the start and twice a minute, over another connection. That also finds a connection whose
    end has vanished without a word; one that was closed is noticed at once.
    """

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        node_id: int,
        gauges: Gauges,
        on_notice: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        self._config = config
        self._own_echo = f"{ECHO}{node_id}"
        self._gauges = gauges
        self._on_change = on_change
        self._on_notice = on_notice
        self._closing = threading.Event()
        self._listening = False
        self._echo_at = math.inf
        """When the next notification to itself is to be sent, on the monotonic clock."""
        self._deaf_at = math.inf
        """When the one that was sent is overdue."""

    @property
    def is_listening(self) -> bool:
        """Whether notifications are known to arrive."""
        return self._listening

    def start(self) -> None:
        """Start the thread, unless a pooler stands between that would swallow every notification."""
        if self._config.pooled and not self._config.listen_url:
            logger.info(
                "not listening: a transaction pooler swallows notifications, so the node polls every %g s; "
                "set listen_url to a direct connection to be sooner",
                self._config.poll_interval,
            )
            return
        self._gauges.tried("listener", HEAR_S)
        start_guarded("listener", self._run, self._closing)

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()

    def take_echo(self) -> str | None:
        """The notification to send now, by a connection that does not listen; None when it is not time."""
        now = time.monotonic()
        if now < self._echo_at:
            return None
        self._echo_at = now + ECHO_INTERVAL_S
        self._deaf_at = now + ECHO_WITHIN_S
        return self._own_echo

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._closing.is_set():
            try:
                with connect(self._config, "listener", url=self._config.listen_url) as connection:
                    with watchdog.within(DEADLINE_S, connection):
                        connection.execute(LISTEN)
                    self._deaf_at = math.inf
                    self._echo_at = time.monotonic()
                    # What happened before the LISTEN made no sound.
                    self._on_notice("")
                    self._hear(connection)
                backoff_s = FIRST_BACKOFF_S
            except (psycopg.Error, Deaf) as error:
                why = trouble_of(error).sentence if isinstance(error, psycopg.Error) else str(error)
                logger.debug("the listener lost its connection: %s", why)
                self._gauges.troubled("listener", Trouble(DEAF, NOT_HEARD.format(why)))
                if self._listening:
                    backoff_s = FIRST_BACKOFF_S
                self._closing.wait(backoff_s)
                backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            finally:
                self._listening = False
                self._echo_at = math.inf
            self._gauges.tried("listener", HEAR_S)
        self._gauges.over("listener")

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        while not self._closing.is_set():
            for notice in connection.notifies(timeout=HEAR_S):
                self._take(notice.payload)
            if time.monotonic() > self._deaf_at:
                raise Deaf(f"one to itself did not arrive within {ECHO_WITHIN_S:g} s.")
            self._gauges.turned("listener", HEAR_S)

    def _take(self, payload: str) -> None:
        if not payload.startswith(ECHO):
            self._on_notice(payload)
        elif payload == self._own_echo:
            self._deaf_at = math.inf
            if not self._listening:
                self._listening = True
                self._gauges.troubled("listener", None)
                self._on_change()
