"""Hear that something happened, to look sooner than the poll interval. Losing it loses nothing but time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import CHANNEL

from .database import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, connect
from .gauges import Gauges
from .threads import start_guarded
from .trouble import DEAF, Trouble, trouble_of

logger = logging.getLogger(__name__)

LISTEN = sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL))

NOT_HEARD = "Notifications do not arrive, so the node only polls: {}"


class Listener:
    """A thread with a connection that listens."""

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        gauges: Gauges,
        on_notice: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        self._config = config
        self._gauges = gauges
        self._on_change = on_change
        self._on_notice = on_notice
        self._closing = threading.Event()
        self._listening = False

    @property
    def is_listening(self) -> bool:
        """Whether notifications can arrive at this moment."""
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
        start_guarded("listener", self._run, self._closing)

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._closing.is_set():
            try:
                with connect(self._config, "listener", url=self._config.listen_url) as connection:
                    connection.execute(LISTEN)
                    self._listening = True
                    self._gauges.troubled("listener", None)
                    self._on_change()
                    backoff_s = FIRST_BACKOFF_S
                    # What happened before the LISTEN made no sound.
                    self._on_notice("")
                    self._hear(connection)
            except psycopg.Error as error:
                trouble = trouble_of(error)
                logger.debug("the listener lost its connection: %s", trouble.sentence)
                self._gauges.troubled("listener", Trouble(DEAF, NOT_HEARD.format(trouble.sentence)))
                self._closing.wait(backoff_s)
                backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            finally:
                self._listening = False
        self._gauges.over("listener")

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        while not self._closing.is_set():
            for notice in connection.notifies(timeout=5.0):
                self._on_notice(notice.payload)
            # Finds out that the connection is gone although nothing arrives.
            connection.execute("SELECT 1")
            self._gauges.turned("listener")
