"""Who is calling: the person or program in whose name the verbs act, and where the call came from.

A middleware says it for the admin and the API, commands say it for themselves; everything else is code, which is
trusted, as it can do anything to the database anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.http import HttpRequest

from scheduler_app.conf import get_config
from scheduler_app.models.audit import Source


class Caller:
    """Code of the project, or a command: no user whose rights would be asked."""

    token: Any = None
    """The API token that was used, if one was."""
    address = ""
    view: Any = None
    """Whose jobs it sees, once that was asked: see `ownership`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def source(self) -> Source:
        """By which way the call came."""
        return self._source

    @property
    def user(self) -> Any:
        """The user who calls; None where nobody logged in."""
        return None


class RequestCaller(Caller):
    """Whoever sent this request. Read late: the API finds out who it is after all middleware."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.address = client_address(request)

    @property
    def source(self) -> Source:
        match = self._request.resolver_match
        return Source.API if match is not None and "api" in match.app_names else Source.ADMIN

    @property
    def user(self) -> Any:
        user = getattr(self._request, "user", None)
        return user if user is not None and user.is_authenticated else None

    @property
    def token(self) -> Any:
        """What authenticated the request to the API, if it was a token."""
        return getattr(self._request, "auth", None)


_caller: ContextVar[Caller] = ContextVar("scheduler_caller")
_CODE = Caller(Source.CODE)


def current_caller() -> Caller:
    """The caller of what runs now."""
    return _caller.get(_CODE)


@contextmanager
def calling(caller: Caller) -> Iterator[Caller]:
    """Meanwhile `caller` is who calls."""
    before = _caller.set(caller)
    try:
        yield caller
    finally:
        _caller.reset(before)


def client_address(request: HttpRequest) -> str:
    """The client's address, which the outermost of the trusted proxies saw; without such, the peer's."""
    proxies = get_config().trusted_proxies
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
    if proxies and len(forwarded) >= proxies and forwarded[-proxies]:
        return forwarded[-proxies][:45]
    return str(request.META.get("REMOTE_ADDR") or "")[:45]
