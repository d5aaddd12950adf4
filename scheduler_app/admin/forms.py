"""What people type: the job form, and the small forms of pause and run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms.fields import InvalidJSONInput
from django.http import QueryDict
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from scheduler_app.models import Job, JobRevision, PauseScope
from scheduler_app.models.clock import database_now
from scheduler_app.rules.masking import has_mask, masked, masked_text, unmasked
from scheduler_app.rules.zones import zone_names, zone_problem
from scheduler_app.targets import kinds, suggested_targets

from .display import clock, zone_of
from .history import changed_fields, label_of, shown

if TYPE_CHECKING:
    _JobModelForm = forms.ModelForm[Job]
else:
    _JobModelForm = forms.ModelForm

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


class ArgumentsField(forms.JSONField):
    """JSON as people write it: duplicate keys and NaN are mistakes, and the text comes back as it was typed."""

    widget = forms.Textarea(
        attrs={"rows": 6, "cols": 80, "class": "sch-json", "spellcheck": "false"}
    )

    def to_python(self, value: Any) -> Any:
        """The value; an empty text is an empty object."""
        if value in self.empty_values:
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


def _zones() -> list[tuple[str, str]]:
    return [(name, "") for name in ["UTC", *sorted(zone_names() - {"UTC"})]]


MOMENTS = ("anchor_at", "start_at", "end_at")


class JobForm(_JobModelForm):
    """A job's definition. It carries the version that it was opened with, and refuses to undo somebody's edit.

    Secrets are shown as asterisks; left as they are, they stay what they were.
    """

    opened_version = forms.IntegerField(required=False, widget=forms.HiddenInput)
    tags = TagsField(
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Separated by commas.",
    )
    description = forms.CharField(
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80, "class": "vLargeTextField"}),
    )
    kind = forms.ChoiceField()
    target = forms.CharField(
        max_length=2000, widget=SuggestionInput(suggested_targets, {"class": "vLargeTextField"})
    )
    arguments = ArgumentsField(required=False, initial=dict)
    timezone = forms.CharField(
        label="Time zone",
        max_length=64,
        initial="UTC",
        widget=SuggestionInput(_zones, {"class": "vTextField"}),
        help_text="Of the schedule and of the moments below, such as Europe/Berlin.",
    )
    anchor_at = MomentField(label="Count @every from")
    start_at = MomentField(label="Not before")
    end_at = MomentField(label="Not after")

    class Meta:
        model = Job
        fields = (
            *("name", "description", "tags", "kind", "target", "arguments"),
            *("schedule", "timezone", "enabled", "start_at", "end_at", "max_runs", "jitter_s"),
            *(
                "anchor_at",
                "day_match",
                "calendar",
                "calendar_mode",
                "on_closed",
                "queue",
                "priority",
                "timeout_s",
                "max_attempts",
            ),
            *("retry_backoff_s", "retry_factor", "retry_cap_s", "retry_jitter", "guarantee"),
            *("on_overlap", "max_running", "on_misfire", "misfire_grace_s"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = kinds()
        if self.instance.pk:
            # One that was switched off since stays visible, and is refused with the reason.
            choices.setdefault(self.instance.kind, self.instance.kind)
        cast(forms.ChoiceField, self.fields["kind"]).choices = list(choices.items())
        for name in MOMENTS:
            if not self.fields[name].help_text:
                self.fields[name].help_text = "In the job's time zone, such as 2030-01-31 09:00."
        if self.instance.pk:
            self.initial["opened_version"] = self.instance.version
            zone = zone_of(self.instance.timezone)
            for name in MOMENTS:
                if moment := getattr(self.instance, name):
                    self.initial[name] = _wall(moment, zone)
            for name, field in self.fields.items():
                if isinstance(field, forms.FloatField):
                    # 3600 and not 3600.0
                    value = getattr(self.instance, name)
                    self.initial[name] = int(value) if value == int(value) else value
            self.initial["arguments"] = masked(self.instance.arguments)
            self.initial["target"] = masked_text(self.instance.target)
        self._stored_arguments = self.instance.arguments
        self._stored_target = self.instance.target

    @property
    def is_preview(self) -> bool:
        """Whether the person only wants to see what the schedule means."""
        return self.is_bound and "_preview" in self.data

    def is_valid(self) -> bool:
        """A preview is never saved."""
        return super().is_valid() and not self.is_preview

    def clean_name(self) -> str:
        """Refuse a name that another job has."""
        name: str = self.cleaned_data["name"]
        if Job.objects.filter(name=name).exclude(pk=self.instance.pk).exists():
            raise ValidationError("There is a job with this name already.")
        return name

    def clean_arguments(self) -> Any:
        """Put back the secrets that were shown as asterisks, unless they would go elsewhere now."""
        arguments = self.cleaned_data["arguments"]
        if _same_place(self._stored_target, self.cleaned_data.get("target", "")):
            arguments = unmasked(arguments, self._stored_arguments)
        if has_mask(arguments):
            raise ValidationError(
                "The asterisks stand for a hidden value, which is not sent to another target nor kept "
                "at another place: type the value itself."
            )
        return arguments

    def clean_target(self) -> str:
        """Put back the secrets that were shown as asterisks."""
        target: str = unmasked(self.cleaned_data["target"], self._stored_target)
        if has_mask(target):
            raise ValidationError(
                "The asterisks stand for a hidden value that is not here any more: type the value itself."
            )
        return target

    def clean(self) -> dict[str, Any]:
        """Read moments in the job's zone; refuse an edit of a definition that is not the current one."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        name = values.get("timezone") or ""
        if not zone_problem(name):
            for field in MOMENTS:
                if field in values:
                    values[field] = in_zone(values[field], zone_of(name))
        if self.instance.pk and not self.is_preview:
            self._refuse_stale_edit(values)
        return values

    def _refuse_stale_edit(self, values: Mapping[str, Any]) -> None:
        """What others changed meanwhile and this form would set back is named; saving again is then a decision."""
        base = values.get("opened_version")
        if base is None or base == self.instance.version:
            return
        specs = {
            revision.version: revision
            for revision in JobRevision.objects.filter(
                job=self.instance, version__in=(base, self.instance.version)
            )
        }
        newest = specs.get(self.instance.version)
        before = specs[base].spec if base in specs else {}
        after = newest.spec if newest else {}
        undone = [
            field
            for field in changed_fields(before, after)
            if field in values and values[field] != getattr(self.instance, field)
        ]
        if not undone and base in specs:
            return
        # The page that says so knows the newest version, so that saving it again is allowed.
        renewed = cast(QueryDict, self.data).copy()
        renewed["opened_version"] = str(self.instance.version)
        self.data = renewed
        who = (newest.created_by if newest else "") or "Somebody"
        lines = [
            f"{label_of(field)}: it was {shown(field, before.get(field))}, "
            f"and is {shown(field, after.get(field))} now."
            for field in undone
        ]
        raise ValidationError(
            [
                f"{who} changed this job while you edited it. Nothing was saved. "
                "Take over below what you want to keep, or save again to overwrite it.",
                *lines,
            ]
        )

    def add_error(self, field: str | None, error: Any) -> None:
        """As the stock form, but a problem at something that is not on the form is said at its head."""
        if isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            for name in set(error.error_dict) - set(self.fields) - {NON_FIELD_ERRORS}:
                error.error_dict.setdefault(NON_FIELD_ERRORS, []).extend(error.error_dict.pop(name))
        super().add_error(field, error)


def _same_place(old_target: str, new_target: str) -> bool:
    """Whether secrets of one target may be given to the other: the same task, or a URL of the same host."""
    if old_target == new_target:
        return True
    try:
        old, new = urlsplit(old_target), urlsplit(new_target)
    except ValueError:
        return False
    return bool(old.netloc) and (old.scheme, old.netloc) == (new.scheme, new.netloc)


def _wall(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    text = f"{local:%Y-%m-%d %H:%M:%S}" + (f".{local.microsecond:06}" if local.microsecond else "")
    if local.fold:
        # The second time that the clock shows it this night.
        text += clock(moment, zone)[-6:]
    return text


class PauseForm(forms.Form):
    """Why, and until when."""

    reason = forms.CharField(
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vLargeTextField", "autofocus": True}),
        help_text="Everybody who wonders why it does not run will read this.",
    )
    until = MomentField(from_now=True)

    def __init__(self, *args: Any, timezone: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._zone = zone_of(timezone)
        self.fields["until"].help_text = (
            f"Empty: until somebody resumes it. Or a time from now such as 90m or 2h30m, "
            f"or a moment in {self._zone.key} such as 2030-01-31 09:00."
        )

    def clean_until(self) -> datetime | None:
        """The moment, in the future."""
        until = in_zone(self.cleaned_data["until"], self._zone)
        if until is not None and until <= database_now():
            raise ValidationError(f"{clock(until, self._zone)} is over.")
        return until


class ScopePauseForm(PauseForm):
    """What to pause beside why and until when."""

    field_order = ("scope", "value", "reason", "until")
    scope = forms.ChoiceField(
        label="Pause",
        choices=PauseScope.choices,
        initial=PauseScope.QUEUE,
        widget=forms.RadioSelect,
    )
    value = forms.CharField(
        label="Name",
        required=False,
        max_length=50,
        help_text="Of the queue or tag; empty for everything.",
    )

    def __init__(self, *args: Any, suggestions: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["value"].widget = SuggestionInput(suggestions, {"class": "vTextField"})

    def clean(self) -> dict[str, Any]:
        """A queue or tag has a name, everything has none."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        scope, value = values.get("scope"), values.get("value")
        if scope == PauseScope.ALL and value:
            self.add_error(
                "value", "Everything has no name: leave this empty, or pause a queue or a tag."
            )
        elif scope in (PauseScope.QUEUE, PauseScope.TAG) and not value:
            self.add_error("value", f"Name the {scope} to pause.")
        return values


class RunForm(forms.Form):
    """Run now with other arguments."""

    arguments = ArgumentsField(required=False)

    def __init__(self, *args: Any, stored: Any, **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"arguments": masked(stored)})
        super().__init__(*args, **kwargs)
        self._stored = stored

    def clean_arguments(self) -> Any:
        """Put back the secrets that were shown as asterisks."""
        arguments = unmasked(self.cleaned_data["arguments"], self._stored)
        if has_mask(arguments):
            raise ValidationError(
                "The asterisks stand for a hidden value that is not at this place any more: type the value itself."
            )
        return arguments
