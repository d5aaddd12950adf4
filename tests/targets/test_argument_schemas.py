"""JSON Schemas made from signatures: they take what the function takes, and say its types."""

from __future__ import annotations

import enum
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict

import pytest
from jsonschema import Draft202012Validator

from scheduler_app.targets.argument_schemas import arguments_schema, type_schema
from scheduler_app.targets.task import known_tasks, registry


def plain(a: int, b: str = "x") -> None: ...
def named_only(a: int, *, b: int, c: int = 1) -> None: ...
def placed_only(a: int, b: int = 1, /) -> None: ...
def any_number(*args: int, **kwargs: int) -> None: ...
def some_of_all(a: int, /, b: int, *args: int, c: int = 1, **kwargs: int) -> None: ...
def unreachable(a: int, /, *, b: int) -> None: ...
def nothing() -> None: ...


FUNCTIONS = [plain, named_only, placed_only, any_number, some_of_all, unreachable, nothing]


def shapes() -> list[Any]:
    """All objects of up to three of these names, and all lists of up to four numbers."""
    names = [names for n in range(4) for names in itertools.combinations("abcx", n)]
    return [dict.fromkeys(some, 1) for some in names] + [[1] * n for n in range(5)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_schema_takes_what_python_takes(function: Callable[..., None]) -> None:
    schema = arguments_schema(function)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    for arguments in shapes():
        args, kwargs = ([], arguments) if isinstance(arguments, dict) else (arguments, {})
        if "b" in kwargs and function is plain:
            kwargs = {**kwargs, "b": "text"}
            arguments = kwargs
        if function is plain and len(args) > 1:
            arguments = args = [1, "text", *args[2:]]
        try:
            function(*args, **kwargs)
            fits = True
        except TypeError:
            fits = False
        assert validator.is_valid(arguments) == fits, (arguments, schema)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(TypedDict):
    x: int
    label: NotRequired[str]


UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (None, {"type": "null"}),
        (bool | None, {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (Sequence[float], {"type": "array", "items": {"type": "number"}}),
        (list, {"type": "array"}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "items": False,
                "minItems": 2,
            },
        ),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping, {"type": "object"}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Colour, {"enum": ["red", "blue"]}),
        (UserId, {"type": "integer"}),
        (Annotated[int, ["not", "hashable"]], {"type": "integer"}),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "label": {"type": "string"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
        (Any, {}),
        (object, {}),
        (complex, {}),
        ("NoSuchName", {}),
    ],
)
def test_annotations_become_types(annotation: Any, schema: dict[str, Any]) -> None:
    assert type_schema(annotation) == schema


def test_defaults_are_told_where_json_has_them() -> None:
    def work(a: int = 5, b: object = object(), c: Colour = Colour.RED) -> None: ...

    properties = arguments_schema(work)["anyOf"][0]["properties"]

    assert properties["a"]["default"] == 5
    assert not any("default" in properties[name] for name in "bc")


def test_annotations_that_cannot_be_looked_up_cost_the_types_alone() -> None:
    def work(a: OnlyForTypeCheckers, b: int = 1) -> None: ...  # noqa: F821

    assert arguments_schema(work)["anyOf"][0]["required"] == ["a"]


def test_every_registered_task_has_a_schema_that_is_json() -> None:
    assert known_tasks()
    for info in known_tasks():
        schema = registry.get(info.name).arguments_schema()
        Draft202012Validator.check_schema(schema)
        json.dumps(schema, allow_nan=False)
