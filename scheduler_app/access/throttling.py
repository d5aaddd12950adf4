"""How often somebody may do something: counted in PostgreSQL, so that all web processes count together.

The window is a minute that slides: what was counted in the minute before weighs by the part of it that still lies
within the last sixty seconds. One statement counts and decides; what is refused does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from django.contrib.auth.signals import user_login_failed
from django.db import Error as DatabaseError
from django.db import connections
from django.dispatch import receiver

from scheduler_app.conf import get_config

from .caller import Caller, client_address, current_caller

WRITES, RUNS, LOGIN_FAILURES = "writes", "runs", "login_failures"
FAILURES_OF_A_NAME = 10
"""A user name may fail this many times as often as an address: else anybody could lock anybody out."""

COUNT_SQL = """
WITH clock AS (
    SELECT floor(extract(epoch FROM scheduler_now()) / 60)::bigint AS minute,
        1 - (extract(epoch FROM scheduler_now()) / 60) %% 1 AS still_counts
)
INSERT INTO scheduler_app_throttle AS throttle (key, minute, count, before)
SELECT %(key)s, clock.minute, %(weight)s, 0 FROM clock
ON CONFLICT (key) DO UPDATE SET
    minute = EXCLUDED.minute,
    count = EXCLUDED.count
        + CASE WHEN throttle.minute = EXCLUDED.minute THEN throttle.count ELSE 0 END,
    before = CASE throttle.minute
        WHEN EXCLUDED.minute THEN throttle.before
        WHEN EXCLUDED.minute - 1 THEN throttle.count
        ELSE 0
    END
WHERE EXCLUDED.count
    + CASE WHEN throttle.minute = EXCLUDED.minute THEN throttle.count ELSE 0 END
    + (SELECT still_counts FROM clock) * CASE throttle.minute
        WHEN EXCLUDED.minute THEN throttle.before
        WHEN EXCLUDED.minute - 1 THEN throttle.count
        ELSE 0
    END <= %(limit)s
RETURNING throttle.count
"""

REST_OF_MINUTE_SQL = "SELECT (60 - extract(epoch FROM scheduler_now()) %% 60)::float8"

# Full is what COUNT_SQL would count no more into: what it does not count must not pass either.
SPENT_SQL = """
WITH clock AS (
    SELECT floor(extract(epoch FROM scheduler_now()) / 60)::bigint AS minute,
        1 - (extract(epoch FROM scheduler_now()) / 60) %% 1 AS still_counts
)
SELECT EXISTS (
    SELECT
    FROM scheduler_app_throttle AS throttle, clock
    WHERE key = %(key)s
      AND CASE throttle.minute
          WHEN clock.minute THEN count + before * still_counts
          WHEN clock.minute - 1 THEN count * still_counts
          ELSE 0
      END > %(limit)s - 1
)
"""


_put_off: ContextVar[list[tuple[str, int]] | None] = ContextVar("scheduler_put_off", default=None)
"""Within `counted_last`: what is to be counted later, with the weight."""


class TooOften(Exception):
    """The caller did this too often of late; `wait_s` is when it is worth trying again."""

    def __init__(self, message: str, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def spend(what: str, weight: int = 1) -> None:
    """Count what the caller is about to do; raises TooOften. Code, commands and limits of 0 are not counted."""
    limit = _limit(what)
    who = _who(current_caller())
    if not limit or not who or weight < 1:
        return
    if weight > limit:
        raise TooOften(f"{weight} at once are more than the {limit} a minute that are allowed.", 60)
    key = f"{what}:{who}"
    put_off = _put_off.get()
    if put_off is None:
        has_room = _count(key, weight, limit)
    else:
        put_off.append((what, weight))
        has_room = not _ask(SPENT_SQL, {"key": key, "limit": limit - weight + 1})
    if not has_room:
        raise TooOften(f"More than {limit} {what} a minute are too many.", _rest_of_minute())


@contextmanager
def counted_last() -> Iterator[Callable[[], None]]:
    """What is spent within is looked at at once, and counted when the given function is called; that raises TooOften
    where others were faster.

    Around a transaction around verbs, which calls the function at its end: a counter that was moved stays locked until
    then, and whatever else the caller asks for would wait for it. What is refused is counted after it was taken back.
    """
    put_off: list[tuple[str, int]] = []
    _put_off.set(put_off)

    def count() -> None:
        _put_off.set(None)
        for what, weight in put_off:
            spend(what, weight)

    try:
        yield count
    except (TooOften, DatabaseError):
        raise
    except Exception:
        with suppress(TooOften):
            count()
        raise
    finally:
        _put_off.set(None)


def spend_up_to_all(what: str, weigh: Callable[[], int]) -> None:
    """As `spend`, for what may be more at once than a minute allows: that takes the whole minute.

    Before the transaction, as the counter stays locked until its end, or `counted_last`. What is not counted is not
    weighed.
    """
    limit = _limit(what)
    if limit and _who(current_caller()):
        spend(what, min(weigh(), limit))


def note_failed_login(address: str, name: str = "") -> None:
    """Somebody at this address gave a wrong password."""
    limit = _limit(LOGIN_FAILURES)
    if limit:
        for key, most in _login_keys(address, name, limit):
            _count(key, 1, most)


def refuse_guessing(address: str, name: str = "") -> None:
    """Raises TooOften where too many passwords were wrong of late, before another one is compared."""
    limit = _limit(LOGIN_FAILURES)
    if limit:
        for key, most in _login_keys(address, name, limit):
            if _ask(SPENT_SQL, {"key": key, "limit": most}):
                raise TooOften("Too many logins failed.", _rest_of_minute())


def note_bad_token(address: str) -> None:
    """Count a token that is none; raises TooOften where too many came from this address of late.

    Apart from passwords, and after the look: nobody guesses 256 bits, so whoever sends wrong ones hinders no other.
    """
    limit = _limit(LOGIN_FAILURES)
    if limit and not _count(f"{LOGIN_FAILURES}:tokens:{address}", 1, limit):
        raise TooOften("Too many tokens were wrong.", _rest_of_minute())


@receiver(user_login_failed, dispatch_uid="scheduler_app.note_failed_login")
def _note(*, credentials: dict[str, Any], request: Any = None, **_: Any) -> None:
    """A wrong password, on the login page or in a call of the API."""
    if request is not None:
        note_failed_login(client_address(request), str(credentials.get("username") or ""))


def _login_keys(address: str, name: str, limit: int) -> list[tuple[str, int]]:
    keys = [(f"{LOGIN_FAILURES}:from:{address}", limit)]
    if name:
        keys.append(
            (f"{LOGIN_FAILURES}:as:{name[:150]}".replace("\0", ""), limit * FAILURES_OF_A_NAME)
        )
    return keys


def _who(caller: Caller) -> str:
    # With whichever token: a count for each of them would let more tokens do more.
    return "" if caller.user is None else f"user:{caller.user.pk}"


def _limit(what: str) -> int:
    limit: int = getattr(get_config(), f"{what}_per_minute")
    return limit


def _count(key: str, weight: int, limit: int) -> bool:
    return _ask(COUNT_SQL, {"key": key, "weight": weight, "limit": limit}) is not None


def _rest_of_minute() -> int:
    rest: float = _ask(REST_OF_MINUTE_SQL, {})
    return max(1, math.ceil(rest))


def _ask(sql: str, parameters: dict[str, Any]) -> Any:
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
    return None if row is None else row[0]
