"""Every address of the site with the methods it answers to, read from the URL map itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver


@dataclass(frozen=True, slots=True)
class Route:
    """One address; `name` with its namespaces, or its pattern where it has none."""

    name: str
    pattern: str
    parameters: tuple[str, ...]
    methods: tuple[str, ...]

    @property
    def is_api(self) -> bool:
        return self.name.startswith("api:")


def routes() -> list[Route]:
    """All routes, the catch-alls and redirects without a name left out only where they lead to another of these."""
    return [_route(*found) for found in _walk(get_resolver())]


def _walk(
    resolver: Any, prefix: str = "", namespaces: tuple[str, ...] = ()
) -> Iterator[tuple[URLPattern, str, tuple[str, ...]]]:
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = (*namespaces, entry.namespace) if entry.namespace else namespaces
            yield from _walk(entry, pattern, inner)
        else:
            yield entry, pattern, namespaces


def _route(entry: URLPattern, pattern: str, namespaces: tuple[str, ...]) -> Route:
    name = ":".join((*namespaces, entry.name)) if entry.name else pattern
    parameters = tuple(entry.pattern.converters) or tuple(
        (getattr(entry.pattern, "regex", None) and entry.pattern.regex.groupindex) or ()
    )
    return Route(name, pattern, parameters, _methods(entry.callback))


def _methods(view: Any) -> tuple[str, ...]:
    actions = getattr(view, "actions", None)
    if actions:
        return tuple(method.upper() for method in actions)
    cls = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if cls is not None:
        return tuple(
            method.upper()
            for method in ("get", "post", "put", "patch", "delete")
            if hasattr(cls, method)
        )
    # A function: whatever it makes of them.
    return ("GET", "POST")
