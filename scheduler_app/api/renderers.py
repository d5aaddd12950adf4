"""How answers are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework import renderers


class HTMLFormRenderer(renderers.HTMLFormRenderer):
    """DRF's forms, which fail to show a moment again that could not be read."""

    def render_field(self, field: Any, parent_style: Any) -> str:
        try:
            return str(super().render_field(field, parent_style))
        except (TypeError, ValueError):
            field.value = None
            return str(super().render_field(field, parent_style))


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """DRF's pages, without what a strict Content-Security-Policy refuses: styles within a page."""

    form_renderer_class = HTMLFormRenderer

    def get_context(
        self,
        data: Any,
        accepted_media_type: str | None,
        renderer_context: Mapping[str, Any],
    ) -> dict[str, Any]:
        context = super().get_context(data, accepted_media_type, renderer_context)
        actions = list(_actions(context["view"], context["request"], context["extra_actions"]))
        return {**context, "code_style": "", "extra_actions": None, "actions": actions}


@dataclass(frozen=True, slots=True)
class Action:
    """What else can be done with what a page shows."""

    name: str
    url: str
    is_pressed: bool
    """It changes something and needs nothing to be said: a button. The others are pages of their own."""


def _actions(view: Any, request: Any, urls: Mapping[str, str] | None) -> Iterator[Action]:
    """Those that the user may take."""
    for function in view.get_extra_actions() if urls else ():
        other = type(view)(**function.kwargs)
        url = (urls or {}).get(other.get_view_name())
        permissions = view.needs.get(function.__name__, ())
        if url is None or not all(map(request.user.has_perm, permissions)):
            continue
        body = view.operations[function.__name__].body
        needs_words = body and any(field.required for field in body().fields.values())
        is_post = "post" in function.mapping
        yield Action(other.get_view_name(), url, is_pressed=is_post and not needs_words)


class PlainTextRenderer(renderers.BaseRenderer):
    """What was streamed as it is; chosen for `Accept: text/plain`."""

    media_type = "text/plain"
    format = "txt"
    charset = "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> str:
        return str(data)
