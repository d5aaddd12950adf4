"""Pages by key: each begins after the last row of the one before, so that the millionth costs what the first costs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.template import loader
from rest_framework.exceptions import ParseError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from scheduler_app.rules.problems import Problem

from .errors import Refused
from .parsers import strict_loads


@dataclass(frozen=True, slots=True)
class Order:
    """A column that rows are sorted by, with the id to decide between equals. It must not be NULL."""

    column: str
    type: type
    descending: bool = False
    key: Any = int
    """The type of the id."""

    @classmethod
    def of(cls, word: str, known: Mapping[str, Order]) -> Order:
        """What `ordering` names; a minus before it is the other way round."""
        return replace(known[word.removeprefix("-")], descending=word.startswith("-"))

    def sorted(self, rows: QuerySet[Any], *, backwards: bool) -> QuerySet[Any]:
        sign = "-" if self.descending != backwards else ""
        columns = dict.fromkeys((self.column, "id"))
        return rows.order_by(*(sign + column for column in columns))

    def beyond(self, rows: QuerySet[Any], cursor: Cursor) -> QuerySet[Any]:
        """The rows that come after the cursor's, or before it."""
        word = "lt" if self.descending != cursor.backwards else "gt"
        if self.column == "id":
            return rows.filter(**{f"id__{word}": cursor.id})
        # The first condition alone is a range of the index; "or" between the two would not be.
        return rows.filter(**{f"{self.column}__{word}e": cursor.value}).exclude(
            **{self.column: cursor.value, f"id__{'gt' if word == 'lt' else 'lt'}e": cursor.id}
        )


@dataclass(frozen=True, slots=True)
class Cursor:
    """The row that a page begins after, or ends before."""

    value: Any
    id: Any
    backwards: bool

    def to_text(self, order: Order) -> str:
        value = self.value.isoformat() if order.type is datetime else self.value
        id_ = self.id if order.key is int else str(self.id)
        words = [order.column, order.descending, value, id_, self.backwards]
        return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str, order: Order) -> Cursor:
        try:
            decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            # As strict as with a body, since what cannot be stored cannot be asked for either.
            words = strict_loads(decoded)
            column, descending, value, id_, backwards = words
            if (column, descending) != (order.column, order.descending):
                raise ValueError(column)
            if order.type is datetime:
                value = _aware(datetime.fromisoformat(value))
            if order.key is not int:
                id_ = order.key(id_)
            if type(value) is not order.type or type(id_) is not order.key:
                raise ValueError(value)
        except (ValueError, TypeError, AttributeError, OverflowError, ParseError):
            message = (
                "This is not a cursor of this list in this order; take it from next or previous."
            )
            raise Refused([Problem("cursor", message)]) from None
        return cls(value, id_, bool(backwards))


def _aware(moment: datetime) -> datetime:
    """In UTC; raises ValueError for one without a zone, and OverflowError for one that UTC has no year for."""
    if moment.tzinfo is None:
        raise ValueError(moment)
    return moment.astimezone(UTC)


class KeysetPagination(BasePagination):
    """`next` and `previous` instead of page numbers and counts."""

    template = "rest_framework/pagination/previous_and_next.html"

    def paginate(
        self, rows: QuerySet[Any], request: Request, *, order: Order, size: int, cursor: str
    ) -> list[Any]:
        """The rows of one page, in one query."""
        at = Cursor.from_text(cursor, order) if cursor else None
        backwards = at is not None and at.backwards
        if at is not None:
            rows = order.beyond(rows, at)
        found = list(order.sorted(rows, backwards=backwards)[: size + 1])
        return self._cut(found, request, order=order, size=size, at=at)

    def paginate_named(
        self, things: Sequence[Any], request: Request, *, size: int, cursor: str
    ) -> list[Any]:
        """A page of things that lie in no table, sorted by their `name`."""
        order = Order("name", str)
        at = Cursor.from_text(cursor, order) if cursor else None
        if at is not None and at.backwards:
            things = [thing for thing in reversed(things) if thing.name < at.value]
        elif at is not None:
            things = [thing for thing in things if thing.name > at.value]
        return self._cut(list(things[: size + 1]), request, order=order, size=size, at=at)

    def _cut(
        self, found: list[Any], request: Request, *, order: Order, size: int, at: Cursor | None
    ) -> list[Any]:
        """Of one row more than fits, those that do, with the addresses of the pages beside."""
        self._request = request
        backwards = at is not None and at.backwards
        more, found = len(found) > size, found[:size]
        if backwards:
            found.reverse()
        self.next_url = self._url(found, order, -1, exists=more or backwards)
        self.previous_url = self._url(found, order, 0, exists=more if backwards else at is not None)
        self.display_page_controls = bool(self.next_url or self.previous_url)
        return found

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self.next_url, "previous": self.previous_url, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        address = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "properties": {"next": address, "previous": address, "results": schema},
            "required": ["next", "previous", "results"],
        }

    def get_results(self, data: Any) -> Any:
        return data["results"]

    def to_html(self) -> str:
        context = {"previous_url": self.previous_url, "next_url": self.next_url}
        return str(loader.get_template(self.template).render(context))

    def _url(self, found: list[Any], order: Order, edge: int, *, exists: bool) -> str | None:
        if not exists:
            return None
        address = self._request.build_absolute_uri()
        if not found:
            # Beyond the last row there is nothing to begin from but the start.
            return remove_query_param(address, "cursor") if edge == 0 else None
        row = found[edge]
        cursor = Cursor(getattr(row, order.column), getattr(row, "pk", 0), backwards=edge == 0)
        return replace_query_param(address, "cursor", cursor.to_text(order))
