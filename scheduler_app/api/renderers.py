"""How answers are written."""

from __future__ import annotations

from collections.abc import Mapping
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
        actions = context["extra_actions"] or {}
        return {**context, "code_style": "", "extra_actions": None, "actions": actions.items()}


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
