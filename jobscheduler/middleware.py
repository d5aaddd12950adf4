"""What every response of the project carries, and the pages that say whether the process lives and can serve."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse

from scheduler_app.conf import get_config

Next = Callable[[HttpRequest], HttpResponse]

POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"


def content_security_policy(get_response: Next) -> Next:
    """Scripts, styles and images come from this site's own files, never from within a page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware


def readiness(get_response: Next) -> Next:
    """Answer `/readyz` the same way: ready when the database answers and knows every migration of this release."""
    needed: set[tuple[str, str]] = set()

    def problem() -> str:
        connection = connections[get_config().database]
        try:
            if not needed:
                # The files of this release; they do not change while the process lives.
                needed.update(MigrationLoader(None).graph.leaf_nodes())
            missing = needed - MigrationRecorder(connection).applied_migrations().keys()
        except (Error, ImproperlyConfigured):
            return "the database does not answer"
        return f"migrations are missing: {len(missing)}" if missing else ""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info == "/readyz" and request.method in ("GET", "HEAD"):
            wrong = problem()
            return HttpResponse(
                wrong or "ok",
                status=503 if wrong else 200,
                content_type="text/plain",
                headers={"Cache-Control": "no-store"},
            )
        return get_response(request)

    return middleware


def liveness(get_response: Next) -> Next:
    """Answer `/livez` before anything else: no database, no login, no host check, no redirect to https."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info == "/livez" and request.method in ("GET", "HEAD"):
            return HttpResponse("ok", content_type="text/plain")
        return get_response(request)

    return middleware
