"""What the scheduler needs of each request: who calls, not too often, and no query that takes for ever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from django.core.exceptions import BadRequest
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.signals import connection_created
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from scheduler_app.access import RequestCaller, calling, current_caller
from scheduler_app.access.throttling import WRITES, TooOften, spend
from scheduler_app.conf import get_config
from scheduler_app.models import Source
from scheduler_app.models.clock import is_too_slow

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TOO_SLOW = "This takes the database too long: narrow it by a filter, a search or a time range."


class SchedulerMiddleware:
    """Whatever is done meanwhile is done in the name of who sent the request, with their rights and bounds."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with ExitStack() as stack:
            stack.enter_context(calling(RequestCaller(request)))
            if get_config().pooled and request.method in SAFE_METHODS:
                # What a pooler's connection is told must end with the transaction. Only what reads can be in one as
                # a whole; what writes goes by ids, in transactions of its own.
                with suppress(OperationalError, InterfaceError):
                    # Without a database the page finds that out by itself, and says so.
                    stack.enter_context(transaction.atomic(using=get_config().database))
                    _bound_queries(connections[get_config().database], is_local=True)
            return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Count writes in the admin; the API knows only later who calls, and counts its own."""
        if request.method in SAFE_METHODS or current_caller().source == Source.API:
            return None
        try:
            spend(WRITES)
        except TooOften as error:
            return _too_often(error)
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """What pages raise that is nobody's mistake, in words."""
        if isinstance(error, TooOften):
            return _too_often(error)
        if current_caller().source != Source.API and (told := _told(error)):
            # Here, because with DEBUG on Django would show its own page, and of a bad request never the words.
            status = 404 if isinstance(error, Http404) else 400
            return render(request, f"{status}.html", {"exception": told}, status=status)
        return _as_text(TOO_SLOW, 503) if is_too_slow(error) else None


def _bound_new_connection(*, connection: Any, **_: Any) -> None:
    """A connection that a request opens serves requests alone, so it is told once for all of them."""
    config = get_config()
    if isinstance(current_caller(), RequestCaller) and not config.pooled:
        _bound_queries(connection, is_local=False)


connection_created.connect(_bound_new_connection, dispatch_uid="scheduler_app.bound_new_connection")


def _bound_queries(connection: Any, *, is_local: bool) -> None:
    seconds = get_config().web_statement_timeout
    if seconds and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, %s)",
                [f"{int(seconds * 1000)}ms", is_local],
            )


def _told(error: Exception) -> str:
    """What a page says about what was not found or cannot be understood; empty where it says nothing."""
    is_told = isinstance(error, Http404 | BadRequest) and error.args
    return error.args[0] if is_told and isinstance(error.args[0], str) else ""


def _too_often(error: TooOften) -> HttpResponse:
    response = _as_text(f"{error} Try again in {error.wait_s} s.", 429)
    response["Retry-After"] = str(error.wait_s)
    return response


def _as_text(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
