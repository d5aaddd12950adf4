"""What an execution printed: the end of it on its page, piece by piece while it runs, all of it as a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from django.db.models import Count, F, Func, IntegerField, Q, Sum, Window
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import URLPattern, path

from scheduler_app.access import visible
from scheduler_app.models import Execution, LogChunk
from scheduler_app.rules.ansi import COLOURS, PLAIN, STYLES, coloured
from scheduler_app.rules.masking import masked_lines, masked_text

from .base import ReadOnlyAdmin
from .display import printable

LOG_SHOWN = 48 * 1024
"""Characters of a log on one page; what lies before is a page of its own, and the whole can be downloaded."""
PIECES_SHOWN = 1000
"""Changes of colour on one page; what lies before them is shown without."""
CHUNKS_AT_ONCE = 20
"""Pieces of a log that a page which follows it is given at a time."""

Piece = tuple[str, str]
"""A style and a text, both harmless."""
Place = tuple[int, int, int]
"""Attempt, token and number of a chunk: the order of the log."""

NEWEST_FIRST = ("-attempt", "-token", "-seq")
IN_ORDER = ("attempt", "token", "seq")


@dataclass(slots=True)
class AttemptLog:
    """What one attempt printed, or a part of it."""

    attempt: int
    text: str

    @property
    def pieces(self) -> list[Piece]:
        """The text with its colours."""
        return pieces_of(self.text)[0]


@dataclass(slots=True)
class ShownLog:
    """The log of an execution as far as a page shows it."""

    attempts: list[AttemptLog] = field(default_factory=list)
    is_cut: bool = False
    """There is more before."""
    begins: str = ""
    """The place of the first character that is shown: what lies before it is the page before."""
    ends: str = "0.0.0"
    """The place of the last, after which following goes on."""


def pieces_of(text: str, style: str = PLAIN) -> tuple[list[Piece], str]:
    """The text as styled pieces without control characters or secrets, and the style that goes on."""
    *found, (goes_on, _) = coloured(masked_text(text), style)
    pieces = [(words, printable(piece)) for words, piece in found]
    if len(pieces) > PIECES_SHOWN:
        plain = "".join(piece for _, piece in pieces[:-PIECES_SHOWN])
        pieces = [(PLAIN, plain), *pieces[-PIECES_SHOWN:]]
    return pieces, goes_on


def shown_log(execution_id: int, before: Place | None = None, offset: int = 0) -> ShownLog:
    """The newest LOG_SHOWN characters of the log, or those before a place in it; by attempt, oldest first.

    The place is a chunk, and how many of its characters lie before: the end of a long log is one large chunk.
    """
    size = Func(F("text"), function="octet_length", output_field=IntegerField())
    newest_first = [F("attempt").desc(), F("token").desc(), F("seq").desc()]
    found = LogChunk.objects.filter(execution=execution_id)
    if before is not None:
        within = dict(zip(IN_ORDER, before, strict=True))
        found = found.filter(_is_before(before) | Q(**within) if offset else _is_before(before))
    chunks = list(
        found.annotate(
            newer=Window(Sum(size), order_by=newest_first) - size, parts=Window(Count("pk"))
        )
        .filter(newer__lt=LOG_SHOWN)
        .order_by(*newest_first)
        .values_list("attempt", "token", "seq", "text", "parts")
    )
    log = ShownLog(is_cut=bool(chunks) and chunks[0][-1] > len(chunks))
    left = LOG_SHOWN
    for attempt, token, seq, whole, _ in chunks:
        text = whole[:offset] if offset and (attempt, token, seq) == before else whole
        if not log.begins:
            log.ends = f"{attempt}.{token}.{seq}"
        begin = 0
        if len(text) > left:
            # At the beginning of a line, unless there is none.
            begin = len(text) - left
            line = text.find("\n", begin, len(text) - 1) + 1
            begin = line or begin
            log.is_cut = True
        log.begins = f"{attempt}.{token}.{seq}.{begin}"
        text = text[begin:]
        left -= len(text)
        if log.attempts and log.attempts[-1].attempt == attempt:
            log.attempts[-1].text = text + log.attempts[-1].text
        else:
            log.attempts.append(AttemptLog(attempt, text))
        if begin:
            break
    log.attempts.reverse()
    return log


def place_of(text: str | None) -> tuple[Place | None, int]:
    """`attempt.token.seq` as it stands in links, and the characters behind it; None for what is no place."""
    parts = (text or "").split(".")
    if len(parts) not in (3, 4) or not all(part.isascii() and part.isdigit() for part in parts):
        return None, 0
    attempt, token, seq, *rest = (min(int(part[:19]), 2**31 - 1) for part in parts)
    return (attempt, token, seq), rest[0] if rest else 0


class ExecutionLog(ReadOnlyAdmin):
    """The addresses of an execution's log."""

    def get_urls(self) -> list[URLPattern]:
        """Also the log as a file, and what was added to it."""
        view = self.admin_site.admin_view
        base = "<int:execution_id>/log/"
        return [
            path(base, view(self.log_view), name="scheduler_app_execution_log"),
            path(f"{base}more/", view(self.more_view), name="scheduler_app_execution_log_more"),
            *super().get_urls(),
        ]

    def log_view(self, request: HttpRequest, execution_id: int) -> StreamingHttpResponse:
        """The whole log as a file."""
        self._status_of(request, execution_id)
        return StreamingHttpResponse(
            _whole_log(execution_id),
            content_type="text/plain; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="execution-{execution_id}.log"',
                "X-Content-Type-Options": "nosniff",
            },
        )

    def more_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """What was printed after a place, for the script of a page that follows the log."""
        is_live = self._status_of(request, execution_id)
        place = place_of(request.GET.get("after"))[0] or (0, 0, 0)
        known = (*STYLES, *COLOURS)
        words = request.GET.get("style", PLAIN)[:100].split()
        style = " ".join(word for word in words if word in known)
        chunks = list(
            LogChunk.objects.filter(_is_after(place), execution=execution_id)
            .order_by(*IN_ORDER)
            .values_list("attempt", "token", "seq", "text")[:CHUNKS_AT_ONCE]
        )
        # One attempt at a time: the next has a heading of its own, and so needs a new page.
        attempt = place[0] or (chunks[0][0] if chunks else 0)
        same = [chunk for chunk in chunks if chunk[0] == attempt]
        # Masked before it is cut, which may be in the middle of a secret.
        text = masked_text("".join(text for *_, text in same))[-LOG_SHOWN:]
        pieces, style = pieces_of(text, style)
        last = same[-1][:3] if same else place
        return JsonResponse(
            {
                "pieces": pieces,
                "style": style,
                "after": ".".join(map(str, last)),
                "is_more": len(chunks) == CHUNKS_AT_ONCE,
                "is_over": len(same) < len(chunks) or not (is_live or chunks),
            }
        )

    def _status_of(self, request: HttpRequest, execution_id: int) -> bool:
        """Whether it lives; refuses those who may not see it."""
        self.require(self.has_view_permission(request))
        found = visible.executions_by_id().filter(pk=execution_id)
        execution: Execution | None = found.only("status").first()
        if execution is None:
            raise Http404("There is no such execution.")
        return execution.is_live


def _whole_log(execution_id: int) -> Iterator[str]:
    chunks = LogChunk.objects.filter(execution=execution_id).order_by(*IN_ORDER)
    rows = chunks.values_list("attempt", "text").iterator(chunk_size=20)
    for attempt, of_attempt in groupby(rows, key=itemgetter(0)):
        yield f"--- attempt {attempt} ---\n"
        yield from masked_lines(text for _, text in of_attempt)


def _is_before(place: Place) -> Q:
    attempt, token, seq = place
    return (
        Q(attempt__lt=attempt)
        | Q(attempt=attempt, token__lt=token)
        | Q(attempt=attempt, token=token, seq__lt=seq)
    )


def _is_after(place: Place) -> Q:
    attempt, token, seq = place
    return (
        Q(attempt__gt=attempt)
        | Q(attempt=attempt, token__gt=token)
        | Q(attempt=attempt, token=token, seq__gt=seq)
    )
