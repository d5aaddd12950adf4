"""Whether a job may still run in its owner's name: asked by the nodes before each execution."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from django.contrib.auth import get_user_model
from django.db import router, transaction

from .rights import refusal

REMEMBERED_S = 5.0
"""A node asks the database about an owner at most this often: a right that was taken away counts after that."""
MOST_REMEMBERED = 10_000
PATIENCE_S = 10.0
"""How long a thread waits for another one that asks."""


class NotKnown(Exception):
    """Another thread asks and has no answer, or found that there is none; worth trying again."""


class Owners:
    """Answers about owners, remembered for some seconds; threads share one, and ask one at a time.

    `asking` is what questions are asked within, given the name of the database.
    """

    def __init__(
        self, asking: Callable[[str], AbstractContextManager[Any]] = transaction.atomic
    ) -> None:
        self._asking = asking
        self._turn = threading.Lock()
        self._failed_at = -math.inf
        self._users: dict[int, tuple[float, Any]] = {}

    def refusal(self, owner_id: int | None, kind: str, target: str) -> str:
        """Why the owner may not let this run, in a sentence; empty when they may, or nobody owns the job.

        Raises what the database raises, and NotKnown.
        """
        if owner_id is None:
            return ""
        is_known, user = self._remembered(owner_id)
        if is_known:
            return _refusal(owner_id, user, kind, target)
        waits_since = time.monotonic()
        if not self._turn.acquire(timeout=PATIENCE_S):
            raise NotKnown(f"who asks the database has no answer after {PATIENCE_S:g} s")
        try:
            # Whoever waited has the answer, or the lack of one, of whom they waited for.
            if self._failed_at >= waits_since:
                raise NotKnown("who asked the database had no answer")
            return self._ask(owner_id, kind, target)
        finally:
            self._turn.release()

    def _remembered(self, owner_id: int) -> tuple[bool, Any]:
        asked_at, user = self._users.get(owner_id, (-math.inf, None))
        return time.monotonic() - asked_at <= REMEMBERED_S, user

    def _ask(self, owner_id: int, kind: str, target: str) -> str:
        is_known, user = self._remembered(owner_id)
        if is_known:
            return _refusal(owner_id, user, kind, target)
        users = get_user_model()
        try:
            with self._asking(router.db_for_read(users)):
                now = time.monotonic()
                user = users._default_manager.filter(pk=owner_id).first()
                # The user object itself remembers the rights.
                why = _refusal(owner_id, user, kind, target)
        except BaseException:
            self._failed_at = time.monotonic()
            raise
        if len(self._users) >= MOST_REMEMBERED:
            self._users.clear()
        self._users[owner_id] = now, user
        return why


def _refusal(owner_id: int, user: Any, kind: str, target: str) -> str:
    if user is None or not user.is_active:
        name = f"user {owner_id}" if user is None else user.get_username()
        return f"The job's owner, {name}, is not active any more."
    why = refusal(user, kind, target)
    return f"The job's owner: {why}" if why else ""
