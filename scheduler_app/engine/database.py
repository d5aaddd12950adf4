"""The engine's own connections, which are few, and what a node does while the database is away."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
from django.db import connections, transaction

from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import LEAP_S

from .gauges import Gauges
from .trouble import STALLED, Trouble, trouble_of
from .watchdog import Call, watchdog

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE_S = 10.0
"""No call takes longer; a call is what happens between two looks at the connection, several statements mostly."""
STATEMENT_TIMEOUT = "9s"
LOCK_TIMEOUT = "5s"
IDLE_IN_TRANSACTION_TIMEOUT = "30s"
DJANGOS_LOCK_TIMEOUT = "2s"
"""For questions over Django's connection: a thread that could run something waits for the answer."""

PLANNER_SETTINGS = {
    # Statistics say that hardly a row is ready or running, which is true at one moment and wrong at the next. A plan
    # made for an empty queue reads and sorts all of a full one, so the engine's statements get the plans that are
    # right for both: in the order of an index, a row at a time.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    # Up to PostgreSQL 17 a plan that cannot do without one of these looks so costly that it is compiled, for seconds.
    "jit": "off",
}

CONNECT_TIMEOUT_S = 5
FIRST_GRACE_S = 3.0
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 2.0
REPEAT_LOG_S = 60.0

KEEPALIVES = {
    # A server that vanished without a word is noticed in seconds, whether something was under way or not.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

DJANGO_ONLY = ("cursor_factory", "context", "prepare_threshold", "connect_timeout")
"""Connection parameters that carry Django's way of using psycopg, or that the engine sets itself."""

SESSION_SETTINGS = {
    "TimeZone": "UTC",
    "statement_timeout": STATEMENT_TIMEOUT,
    "lock_timeout": LOCK_TIMEOUT,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT,
    "synchronous_commit": "on",
    # Each statement must see what the lock before it waited for.
    "default_transaction_isolation": "read committed",
    **PLANNER_SETTINGS,
}
_SETTINGS = ", ".join(f"set_config('{name}', %({name})s, false)" for name in SESSION_SETTINGS)
SET_UP_SQL = f"SELECT {_SETTINGS}"
"""One statement for all: a part that connects once a minute pays for each."""

BEGIN_POOLED = "; ".join(
    [
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        *(f"SET LOCAL {name} = '{value}'" for name, value in SESSION_SETTINGS.items()),
    ]
)


class Unavailable(Exception):
    """The database did not answer, or not as it should; the connection was dropped. Worth trying again."""

    def __init__(self, sentence: str, *, took_too_long: bool = False) -> None:
        super().__init__(sentence)
        self.took_too_long = took_too_long
        """It was under way and was cut, by a timeout or by the call's deadline."""


class DatabaseClock:
    """The database's time between two answers, carried on by the monotonic clock.

    Good for stamps and for sleeping; what is due is always asked of the database itself.
    """

    def __init__(self) -> None:
        self._reading: tuple[datetime, float, float] | None = None
        """The moment of an answer, and when it was asked for and arrived on the monotonic clock."""
        self._leapt_at = -math.inf

    def set(self, now: datetime, asked_at: float) -> None:
        """Take over the moment of an answer that has just arrived, asked for at `asked_at` on the monotonic clock."""
        at = time.monotonic()
        if self._reading is not None:
            before, before_asked_at, before_at = self._reading
            went_s = (now - before).total_seconds()
            # Both were read at some moment between question and answer: a leap is what that does not explain.
            ahead_s = went_s - (at - before_asked_at)
            behind_s = went_s - (asked_at - before_at)
            leap_s = ahead_s if ahead_s > 0 else min(behind_s, 0.0)
            if abs(leap_s) > LEAP_S:
                self._leapt_at = at
                logger.warning(
                    "the database's clock leapt, or this machine was suspended by_s=%.1f", leap_s
                )
            elif at - asked_at > LEAP_S:
                # It says less than the one before: behind it a leap could hide.
                return
        self._reading = (now, asked_at, at)

    @property
    def steady_s(self) -> float:
        """For how many seconds the database's clock and the monotonic one have agreed."""
        return time.monotonic() - self._leapt_at

    def now(self) -> datetime:
        """The database's time by the last answer; raises RuntimeError before there was one."""
        if self._reading is None:
            raise RuntimeError("The database has not told its time yet.")
        moment, _, at = self._reading
        return moment + timedelta(seconds=time.monotonic() - at)


class Session:
    """One connection for one thread, opened when needed and opened again after trouble."""

    def __init__(
        self,
        config: SchedulerConfig,
        role: str,
        gauges: Gauges,
        *,
        deadline_s: float = DEADLINE_S,
        connect_timeout_s: int = CONNECT_TIMEOUT_S,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
    ) -> None:
        self._config = config
        self._role = role
        self._deadline_s = deadline_s
        self._connect_timeout_s = connect_timeout_s
        self._longest_backoff_s = longest_backoff_s
        self._gauges = gauges
        self._connection: psycopg.Connection[Any] | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._trouble_since: float | None = None
        self._said_at = 0.0
        self._contact_since: float | None = None
        self._had_outage = False

    def has_settled(self, grace_s: float) -> bool:
        """Whether contact has lasted so long that others, cut off at the same time, have had the time to return.

        A session that never saw an outage waits for a few seconds at most: it may have begun just after one.
        """
        if self._contact_since is None:
            return False
        needed = grace_s if self._had_outage else min(grace_s, FIRST_GRACE_S)
        return time.monotonic() - self._contact_since >= needed

    def call(self, step: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Run `step` on the connection; raises Unavailable after any trouble that another connection may not have.

        A psycopg.DataError or IntegrityError passes through: the database is well, the values are not.
        """
        call: Call | None = None
        try:
            connection = self._open()
            with watchdog.within(self._deadline_s, connection) as call:
                answer = self._perform(connection, step)
        except (psycopg.DataError, psycopg.IntegrityError):
            raise
        except psycopg.Error as error:
            trouble = trouble_of(error)
            was_cut = call is not None and call.was_cut
            if was_cut:
                trouble = Trouble(
                    STALLED, f"No answer within {self._deadline_s:g} s, so it was cut."
                )
            self.close()
            self._say_trouble(trouble)
            raise Unavailable(
                trouble.sentence,
                took_too_long=was_cut or isinstance(error, psycopg.errors.QueryCanceled),
            ) from error
        self._say_recovered()
        return answer

    def _perform(
        self, connection: psycopg.Connection[Any], step: Callable[[psycopg.Connection[Any]], T]
    ) -> T:
        if not self._config.pooled:
            return step(connection)
        # A pooler may give each transaction another server connection: settings must be the transaction's own. One
        # message for BEGIN and all of them; what the step does in transactions, it does in savepoints.
        connection.execute(BEGIN_POOLED)
        try:
            answer = step(connection)
        except BaseException:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return answer

    def back_off(self, stop: threading.Event) -> None:
        """Wait before the next try, longer each time and by chance, so that nodes do not return in step."""
        stop.wait(random.uniform(0, self._backoff_s))
        self._backoff_s = min(self._backoff_s * 2, self._longest_backoff_s)

    def close(self) -> None:
        """Give the connection back; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except psycopg.Error:
                logger.debug("closing a broken connection failed role=%s", self._role)

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._config, self._role, timeout_s=self._connect_timeout_s)
        return self._connection

    def _say_trouble(self, trouble: Trouble) -> None:
        self._gauges.troubled(self._role, trouble)
        if trouble.is_outage:
            self._contact_since = None
            self._had_outage = True
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
            self._said_at = 0.0
        if now - self._said_at >= REPEAT_LOG_S:
            self._said_at = now
            logger.warning(
                "database trouble, trying again role=%s state=%s for_s=%.0f: %s",
                self._role,
                trouble.name,
                now - self._trouble_since,
                trouble.sentence,
            )

    def _say_recovered(self) -> None:
        if self._contact_since is None:
            self._contact_since = time.monotonic()
        if self._trouble_since is not None:
            logger.info(
                "database answers again role=%s after_s=%.1f",
                self._role,
                time.monotonic() - self._trouble_since,
            )
            self._trouble_since = None
            self._backoff_s = FIRST_BACKOFF_S
            self._gauges.troubled(self._role, None)


@contextmanager
def within_deadline(alias: str) -> Iterator[None]:
    """A transaction on this thread's connection of Django's that takes no longer than a call of the engine's own."""
    django = connections[alias]
    django.ensure_connection()
    with watchdog.within(DEADLINE_S, django.connection), transaction.atomic(using=alias):
        with django.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                [STATEMENT_TIMEOUT, DJANGOS_LOCK_TIMEOUT],
            )
        yield


def connect(
    config: SchedulerConfig, role: str, *, url: str = "", timeout_s: int = CONNECT_TIMEOUT_S
) -> psycopg.Connection[Any]:
    """A connection of the engine's own with the parameters of Django's, in autocommit."""
    if url:
        parameters: dict[str, Any] = {"conninfo": url}
    else:
        parameters = {
            name: value
            for name, value in connections[config.database].get_connection_params().items()
            if name not in DJANGO_ONLY
        }
    parameters["application_name"] = f"scheduler {role}"
    # What the operator set in OPTIONS wins; that the engine commits by itself is not theirs to change.
    parameters = (
        KEEPALIVES
        | parameters
        | {
            "autocommit": True,
            "connect_timeout": timeout_s,
        }
    )
    connection = psycopg.connect(
        **parameters,
        # A transaction pooler hands every transaction another server connection.
        prepare_threshold=None if config.pooled else 5,
    )
    if config.pooled and not url:
        return connection
    with watchdog.within(DEADLINE_S, connection):
        connection.execute(SET_UP_SQL, SESSION_SETTINGS)
    return connection
