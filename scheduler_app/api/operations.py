"""What each action of a view takes and answers, as data beside the view: the OpenAPI document is made from it.

`needs` says who may call an action, `operations` what it speaks. The parts are the serializers that the actions
themselves read requests with and write answers with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from django.utils.http import http_date

from .queries import Query

PROBLEM = "application/problem+json"

IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"
IDEMPOTENCY_KEY = "Idempotency-Key"
RANGE = "Range"

_TAG = '(W/)?"[!#-~]*"'
MATCH_PATTERN = rf"^([*]|[0-9]+|{_TAG}(, ?{_TAG})*)$"
"""Of If-Match and If-None-Match: ETags, of which a job has its version; that alone will do without quotation marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """Something that is to go: every answer of it says so."""

    since: date
    sunset: date | None = None
    """When it stops to answer, once that is known."""

    @property
    def headers(self) -> dict[str, str]:
        """As RFC 9745 and RFC 8594 have them."""
        found = {"Deprecation": f"@{_start_of(self.since)}"}
        if self.sunset is not None:
            found["Sunset"] = http_date(_start_of(self.sunset))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One action: its query, its body, its answers."""

    answer: Any = None
    """A serializer class, a schema, or None for an answer without a body."""
    status: int = 200
    page: bool = False
    """The answer is a page of these."""
    query: type[Query] | None = None
    body: Any = None
    others: Mapping[int, Any] = field(default_factory=dict)
    """Other good answers, by status."""
    headers: tuple[str, ...] = ()
    """Of the request, beside those that every request may have."""
    text: bool = False
    """The answer is plain text; with an `answer` as well, JSON for who asks for that."""
    conflicts: bool = False
    """It may not fit the state: 409."""
    example: Any = None
    """Of a body."""
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What can be asked about what was answered: by the operation's id, where its parameters stand."""
    deprecated: Deprecation | None = None
    """Whether, since when and until when it is to go; marked in the document and told with each answer."""


def either(component: str, schema: dict[str, Any]) -> dict[str, Any]:
    """One of the shapes that are described elsewhere in the document, or this one."""
    return {"anyOf": [schema, {"$ref": f"#/components/schemas/{component}"}]}


def links_to(*operations: str, **parameters: str) -> dict[str, dict[str, str]]:
    """Links to several operations that take the same parameters, each from a field of the answer: `id="id"`."""
    found = {name: f"$response.body#/{where}" for name, where in parameters.items()}
    return dict.fromkeys(operations, found)


def _start_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
