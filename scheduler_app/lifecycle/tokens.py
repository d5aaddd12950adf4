"""API tokens as people make and revoke them, with their entries in the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from scheduler_app.access.tokens import new_secret
from scheduler_app.models import ApiToken, Verb, database_now
from scheduler_app.models.clock import DatabaseNow
from scheduler_app.models.token import Scope
from scheduler_app.rules.differences import differences

from .auditing import Subject, record
from .transactions import CannotDo, transaction_on_psycopg


def create_token(
    user: Any,
    name: str,
    *,
    scopes: Sequence[str],
    by: str,
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """A new token of `user` and its text, which cannot be had again. Raises CannotDo."""
    name = name.strip()
    unknown = [scope for scope in scopes if scope not in Scope.values]
    if unknown or not scopes:
        given = f", not {unknown[0]!r:.50}" if unknown else ""
        raise CannotDo(f"Give at least one of the scopes {', '.join(Scope.values)}{given}.")
    if not 0 < len(name) <= 100 or "\0" in name:
        raise CannotDo("Give the token a name of at most 100 characters.")
    if expires_at is not None and expires_at <= database_now():
        raise CannotDo("The token would have expired already; choose a later moment.")
    if not user.is_active:
        raise CannotDo(f"The user {user.get_username()} is not active.")
    key, digest, text = new_secret()
    with transaction_on_psycopg():
        token = ApiToken.objects.create(
            user=user,
            name=name,
            key=key,
            digest=digest,
            # As they are listed, each once.
            scopes=[scope for scope in Scope.values if scope in scopes],
            expires_at=expires_at,
            created_by=by,
        )
        told = {
            "user": user.get_username(),
            "scopes": token.scopes,
            "expires_at": expires_at.isoformat() if expires_at else None,
        }
        record(
            Verb.TOKEN_CREATE,
            [Subject("token", token.pk, name, changes=differences({}, told))],
            by=by,
        )
    return token, text


def revoke_token(token_id: int, *, by: str) -> bool:
    """From now on it opens nothing; False when that was so before."""
    with transaction_on_psycopg():
        token = ApiToken.objects.select_for_update().filter(pk=token_id, revoked_at=None).first()
        if token is None:
            return False
        ApiToken.objects.filter(pk=token_id).update(revoked_at=DatabaseNow(), revoked_by=by)
        record(Verb.TOKEN_REVOKE, [Subject("token", token.pk, token.name)], by=by)
    return True
