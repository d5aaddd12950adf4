"""Schedules before they are saved: what they mean, and what else is due then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app.access import visible
from scheduler_app.lifecycle.impact import Impact, impact
from scheduler_app.lifecycle.same_seconds import COUNTED_TO, SameSeconds
from scheduler_app.models import Calendar, CalendarMode, Job, OnClosed, database_now
from scheduler_app.models.job import DayMatch
from scheduler_app.rules.previewing import ClockChange, FireTime, Preview
from scheduler_app.rules.problems import Invalid, Problem
from scheduler_app.rules.schedules import parse_schedule
from scheduler_app.rules.spec import JobSpec

from . import permissions
from .base import ApiViewSet
from .errors import Refused, shown
from .fields import MomentField, NamedField, Strict, TextField, WholeField, WordField
from .operations import Operation
from .queries import Query, find_job

_MOMENT = MomentField()


class CalendarField(NamedField):
    """A calendar by its name, or by its id as a number."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, int) and not isinstance(data, bool):
            found = Calendar.objects.filter(pk=data).first() if 0 < data < 2**63 else None
            if found is None:
                self.fail("does_not_exist", value=shown(data))
            return found
        return super().to_internal_value(data)


class PreviewSerializer(Strict):
    """The parts of a job that say when it runs. What is left out is that of `job`, or the default."""

    noun = "a preview"
    together: ClassVar[Mapping[str, Any]] = {
        "if": {"required": ["job"]},
        "else": {"required": ["schedule"]},
    }

    schedule = TextField(
        max_length=200,
        required=False,
        help_text="Cron with 5 or 6 fields, @hourly, @every 90s, @at 2030-01-31T09:00, @manual.",
    )
    timezone = TextField(max_length=64, required=False)
    name = TextField(
        max_length=200, required=False, help_text="The job's name, which H and jitter derive from."
    )
    anchor_at = MomentField(required=False, allow_null=True)
    day_match = WordField(choices=DayMatch.values, required=False)
    start_at = MomentField(required=False, allow_null=True)
    end_at = MomentField(required=False, allow_null=True)
    max_runs = WholeField(min_value=1, max_value=2**31 - 1, required=False, allow_null=True)
    jitter_s = WholeField(min_value=0, max_value=86_400, required=False)
    calendar = CalendarField(
        queryset=Calendar.objects.all(), slug_field="name", required=False, allow_null=True
    )
    calendar_mode = WordField(choices=CalendarMode.values, required=False)
    on_closed = WordField(choices=OnClosed.values, required=False)
    job = serializers.CharField(
        max_length=200,
        required=False,
        help_text="The name or id of a stored job: what would an edit of it change?",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        self.stored = self._stored(attrs.pop("job", None))
        spec = self.stored.spec() if self.stored else JobSpec()
        if self.stored is None and "schedule" not in attrs:
            self.refuse([Problem("schedule", "Give a schedule, or the job whose schedule it is.")])
        if "calendar" in attrs:
            calendar = attrs.pop("calendar")
            attrs["calendar_name"] = calendar.name if calendar else ""
            attrs["calendar_days"] = tuple(map(tuple, calendar.ranges)) if calendar else ()
        spec = replace(spec, **attrs)
        if spec.start_at and spec.end_at and spec.start_at >= spec.end_at:
            self.refuse([Problem("end_at", "The end must come after the start.")])
        try:
            self.impact = impact(spec, now=database_now(), stored=self.stored)
        except Invalid as error:
            self.refuse([replace(p, field=_field_of(p)) for p in error.problems])
        return attrs

    def _stored(self, id_or_name: str | None) -> Job | None:
        if id_or_name is None:
            return None
        try:
            return find_job(id_or_name, visible.jobs().select_related("plan", "calendar"))
        except NotFound as error:
            self.refuse([Problem("job", str(error.detail), given=shown(id_or_name))])


class DescribeQuery(Query):
    """A schedule in a word: its text, and what its reading depends on."""

    noun = "this address"
    schedule = TextField(max_length=200)
    timezone = TextField(max_length=64, default="UTC")
    name = TextField(max_length=200, default="", help_text="The job's name, which H derives from.")
    day_match = WordField(choices=DayMatch.values, default=DayMatch.OR.value)


class FireTimeSerializer(serializers.Serializer[Any]):
    """A fire time ahead."""

    local = serializers.CharField(help_text="In the job's zone, with the offset that it has then.")
    utc = MomentField()
    runs = serializers.BooleanField(
        help_text="False where a closed day, a pause or a skip takes it away."
    )
    note = serializers.CharField(
        help_text="What a clock change or a calendar does to it, or what else takes it away."
    )


class MeaningSerializer(serializers.Serializer[Any]):
    """What a definition means from now on."""

    sentence = serializers.CharField()
    fire_times = FireTimeSerializer(many=True, help_text="The next ten.")
    warnings = serializers.ListField(child=serializers.CharField())
    runs_per_day = serializers.FloatField(help_text="Of the next 30 days.")
    note = serializers.CharField(help_text="Why these fire times come later or not at all.")


class SameSecondsSerializer(serializers.Serializer[Any]):
    """Other jobs that fire at one of these moments, within 24 hours."""

    count = serializers.IntegerField()
    counted_to = serializers.IntegerField(help_text="How many jobs are looked at, the soonest.")
    at_least = serializers.BooleanField(
        help_text="There may be more: too many jobs, or too different from each other to ask all."
    )
    jobs = serializers.ListField(child=serializers.CharField(), help_text="Ten names.")


class ClockChangeSerializer(serializers.Serializer[Any]):
    """A change of the clocks in the job's zone."""

    at = MomentField()
    before = serializers.CharField(help_text="The wall clock just before, with its offset.")
    after = serializers.CharField(help_text="The wall clock just after.")
    note = serializers.CharField(
        help_text="What it does to the job; empty where no fire time is lost, moved or doubled."
    )


class LiveSerializer(serializers.Serializer[Any]):
    """Executions on the way; they keep the definition that they were created with."""

    running = serializers.IntegerField()
    waiting = serializers.IntegerField()


class PreviewAnswerSerializer(MeaningSerializer):
    """What a definition means, beside what it meant before."""

    before = MeaningSerializer(allow_null=True, help_text="The same for the job as it is stored.")
    clock_changes = ClockChangeSerializer(many=True, help_text="Of the next year.")
    same_seconds = SameSecondsSerializer()
    live = LiveSerializer(
        allow_null=True, help_text="Of the stored job, for who may view executions."
    )


class DescriptionSerializer(serializers.Serializer[Any]):
    """A schedule in words."""

    sentence = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField())
    next_fire_at = MomentField(allow_null=True)


class ScheduleViewSet(ApiViewSet[Job]):
    """Schedules that are not saved yet."""

    serializer_class = PreviewSerializer
    needs = {"preview": (permissions.VIEW_JOB,), "describe": (permissions.VIEW_JOB,)}
    operations = {
        "preview": Operation(
            answer=PreviewAnswerSerializer,
            body=PreviewSerializer,
            example={"schedule": "30 2 * * *", "timezone": "Europe/Paris"},
        ),
        "describe": Operation(answer=DescriptionSerializer, query=DescribeQuery),
    }

    def get_queryset(self) -> QuerySet[Job]:
        nothing: QuerySet[Job] = Job.objects.none()
        return nothing

    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """The sentence, the next fire times, warnings, runs a day, clock changes, who else is due then; saves nothing."""
        given = PreviewSerializer(data=request.data, context=self.get_serializer_context())
        given.is_valid(raise_exception=True)
        found: Impact = given.impact
        sees_live = given.stored is not None and permissions.holds(
            request, permissions.VIEW_EXECUTION
        )
        return Response(
            {
                **shown_preview(found.after),
                "before": None if found.before is None else shown_preview(found.before),
                "clock_changes": [_shown_clock_change(change) for change in found.clock_changes],
                "same_seconds": _shown_crowd(found.same_seconds),
                "live": {"running": found.running, "waiting": found.waiting} if sees_live else None,
            }
        )

    @action(detail=False)
    def describe(self, request: Request) -> Response:
        """A schedule as a sentence, with what may surprise and the next fire time."""
        query = DescribeQuery.of(request)
        now = database_now()
        try:
            schedule = parse_schedule(
                query["schedule"],
                query["timezone"],
                query["name"],
                day_match=query["day_match"],
            )
        except Invalid as error:
            raise Refused([replace(p, field=_field_of(p)) for p in error.problems]) from None
        next_at = schedule.next_after(now)
        return Response(
            {
                "sentence": schedule.describe(),
                "warnings": schedule.warnings(now),
                "next_fire_at": next_at and _MOMENT.to_representation(next_at),
            }
        )


def shown_preview(found: Preview) -> dict[str, Any]:
    return {
        "sentence": found.sentence,
        "fire_times": [shown_fire_time(fire_time) for fire_time in found.fire_times],
        "warnings": list(found.warnings),
        "runs_per_day": found.runs_per_day,
        "note": found.note,
    }


def _shown_clock_change(change: ClockChange) -> dict[str, Any]:
    return {
        "at": _MOMENT.to_representation(change.at),
        "before": change.before.isoformat(),
        "after": change.after.isoformat(),
        "note": change.note,
    }


def _shown_crowd(found: SameSeconds) -> dict[str, Any]:
    return {
        "count": found.count,
        "counted_to": COUNTED_TO,
        "at_least": found.at_least,
        "jobs": list(found.jobs),
    }


def shown_fire_time(fire_time: FireTime) -> dict[str, Any]:
    return {
        "local": fire_time.local.isoformat(),
        "utc": _MOMENT.to_representation(fire_time.at),
        "runs": fire_time.runs,
        "note": fire_time.note,
    }


def _field_of(problem: Problem) -> str:
    """The field of the request: the parts of a schedule's text are one."""
    known = {"timezone": "timezone", "day_match": "day_match", "anchor": "anchor_at"}
    return known.get(problem.field, "schedule")
