"""Who calls: a token, a name and password with each request, or the session of somebody who is logged in.

After too many wrong passwords from an address no password is compared any more until the minute is over. Tokens always
are: they cannot be guessed, and a program with an old one must not shut out the others at its address.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from scheduler_app.access.caller import client_address
from scheduler_app.access.throttling import note_bad_token, refuse_guessing
from scheduler_app.access.tokens import BadToken, recognise
from scheduler_app.models import ApiToken

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
        # A failure is counted where Django tells of it, as those on the login page are.
        refuse_guessing(client_address(request), userid)
        found: tuple[Any, None] = super().authenticate_credentials(userid, password, request)
        return found


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer …`, with a token that its user made; no cookie, so no CSRF."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        """The token's user, and the token, which `permissions` asks for its scopes."""
        words = authentication.get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        try:
            token = recognise(words[1].decode(errors="replace") if len(words) == 2 else "")
        except BadToken as error:
            note_bad_token(client_address(request._request))
            raise exceptions.AuthenticationFailed(str(error)) from None
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="jobscheduler"'


def _is_cross_site(request: Request) -> bool:
    """Programs send no Origin; browsers send one with every request that changes something."""
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    own = f"{request.scheme}://{request.get_host()}"
    return origin != own and origin not in settings.CSRF_TRUSTED_ORIGINS
