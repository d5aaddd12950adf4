"""The job's form. It carries the version that it was opened with, and the secrets that it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import QueryDict

from scheduler_app.access import current_caller
from scheduler_app.access.ownership import current_view, refusal_of_tags
from scheduler_app.access.rights import refusal
from scheduler_app.models import Job, JobRevision
from scheduler_app.rules.masking import has_mask, is_same_place, masked, masked_text, unmasked
from scheduler_app.rules.zones import zone_names, zone_problem
from scheduler_app.targets import kinds, suggested_targets
from scheduler_app.targets.task import TaskInfo, known_tasks

from .argument_forms import ArgumentsByField
from .display import zone_of
from .form_fields import ArgumentsField, MomentField, SuggestionInput, TagsField, in_zone, wall
from .history import changed_fields, label_of, shown
from .typed_arguments import PREFIX, description_of

if TYPE_CHECKING:
    _JobModelForm = forms.ModelForm[Job]
else:
    _JobModelForm = forms.ModelForm


def _zones() -> list[tuple[str, str]]:
    return [(name, "") for name in ["UTC", *sorted(zone_names() - {"UTC"})]]


MOMENTS = ("anchor_at", "start_at", "end_at")
TARGET_LABELS = {"task": "Task", "http": "URL", "management": "Command", "shell": "Command"}


class JobForm(ArgumentsByField, _JobModelForm):
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
            *("isolation", "memory_limit_mb", "cpu_limit_s"),
            *("keep_days", "keep_last"),
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
                    self.initial[name] = wall(moment, zone)
            for name, field in self.fields.items():
                if isinstance(field, forms.FloatField):
                    # 3600 and not 3600.0
                    value = getattr(self.instance, name)
                    self.initial[name] = int(value) if value == int(value) else value
            self.initial["arguments"] = masked(self.instance.arguments)
            self.initial["target"] = masked_text(self.instance.target)
        if (view := current_view()) is not None and view.groups:
            self.fields["tags"].help_text = (
                "Separated by commas. A job belongs to the groups that its tags name; yours are "
                f"{', '.join(view.groups)}."
            )
        self._stored_arguments = self.instance.arguments
        self._stored_target = self.instance.target
        kind = self._given("kind")
        self.fields["target"].label = TARGET_LABELS.get(kind, "Target")
        target = unmasked(self._given("target"), self._stored_target)
        self.add_argument_fields(kind, target.strip(), self.instance.arguments)

    @property
    def unread(self) -> set[str]:
        """The fields whose texts were refused, so that the instance still has what it had before."""
        return (
            {name for name in self.errors if name not in self.cleaned_data}
            if self.is_bound
            else set()
        )

    def _given(self, name: str) -> str:
        """What the form holds now, typed or stored."""
        if self.is_bound:
            return str(self.data.get(name, ""))
        return str(self.initial.get(name) or getattr(self.instance, name))

    @property
    def description_of_target(self) -> tuple[str, str]:
        """The signature and docstring of what it would run, for the template."""
        return description_of(self._given("kind"), self._given("target").strip())

    @property
    def tasks_to_choose(self) -> tuple[TaskInfo, ...]:
        """The registered tasks, for who has not chosen one."""
        return known_tasks() if self._given("kind") == "task" else ()

    @property
    def is_preview(self) -> bool:
        """Whether the person only wants to see what it means or does, or the fields of another target."""
        return self.is_bound and any(name in self.data for name in ("_preview", "_fields", "_test"))

    def is_valid(self) -> bool:
        """A preview is never saved."""
        return super().is_valid() and not self.is_preview

    def clean_name(self) -> str:
        """Refuse a name that another job has."""
        name: str = self.cleaned_data["name"]
        if Job.objects.filter(name=name).exclude(pk=self.instance.pk).exists():
            raise ValidationError("There is a job with this name already.")
        return name

    def clean_tags(self) -> list[str]:
        """Refuse tags that give the job to others, or take it away from the user."""
        tags: list[str] = self.cleaned_data["tags"]
        is_new = self.instance.pk is None
        before = None if is_new else self.instance.tags
        if why := refusal_of_tags(tags, before=before, owner_id=self.instance.owner_id):
            raise ValidationError(why)
        return tags

    def clean_arguments(self) -> Any:
        """Put back the secrets that were shown as asterisks, unless they would go elsewhere now."""
        arguments = self.cleaned_data["arguments"]
        return arguments if self.is_by_field else self._with_secrets(arguments)

    def _with_secrets(self, arguments: Any) -> Any:
        if is_same_place(self._stored_target, self.cleaned_data.get("target", "")):
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
        if self.is_by_field:
            try:
                self.refuse_fields_of_another()
                values["arguments"] = self._with_secrets(self.arguments_by_field(values))
            except ValidationError as error:
                self.add_error("arguments", error)
        self._refuse_foreign_target(values)
        name = values.get("timezone") or ""
        if not zone_problem(name):
            for field in MOMENTS:
                if field in values:
                    values[field] = in_zone(values[field], zone_of(name))
        if self.instance.pk and not self.is_preview:
            self._refuse_stale_edit(values)
        return values

    def _post_clean(self) -> None:
        before = {name: errors.as_data()[:] for name, errors in self.errors.items()}
        super()._post_clean()  # type: ignore[misc]  # The stubs leave it out.
        if {"_preview", "_fields"} & self.data.keys():
            self._forgive_what_is_not_typed_yet(before)

    def _forgive_what_is_not_typed_yet(self, before: Mapping[str, list[ValidationError]]) -> None:
        """Who looks at a preview, or chooses what to run, has not said that all is filled in."""
        for name in list(self.errors):
            if name in ("name", "target", "arguments") or name.startswith(PREFIX):
                del self.errors[name]
                if kept := [error for error in before.get(name, ()) if error.code != "required"]:
                    self.add_error(name, kept)

    def _refuse_foreign_target(self, values: Mapping[str, Any]) -> None:
        """Say here what `lifecycle` would refuse: a target that the user has no right to use."""
        user = current_caller().user
        kind, target = values.get("kind"), values.get("target")
        if user is None or not kind or not target:
            return
        stored = (self.initial.get("kind"), self._stored_target, self._stored_arguments)
        if self.instance.pk and stored == (kind, target, values.get("arguments")):
            return
        if why := refusal(user, kind, target):
            self.add_error("target", why)

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
