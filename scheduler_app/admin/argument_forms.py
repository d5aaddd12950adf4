"""The part of a form that asks for arguments: as fields where the target says what it takes, as JSON always."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from scheduler_app.rules.masking import masked

from .form_fields import ArgumentsField
from .typed_arguments import (
    PREFIX,
    Typed,
    Unfit,
    arguments_of_texts,
    texts_of,
    typed_arguments,
)

AS_FIELDS, AS_JSON = "fields", "json"
SWITCHED = "switched"
"""The value of `_fields` right after the choice between the two was changed."""
CHOICES = [(AS_FIELDS, "fields"), (AS_JSON, "JSON")]

if TYPE_CHECKING:
    _Form = forms.BaseForm
else:
    _Form = object


class ArgumentsByField(_Form):
    """Adds to a form with `arguments` a field for each argument, and the choice between these and JSON.

    The fields are those of a kind and a target, which the form names in `fields_of`: sent with those of another
    target, they are refused and the right ones shown.
    """

    typed: tuple[Typed, ...] = ()

    def add_argument_fields(self, kind: str, target: str, stored: Any) -> None:
        """To be called when the form is made; `stored` are the arguments that it starts from."""
        self.typed = typed_arguments(kind, target)
        self._place = f"{kind} {target}"
        self._was_shown = ""
        if self.is_bound:
            self._was_shown = str(self.data.get("fields_of", ""))
            self._renew()
        if not self.typed:
            return
        texts = self._texts(masked(stored))
        self.fields["arguments_as"] = forms.ChoiceField(
            label="Arguments as",
            choices=CHOICES,
            required=False,
            widget=forms.RadioSelect,
            initial=AS_JSON if texts is None else AS_FIELDS,
        )
        self.fields["fields_of"] = forms.CharField(
            required=False, widget=forms.HiddenInput, initial=self._place
        )
        for one in self.typed:
            field = one.field()
            field.initial = (texts or {}).get(one.name, "")
            self.fields[PREFIX + one.name] = field
        cast(ArgumentsField, self.fields["arguments"]).is_ignored = self.is_by_field

    @property
    def is_by_field(self) -> bool:
        """Whether the arguments are those of the fields."""
        return bool(self.typed and self.is_bound and self.data.get("arguments_as") == AS_FIELDS)

    @property
    def argument_fields(self) -> list[Any]:
        """The bound fields, for the template."""
        return [self[PREFIX + one.name] for one in self.typed]

    def arguments_by_field(self, values: Mapping[str, Any]) -> Any:
        """What the cleaned fields mean."""
        by_name = {
            one.name: values[PREFIX + one.name] for one in self.typed if PREFIX + one.name in values
        }
        return arguments_of_texts(self.typed, by_name)

    def refuse_fields_of_another(self) -> None:
        """Raises ValidationError when the fields that were filled in belong to another target."""
        if self.is_by_field and self._was_shown != self._place and "_fields" not in self.data:
            raise ValidationError("Its fields are shown now: fill them in, and save again.")

    def _renew(self) -> None:
        """What is shown again: the fields of the target that is named now, beside JSON that says the same."""
        if not self.typed:
            return
        is_asked = "_fields" in self.data
        by_field = self.data.get("arguments_as") == AS_FIELDS
        if self._was_shown == self._place:
            if is_asked:
                self._keep_up(by_field)
            return
        self._write("fields_of", self._place)
        if not is_asked and not by_field:
            # The JSON is what was typed, and what counts.
            self._write("arguments_as", AS_JSON)
            return
        try:
            given = json.loads(self.data.get("arguments") or "{}")
        except (ValueError, RecursionError):
            given = None
        texts = self._texts(given)
        stays = texts is None and given not in ({}, None) and not by_field
        self._write("arguments_as", AS_JSON if stays else AS_FIELDS)
        for name, text in (texts or {}).items():
            self._write(PREFIX + name, text)

    def _keep_up(self, by_field: bool) -> None:
        """What was not edited is written anew from what was: from the choice that stands, or the one just left."""
        if by_field == (self.data.get("_fields") != SWITCHED):
            self._write("arguments", self._json_of_fields())
            return
        try:
            texts = self._texts(json.loads(self.data.get("arguments") or "{}"))
        except (ValueError, RecursionError):
            texts = None
        if texts is None:
            # There is more in the JSON than the fields can show.
            self._write("arguments_as", AS_JSON)
            return
        for one in self.typed:
            self._write(PREFIX + one.name, texts.get(one.name, ""))

    def _json_of_fields(self) -> str:
        found = {}
        for one in self.typed:
            text = str(self.data.get(PREFIX + one.name, "")).replace("\r\n", "\n")
            if text or (one.required and one.is_text):
                try:
                    found[one.name] = one.value_of(text)
                except ValidationError:
                    return str(self.data.get("arguments", ""))
        return json.dumps(found, indent=2, ensure_ascii=False)

    def _write(self, name: str, value: str) -> None:
        data = cast(QueryDict, self.data).copy()
        data[name] = value
        self.data = data

    def _texts(self, arguments: Any) -> dict[str, str] | None:
        try:
            return texts_of(self.typed, arguments)
        except Unfit:
            return None
