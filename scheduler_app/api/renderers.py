"""How answers are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import renderers


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
