"""The API's description of itself: the OpenAPI document, and a page to try it by."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import TemplateHTMLRenderer

from .base import ApiView


class SchemaView(ApiView, SpectacularAPIView):
    """The OpenAPI document: JSON, or YAML for who asks for it by `Accept` or `?format=yaml`."""

    renderer_classes: Any = (
        OpenApiJsonRenderer2,
        OpenApiJsonRenderer,
        OpenApiYamlRenderer,
        OpenApiYamlRenderer2,
    )
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"get": ()}


class DocsView(ApiView, SpectacularSwaggerSplitView):
    """Swagger's page, from this site's own files, for who is logged in by session."""

    renderer_classes: Any = (TemplateHTMLRenderer,)
    template_name = "rest_framework/swagger.html"
    url_name = "api:schema"
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"get": ()}

    def _get_schema_auth_names(self) -> list[Any]:
        """The session is enough to read the document."""
        return []
