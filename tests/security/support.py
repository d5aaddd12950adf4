"""What the tests of security share."""

from __future__ import annotations

from typing import Any

from scheduler_app.access import Caller
from scheduler_app.models import Source


class Somebody(Caller):
    """A user who calls, without a request."""

    def __init__(self, user: Any) -> None:
        super().__init__(Source.API)
        self._user = user

    @property
    def user(self) -> Any:
        return self._user
