"""What people type, field by field: moments, JSON, tags, texts with suggestions."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from scheduler_app.models.clock import database_now

from .display import clock

_LENGTH = re.compile(
    r"\s*(?:(\d{1,4})\s*d)?\s*(?:(\d{1,5})\s*h)?\s*(?:(\d{1,6})\s*m(?:in)?)?\s*(?:(\d{1,8})\s*s)?\s*",
    re.IGNORECASE,
)
_FIRST_YEAR, _LAST_YEAR = 1970, 2100


class SuggestionInput(forms.TextInput):
    """A text field with a list of known values, which people may leave."""

    def __init__(self, suggestions: Any, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self._suggestions = suggestions
        """Returns pairs of value and explanation; asked when the page is made."""

    def render(
        self,
        name: str,
        value: Any,
        attrs: dict[str, Any] | None = None,
        renderer: Any = None,
    ) -> SafeString:
        """The field, and its `<datalist>`."""
        list_id = f"{name}-suggestions"
        field = super().render(name, value, {**(attrs or {}), "list": list_id}, renderer)
        # From the project's own templates; the form renderer looks elsewhere.
        return field + render_to_string(
            "admin/scheduler_app/suggestions.html",
            {"list_id": list_id, "suggestions": self._suggestions()},
        )


class MomentField(forms.CharField):
    """A moment: with an offset as it stands, without one in a zone that the form decides on.

    The cleaned value is a datetime, naive where no offset was given, or a timedelta where the form allows a
    time from now.
    """

    def __init__(self, *, from_now: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.TextInput(attrs={"class": "sch-moment", "size": 26}))
        super().__init__(required=False, max_length=64, **kwargs)
        self.from_now = from_now

    def clean(self, value: Any) -> Any:
        """The moment, or None."""
        text = super().clean(value)
        if not text:
            return None
        length = _LENGTH.fullmatch(text) if self.from_now else None
        if length and any(length.groups()):
            days, hours, minutes, seconds = (int(part or 0) for part in length.groups())
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        try:
            moment = datetime.fromisoformat(re.sub(r"\s+(?=[+-]\d|Z)", "", text))
        except ValueError:
            moment = None
        if moment is None or not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            relative = ", or a time from now such as 90m or 2h30m" if self.from_now else ""
            raise ValidationError(
                f"{text} is not a moment. Write it as 2030-01-31 09:00 or 2030-01-31 09:00:00+02:00{relative}."
            )
        return moment


def in_zone(moment: datetime | timedelta | None, zone: ZoneInfo) -> datetime | None:
    """What a MomentField gave, as an aware moment."""
    if isinstance(moment, timedelta):
        return database_now() + moment
    if moment is not None and moment.tzinfo is None:
        return moment.replace(tzinfo=zone).astimezone(UTC)
    return moment


def wall(moment: datetime, zone: ZoneInfo) -> str:
    """The moment as a MomentField reads it back in this zone."""
    local = moment.astimezone(zone)
    text = f"{local:%Y-%m-%d %H:%M:%S}" + (f".{local.microsecond:06}" if local.microsecond else "")
    if local.fold:
        # The second time that the clock shows it this night.
        text += clock(moment, zone)[-6:]
    return text


class ArgumentsField(forms.JSONField):
    """JSON as people write it: duplicate keys and NaN are mistakes, and the text comes back as it was typed."""

    widget = forms.Textarea(
        attrs={"rows": 6, "cols": 80, "class": "sch-json", "spellcheck": "false"}
    )

    is_ignored = False
    """Whether the arguments come from fields of their own; then this text is not even read."""

    def to_python(self, value: Any) -> Any:
        """The value; an empty text is an empty object."""
        if value in self.empty_values or self.is_ignored:
            return {}
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
        except json.JSONDecodeError as error:
            raise ValidationError(
                f"This is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
            ) from None
        except (ValueError, RecursionError) as error:
            problem = "it is nested too deeply" if isinstance(error, RecursionError) else error
            raise ValidationError(f"This is not JSON that can be stored: {problem}.") from None

    def prepare_value(self, value: Any) -> Any:
        """Indented, or what was typed."""
        if isinstance(value, InvalidJSONInput):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """What was typed, valid or not."""
        return None if data is None else InvalidJSONInput(data)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


class TagsField(forms.CharField):
    """Tags as one text, separated by commas."""

    def prepare_value(self, value: Any) -> Any:
        """The tags as text."""
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        """The tags as a list, each once, in the order given."""
        tags = [tag.strip() for tag in re.split(r"[,\n]", super().to_python(value) or "")]
        return list(dict.fromkeys(tag for tag in tags if tag))

    def validate(self, value: Any) -> None:
        """The model's limits, said in one sentence."""
        super().validate(value)
        longest = max(value, key=len, default="")
        if len(longest) > 50:
            raise ValidationError(f"A tag has at most 50 characters; {longest[:60]}… has more.")

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether the tags differ, not their commas."""
        return bool(list(initial or ()) != self.to_python(data))
