"""`Idempotency-Key`: a request that is sent again, because its answer was lost, does nothing again.

The key is stored in the transaction of what was asked for, so there is never the one without the other. A repetition
gets the stored answer; one that comes while the first is still at work waits for it, and what was refused or failed
leaves no key behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.db import OperationalError, connections, transaction
from psycopg.errors import LockNotAvailable
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app.access.throttling import counted_last
from scheduler_app.conf import get_config
from scheduler_app.models import IdempotencyKey
from scheduler_app.models.idempotency import KEYS_KEPT
from scheduler_app.rules.problems import Problem

from .errors import Conflict, Refused, shown

HEADER = "Idempotency-Key"
LONGEST_KEY = 255
LONGEST_WAIT_S = 10.0
"""How long a repetition waits for the first request."""
PART_OF_TIMEOUT = 0.8
"""It waits no longer than this part of the time that a query may take, after which it would not hear why."""
KEPT_HEADERS = ("Location", "ETag")

Handler = TypeVar("Handler", bound=Callable[..., Response])

TAKE_SQL = """
INSERT INTO scheduler_app_idempotencykey (user_id, key, method, path, digest, body, headers)
VALUES (%(user_id)s, %(key)s, %(method)s, %(path)s, %(digest)s, '', '{}')
-- One that is old enough to be pruned is free.
ON CONFLICT (user_id, key) DO UPDATE
SET method = excluded.method, path = excluded.path, digest = excluded.digest, created_at = scheduler_now()
WHERE scheduler_app_idempotencykey.created_at < scheduler_now() - make_interval(secs => %(kept_s)s)
RETURNING id
"""


class KeyReused(exceptions.APIException):
    """The key stands for another request."""

    status_code = 422
    default_code = "idempotency_key_reused"


def idempotent(handler: Handler) -> Handler:
    """An action that, asked twice with one `Idempotency-Key`, is done once."""

    @wraps(handler)
    def answer(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get(HEADER)
        if key is None:
            return handler(view, request, *args, **kwargs)
        if not 1 <= len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
            allowed = f"1 to {LONGEST_KEY} printable ASCII characters"
            problem = Problem(HEADER, "This cannot be a key.", given=shown(key), allowed=allowed)
            raise Refused([problem])
        asked = {
            "user_id": str(request.user.pk),
            "key": key,
            "method": str(request.method),
            "path": request.get_full_path(),
            "digest": _digest(request.data),
        }
        with counted_last() as count, transaction.atomic(using=get_config().database):
            key_id = _take(asked)
            if key_id is None:
                return _stored(asked)
            response = handler(view, request, *args, **kwargs)
            _store(key_id, response)
            count()
            return response

    return cast(Handler, answer)


def _digest(data: Any) -> str:
    """Of what the body says, not of how it is written."""
    said = dict(data.lists()) if hasattr(data, "lists") else data
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _take(asked: dict[str, str]) -> int | None:
    """The id of the new key; None where it is taken. Waits for who is about to take it."""
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true)",
            [str(_wait_ms())],
        )
        [before, _] = cursor.fetchone()
        try:
            cursor.execute(TAKE_SQL, {**asked, "kept_s": KEYS_KEPT.total_seconds()})
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            raise Conflict(
                "A request with this Idempotency-Key is still being worked on; ask again later."
            ) from None
        row = cursor.fetchone()
        # What is asked for waits for its own locks as long as it always does.
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])
        return row[0] if row else None


def _wait_ms() -> int:
    timeout = get_config().web_statement_timeout
    wait_s = min(LONGEST_WAIT_S, timeout * PART_OF_TIMEOUT) if timeout else LONGEST_WAIT_S
    # 0 would be for ever.
    return max(1, int(wait_s * 1000))


def _stored(asked: dict[str, str]) -> Response:
    """The answer that the first request got; raises KeyReused when that was another one."""
    first = IdempotencyKey.objects.get(user_id=asked["user_id"], key=asked["key"])
    for name in ("method", "path", "digest"):
        if getattr(first, name) != asked[name]:
            what = "another body" if name == "digest" else f"{first.method} {first.path}"
            raise KeyReused(
                f"This Idempotency-Key was used for {shown(what)}; a new request needs a new key."
            )
    headers = {**first.headers, "Idempotency-Replayed": "true"}
    return Response(json.loads(first.body), status=first.status, headers=headers)


def _store(key_id: int, response: Response) -> None:
    IdempotencyKey.objects.filter(pk=key_id).update(
        status=response.status_code,
        body=JSONRenderer().render(response.data).decode(),
        headers={name: response[name] for name in KEPT_HEADERS if name in response},
    )
