"""An execution's log as one text: whole, a range of its bytes, its end, or what comes after an offset.

The text only grows, so an offset is a place in it for good. Who follows a log asks again and again; each request
waits for a bounded time, and only so many of a process's threads wait at once.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Func, IntegerField, Value
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.http import urlencode
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app.conf import get_config
from scheduler_app.models import Execution, LogChunk
from scheduler_app.models.execution import LIVE

from .errors import RangeNotSatisfiable

LOOK_EVERY_S = 0.25
READ_AT_ONCE = 16
MAX_JSON_BYTES = 256 * 1024
MOST_WAITING = 4
"""Threads of one process that wait for more at once; gunicorn's workers have eight each."""

_waiting = threading.BoundedSemaphore(MOST_WAITING)
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the text: a stored chunk, or the line between two attempts."""

    start: int
    length: int
    chunk_id: int | None = None
    line: bytes = b""


@dataclass(frozen=True, slots=True)
class Log:
    """Where everything lies in the text as it was a moment ago; nothing of it is read yet."""

    pieces: Sequence[Piece]
    is_over: bool
    """Nothing will be added."""

    @property
    def length(self) -> int:
        return self.pieces[-1].start + self.pieces[-1].length if self.pieces else 0

    def bytes_of(self, start: int, end: int) -> Iterator[bytes]:
        """The text from `start` up to before `end`, chunk by chunk."""
        wanted = [p for p in self.pieces if p.start < end and start < p.start + p.length]
        for piece, content in _contents(wanted):
            yield content[max(0, start - piece.start) : end - piece.start]

    def start_of_tail(self, lines: int) -> int:
        """Where the last so many lines begin; reads no more of the text than these."""
        # What ends the last line does not begin another.
        left = lines + 1
        for piece, content in _contents(self.pieces[::-1]):
            if piece is self.pieces[-1] and not content.endswith(b"\n"):
                left -= 1
            found = content.count(b"\n")
            if found < left:
                left -= found
                continue
            at = len(content)
            for _ in range(left):
                at = content.rindex(b"\n", 0, at)
            return piece.start + at + 1
        return 0


class LogPartSerializer(serializers.Serializer[Any]):
    """A part of a log, and where it goes on."""

    text = serializers.CharField()
    offset = serializers.IntegerField(help_text="The byte that the text begins at.")
    next_offset = serializers.IntegerField()
    complete = serializers.BooleanField(help_text="Nothing comes after this.")
    next = serializers.URLField(allow_null=True, help_text="Where to ask for what comes after.")


def respond(
    request: Request, execution: Execution, query: dict[str, Any], url: str
) -> HttpResponseBase:
    """What was asked for, as plain text or, if that is accepted, as JSON."""
    attempt = query.get("attempt")
    offset = query.get("offset", 0)
    log = read_log(execution, attempt)
    # Behind a pooler a request that reads is one transaction: to wait in it would keep a connection from all others.
    if offset >= log.length and query["wait"] and not get_config().pooled:
        log = _wait(execution, attempt, log, offset, query["wait"])
    if "tail" in query:
        offset = log.start_of_tail(query["tail"])
    offset = min(offset, log.length)
    if request.accepted_renderer.format == "json":
        return _as_json(log, offset, query, url)
    return _as_text(request, log, offset, query, url)


def read_log(execution: Execution, attempt: int | None) -> Log:
    """One look at the status and one at the sizes, in this order: what is over has all of its text."""
    status = Execution.objects.filter(pk=execution.pk).values_list("status", flat=True).first()
    chunks = LogChunk.objects.filter(execution_id=execution.pk)
    if attempt is not None:
        chunks = chunks.filter(attempt=attempt)
    bytes_ = Func(
        Func("text", Value("UTF8"), function="convert_to"),
        function="octet_length",
        output_field=IntegerField(),
    )
    rows = chunks.order_by("attempt", "token", "seq").values_list("pk", "attempt", bytes_)
    pieces: list[Piece] = []
    at, before = 0, None
    for pk, number, length in rows:
        if before not in (None, number):
            line = f"\n--- attempt {number} ---\n".encode()
            pieces.append(Piece(at, len(line), line=line))
            at += len(line)
        pieces.append(Piece(at, length, chunk_id=pk))
        at, before = at + length, number
    return Log(pieces, is_over=status not in LIVE)


def _contents(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, bytes]]:
    """Each piece with its bytes; one query for sixteen of them, as they are asked for."""
    for at in range(0, len(pieces), READ_AT_ONCE):
        some = pieces[at : at + READ_AT_ONCE]
        ids = [piece.chunk_id for piece in some if piece.chunk_id is not None]
        texts = dict(LogChunk.objects.filter(pk__in=ids).values_list("pk", "text"))
        for piece in some:
            content = piece.line
            if piece.chunk_id is not None:
                # Pruned since the look at the sizes: the length that was promised is kept.
                content = texts.get(piece.chunk_id, "").encode().ljust(piece.length)
            yield piece, content


def _wait(execution: Execution, attempt: int | None, log: Log, offset: int, wait_s: int) -> Log:
    """Look again until there is something at the offset, it is over, or the time is."""
    if not _waiting.acquire(blocking=False):
        return log
    try:
        until = time.monotonic() + wait_s
        while not log.is_over and log.length <= offset and time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)
            log = read_log(execution, attempt)
    finally:
        _waiting.release()
    return log


def _next_url(log: Log, offset: int, query: dict[str, Any], url: str) -> str | None:
    """Where the text goes on; None when it ends here for good."""
    if log.is_over and offset >= log.length:
        return None
    parameters = {"offset": offset, "wait": query["wait"] or 20}
    if "attempt" in query:
        parameters["attempt"] = query["attempt"]
    return f"{url}?{urlencode(parameters)}"


def _as_json(log: Log, offset: int, query: dict[str, Any], url: str) -> Response:
    end = min(log.length, offset + MAX_JSON_BYTES)
    content = b"".join(log.bytes_of(offset, end))
    # A character that the bound cut in two is left for the next request.
    text = content.decode(errors="ignore") if end < log.length else content.decode(errors="replace")
    end = offset + len(text.encode()) if end < log.length else end
    return Response(
        {
            "text": text,
            "offset": offset,
            "next_offset": end,
            "complete": log.is_over and end >= log.length,
            "next": _next_url(log, end, query, url),
        }
    )


def _as_text(
    request: Request, log: Log, offset: int, query: dict[str, Any], url: str
) -> StreamingHttpResponse:
    start, end, status = offset, log.length, 200
    headers = {"Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
    if not {"offset", "tail"} & set(query) and (wanted := _RANGE.fullmatch(_range(request))):
        start, end = _bounds(wanted[1], wanted[2], log.length)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{log.length}"
        status = 206
    headers["Content-Length"] = str(end - start)
    if following := _next_url(log, end, query, url):
        headers["Link"] = f'<{following}>; rel="next"'
    return StreamingHttpResponse(
        log.bytes_of(start, end),
        status=status,
        headers=headers,
        content_type="text/plain; charset=utf-8",
    )


def _range(request: Request) -> str:
    """One range of bytes; any other form is answered with the whole, as HTTP allows."""
    text = request.headers.get("Range", "").replace(" ", "")
    return "" if text == "bytes=-" else text


def _bounds(first: str, last: str, length: int) -> tuple[int, int]:
    """First byte and the one after the last; raises RangeNotSatisfiable."""
    if not first:
        start, end = max(0, length - int(last)), length
    else:
        start, end = int(first), min(length, int(last) + 1) if last else length
    if start >= end:
        raise RangeNotSatisfiable(length)
    return start, end
