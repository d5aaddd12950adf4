"""Values from outside: strict about their JSON types, with words for what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn

from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.fields import empty
from rest_framework.utils import html

from scheduler_app.rules.masking import masked, masked_text
from scheduler_app.rules.problems import Problem

from .errors import Refused, problems_of, shown
from .parsers import strict_loads

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(2101, 1, 1, tzinfo=UTC)

FORM_EXTRAS = frozenset({"csrfmiddlewaretoken"})


def _is_form(field: serializers.Field[Any, Any, Any, Any]) -> bool:
    """Whether the values come from an HTML form or a query, where everything is text."""
    root = field.root
    return getattr(root, "texts_only", False) or html.is_html_input(
        getattr(root, "initial_data", None)
    )


class _Typed:
    """A field that takes one type of JSON; DRF's own take "5" for 5 and 5 for "5"."""

    json_types: tuple[type, ...]
    type_name: str

    def to_internal_value(self, data: Any) -> Any:
        if not _is_form(self) and not self.fits(data):  # type: ignore[arg-type]
            raise serializers.ValidationError(f"This must be {self.type_name}.")
        return super().to_internal_value(data)  # type: ignore[misc]

    def fits(self, data: Any) -> bool:
        # True is an int to Python, not to JSON.
        return isinstance(data, self.json_types) and (
            not isinstance(data, bool) or bool in self.json_types
        )


class TextField(_Typed, serializers.CharField):
    json_types: tuple[type, ...] = (str,)
    type_name = "a text"


class WholeField(_Typed, serializers.IntegerField):
    json_types: tuple[type, ...] = (int, float)
    type_name = "a whole number"


class NumberField(_Typed, serializers.FloatField):
    json_types: tuple[type, ...] = (int, float)
    type_name = "a number"

    def to_internal_value(self, data: Any) -> float:
        try:
            number: float = super().to_internal_value(data)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise serializers.ValidationError("This must be a finite number.")
        return number


class FlagField(_Typed, serializers.BooleanField):
    """True or false. What a form leaves out is not given: the pages' boxes send `false` themselves when unchecked."""

    default_empty_html = empty
    json_types: tuple[type, ...] = (bool,)
    type_name = "true or false"


class WordField(_Typed, serializers.ChoiceField):
    json_types: tuple[type, ...] = (str,)
    type_name = "one of the words that are allowed"
    default_error_messages = {"invalid_choice": "{input} is not one of the words that are allowed."}


class MomentField(_Typed, serializers.DateTimeField):
    """An aware moment from 1970 to 2100, written in UTC."""

    json_types: tuple[type, ...] = (str,)
    type_name = "a moment as text"
    default_error_messages = {
        "invalid": "This is not a moment as in ISO 8601.",
        "naive": "This moment has no time zone; end it with Z or an offset such as +02:00.",
        "range": "This moment is outside of 1970 to 2100.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(default_timezone=UTC, **kwargs)

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            if _is_form(self) and not getattr(self.root, "texts_only", False):
                # The browser's own input for moments cannot say a zone.
                value = value.replace(tzinfo=UTC)
            else:
                self.fail("naive")
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            self.fail("range")
        return value

    def to_internal_value(self, value: Any) -> datetime:
        moment: datetime = super().to_internal_value(value)
        if not FIRST_MOMENT <= moment < END_OF_TIME:
            self.fail("range")
        return moment


class NamedField(serializers.SlugRelatedField[Any]):
    """Another thing by its name."""

    default_error_messages = {"does_not_exist": "There is none with this name: {value}."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str) or "\0" in data:
            self.fail("does_not_exist", value=shown(data))
        return super().to_internal_value(data)


class JsonField(serializers.JSONField):
    """Any JSON; in an HTML form its text, where nothing means not given."""

    def get_value(self, dictionary: Mapping[Any, Any]) -> Any:
        if html.is_html_input(dictionary):
            text = dictionary.get(self.field_name, "")
            return str(text) if str(text).strip() else empty
        return super().get_value(dictionary)

    def to_internal_value(self, data: Any) -> Any:
        if not _is_form(self):
            return data
        try:
            return strict_loads(str(data), "This")
        except ParseError as error:
            raise serializers.ValidationError(str(error.detail)) from None


class MaskedTextField(serializers.CharField):
    """A text that a target wrote, shown without the secrets in it."""

    def to_representation(self, value: Any) -> str:
        return masked_text(super().to_representation(value))


class MaskedJsonField(serializers.JSONField):
    """A value that a target gave, shown without the secrets in it."""

    def to_representation(self, value: Any) -> Any:
        return masked(super().to_representation(value))


class TagsField(serializers.ListField):
    """A list of words; in an HTML form a text with commas, or several."""

    def get_value(self, dictionary: Mapping[Any, Any]) -> Any:
        if self.field_name in dictionary and html.is_html_input(dictionary):
            texts = dictionary.getlist(self.field_name)  # type: ignore[attr-defined]  # A QueryDict.
            words = (word.strip() for text in texts for word in str(text).split(","))
            return [word for word in words if word]
        return super().get_value(dictionary)


class WordsField(serializers.ListField):
    """In a query: words with commas between them, or the parameter several times."""

    def to_internal_value(self, data: Any) -> Any:
        words = [word for part in data for word in str(part).split(",") if word]
        return super().to_internal_value(words)


class Selective(serializers.Serializer[Any]):
    """Shows only the fields that the context's `shown_fields` names, if it names any; the others cost nothing."""

    @property
    def _readable_fields(self) -> list[Any]:
        wanted = self.context.get("shown_fields")
        fields = super()._readable_fields
        return [field for field in fields if wanted is None or field.field_name in wanted]


class Strict(serializers.Serializer[Any]):
    """Refuses keys that it does not know, and says with every error what was given and what is allowed."""

    default_error_messages = {"invalid": "This must be a JSON object with fields."}
    noun = "this request"
    part = "field"
    together: ClassVar[Mapping[str, Any]] = {}
    """What `validate` asks of the fields together, in the words of JSON Schema, for the OpenAPI document."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.found: list[Problem] = []
        """What `validate` refused; its messages are among the errors as well, for forms."""

    def __getitem__(self, key: str) -> Any:
        bound = super().__getitem__(key)
        if isinstance(self.fields[key], TagsField) and isinstance(bound.value, list):
            bound.value = ", ".join(bound.value)
        return bound

    def run_validation(self, data: Any = empty) -> Any:
        if data is None:
            raise serializers.ValidationError(
                {"non_field_errors": [self.error_messages["invalid"]]}
            )
        unknown = {
            shown(key): [f"{shown(key)} is not a {self.part} of {self.noun}."]
            for key in (data if isinstance(data, Mapping) else ())
            if key not in self.fields and key not in FORM_EXTRAS
        }
        try:
            valid = super().run_validation(data)
        except serializers.ValidationError as error:
            if unknown and isinstance(error.detail, dict):
                raise serializers.ValidationError({**unknown, **error.detail}) from None
            raise
        if unknown:
            raise serializers.ValidationError(unknown)
        return valid

    def is_valid(self, *, raise_exception: bool = False) -> bool:
        valid: bool = super().is_valid(raise_exception=False)
        if not valid and raise_exception:
            explained = [self._explained(problem) for problem in problems_of(self.errors)]
            named = {problem.field.split(".")[0] for problem in self.found}
            rest = [p for p in explained if p.field.split(".")[0] not in named]
            raise Refused([*rest, *self.found], serializer=self)
        return valid

    def refuse(self, problems: Sequence[Problem]) -> NoReturn:
        """For `validate`: the fields are right one by one, but not together."""
        self.found = list(problems)
        messages: dict[str, list[str]] = {}
        for problem in problems:
            name = problem.field.split(".")[0] or "non_field_errors"
            messages.setdefault(name, []).append(problem.message)
        raise serializers.ValidationError(messages)

    def _explained(self, problem: Problem) -> Problem:
        name = problem.field.split(".")[0]
        if not name:
            return problem
        if name not in self.fields:
            known = [name for name, field in self.fields.items() if not field.read_only]
            close = difflib.get_close_matches(name, known, n=1)
            return replace(
                problem,
                allowed=", ".join(known) or f"no {self.part} at all",
                suggestion=close[0] if close else "",
            )
        given = self.initial_data.get(name)
        return replace(
            problem,
            given="" if given is None else shown(given, problem.field),
            allowed=allowed_by(self.fields[name]),
        )


def one_of(name: str, *others: str) -> dict[str, Any]:
    """For `together`: exactly one of these fields. Not as `oneOf`, which makers of clients take for types of their own."""
    if not others:
        return {"required": [name]}
    none_of_the_others = {"not": {"anyOf": [{"required": [other]} for other in others]}}
    return {"if": {"required": [name]}, "then": none_of_the_others, "else": one_of(*others)}


class NothingSerializer(Strict):
    """Takes nothing."""


def allowed_by(field: Any) -> str:
    """What a field takes, in words."""
    match field:
        case serializers.ChoiceField():
            found = ", ".join(str(choice) for choice in field.choices)
        case serializers.BooleanField():
            found = "true or false"
        case serializers.IntegerField() | serializers.FloatField():
            whole = isinstance(field, serializers.IntegerField)
            found = "a whole number" if whole else "a number"
            if field.min_value is not None and field.max_value is not None:
                found += f" from {field.min_value} to {field.max_value}"
            elif field.min_value is not None:
                found += f" of at least {field.min_value}"
        case serializers.DateTimeField():
            found = "a moment from 1970 to 2100 with its zone, such as 2030-01-31T09:00:00Z"
        case serializers.ListField():
            found = f"a list, each item {allowed_by(field.child)}"
            if field.max_length is not None:
                found += f", at most {field.max_length} of them"
        case serializers.SlugRelatedField():
            found = "the name of one that exists"
        case serializers.CharField():
            found = "a text"
            if field.max_length is not None:
                found += f" of at most {field.max_length} characters"
        case _:
            found = ""
    return f"{found}, or null" if field.allow_null and found else found
