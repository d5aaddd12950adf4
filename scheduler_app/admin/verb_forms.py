"""What the verbs ask for: why and until when to pause, what to run after it, with which arguments."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError

from scheduler_app.lifecycle import MOST_FIRE_TIMES, RUN_ALL, RUN_LAST, RUN_NONE
from scheduler_app.models import Job, PauseScope
from scheduler_app.models.clock import database_now
from scheduler_app.rules.masking import has_mask, masked, unmasked

from .argument_forms import ArgumentsByField
from .display import clock, zone_of
from .form_fields import ArgumentsField, MomentField, SuggestionInput, in_zone, wall


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


class RunForm(ArgumentsByField, forms.Form):
    """Run now with other arguments, or with a pretended fire time."""

    arguments = ArgumentsField(required=False)
    scheduled_for = MomentField(label="Pretended fire time")

    def __init__(self, *args: Any, job: Job, stored: Any, **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"arguments": masked(stored)})
        super().__init__(*args, **kwargs)
        self._stored = stored
        self._zone = zone_of(job.timezone)
        self.fields["scheduled_for"].help_text = (
            "The fire time that the job is told, such as that of a day to be reported again. "
            f"In {self._zone.key}, such as 2026-01-31 09:00; now at the latest. Empty: now."
        )
        self.add_argument_fields(job.kind, job.target, stored)

    def clean(self) -> dict[str, Any]:
        """The arguments of the fields or of the JSON, with the secrets that were shown as asterisks."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        try:
            self.refuse_fields_of_another()
            given = self.arguments_by_field(values) if self.is_by_field else values.get("arguments")
            values["arguments"] = self._with_secrets(given)
        except ValidationError as error:
            self.add_error("arguments", error)
        return values

    def _with_secrets(self, given: Any) -> Any:
        arguments = unmasked(given, self._stored)
        if has_mask(arguments):
            raise ValidationError(
                "The asterisks stand for a hidden value that is not at this place any more: type the value itself."
            )
        return arguments

    def clean_scheduled_for(self) -> datetime | None:
        """The moment, if one was typed."""
        return in_zone(self.cleaned_data["scheduled_for"], self._zone)


class ResumeForm(forms.Form):
    """Which of the missed fire times to run after all."""

    run = forms.ChoiceField(label="Of the missed fire times, run", widget=forms.RadioSelect)

    def __init__(
        self, *args: Any, missed: int, of_many: bool, may_run: bool, **kwargs: Any
    ) -> None:
        kwargs.setdefault("initial", {"run": RUN_NONE})
        super().__init__(*args, **kwargs)
        run = cast(forms.ChoiceField, self.fields["run"])
        if not missed:
            # Nothing to choose from; the answer is still sent.
            run.widget = forms.HiddenInput()
        each = " of each job" if of_many else ""
        choices = [(RUN_NONE, "none")]
        if may_run:
            choices.append((RUN_LAST, f"the last{each}"))
        if may_run and missed <= MOST_FIRE_TIMES:
            choices.append((RUN_ALL, f"all {missed:,}, oldest first"))
        run.choices = choices
        if missed and not may_run:
            run.help_text = (
                "To run some of them needs the right to run jobs, and to use what they do."
            )
        elif missed > MOST_FIRE_TIMES:
            run.help_text = f"They are more than the {MOST_FIRE_TIMES:,} that can be run. A backfill runs a part of them."


MISSING, EVERY = "missing", "every"


class BackfillForm(forms.Form):
    """Which fire times of the past to run."""

    since = MomentField(label="From")
    until = MomentField(label="To")
    what = forms.ChoiceField(
        label="Run",
        choices=[
            (MISSING, "those without a success, and not under way: fill the gaps"),
            (EVERY, "every fire time, those that succeeded as well"),
        ],
        initial=MISSING,
        widget=forms.RadioSelect,
    )
    max_running = forms.IntegerField(
        label="Side by side",
        min_value=1,
        max_value=1000,
        initial=1,
        widget=forms.NumberInput(attrs={"class": "vIntegerField"}),
        help_text="At most so many of them run at a time. The job's own limit holds too.",
    )
    request = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    """Names this form, so that sending it twice is one request."""

    def __init__(self, *args: Any, timezone: str, now: datetime, **kwargs: Any) -> None:
        self._zone = zone_of(timezone)
        kwargs.setdefault(
            "initial",
            {
                "since": wall(now - timedelta(days=1), self._zone),
                "until": wall(now, self._zone),
                "request": uuid.uuid4().hex,
            },
        )
        super().__init__(*args, **kwargs)
        for name in ("since", "until"):
            self.fields[name].required = True
            self.fields[name].help_text = f"In {self._zone.key}, included; or with an offset."

    def clean(self) -> dict[str, Any]:
        """Aware moments in their order."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        for name in ("since", "until"):
            if name in values:
                values[name] = in_zone(values[name], self._zone)
        since, until = values.get("since"), values.get("until")
        if since and until and since > until:
            self.add_error("until", "The range ends before it begins.")
        return values


class MomentForm(forms.Form):
    """Which moment to explain."""

    at = MomentField(label="Why did it run, or not, at")

    def __init__(self, *args: Any, timezone: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._zone = zone_of(timezone)

    def clean_at(self) -> datetime | None:
        """The moment."""
        return in_zone(self.cleaned_data["at"], self._zone)
