"""The kind `http`: one request through the guarded client, its answer kept as the result."""

from __future__ import annotations

import codecs
import difflib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.message import Message
from http import HTTPStatus
from typing import Any

from scheduler_app.conf import get_config
from scheduler_app.rules.addresses import Allowance, read_allowances, refusal_before_lookup
from scheduler_app.rules.masking import masked_text
from scheduler_app.rules.problems import Invalid, Problem
from scheduler_app.rules.storable import (
    MAX_BYTES,
    cut_to_json_bytes,
    json_bytes,
    one_line,
    storable_text,
)
from scheduler_app.rules.urls import parse_url

from .base import JSON, CurrentExecution, InvalidTarget, Target, TargetFailed
from .guarded_http import Answer, Client, Exchange, Request, RequestFailed, shared_client

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""No others: a made-up word at the start of a request could be a command to something that is no web server."""
OPTIONS = ("method", "headers", "body", "expected_status", "connect_timeout_s")
CONNECT_TIMEOUT_S = 10.0
MAX_HEADERS = 100
MAX_HEADER_CHARS = 8190

FORBIDDEN_HEADERS = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
        "expect",
    ]
)
"""They belong to the connection, not to the request."""
KEPT_HEADERS = [
    "cache-control",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "www-authenticate",
    "x-correlation-id",
    "x-request-id",
]
"""Of the answer. Not those that carry secrets, such as Set-Cookie."""
KEPT_HEADER_CHARS = 500

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_STATUS_RANGE = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?")
# Text only, and only what decodes in linear time.
_CHARSETS = frozenset(
    codecs.lookup(name).name
    for name in [
        "utf-8",
        "utf-16",
        "utf-16le",
        "utf-16be",
        "utf-32",
        "ascii",
        "latin-1",
        "iso8859-2",
        "iso8859-5",
        "iso8859-7",
        "iso8859-9",
        "iso8859-15",
        "cp1250",
        "cp1251",
        "cp1252",
        "cp1253",
        "cp1254",
        "koi8-r",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "euc_jp",
        "euc_kr",
    ]
)


@dataclass(frozen=True, slots=True)
class Call:
    """A target with its arguments, read and found good."""

    request: Request
    expected: tuple[range, ...]


class HttpTarget(Target):
    """Calls a URL and judges the answer by its status."""

    kind = "http"
    label = "HTTP request"

    def __init__(self, client: Client | None = None) -> None:
        self._client = client

    def problems(self, target: str, arguments: JSON) -> list[Problem]:
        try:
            read_call(target, arguments, _allowances())
        except Invalid as error:
            return list(error.problems)
        return []

    def run(self, execution: CurrentExecution) -> object:
        """The exchange as JSON; raises `TargetFailed` with it when the status is not the expected one."""
        try:
            call = read_call(
                execution.target, execution.arguments, _allowances(), _own_headers(execution)
            )
        except Invalid as error:
            raise InvalidTarget(error.problems) from None
        exchange = Exchange(execution.time_left())
        execution.on_stop(exchange.stop)
        began = time.monotonic()
        try:
            answer = (self._client or shared_client()).send(call.request, exchange)
        except RequestFailed as error:
            raise TargetFailed(
                str(error),
                reason=error.reason,
                result=_result(call.request, error.answer, began),
                permanent=error.permanent,
            ) from error
        result = _result(call.request, answer, began)
        if any(answer.status in statuses for statuses in call.expected):
            return result
        raise TargetFailed(_unexpected(call, answer), reason="unexpected_status", result=result)


def read_call(
    target: str,
    arguments: JSON,
    allowances: tuple[Allowance, ...],
    own_headers: Mapping[str, str] | None = None,
) -> Call:
    """Raises `Invalid` with everything that is wrong."""
    problems: list[Problem] = []
    url = None
    try:
        url = parse_url(target)
        message = refusal_before_lookup(url.host, url.address, url.port, allowances)
        if message:
            problems.append(Problem("target", message))
    except Invalid as error:
        problems += error.problems
    if not isinstance(arguments, dict):
        text = f"The arguments must be a JSON object with any of {', '.join(OPTIONS)}."
        raise Invalid([*problems, Problem("arguments", text, allowed=", ".join(OPTIONS))])
    problems += [_unknown_option(name) for name in arguments if name not in OPTIONS]
    method = _read_method(arguments.get("method", "GET"), problems)
    headers = _read_headers(arguments.get("headers", {}), problems)
    body = _read_body(arguments.get("body"), headers)
    expected = _read_expected(arguments.get("expected_status"), problems)
    connect_timeout_s = _read_seconds(
        arguments.get("connect_timeout_s", CONNECT_TIMEOUT_S), problems
    )
    if problems or url is None:
        raise Invalid(problems)
    for name, value in (own_headers or {}).items():
        headers.setdefault(name.lower(), (name, value))
    request = Request(
        method=method,
        url=url,
        headers=dict(headers.values()),
        body=body,
        connect_timeout_s=connect_timeout_s,
        allowances=allowances,
    )
    return Call(request, expected)


def _allowances() -> tuple[Allowance, ...]:
    return read_allowances(tuple(get_config().http_allowed_hosts))


def _own_headers(execution: CurrentExecution) -> dict[str, str]:
    fire_time = execution.scheduled_for.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {
        "User-Agent": "jobscheduler",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Idempotency-Key": str(execution.id),
        "X-Scheduled-For": fire_time,
        "X-Attempt": str(execution.attempt),
    }


def _unknown_option(name: str) -> Problem:
    close = difflib.get_close_matches(name, OPTIONS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    allowed = ", ".join(OPTIONS)
    return Problem(
        "arguments",
        f"{name!r:.100} is not an option of an HTTP request.{hint} The options are {allowed}.",
        given=name,
        allowed=allowed,
        suggestion=close[0] if close else "",
    )


def _read_method(method: JSON, problems: list[Problem]) -> str:
    if isinstance(method, str) and method.upper() in METHODS:
        return method.upper()
    allowed = ", ".join(METHODS)
    text = f"The method must be one of {allowed}; got {method!r:.100}."
    problems.append(Problem("arguments.method", text, allowed=allowed))
    return ""


def _read_headers(headers: JSON, problems: list[Problem]) -> dict[str, tuple[str, str]]:
    """Name and value by the name in lower case. No message shows a value, which may be a secret."""

    def wrong(text: str) -> None:
        problems.append(Problem("arguments.headers", text))

    found: dict[str, tuple[str, str]] = {}
    if not isinstance(headers, dict):
        wrong('The headers must be a JSON object, such as {"Accept": "text/html"}.')
        return found
    if len(headers) > MAX_HEADERS:
        wrong(f"There are {len(headers)} headers; at most {MAX_HEADERS} are allowed.")
        return found
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            wrong(f"{name!r:.100} is not a header name.")
        elif name.lower() in FORBIDDEN_HEADERS:
            wrong(f"The header {name} is set by the connection and cannot be chosen.")
        elif name.lower() in found:
            wrong(f"The header {name} is given twice.")
        elif not isinstance(value, str):
            wrong(f"The value of the header {name} must be text, in quotes.")
        elif len(value) > MAX_HEADER_CHARS:
            wrong(f"The value of the header {name} is longer than {MAX_HEADER_CHARS:,} characters.")
        elif not _HEADER_VALUE.fullmatch(value):
            wrong(
                f"The value of the header {name} may hold only Latin-1 characters on one line,"
                " no control characters."
            )
        else:
            found[name.lower()] = (name, value)
    return found


def _read_body(body: JSON, headers: dict[str, tuple[str, str]]) -> bytes | None:
    """Text is sent as it is, any other JSON value as JSON, null is no body."""
    if body is None:
        return None
    is_text = isinstance(body, str)
    content_type = "text/plain; charset=utf-8" if is_text else "application/json"
    headers.setdefault("content-type", ("Content-Type", content_type))
    text = body if is_text else json.dumps(body, ensure_ascii=False)
    return text.encode("utf-8", "replace")


def _read_expected(expected: JSON, problems: list[Problem]) -> tuple[range, ...]:
    if expected is None:
        return (range(200, 300),)
    entries = expected if isinstance(expected, list) and expected else [expected]
    found = []
    for entry in entries:
        match = _STATUS_RANGE.fullmatch(str(entry)) if type(entry) in (int, str) else None
        if match is None or int(match[2] or match[1]) < int(match[1]):
            text = f"An expected status is a number such as 200 or a range such as '200-299'; got {entry!r:.100}."
            problems.append(Problem("arguments.expected_status", text))
        else:
            found.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(found)


def _read_seconds(seconds: JSON, problems: list[Problem]) -> float:
    if type(seconds) in (int, float) and 0.1 <= seconds <= 300:
        return float(seconds)
    text = f"The connect timeout must be 0.1 to 300 seconds; got {seconds!r:.100}."
    problems.append(Problem("arguments.connect_timeout_s", text))
    return CONNECT_TIMEOUT_S


def _result(request: Request, answer: Answer | None, began: float) -> dict[str, Any]:
    result: dict[str, Any] = {
        "method": request.method,
        "url": masked_text(str(request.url)),
        "duration_ms": round((time.monotonic() - began) * 1000, 1),
    }
    if answer is None:
        return result
    result |= {
        "address": str(answer.address),
        "status": answer.status,
        "reason": _reason(answer),
        "headers": _kept_headers(answer),
        "body_bytes": answer.received,
        "body_truncated": answer.truncated,
    }
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        # Never inflated: a few bytes could become gigabytes.
        return result | {"body": "", "body_truncated": answer.received > 0}
    text = storable_text(_text(answer), len(answer.body))
    kept = cut_to_json_bytes(text, MAX_BYTES - json_bytes(result) - len(', "body": '))
    return result | {"body": kept, "body_truncated": answer.truncated or len(kept) < len(text)}


def _kept_headers(answer: Answer) -> dict[str, str]:
    return {
        name: storable_text(answer.headers[name], KEPT_HEADER_CHARS)
        for name in KEPT_HEADERS
        if name in answer.headers
    }


def _text(answer: Answer) -> str:
    """The body, decoded as the answer says, else as UTF-8; what cannot be decoded is replaced."""
    message = Message()
    message["Content-Type"] = answer.headers.get("content-type", "")
    try:
        charset = codecs.lookup(str(message.get_param("charset", "utf-8"))).name
    except LookupError:
        charset = "utf-8"
    if charset not in _CHARSETS:
        charset = "utf-8"
    decoder = codecs.getincrementaldecoder(charset)("replace")
    # A character that was cut in two at the end is left out.
    return decoder.decode(bytes(answer.body), final=not answer.truncated)


def _reason(answer: Answer) -> str:
    try:
        standard = HTTPStatus(answer.status).phrase
    except ValueError:
        standard = ""
    return one_line(answer.reason, 100) or standard


def _unexpected(call: Call, answer: Answer) -> str:
    expected = ", ".join(
        str(statuses[0]) if len(statuses) == 1 else f"{statuses[0]}-{statuses[-1]}"
        for statuses in call.expected
    )
    text = (
        f"{call.request.url.host} answered {answer.status} {_reason(answer)}".rstrip()
        + f"; expected {expected}."
    )
    location = answer.headers.get("location")
    if location and 300 <= answer.status < 400:
        text += f" Redirects are not followed; this one leads to {one_line(location, 300)}"
    return text
