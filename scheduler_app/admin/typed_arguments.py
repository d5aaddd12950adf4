"""Arguments as fields: one for each thing that a task's signature, a request or a command takes.

JSON is the other way, which always works: what these fields cannot show exactly is edited there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError

from scheduler_app.targets.argument_schemas import Schema
from scheduler_app.targets.http import CONNECT_TIMEOUT_S, METHODS
from scheduler_app.targets.shell import allowed_commands
from scheduler_app.targets.task import Parameter, known_tasks, registry

PREFIX = "arg_"
MOST_FIELDS = 40
"""A signature with more is edited as JSON."""


class Unfit(Exception):
    """A value that these fields cannot show."""


@dataclass(frozen=True, slots=True)
class Typed:
    """One argument as a text that people type, and what it means."""

    name: str
    label: str
    read: Callable[[str], Any]
    """The value of a text; raises ValueError with what would be right."""
    write: Callable[[Any], str]
    """The text of a value; raises Unfit."""
    required: bool = False
    help_text: str = ""
    default: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    line: Mapping[str, str] | None = None
    """Of an input of one line, its attributes; None for a text area."""
    rows: int = 1
    is_text: bool = False
    """Whether an empty text is a value."""

    def field(self) -> forms.Field:
        """The form's field; its errors say what would be right."""
        return _TypedField(self)

    def value_of(self, text: str) -> Any:
        """What the text means; raises ValidationError."""
        try:
            return self.read(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def text_of(self, value: Any) -> str:
        """The text that means exactly this value; raises Unfit."""
        text = self.write(value)
        if self.choices and text not in dict(self.choices):
            raise Unfit
        if "\r" in text or "\0" in text:
            # Browsers end lines their own way, and forms refuse the other.
            raise Unfit
        try:
            again = self.read(text)
        except ValueError:
            raise Unfit from None
        if again != value or type(again) is not type(value) or (not text and not self.is_text):
            raise Unfit
        return text


class _TypedField(forms.CharField):
    def __init__(self, typed: Typed) -> None:
        self.typed = typed
        attrs: dict[str, Any] = {"spellcheck": "false", "autocomplete": "off"}
        if typed.default:
            attrs["placeholder"] = f"{typed.default} unless given"
        widget: forms.Widget
        if typed.choices:
            # Nobody has chosen the first of them by not looking.
            empty = "choose" if typed.required else typed.default and f"{typed.default} (default)"
            widget = forms.Select(choices=[("", empty), *typed.choices])
        elif typed.line is not None:
            widget = forms.TextInput(attrs={**attrs, **typed.line, "class": "sch-argument"})
        else:
            widget = forms.Textarea(attrs={**attrs, "rows": typed.rows, "class": "sch-argument"})
        super().__init__(
            label=typed.label,
            required=typed.required and not typed.is_text,
            help_text=typed.help_text,
            strip=False,
            widget=widget,
        )

    def clean(self, value: Any) -> Any:
        """The value, or LEFT_OUT."""
        text = str(super().clean(value) or "").replace("\r\n", "\n")
        if not text and not (self.typed.required and self.typed.is_text):
            return LEFT_OUT
        return self.typed.value_of(text)


LEFT_OUT = object()
"""The value of a field that nothing was typed into."""


def typed_arguments(kind: str, target: str) -> tuple[Typed, ...]:
    """The fields for what this kind and target take; none where only JSON can say it."""
    match kind:
        case "task":
            return _of_task(target)
        case "http":
            return HTTP
        case "management":
            return MANAGEMENT
        case "shell":
            command = allowed_commands().get(target)
            names = command.parameters if command else ()
            return tuple(_text(name, name, required=True) for name in names)
    return ()


def description_of(kind: str, target: str) -> tuple[str, str]:
    """The signature and the docstring of a task, the template of a command; empty texts for what has none."""
    if kind == "task":
        for task in known_tasks():
            if task.name == target:
                return task.signature, task.description
    if kind == "shell" and (command := allowed_commands().get(target)):
        return command.usage, ""
    return "", ""


def texts_of(typed: Sequence[Typed], arguments: Any) -> dict[str, str]:
    """The texts by name that mean exactly these arguments; raises Unfit."""
    if not isinstance(arguments, dict):
        raise Unfit
    by_name = {one.name: one for one in typed}
    if not arguments.keys() <= by_name.keys():
        raise Unfit
    return {name: by_name[name].text_of(value) for name, value in arguments.items()}


def arguments_of_texts(typed: Sequence[Typed], values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that cleaned fields mean, in the order of the signature."""
    return {
        one.name: values[one.name]
        for one in typed
        if values.get(one.name, LEFT_OUT) is not LEFT_OUT
    }


# --- Codecs -----------------------------------------------------------------------------------


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("This is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f'This is not JSON: {error.msg}. Text stands in quotes, such as "north".'
        ) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON.")


def _write_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read_whole(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,300}\s*", text):
        raise ValueError(f"{text[:40]!r} is not a whole number, such as 7.")
    return int(text)


def _read_number(text: str) -> int | float:
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?\s*", text):
        raise ValueError(f"{text[:40]!r} is not a number, such as 0.5.")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]!r} is too large.")
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) else number


def _read_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("Choose yes or no.")
    return text == "true"


def _write_text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unfit
    return value


def _write_number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit
    return repr(value)


def _write_flag(value: Any) -> str:
    if not isinstance(value, bool):
        raise Unfit
    return "true" if value else "false"


def _text(name: str, label: str, **more: Any) -> Typed:
    return Typed(name, label, str, _write_text, is_text=True, **more)


def _checked(parse: Callable[[str], object], example: str) -> Callable[[str], str]:
    """Texts that can be parsed, as they are: JSON has no such type, so the function is given a text."""

    def read(text: str) -> str:
        try:
            parse(text)
        except ValueError:
            raise ValueError(f"{text[:40]!r} does not fit. Write it as {example}.") from None
        return text

    return read


NUMBER = {"type": "number", "step": "any"}
TEXTS: dict[str, tuple[Callable[[str], object], str, Mapping[str, str]]] = {
    "date": (date.fromisoformat, "2030-01-31", {"type": "date"}),
    "datetime": (datetime.fromisoformat, "2030-01-31T09:00:00+01:00", {}),
    "Decimal": (_read_number, "9.95", NUMBER),
    "UUID": (UUID, "123e4567-e89b-12d3-a456-426614174000", {}),
}
"""By the type's name: what reads such a text, an example, and the attributes of its input."""


# --- Tasks ------------------------------------------------------------------------------------


def _of_task(target: str) -> tuple[Typed, ...]:
    info = next((task for task in known_tasks() if task.name == target), None)
    if info is None or any(parameter.variadic for parameter in info.parameters):
        return ()
    if len(info.parameters) > MOST_FIELDS:
        return ()
    schemas = _schemas(target)
    return tuple(_of_parameter(one, schemas.get(one.name, {})) for one in info.parameters)


def _schemas(target: str) -> Mapping[str, Schema]:
    schema = registry.get(target).arguments_schema()
    named = [form for form in schema.get("anyOf", [schema]) if "properties" in form]
    return named[0]["properties"] if named else {}


def _of_parameter(parameter: Parameter, schema: Schema) -> Typed:
    name, annotation = parameter.name, _bare(parameter.annotation)
    common: dict[str, Any] = {
        "required": parameter.required,
        "default": parameter.default,
        "help_text": parameter.annotation,
    }
    if annotation == "str":
        return _text(name, name, **common)
    if annotation == "int":
        whole = {"type": "number", "step": "1"}
        return Typed(name, name, _read_whole, _write_number, line=whole, **common)
    if annotation == "float":
        return Typed(name, name, _read_number, _write_number, line=NUMBER, **common)
    if annotation == "bool":
        yes_no = (("true", "yes"), ("false", "no"))
        return Typed(name, name, _read_flag, _write_flag, choices=yes_no, **common)
    if values := _enumerated(schema):
        choices = tuple((_write_json(value), str(value)) for value in values)
        return Typed(name, name, _read_json, _write_json, choices=choices, **common)
    if annotation == "list[str]":
        common["help_text"] = f"One a line: {parameter.annotation}"
        return Typed(name, name, _read_lines, _write_lines, rows=2, **common)
    if known := TEXTS.get(annotation.rpartition(".")[2]):
        parse, example, line = known
        common["help_text"] += f", such as {example}"
        return Typed(name, name, _checked(parse, example), _write_text, line=line, **common)
    common["help_text"] = f"JSON{': ' if annotation else ''}{parameter.annotation}"
    return Typed(name, name, _read_json, _write_json, rows=2, **common)


def _bare(annotation: str) -> str:
    """Without quotes, the module of `typing`, and that it may be None, which is to leave it out."""
    text = annotation.strip("'\" ").replace("typing.", "")
    if optional := re.fullmatch(r"Optional\[(.*)\]", text):
        text = optional[1]
    parts = [part.strip() for part in text.split("|")]
    rest = [part for part in parts if part != "None"]
    return rest[0] if len(rest) == 1 else text


def _enumerated(schema: Schema) -> tuple[Any, ...]:
    """The values of a `Literal` or an `Enum`, or of one that may be None."""
    parts = [part for part in schema.get("anyOf", [schema]) if part != {"type": "null"}]
    values = tuple(parts[0].get("enum", ())) if len(parts) == 1 else ()
    return values if all(isinstance(value, str | int | float) for value in values) else ()


# --- Requests and commands --------------------------------------------------------------------


def _read_headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"Line {number}: write a header as Accept: text/html.")
        if name.strip() in found:
            raise ValueError(f"Line {number}: the header {name.strip()} is given twice.")
        found[name.strip()] = value.strip()
    return found


def _write_headers(value: Any) -> str:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise Unfit
    return "\n".join(f"{name}: {one}" for name, one in value.items())


def _read_body(text: str) -> Any:
    """A JSON object or list as such, anything else as text."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _write_body(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _read_statuses(text: str) -> Any:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    values = [int(part) if re.fullmatch("[0-9]{1,4}", part) else part for part in parts]
    if not values:
        raise ValueError("Write a status such as 200, or a range such as 200-299.")
    return values[0] if len(values) == 1 else values


def _write_statuses(value: Any) -> str:
    return ", ".join(str(one) for one in (value if isinstance(value, list) else [value]))


def _read_lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _write_lines(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Unfit
    return "\n".join(value)


HTTP = (
    Typed(
        "method",
        "Method",
        str,
        _write_text,
        default="GET",
        choices=tuple((method, method) for method in METHODS),
    ),
    Typed(
        "headers",
        "Headers",
        _read_headers,
        _write_headers,
        rows=3,
        help_text="One a line: Accept: application/json",
    ),
    Typed(
        "body",
        "Body",
        _read_body,
        _write_body,
        rows=4,
        help_text="A JSON object or list is sent as JSON, anything else as text.",
    ),
    Typed(
        "expected_status",
        "Expected status",
        _read_statuses,
        _write_statuses,
        line={},
        default="200-299",
        help_text="Such as 200, or 200-299, 404. Any other answer is a failure.",
    ),
    Typed(
        "connect_timeout_s",
        "Connect within (s)",
        _read_number,
        _write_number,
        line=NUMBER,
        default=f"{CONNECT_TIMEOUT_S:g}",
    ),
)

MANAGEMENT = (
    Typed("args", "Arguments", _read_lines, _write_lines, rows=3, help_text="One a line."),
    Typed(
        "options",
        "Options",
        _read_json,
        _write_json,
        rows=3,
        help_text='JSON, such as {"verbosity": 2}',
    ),
)
