"""What the scheduler needs to know of each request: who calls."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from scheduler_app.access import RequestCaller, calling


def caller(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Whatever is done meanwhile is done in the name of who sent the request, with their rights."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with calling(RequestCaller(request)):
            return get_response(request)

    return middleware
