"""What every response of the project carries, and the page that says the process lives."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

Next = Callable[[HttpRequest], HttpResponse]

POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"


def content_security_policy(get_response: Next) -> Next:
    """Scripts, styles and images come from this site's own files, never from within a page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware


def liveness(get_response: Next) -> Next:
    """Answer `/livez` before anything else: no database, no login, no host check, no redirect to https."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info == "/livez" and request.method in ("GET", "HEAD"):
            return HttpResponse("ok", content_type="text/plain")
        return get_response(request)

    return middleware
