"""What all views of the API share: what they read and write, who may call them, how they fail, how they are found."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import exceptions, routers
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from scheduler_app.access import RequestCaller, calling, current_caller
from scheduler_app.access.throttling import WRITES, spend
from scheduler_app.rules.problems import Problem

from . import errors
from .authentication import SAFE_METHODS
from .links import Links
from .openapi import Schema
from .operations import Operation
from .pagination import KeysetPagination, Order
from .parsers import MAX_BODY_BYTES, JSONParser
from .permissions import MayDo
from .queries import NoQuery, Query
from .renderers import BrowsableAPIRenderer

Row = TypeVar("Row", bound=Model)


class ApiView(APIView):
    """Any view of the API."""

    parser_classes = (JSONParser, FormParser, MultiPartParser)
    renderer_classes: Sequence[type[BaseRenderer]] = (JSONRenderer, BrowsableAPIRenderer)
    permission_classes: Sequence[Any] = (MayDo,)
    schema = Schema()
    needs: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The permissions for each action, or method where a view has no actions."""
    operations: ClassVar[dict[str, Operation]] = {}
    """What each of them takes and answers, for the OpenAPI document."""

    @property
    def operation(self) -> Operation | None:
        """What was asked for; None where the document tells of no such thing."""
        return self.operations.get(
            getattr(self, "action", None) or str(self.request.method).lower()
        )

    def get_exception_handler(self) -> Any:
        return errors.handle_exception

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """In the name of who sent it, also where no middleware says so: what nobody calls counts as code."""
        if isinstance(current_caller(), RequestCaller):
            return super().dispatch(request, *args, **kwargs)
        with calling(RequestCaller(request)):
            response = super().dispatch(request, *args, **kwargs)
            return response.render() if isinstance(response, Response) else response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Before anything reads the body, which looking for a CSRF token in a form does already.
        self.check_body(request)
        super().initial(request, *args, **kwargs)
        self.check_query(request)

    def check_query(self, request: Request) -> None:
        """Refuse parameters of what changes something, which would ignore them: who says `?dry_run=true` means it."""
        if request.method in SAFE_METHODS or self.operation is None:
            return
        query: type[Query] | None = None
        if request.accepted_renderer.format == BrowsableAPIRenderer.format:
            # A page's forms are sent to its own address, with what chose the rows that it shows.
            reading = getattr(self, "action_map", {}).get("get", "")
            query = self.operations[reading].query if reading else None
        (query or NoQuery).of(request)

    def check_throttles(self, request: Request) -> None:
        """After the rights, so that what is refused anyway costs nothing."""
        if request.method not in SAFE_METHODS:
            spend(WRITES)

    def check_body(self, request: Request) -> None:
        """Refuse what is too long to be read, and what would be read as an empty body."""
        length = request.META.get("CONTENT_LENGTH") or ""
        if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            raise errors.BodyTooLarge(
                f"The body has {length[:20]} bytes; {MAX_BODY_BYTES} are allowed."
            )
        if not length and request.META.get("HTTP_TRANSFER_ENCODING"):
            raise errors.LengthRequired("Send the body with a Content-Length, not in chunks.")

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self.operation is not None and self.operation.deprecated is not None:
            for name, value in self.operation.deprecated.headers.items():
                final[name] = value
        # A page shows who is logged in, which asks the database.
        as_page = request.accepted_renderer.format == "api" and final.status_code != 503
        if isinstance(final, Response) and final.exception and not as_page:
            final.accepted_renderer = JSONRenderer()
            final.accepted_media_type = "application/json"
            final.content_type = errors.MEDIA_TYPE
        return final


class ApiViewSet(ApiView, GenericViewSet[Row]):
    """A kind of things: lists in pages, and addresses in what it shows."""

    pagination_class = KeysetPagination

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "links": Links(self.request)}

    def shown(self, query: dict[str, Any], shape: type[BaseSerializer[Any]]) -> dict[str, Any]:
        """The serializer's context, with the `fields` that were asked for; raises Refused for others."""
        context = self.get_serializer_context()
        if "fields" in query:
            known = [name for name, field in shape().fields.items() if not field.write_only]  # type: ignore[attr-defined]
            unknown = [name for name in query["fields"] if name not in known]
            if unknown:
                raise errors.Refused([_unknown_field(name, known) for name in unknown])
            context["shown_fields"] = frozenset(query["fields"])
        return context

    def page(self, rows: QuerySet[Row], *, order: Order, query: dict[str, Any]) -> list[Row]:
        """The rows that `page_size` and `cursor` ask for, in one query."""
        assert isinstance(self.paginator, KeysetPagination)
        return self.paginator.paginate(
            rows,
            self.request,
            order=order,
            size=query["page_size"],
            cursor=query.get("cursor", ""),
        )


def _unknown_field(name: str, known: list[str]) -> Problem:
    close = difflib.get_close_matches(name, known, n=1)
    return Problem(
        "fields",
        f"{name} is not a field of what is shown here.",
        given=name,
        allowed=", ".join(known),
        suggestion=close[0] if close else "",
    )


class UnknownAddress(ApiView):
    """Whatever else is asked for below `/api/v1/`."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise exceptions.NotFound(f"There is nothing at {request.path[:200]}.")


class Router(routers.SimpleRouter):
    """Addresses with or without a slash at the end; actions before details, since a job's name may hold a slash."""

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"
        collection, collection_actions, detail, detail_actions = self.routes
        self.routes = [collection, collection_actions, detail_actions, detail]
