"""API tokens: made, shown once, recognised, revoked."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from hmac import compare_digest

from django.db.models import Q

from scheduler_app.models import ApiToken
from scheduler_app.models.clock import DatabaseNow

PREFIX = "sch"
"""So that scanners of repositories know one when they see it."""
KEY_CHARS = 12
USE_NOTED_EVERY = timedelta(minutes=1)
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


class BadToken(Exception):
    """The text is no usable token; says why, without telling tokens that exist from others."""


def new_secret() -> tuple[str, str, str]:
    """The public key, the digest to keep, and the whole text to show once."""
    key = "".join(secrets.choice(_ALPHABET) for _ in range(KEY_CHARS))
    secret = secrets.token_urlsafe(32)
    return key, _digest(secret), f"{PREFIX}_{key}_{secret}"


def recognise(text: str) -> ApiToken:
    """The token of this text with its user; raises BadToken unless both may be used now."""
    prefix, _, rest = text.partition("_")
    key, _, secret = rest.partition("_")
    token = None
    if prefix == PREFIX and len(key) == KEY_CHARS and key.isascii() and key.isalnum():
        token = (
            ApiToken.objects.select_related("user")
            .annotate(
                is_over=Q(expires_at__isnull=False) & Q(expires_at__lte=DatabaseNow()),
                is_noted=Q(last_used_at__gt=DatabaseNow() - USE_NOTED_EVERY),
            )
            .filter(key=key)
            .first()
        )
    # Compared in any case, so that an unknown key takes as long as a wrong secret.
    matches = compare_digest(_digest(secret), token.digest if token else _digest("unknown"))
    if token is None or not matches:
        raise BadToken("This token is not known.")
    if token.revoked_at is not None:
        raise BadToken("This token was revoked.")
    if token.is_over:
        raise BadToken("This token has expired.")
    if not token.user.is_active:
        raise BadToken("The user of this token is not active.")
    if not token.is_noted:
        # Of requests at the same time one writes; the others find it written.
        ApiToken.objects.filter(pk=token.pk).exclude(
            last_used_at__gt=DatabaseNow() - USE_NOTED_EVERY
        ).update(last_used_at=DatabaseNow())
    return token


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
