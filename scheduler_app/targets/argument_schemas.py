"""What a task takes, as JSON Schema made from its signature, for forms and programs that fill in arguments.

Types say what the annotations say. A run is refused when names or numbers of arguments do not fit; types are the
function's own affair, as in Python.
"""

from __future__ import annotations

import collections.abc as abc
import enum
import inspect
import json
import types
import typing
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PLAIN: dict[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    None: "null",
}
_LISTS = (list, set, frozenset, abc.Sequence, abc.Iterable, abc.Collection, abc.Set)
_OBJECTS = (dict, abc.Mapping, abc.MutableMapping)


def arguments_schema(function: Callable[..., Any], *, takes_context: bool = False) -> Schema:
    """The schema of a job's `arguments`: an object of keyword arguments, a list of positional ones, or either."""
    parameters = list(inspect.signature(function).parameters.values())[bool(takes_context) :]
    hints = _hints(function)
    described = {p.name: _described(p, hints.get(p.name, p.annotation)) for p in parameters}
    forms = []
    if not any(p.kind == p.POSITIONAL_ONLY and p.default is p.empty for p in parameters):
        forms.append(_object_form(parameters, described))
    if not any(p.kind == p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        forms.append(_list_form(parameters, described))
    if not forms:
        # Some must be named and some must not be: no JSON fits.
        return {"$schema": DIALECT, "not": {}}
    return {"$schema": DIALECT, **(forms[0] if len(forms) == 1 else {"anyOf": forms})}


def _object_form(parameters: list[inspect.Parameter], described: dict[str, Schema]) -> Schema:
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    others = [p for p in parameters if p.kind == p.VAR_KEYWORD]
    return {
        "type": "object",
        "properties": {p.name: described[p.name] for p in named},
        "required": [p.name for p in named if p.default is p.empty],
        "additionalProperties": described[others[0].name] if others else False,
    }


def _list_form(parameters: list[inspect.Parameter], described: dict[str, Schema]) -> Schema:
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    others = [p for p in parameters if p.kind == p.VAR_POSITIONAL]
    found: Schema = {
        "type": "array",
        "items": described[others[0].name] if others else False,
        "minItems": sum(p.default is p.empty for p in placed),
    }
    if placed:
        # The dialect wants no empty list here.
        found["prefixItems"] = [{"title": p.name, **described[p.name]} for p in placed]
    return found


def _described(parameter: inspect.Parameter, annotation: Any) -> Schema:
    found = {} if annotation is parameter.empty else type_schema(annotation)
    if parameter.default is not parameter.empty and _is_json(parameter.default):
        found = {**found, "default": parameter.default}
    return found


def type_schema(annotation: Any) -> Schema:
    """The JSON that an annotation stands for; `{}`, which is anything, for what has none."""
    if (plain := _plain(annotation)) is not None:
        return {"type": plain}
    if isinstance(annotation, typing.NewType):
        return type_schema(annotation.__supertype__)
    if typing.is_typeddict(annotation):
        return _typed_dict(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = [member.value for member in annotation]
        return {"enum": values} if all(map(_is_json, values)) else {}
    origin, parts = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return type_schema(parts[0])
    if origin is typing.Literal:
        return {"enum": list(parts)} if all(map(_is_json, parts)) else {}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [type_schema(part) for part in parts]}
    if origin is tuple:
        return _tuple(parts)
    if origin in _LISTS:
        return {"type": "array", **({"items": type_schema(parts[0])} if parts else {})}
    if origin in _OBJECTS:
        of_values = {"additionalProperties": type_schema(parts[1])} if len(parts) == 2 else {}
        return {"type": "object", **of_values}
    return {}


def _plain(annotation: object) -> str | None:
    try:
        return _PLAIN.get(annotation)
    except TypeError:
        # Metadata of an annotation may be anything, and nothing that can be hashed.
        return None


def _tuple(parts: tuple[Any, ...]) -> Schema:
    if not parts:
        return {"type": "array"}
    if parts[-1] is Ellipsis:
        return {"type": "array", "items": type_schema(parts[0])}
    return {
        "type": "array",
        "prefixItems": [type_schema(part) for part in parts],
        "items": False,
        "minItems": len(parts),
    }


def _typed_dict(annotation: Any) -> Schema:
    hints = _hints(annotation)
    # Where annotations are lazy, the class does not know which of its keys were marked.
    marks = {name: typing.get_origin(hint) for name, hint in hints.items()}
    return {
        "type": "object",
        "properties": {name: type_schema(hint) for name, hint in hints.items()},
        "required": sorted(
            name
            for name, mark in marks.items()
            if mark is typing.Required
            or (mark is not typing.NotRequired and name in annotation.__required_keys__)
        ),
        "additionalProperties": False,
    }


def _hints(thing: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except Exception:  # noqa: BLE001  # Annotations may hold anything, and names that exist for type checkers only.
        return {}


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, enum.Enum)
