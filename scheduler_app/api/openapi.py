"""The OpenAPI document, made by drf-spectacular from what the views say of themselves in `operations`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from scheduler_app.targets import kinds

from .fields import JsonField, MomentField, Selective, Strict
from .operations import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    MATCH_PATTERN,
    PROBLEM,
    RANGE,
    Operation,
)

PATHS: dict[str, tuple[Any, str]] = {
    "job": ({"type": "string", "minLength": 1}, "The job's id, or its name."),
    "calendar": ({"type": "string", "minLength": 1}, "The calendar's id, or its name."),
    "name": ({"type": "string", "minLength": 1}, "The registered name."),
    "id": ({"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, ""),
}

HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    IF_MATCH: (
        {"type": "string", "format": "etag", "pattern": MATCH_PATTERN, "examples": ['"3"', "*"]},
        'The version that was read, as its ETag has it (`"3"`); another one by now is a 412.',
    ),
    IF_NONE_MATCH: (
        {"type": "string", "format": "etag", "pattern": MATCH_PATTERN, "examples": ["*"]},
        "`*`: only if there is none yet; a 412 else.",
    ),
    IDEMPOTENCY_KEY: (
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        "A word of your choice for this request. Sent again with it, the request is answered as before and does"
        " nothing; kept for a day. While the first one is at work the second waits, and is a 409 after a few seconds."
        " Another request with the same key is a 422.",
    ),
    RANGE: (
        {"type": "string", "examples": ["bytes=0-1023", "bytes=-500"]},
        "A range of bytes, such as `bytes=0-1023`; other forms get the whole.",
    ),
}

# What Python takes for white space; the classes of regular expressions differ from it and among each other.
_BLANK = r"\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
ANY_TEXT = r"^[^\u0000]*$"
NO_BLANK_TEXT = rf"^[^\u0000]*[^\u0000{_BLANK}][^\u0000]*$"
MOMENT = r"^(19[7-9][0-9]|20[0-9]{2}|2100)-"
"""The years that a moment may lie in; `date-time` says the rest."""
FORMATS = {
    "schedule": "schedule",
    "timezone": "time-zone",
    "target": "target",
    "calendar": "calendar-name",
}
"""Of fields whose texts mean something that no pattern can say."""


class ProblemEntrySerializer(serializers.Serializer[Any]):
    """One thing to mend."""

    field = serializers.CharField(required=False, help_text="Where; a path with dots.")
    message = serializers.CharField()
    given = serializers.CharField(required=False)
    allowed = serializers.CharField(required=False)
    suggestion = serializers.CharField(required=False)


class ProblemSerializer(serializers.Serializer[Any]):
    """What went wrong, as RFC 9457 has it."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="A sentence for people.")
    code = serializers.CharField(help_text="A word for programs.")
    instance = serializers.CharField()
    errors = ProblemEntrySerializer(many=True, required=False)  # type: ignore[assignment]  # DRF takes it off the class.


class Schema(AutoSchema):
    """Reads `operations`, which every action of the API has an entry in."""

    @property
    def _operation(self) -> Operation:
        name = getattr(self.view, "action", None) or self.method.lower()
        operations: dict[str, Operation] = cast(Any, self.view).operations
        return operations[name]

    def get_operation_id(self) -> str:
        base = getattr(self.view, "basename", None) or type(self.view).__name__.removesuffix("View")
        action = getattr(self.view, "action", None)
        return "_".join(filter(None, (base, action))).replace("-", "_").lower()

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/api/v1").strip("/").split("/")[0] or "root"]

    def get_summary(self) -> str:
        return re.split(r"[;:.]( |$)", self.get_description(), maxsplit=1)[0]

    def is_deprecated(self) -> bool:
        return self._operation.deprecated is not None

    def map_parsers(self) -> list[Any]:
        # Forms are for the browsable pages.
        return ["application/json"]

    def get_override_parameters(self) -> list[Any]:
        operation = self._operation
        found: list[Any] = [operation.query] if operation.query else []
        for variable in re.findall(r"{(\w+)}", self.path):
            schema, words = PATHS[variable]
            if "a-f" in getattr(self.view, "lookup_value_regex", ""):
                schema = {"type": "string", "format": "uuid"}
            found.append(
                OpenApiParameter(variable, schema, OpenApiParameter.PATH, description=words)
            )
        for name in operation.headers:
            schema, words = HEADERS[name]
            found.append(OpenApiParameter(name, schema, OpenApiParameter.HEADER, description=words))
        if operation.status == 201 or 201 in operation.others:
            found.append(
                OpenApiParameter(
                    "Location",
                    OpenApiTypes.URI,
                    OpenApiParameter.HEADER,
                    response=[201],
                    description="Where it is.",
                )
            )
        return found

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        for parameter in parameters:
            if (parameter["name"], parameter["in"]) == ("fields", "query"):
                fields = self._operation.answer().fields.items()
                parameter["schema"]["items"] = {
                    "enum": [name for name, field in fields if not field.write_only]
                }
        return parameters

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Also with the links, which drf-spectacular has no words for."""
        found: dict[str, Any] = cast(Any, super().get_operation(*args, **kwargs))
        links = {
            operation: {"operationId": operation, "parameters": dict(parameters)}
            for operation, parameters in self._operation.links.items()
        }
        if links:
            found["responses"][str(self._operation.status)]["links"] = links
        return found

    def get_examples(self) -> list[OpenApiExample]:
        example = self._operation.example
        return [OpenApiExample("example", value=example, request_only=True)] if example else []

    def get_request_serializer(self) -> Any:
        return self._operation.body

    def get_response_serializers(self) -> Any:
        operation = self._operation
        found: dict[Any, Any] = {}
        for status, answer in {operation.status: operation.answer, **operation.others}.items():
            if operation.text and status in (200, 206):
                found[status, "text/plain"] = {"type": "string"}
                if answer is None:
                    continue
            if operation.page and status == operation.status:
                answer = answer(many=True)
            key = status if answer is None else (status, "application/json")
            found[key] = OpenApiResponse(answer, description=_GOOD.get(status, ""))
        for status in self._failures(operation):
            found[status, PROBLEM] = OpenApiResponse(ProblemSerializer, description=_BAD[status])
        return found

    def _failures(self, operation: Operation) -> list[int]:
        found = {401, 403, 429, 503}
        if operation.query or self.method != "GET":
            found.add(400)
        # A filter by a job that there is not selects nothing that could be shown.
        if "{" in self.path or (operation.query and "job" in operation.query().fields):
            found.add(404)
        if operation.body or self.method in ("POST", "PUT", "PATCH"):
            found |= {411, 413, 415}
        if operation.conflicts:
            found.add(409)
        if {IF_MATCH, IF_NONE_MATCH} & set(operation.headers):
            found.add(412)
        if IDEMPOTENCY_KEY in operation.headers:
            found |= {409, 422}
        if RANGE in operation.headers:
            found.add(416)
        return sorted(found)

    def _is_list_view(self, serializer: Any = None) -> bool:
        return bool(getattr(serializer, "many", False)) or isinstance(
            serializer, serializers.ListSerializer
        )

    def _map_serializer_field(
        self, field: Any, direction: str, bypass_extensions: bool = False
    ) -> Any:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        return {**schema, **_asked_of(field)} if direction == "request" else schema

    def _map_basic_serializer(self, serializer: Any, direction: str) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if direction == "request" and isinstance(serializer, Strict):
            # What is not known is refused, not ignored.
            schema["additionalProperties"] = False
            # Of an edit some fields are those that are stored.
            schema.update({} if serializer.partial else serializer.together)
        if direction == "response" and isinstance(serializer, Selective):
            # `fields` leaves any of them out.
            schema.pop("required", None)
        return schema


def _asked_of(field: Any) -> dict[str, Any]:
    """What a field asks of a value beyond what drf-spectacular knows of it."""
    found: dict[str, Any] = {}
    match field:
        case JsonField():
            found = {"anyOf": [{"type": "object"}, {"type": "array", "items": {}}]}
        case MomentField():
            found = {"pattern": MOMENT}
        case serializers.CharField():
            found = {"pattern": ANY_TEXT if field.allow_blank else NO_BLANK_TEXT}
    of_a_job = isinstance(field.parent, serializers.ModelSerializer)
    if of_a_job and field.field_name == "kind":
        found = {"enum": sorted(kinds())}
    elif field.field_name in FORMATS:
        found["format"] = FORMATS[field.field_name]
    return found


_GOOD = {201: "Created.", 202: "Accepted; what was asked for happens after this.", 204: "Done."}
_BAD = {
    400: "Something given cannot be accepted; `errors` names each thing to mend.",
    401: "Not logged in.",
    403: "Logged in without the permission that is named, or without CSRF token.",
    404: "There is no such thing.",
    409: "It does not fit the state of what it was asked of.",
    411: "A body without a length.",
    412: "`If-Match` names another version, or `If-None-Match` found one.",
    413: "A body of more than 256 KiB.",
    415: "Another media type than JSON or a form.",
    416: "The range begins after the end.",
    422: "The Idempotency-Key stands for another request.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "The database does not answer; try again later.",
}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A token of `authentication.TokenAuthentication`."""

    target_class = "scheduler_app.api.authentication.TokenAuthentication"
    name = "tokenAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer"}


class BasicScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A user's name and password with each request."""

    target_class = "scheduler_app.api.authentication.BasicAuthentication"
    name = "basic"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "basic",
            "description": "A user's name and password with each request; over TLS or loopback only.",
        }


def tidy_paths(endpoints: Iterable[Any]) -> list[Any]:
    """Before the document is made: addresses as people write them, and only those that stand for something."""
    prefix = spectacular_settings.SCHEMA_PATH_PREFIX
    return [
        (re.sub(r"[/?]+$", "", path) if path != f"{prefix}/" else path, regex, method, callback)
        for path, regex, method, callback in endpoints
        if path.startswith(prefix) and getattr(callback.cls, "operations", None)
    ]
