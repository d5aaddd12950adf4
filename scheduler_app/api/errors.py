"""Every error in one shape: problem details (RFC 9457) that name what was given and what is allowed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponseBase
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.utils.serializer_helpers import ReturnDict
from rest_framework.views import set_rollback

from scheduler_app.access.throttling import TooOften
from scheduler_app.lifecycle import CannotDo
from scheduler_app.models import Job
from scheduler_app.models.clock import is_too_slow
from scheduler_app.rules.masking import is_secret_key, masked
from scheduler_app.rules.problems import Invalid, Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
SHOWN_CHARS = 100
RETRY_AFTER_S = 5


class Refused(exceptions.APIException):
    """What was given cannot be accepted: status 400 with an entry for each thing to mend."""

    status_code = 400
    default_code = "invalid"

    def __init__(self, problems: Sequence[Problem], serializer: Any = None) -> None:
        self.problems = tuple(problems)
        self.serializer = serializer
        """What found them; the browsable API shows its form again, filled in."""
        super().__init__(_summary(self.problems))


class Conflict(exceptions.APIException):
    """What was asked does not fit the state that it was asked of."""

    status_code = 409
    default_code = "conflict"


class Stale(exceptions.APIException):
    """The edit was made from an older version: 412 for `If-Match`, 409 for `version` in the body."""

    default_code = "stale"

    def __init__(self, job: Job, *, status: int) -> None:
        super().__init__(
            f"{job.name} was edited meanwhile: it has version {job.version} now. Read it again."
        )
        self.status_code = status


class PreconditionFailed(exceptions.APIException):
    """`If-Match` or `If-None-Match` does not fit what there is."""

    status_code = 412
    default_code = "precondition_failed"


class BodyTooLarge(exceptions.APIException):
    status_code = 413
    default_code = "body_too_large"


class RangeNotSatisfiable(exceptions.APIException):
    status_code = 416
    default_code = "range_not_satisfiable"

    def __init__(self, length: int) -> None:
        super().__init__(f"There are {length} bytes; the range begins after them.")
        self.headers = {"Content-Range": f"bytes */{length}"}


class LengthRequired(exceptions.APIException):
    status_code = 411
    default_code = "length_required"


class DatabaseAway(exceptions.APIException):
    status_code = 503
    default_code = "database_away"
    default_detail = "The database does not answer; nothing is known to be done. Try again later."


class TooSlow(exceptions.APIException):
    status_code = 503
    default_code = "too_slow"
    default_detail = (
        "This takes the database too long: narrow it by a filter, a search or a time range."
    )


def handle_exception(error: Exception, context: Mapping[str, Any]) -> HttpResponseBase:
    """The response to whatever a view raised."""
    set_rollback()
    request, view = context["request"], context["view"]
    known = _as_api_exception(error)
    if known is None:
        logger.exception("API request failed method=%s path=%s", request.method, request.path)
        got_request_exception.send(sender=type(view), request=request._request)
        known = exceptions.APIException("The server failed at this; its log says why.")
    if _wants_login_page(known, request):
        return redirect_to_login(request.get_full_path())
    headers = dict(getattr(known, "headers", {}))
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if (wait := getattr(known, "wait", None)) is not None:
        headers["Retry-After"] = f"{wait:.0f}"
    if known.status_code == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    body = problem_details(known, request)
    if serializer := getattr(known, "serializer", None):
        body = ReturnDict(body, serializer=serializer)
    return Response(body, status=known.status_code, headers=headers)


def problem_details(error: exceptions.APIException, request: Any) -> dict[str, Any]:
    """The members of RFC 9457, and `code`, a word for programs, and `errors`, one entry for each thing to mend."""
    entries: list[dict[str, Any]] = []
    if isinstance(error, Refused):
        detail, code = str(error.detail), error.default_code
        entries = [_entry(problem) for problem in error.problems]
    elif isinstance(error.detail, dict | list):
        problems = list(problems_of(error.detail))
        detail, code = _summary(problems), "invalid"
        entries = [_entry(problem) for problem in problems]
    else:
        detail, code = str(error.detail), str(error.get_codes())
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": detail,
        "code": code,
        "instance": request.path,
    }
    if entries:
        body["errors"] = entries
    return body


def problems_of(detail: Any, path: str = "") -> Iterator[Problem]:
    """The entries of DRF's nested lists and objects of messages; the empty path is the whole."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            inner = path if key == "non_field_errors" else f"{path}.{key}".lstrip(".")
            yield from problems_of(value, inner)
    elif isinstance(detail, list):
        for item in detail:
            yield from problems_of(item, path)
    else:
        yield Problem(path, str(detail))


def shown(value: Any, path: str = "") -> str:
    """What was given, as a short text; secrets in it are not repeated, nor what stands under a secret-like key."""
    if any(is_secret_key(part) for part in path.split(".")):
        return ""
    value = masked(value)
    if isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def _as_api_exception(error: Exception) -> exceptions.APIException | None:
    match error:
        case exceptions.APIException():
            return error
        case TooOften():
            return exceptions.Throttled(error.wait_s, str(error))
        case CannotDo() if error.problems:
            return Refused(error.problems)
        case CannotDo():
            return Conflict(str(error))
        case Invalid():
            return Refused(error.problems)
        case ValidationError():
            return Refused([Problem("", message) for message in error.messages])
        case Http404():
            return exceptions.NotFound(str(error) or None)
        case PermissionDenied():
            return exceptions.PermissionDenied(str(error) or None)
        case RequestDataTooBig():
            return BodyTooLarge(str(error))
        case SuspiciousOperation():
            return exceptions.ParseError(str(error) or None)
        case OperationalError() if is_too_slow(error):
            return TooSlow()
        case OperationalError() | InterfaceError():
            logger.warning("API request found no database error=%s", first_line(error))
            return DatabaseAway()
    return None


def _wants_login_page(error: exceptions.APIException, request: Any) -> bool:
    """A person with a browser logs in on the login page, and comes back from there."""
    renderer = getattr(request, "accepted_renderer", None)
    return (
        isinstance(error, exceptions.NotAuthenticated)
        and request.method in ("GET", "HEAD")
        and getattr(renderer, "format", "") in ("api", "html")
    )


def _entry(problem: Problem) -> dict[str, str]:
    found = {
        "field": problem.field,
        "message": problem.message,
        "given": shown(problem.given, problem.field),
        "allowed": problem.allowed,
        "suggestion": problem.suggestion,
    }
    return {key: value for key, value in found.items() if value or key == "message"}


def _summary(problems: Sequence[Problem]) -> str:
    if len(problems) == 1:
        return problems[0].message
    fields = list(dict.fromkeys(problem.field for problem in problems if problem.field))
    return f"{len(problems)} things are wrong: {', '.join(fields)}."


def first_line(error: Exception) -> str:
    """For logs: what the driver says goes on over several lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
