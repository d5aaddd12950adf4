"""Whether a job may still run in its owner's name: asked by the nodes before each execution."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.contrib.auth import get_user_model

from .rights import refusal

REMEMBERED_S = 5.0
"""A node asks the database about an owner at most this often: a right that was taken away counts after that."""
MOST_REMEMBERED = 10_000


class Owners:
    """Answers about owners, remembered for some seconds; threads share one, and ask one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[int, tuple[float, Any]] = {}

    def refusal(self, owner_id: int | None, kind: str, target: str) -> str:
        """Why the owner may not let this run, in a sentence; empty when they may, or nobody owns the job.

        Raises what the database raises.
        """
        if owner_id is None:
            return ""
        # Rights are remembered by the user object itself.
        with self._lock:
            user = self._user(owner_id)
            if user is None or not user.is_active:
                name = f"user {owner_id}" if user is None else user.get_username()
                return f"The job's owner, {name}, is not active any more."
            why = refusal(user, kind, target)
        return f"The job's owner: {why}" if why else ""

    def _user(self, owner_id: int) -> Any:
        asked_at, user = self._users.get(owner_id, (0.0, None))
        now = time.monotonic()
        if owner_id not in self._users or now - asked_at > REMEMBERED_S:
            user = get_user_model()._default_manager.filter(pk=owner_id).first()
            if len(self._users) >= MOST_REMEMBERED:
                self._users.clear()
            self._users[owner_id] = now, user
        return user
