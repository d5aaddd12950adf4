"""A job's fire times, past and to come: what became of each, skip the next, run those of the past."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.lifecycle.timeline import Verdict, explain, read_pauses, timeline
from scheduler_app.lifecycle.upcoming import upcoming
from scheduler_app.models import Backfill, Job, database_now
from scheduler_app.rules.problems import Invalid, Problem

from . import permissions
from .base import ApiViewSet
from .errors import Conflict
from .fields import FlagField, MomentField, NothingSerializer, Strict, WholeField
from .idempotency import idempotent
from .links import Links
from .operations import IDEMPOTENCY_KEY, Operation
from .queries import Query, find_job
from .schedules import FireTimeSerializer, shown_fire_time

DEFAULT_STRETCH = timedelta(hours=1)

_MOMENT = MomentField()


class TimelineQuery(Query):
    since = MomentField(required=False)
    until = MomentField(required=False)
    limit = WholeField(min_value=1, max_value=500, default=100)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        until = attrs.setdefault("until", database_now())
        since = attrs.setdefault("since", until - DEFAULT_STRETCH)
        if since > until:
            self.refuse([_ends_before_it_begins()])
        return attrs


class ExplainQuery(Query):
    at = MomentField()


class BackfillSerializer(Strict):
    """Which fire times of the past to run, both ends included."""

    noun = "a backfill"
    since = MomentField()
    until = MomentField()
    only_missing = FlagField(
        default=False, help_text="Leave out those that succeeded, and those under way."
    )
    max_running = WholeField(
        min_value=1, max_value=1000, default=1, help_text="How many of them run side by side."
    )
    dry_run = FlagField(default=False, help_text="Say which there are, and run none.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["since"] > attrs["until"]:
            self.refuse([_ends_before_it_begins()])
        return attrs


class BackfillRecordSerializer(serializers.Serializer[Backfill]):
    """A backfill that was asked for."""

    id = serializers.UUIDField()
    job = serializers.SerializerMethodField()
    since = MomentField()
    until = MomentField()
    only_missing = serializers.BooleanField()
    max_running = serializers.IntegerField()
    count = serializers.IntegerField()
    requested_by = serializers.CharField()
    created_at = MomentField()

    def get_job(self, record: Backfill) -> str:
        links: Links = self.context["links"]
        return links.job(record.job_id)


class BackfillCountSerializer(serializers.Serializer[Any]):
    """Which fire times a backfill would run."""

    count = serializers.IntegerField()
    first = MomentField(allow_null=True)
    last = MomentField(allow_null=True)


class AnsweredBySerializer(serializers.Serializer[Any]):
    """The execution that a fire time became."""

    id = serializers.IntegerField()
    url = serializers.URLField()


class VerdictSerializer(serializers.Serializer[Any]):
    """What became of a fire time, or of consecutive ones."""

    first_at = MomentField()
    last_at = MomentField()
    count = serializers.IntegerField()
    what = serializers.CharField()
    sentence = serializers.CharField()
    execution = AnsweredBySerializer(allow_null=True)


class TimelineSerializer(serializers.Serializer[Any]):
    """Fire times past and to come."""

    since = MomentField()
    until = MomentField()
    verdicts = VerdictSerializer(many=True, help_text="Newest first.")
    complete = serializers.BooleanField(help_text="There are no more in this time.")
    upcoming = FireTimeSerializer(many=True)


class ExplanationSerializer(serializers.Serializer[Any]):
    """Why it ran then, or did not."""

    at = MomentField()
    sentence = serializers.CharField()


class SkipSerializer(serializers.Serializer[Any]):
    """The fire time that is to be skipped."""

    job = serializers.URLField()
    skip_at = MomentField(allow_null=True)


class JobHistory(ApiViewSet[Job]):
    """The part of the jobs' addresses that is about fire times."""

    needs = {
        "timeline": (permissions.VIEW_JOB, permissions.VIEW_EXECUTION),
        "explain": (permissions.VIEW_JOB, permissions.VIEW_EXECUTION),
        "skip_next": (permissions.VIEW_JOB, permissions.PAUSE_JOB),
        "unskip_next": (permissions.VIEW_JOB, permissions.PAUSE_JOB),
        "backfill": (permissions.VIEW_JOB, permissions.RUN_JOB),
    }
    operations = {
        "timeline": Operation(answer=TimelineSerializer, query=TimelineQuery),
        "explain": Operation(answer=ExplanationSerializer, query=ExplainQuery),
        "skip_next": Operation(answer=SkipSerializer, body=NothingSerializer, conflicts=True),
        "unskip_next": Operation(answer=SkipSerializer, body=NothingSerializer, conflicts=True),
        "backfill": Operation(
            answer=BackfillRecordSerializer,
            status=202,
            body=BackfillSerializer,
            others={200: BackfillCountSerializer},
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={
                "since": "2026-01-01T00:00:00Z",
                "until": "2026-01-02T00:00:00Z",
                "only_missing": True,
                "dry_run": True,
            },
        ),
    }

    @action(detail=True)
    def timeline(self, request: Request, job: str) -> Response:
        """What became of each fire time from `since` to `until` (the last hour), newest first, and the next ten."""
        query = TimelineQuery.of(request)
        found = find_job(job, self.get_queryset())
        verdicts = timeline(found, query["since"], query["until"], limit=query["limit"])
        links = Links(request)
        return Response(
            {
                "since": _MOMENT.to_representation(query["since"]),
                "until": _MOMENT.to_representation(query["until"]),
                "verdicts": [_shown(verdict, links) for verdict in verdicts],
                "complete": len(verdicts) < query["limit"],
                "upcoming": _upcoming(found),
            }
        )

    @action(detail=True)
    def explain(self, request: Request, job: str) -> Response:
        """Why the job ran `at` a moment, or did not, in a sentence or two."""
        at = ExplainQuery.of(request)["at"]
        found = find_job(job, self.get_queryset())
        return Response({"at": _MOMENT.to_representation(at), "sentence": explain(found, at)})

    @action(detail=True, methods=["post"], url_path="skip-next", serializer_class=NothingSerializer)
    def skip_next(self, request: Request, job: str) -> Response:
        """The next fire time becomes no execution; the one after it does."""
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        found = find_job(job, self.get_queryset())
        moment = lifecycle.skip_next(found.pk, by=request.user.get_username())
        return Response({"job": Links(request).job(found.pk), "skip_at": _written(moment)})

    @action(
        detail=True, methods=["post"], url_path="unskip-next", serializer_class=NothingSerializer
    )
    def unskip_next(self, request: Request, job: str) -> Response:
        """Take `skip-next` back, as long as its fire time has not come."""
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        found = find_job(job, self.get_queryset())
        if not lifecycle.unskip_next(found.pk, by=request.user.get_username()):
            raise Conflict(f"No fire time of {found.name} is to be skipped.")
        return Response({"job": Links(request).job(found.pk), "skip_at": None})

    @action(detail=True, methods=["post"], serializer_class=BackfillSerializer)
    @idempotent
    def backfill(self, request: Request, job: str) -> Response:
        """Run fire times of the past, oldest first (202). The same range twice runs nothing twice."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = dict(given.validated_data)
        found = find_job(job, self.get_queryset())
        if asked.pop("dry_run"):
            moments = lifecycle.fire_times_to_fill(
                found, asked["since"], asked["until"], only_missing=asked["only_missing"]
            )
            first, last = (moments[0], moments[-1]) if moments else (None, None)
            return Response(
                {"count": len(moments), "first": _written(first), "last": _written(last)}
            )
        record = lifecycle.backfill(found.pk, by=request.user.get_username(), **asked)
        context = self.get_serializer_context()
        return Response(BackfillRecordSerializer(record, context=context).data, status=202)


def _shown(verdict: Verdict, links: Links) -> dict[str, Any]:
    execution = verdict.execution_id
    return {
        "first_at": _written(verdict.first_at),
        "last_at": _written(verdict.last_at),
        "count": verdict.count,
        "what": verdict.what,
        "sentence": verdict.sentence,
        "execution": None
        if execution is None
        else {"id": execution, "url": links.execution(execution)},
    }


def _upcoming(job: Job) -> list[dict[str, Any]]:
    """The job's next fire times; none where nothing will fire."""
    if not job.enabled or (job.paused_at is not None and job.paused_until is None):
        return []
    try:
        found = upcoming(job, now=database_now(), pauses=read_pauses())
    except Invalid:
        return []
    return [shown_fire_time(fire_time) for fire_time in found.fire_times]


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else str(_MOMENT.to_representation(moment))


def _ends_before_it_begins() -> Problem:
    return Problem("until", "The range ends before it begins.", allowed="a moment after since")
