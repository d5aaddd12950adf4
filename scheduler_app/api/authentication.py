"""Who calls: a name and password with each request, or the session of somebody who is logged in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import authentication, exceptions
from rest_framework.request import Request

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class BasicAuthentication(authentication.BasicAuthentication):
    """HTTP Basic, for programs and for curl."""

    www_authenticate_realm = "jobscheduler"

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        found: tuple[Any, None] | None = super().authenticate(request)
        if found is not None and request.method not in SAFE_METHODS and _is_cross_site(request):
            # A browser that was given the password once sends it along with other sites' forms, too.
            raise exceptions.PermissionDenied(
                f"A page of {request.headers['Origin'][:200]} may not call this with a stored password."
            )
        return found

    def authenticate_credentials(
        self, userid: str, password: str, request: Any = None
    ) -> tuple[Any, None]:
        if "\0" in userid + password:
            raise exceptions.AuthenticationFailed("Invalid username/password.")
        found: tuple[Any, None] = super().authenticate_credentials(userid, password, request)
        return found


def _is_cross_site(request: Request) -> bool:
    """Programs send no Origin; browsers send one with every request that changes something."""
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    own = f"{request.scheme}://{request.get_host()}"
    return origin != own and origin not in settings.CSRF_TRUSTED_ORIGINS
