"""Jobs as programs see and write them, and what the verbs take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.db.models import OuterRef, Subquery
from django.utils.functional import cached_property
from rest_framework import serializers
from rest_framework.fields import empty

from scheduler_app.access.ownership import refusal_of_tags
from scheduler_app.lifecycle import (
    RUN_ALL,
    RUN_CHOICES,
    RUN_LAST,
    RUN_NONE,
    definitions,
    missed_while_paused,
)
from scheduler_app.lifecycle.definitions import WRITABLE
from scheduler_app.models import Calendar, Execution, Job, database_now
from scheduler_app.models.job import Provenance
from scheduler_app.rules.masking import (
    MASK,
    is_same_place,
    mask_places,
    masked,
    masked_text,
    unmasked,
)
from scheduler_app.rules.problems import Invalid, Problem
from scheduler_app.rules.schedules import parse_schedule
from scheduler_app.rules.timetable import Timetable

from . import permissions
from .errors import Stale, shown
from .fields import (
    FlagField,
    JsonField,
    MaskedTextField,
    MomentField,
    NamedField,
    NumberField,
    Selective,
    Strict,
    TagsField,
    TextField,
    WholeField,
    WordField,
)
from .links import Links


def _is_given(name: str) -> dict[str, Any]:
    return {"properties": {name: {"type": "integer"}}, "required": [name]}


class JobSerializer(Selective, Strict, serializers.ModelSerializer[Job]):
    """A job: its definition, which can be written, and what became of it, which cannot."""

    noun = "a job"
    together: ClassVar[Mapping[str, Any]] = {
        "if": {"anyOf": [_is_given("memory_limit_mb"), _is_given("cpu_limit_s")]},
        "then": {"properties": {"isolation": {"const": "process"}}, "required": ["isolation"]},
    }

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.CharField: TextField,
        models.TextField: TextField,
        models.SmallIntegerField: WholeField,
        models.PositiveIntegerField: WholeField,
        models.PositiveSmallIntegerField: WholeField,
        models.FloatField: NumberField,
        models.BooleanField: FlagField,
        models.DateTimeField: MomentField,
        models.JSONField: JsonField,
    }
    serializer_choice_field = WordField

    url = serializers.SerializerMethodField()
    executions_url = serializers.SerializerMethodField()
    tags = TagsField(
        child=TextField(max_length=50),
        max_length=20,
        required=False,
        style={"base_template": "input.html"},
        help_text="In a form: with commas between them.",
    )
    calendar = NamedField(
        queryset=Calendar.objects.all(),
        slug_field="name",
        required=False,
        allow_null=True,
        help_text="The name of a calendar.",
    )
    version = WholeField(
        min_value=1,
        required=False,
        help_text="In an edit: the version that you have read. Another one by now refuses the edit.",
    )
    schedule_description = serializers.SerializerMethodField()
    next_fire_at = serializers.SerializerMethodField()
    plan_problem = serializers.SerializerMethodField()
    paused = serializers.SerializerMethodField()
    owner = serializers.SerializerMethodField()
    last_execution = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id",
            "url",
            *WRITABLE,
            "version",
            "schedule_description",
            "next_fire_at",
            "plan_problem",
            "paused",
            "paused_at",
            "paused_by",
            "paused_until",
            "pause_reason",
            "provenance",
            "owner",
            "created_at",
            "updated_at",
            "last_execution",
            "executions_url",
        ]
        read_only_fields = [
            "paused_at",
            "paused_by",
            "paused_until",
            "pause_reason",
            "provenance",
            "created_at",
            "updated_at",
        ]
        # `full_clean` asks for the unique name, in the same words as the admin.
        extra_kwargs: dict[str, Any] = {"name": {"validators": []}}
        validators: list[Any] = []

    # --- Showing ---

    @cached_property
    def _now(self) -> datetime:
        return database_now()

    @property
    def _links(self) -> Links:
        found: Links = self.context["links"]
        return found

    def to_representation(self, instance: Job) -> dict[str, Any]:
        shown_job = super().to_representation(instance)
        if "arguments" in shown_job:
            shown_job["arguments"] = masked(shown_job["arguments"])
        if "target" in shown_job:
            shown_job["target"] = masked_text(shown_job["target"])
        return shown_job

    def get_url(self, job: Job) -> str:
        return self._links.job(job.pk)

    def get_executions_url(self, job: Job) -> str:
        return self._links.executions_of(job.pk)

    def get_schedule_description(self, job: Job) -> str:
        try:
            schedule = parse_schedule(
                job.schedule, job.timezone, job.name, job.anchor_at, job.day_match
            )
            return schedule.describe()
        except Invalid:
            return ""

    def get_next_fire_at(self, job: Job) -> str | None:
        moment = self._next_fire_at(job)
        return None if moment is None else str(MomentField().to_representation(moment))

    def _next_fire_at(self, job: Job) -> datetime | None:
        plan = getattr(job, "plan", None)
        if plan is None or not plan.dirty:
            return plan.next_fire_at if plan else None
        # Edited a moment ago: what the next turn of a node will make of it.
        if not job.enabled or job.paused_at or (job.max_runs or plan.runs + 1) <= plan.runs:
            return None
        try:
            return Timetable.of(job.spec()).next_after(self._now)
        except Invalid:
            return None

    def get_plan_problem(self, job: Job) -> str:
        plan = getattr(job, "plan", None)
        return plan.problem if plan else ""

    def get_paused(self, job: Job) -> bool:
        return job.paused_at is not None

    def get_owner(self, job: Job) -> str | None:
        return job.owner.get_username() if job.owner else None

    def get_last_execution(self, job: Job) -> dict[str, Any] | None:
        if not self.context["request"].user.has_perm(permissions.VIEW_EXECUTION):
            return None
        if not hasattr(job, "last_execution"):
            attach_last_executions([job])
        execution: Execution | None = job.last_execution  # type: ignore[attr-defined]
        if execution is None:
            return None
        context = self.context
        return dict(LastExecutionSerializer(execution, context=context).data)

    # --- Writing ---

    def run_validation(self, data: Any = empty) -> Any:
        name = self.context.get("url_name")
        if name and isinstance(data, Mapping) and "name" not in data:
            data = data.copy()  # type: ignore[attr-defined]  # A dict, or what a form sends.
            data["name"] = name
        return super().run_validation(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        read = attrs.pop("version", None)
        if self.instance is not None and read not in (None, self.instance.version):
            raise Stale(self.instance, status=409)
        tags_before = None if self.instance is None else list(self.instance.tags)
        self.candidate = candidate = self._candidate(attrs)
        if why := refusal_of_tags(candidate.tags, before=tags_before, owner_id=candidate.owner_id):
            self.refuse([Problem("tags", why, given=shown(candidate.tags, "tags"))])
        try:
            candidate.full_clean()
        except ValidationError as error:
            self.refuse(_explained(candidate, error))
        except Invalid as error:
            self.refuse(error.problems)
        return attrs

    def _candidate(self, attrs: dict[str, Any]) -> Job:
        """The job as it would be; a replacement starts from the defaults, not from what is stored."""
        stored = self.instance
        job = Job(provenance=Provenance.API) if stored is None else stored
        self._put_back_secrets(attrs, job)
        if not self.partial:
            attrs = definitions.defaults() | attrs
        for name, value in attrs.items():
            setattr(job, name, value)
        return job

    def _put_back_secrets(self, attrs: dict[str, Any], job: Job) -> None:
        """Where the mask comes back that was shown, what is stored stays; but it is not sent elsewhere."""
        given: dict[str, Any] = {
            name: attrs[name] for name in ("target", "arguments") if name in attrs
        }
        if "target" in given:
            given["target"] = unmasked(given["target"], job.target)
        stays = is_same_place(job.target, given.get("target", job.target))
        if stays and "arguments" in given:
            given["arguments"] = unmasked(given["arguments"], job.arguments)
        if not stays and self.partial:
            # Left out, the secrets of the old place are not for the new one either.
            given.setdefault("arguments", masked(job.arguments))
        if places := mask_places(given):
            self.refuse([masked_problem(place) for place in places])
        attrs |= given


class JobDetailSerializer(JobSerializer):
    """A job alone, with what takes a look at its fire times."""

    skip_at = serializers.SerializerMethodField()
    missed_while_paused = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "skip_at", "missed_while_paused"]

    def get_skip_at(self, job: Job) -> str | None:
        plan = getattr(job, "plan", None)
        if plan is None or plan.skip_at is None or plan.skip_at <= plan.decided_until:
            return None
        return str(MomentField().to_representation(plan.skip_at))

    def get_missed_while_paused(self, job: Job) -> int | None:
        if job.paused_at is None:
            return None
        return missed_while_paused([job], now=self._now)


class NamedJobSerializer(JobDetailSerializer):
    """A job whose name may be left out, since the address says it."""

    class Meta(JobDetailSerializer.Meta):
        extra_kwargs = {"name": {"validators": [], "required": False}}


class LastExecutionSerializer(serializers.Serializer[Execution]):
    """How the job's newest execution stands, in a few words."""

    id = serializers.IntegerField()
    url = serializers.SerializerMethodField()
    status = serializers.CharField()
    reason = serializers.CharField()
    trigger = serializers.CharField()
    scheduled_for = MomentField()
    started_at = MomentField(allow_null=True)
    finished_at = MomentField(allow_null=True)
    error = MaskedTextField()

    def get_url(self, execution: Execution) -> str:
        links: Links = self.context["links"]
        return links.execution(execution.pk)


class DurationSerializer(serializers.Serializer[Any]):
    """Seconds of which so many percent are at most as long; null where there is nothing to say."""

    p50_s = serializers.FloatField(allow_null=True)
    p95_s = serializers.FloatField(allow_null=True)


class DriftSerializer(DurationSerializer):
    """How late, in seconds."""

    p99_s = serializers.FloatField(allow_null=True)


class StatsSerializer(serializers.Serializer[Any]):
    """How the newest finished executions of a job fared."""

    finished = serializers.IntegerField(help_text="How many these are.")
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Lost ones among them; cancelled ones are neither.")
    success_rate = serializers.FloatField(
        allow_null=True, help_text="From 0 to 1; null while nothing succeeded or failed."
    )
    duration = DurationSerializer(help_text="Of those that succeeded.")
    drift = DriftSerializer(help_text="Of those that the schedule fired and that took one attempt.")
    first_at = MomentField(allow_null=True, help_text="The oldest of their fire times.")
    last_at = MomentField(allow_null=True)


class PauseSerializer(Strict):
    """Why and until when."""

    noun = "pause"
    reason = TextField(
        max_length=500, required=False, allow_blank=True, help_text="Shown to everybody."
    )
    until = MomentField(
        required=False, allow_null=True, help_text="Resume by itself then; empty: until resumed."
    )

    def validate_until(self, until: datetime | None) -> datetime | None:
        if until is not None and until <= database_now():
            raise serializers.ValidationError("The pause would end at once: this is over.")
        return until


RESUME_DRY_RUN = {
    "type": "object",
    "properties": {
        "paused": {"type": "boolean"},
        "missed": {"type": "integer", "description": "Fire times since it was paused."},
        "would_run": {"type": "integer", "description": "How many of them this resume would run."},
    },
    "required": ["paused", "missed", "would_run"],
}


class ResumeSerializer(Strict):
    """What becomes of the fire times meanwhile."""

    noun = "resume"
    run = WordField(
        choices=RUN_CHOICES,
        default="none",
        help_text="Which of the fire times meanwhile are run after all.",
    )
    dry_run = FlagField(
        default=False, help_text="Say how many fire times were missed, and resume nothing."
    )


def what_resume_runs(*, paused: bool, missed: int, last: int, run: str) -> dict[str, Any]:
    """The answer of a dry run, as RESUME_DRY_RUN: the fire times that a pause held back, the last ones among them."""
    would_run = {RUN_NONE: 0, RUN_LAST: last, RUN_ALL: missed}
    return {"paused": paused, "missed": missed, "would_run": would_run[run]}


class RunSerializer(Strict):
    """What this one execution is told instead of the job's own."""

    noun = "run"
    arguments = JsonField(
        required=False, help_text="Instead of the job's arguments, for this execution."
    )
    scheduled_for = MomentField(
        required=False,
        allow_null=True,
        help_text="The fire time that it is told, now at the latest; it starts at once in any case. Empty: now.",
    )


def attach_last_executions(jobs: Iterable[Job]) -> None:
    """Give each job its newest execution or None as `last_execution`, in one query for all."""
    by_id = {job.pk: job for job in jobs}
    newest = (
        Execution.objects.filter(job=OuterRef("pk"))
        .order_by("-scheduled_for", "-id")
        .values("pk")[:1]
    )
    of_these = Job.including_deleted.filter(pk__in=by_id).order_by().values(last=Subquery(newest))
    executions = Execution.objects.filter(pk__in=of_these).only(
        "id",
        "job_id",
        "status",
        "reason",
        "trigger",
        "scheduled_for",
        "started_at",
        "finished_at",
        "error",
    )
    found = {execution.job_id: execution for execution in executions}
    for job_id, job in by_id.items():
        job.last_execution = found.get(job_id)  # type: ignore[attr-defined]


# Django reports a unique constraint that has a condition under no field.
_UNIQUE = {
    constraint.get_violation_error_message(): constraint.fields[0]
    for constraint in Job._meta.constraints
    if isinstance(constraint, models.UniqueConstraint) and len(constraint.fields) == 1
}


def masked_problem(place: str) -> Problem:
    return Problem(
        place,
        f"{place}: {MASK} stands for a value that is hidden, and none is stored at this place for this"
        " target. Give the value itself.",
    )


def _explained(job: Job, error: ValidationError) -> list[Problem]:
    """What `full_clean` refused, with what the rules know beside their messages."""
    known: dict[tuple[str, str], Problem] = {}
    try:
        for problem in job.problems(now=database_now()):
            known[problem.field.split(".")[0], problem.message] = problem
    except (TypeError, ValueError):
        # Fields that are wrong by themselves: the rules cannot look at them together.
        pass
    found = []
    for name, messages in error.message_dict.items():
        for message in messages:
            field = _UNIQUE.get(message, "") if name == NON_FIELD_ERRORS else name
            problem = known.get((field, message)) or Problem(field, message)
            if field and problem.field == field and not problem.given:
                problem = replace(problem, given=shown(getattr(job, field, ""), field))
            found.append(problem)
    return found
