"""What all views of the API share: what they read and write, who may call them, how they fail, how they are found."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponseBase
from rest_framework import exceptions, routers
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from . import errors
from .parsers import MAX_BODY_BYTES, JSONParser
from .permissions import MayDo


class ApiMixin:
    """The common part of views and viewsets."""

    parser_classes = (JSONParser, FormParser, MultiPartParser)
    renderer_classes: Any = (JSONRenderer, BrowsableAPIRenderer)
    permission_classes = (MayDo,)
    needs: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The permissions for each action, or method where a view has no actions."""

    def get_exception_handler(self) -> Any:
        return errors.handle_exception

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Before anything reads the body, which looking for a CSRF token in a form does already.
        self.check_body(request)
        super().initial(request, *args, **kwargs)  # type: ignore[misc]

    def check_body(self, request: Request) -> None:
        """Refuse what is too long to be read, and what would be read as an empty body."""
        length = request.META.get("CONTENT_LENGTH") or ""
        if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            raise errors.BodyTooLarge(
                f"The body has {length[:20]} bytes; {MAX_BODY_BYTES} are allowed."
            )
        if not length and request.META.get("HTTP_TRANSFER_ENCODING"):
            raise errors.LengthRequired("Send the body with a Content-Length, not in chunks.")

    def finalize_response(
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        final: HttpResponseBase = super().finalize_response(  # type: ignore[misc]
            request, response, *args, **kwargs
        )
        if isinstance(final, Response) and final.exception:
            # A page shows who is logged in, which asks the database.
            if final.accepted_renderer.format != "api" or final.status_code == 503:
                final.accepted_renderer = JSONRenderer()
                final.accepted_media_type = "application/json"
                final.content_type = errors.MEDIA_TYPE
        return final


class ApiView(ApiMixin, APIView):
    """A view of its own."""


class UnknownAddress(ApiView):
    """Whatever else is asked for below `/api/v1/`."""

    needs: ClassVar[dict[str, tuple[str, ...]]] = {}
    http_method_names = ["get", "post", "put", "patch", "delete", "head", "options"]

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
