"""Pauses of a queue, a tag or everything. A pause of one job is the job's own verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.access.ownership import require_pause
from scheduler_app.models import Pause, PauseScope, database_now
from scheduler_app.models.pause import PauseQuerySet
from scheduler_app.rules.problems import Problem

from . import permissions
from .base import ApiViewSet
from .errors import Conflict
from .fields import MomentField, Selective, TextField, WordField
from .idempotency import idempotent
from .job_serializers import (
    RESUME_DRY_RUN,
    PauseSerializer,
    ResumeSerializer,
    what_resume_runs,
)
from .links import Links
from .operations import IDEMPOTENCY_KEY, Operation, either, links_to
from .pagination import Order
from .queries import PauseQuery, ShownQuery, as_id

NEWEST_FIRST = Order("id", int, descending=True)


class ScopePauseSerializer(PauseSerializer):
    """What to pause, why and until when."""

    noun = "a pause"
    together: ClassVar[Mapping[str, Any]] = {
        "if": {"properties": {"scope": {"const": "all"}}},
        "then": {"properties": {"value": {"maxLength": 0}}},
        "else": {"properties": {"value": {"minLength": 1}}, "required": ["value"]},
    }
    scope = WordField(choices=PauseScope.choices, help_text="What is paused.")
    value = TextField(
        max_length=50,
        required=False,
        allow_blank=True,
        help_text="The name of the queue or tag; left out for everything.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        scope, value = attrs["scope"], attrs.get("value", "")
        if scope == PauseScope.ALL and value:
            self.refuse([Problem("value", "Everything has no name: leave this out.", given=value)])
        if scope != PauseScope.ALL and not value:
            self.refuse([Problem("value", f"Name the {scope} to pause.", allowed="a name")])
        return attrs


class StandingPauseSerializer(Selective):
    """A pause, standing or over."""

    id = serializers.IntegerField()
    url = serializers.SerializerMethodField()
    scope = serializers.ChoiceField(choices=PauseScope.choices)
    value = serializers.CharField()
    reason = serializers.CharField()
    paused_at = MomentField()
    paused_by = serializers.CharField()
    paused_until = MomentField(allow_null=True)
    ended_at = MomentField(allow_null=True)
    ended_by = serializers.CharField()

    def get_url(self, pause: Pause) -> str:
        links: Links = self.context["links"]
        return links.pause(pause.pk)


class PauseViewSet(ApiViewSet[Pause]):
    """Pauses of queues, tags and everything, newest first. A list takes state, scope and value."""

    serializer_class = ScopePauseSerializer
    lookup_value_regex = "[0-9]+"
    needs = {
        "list": (permissions.VIEW_PAUSE,),
        "retrieve": (permissions.VIEW_PAUSE,),
        "create": (permissions.VIEW_PAUSE, permissions.ADD_PAUSE),
        "resume": (permissions.VIEW_PAUSE, permissions.CHANGE_PAUSE),
    }
    operations = {
        "list": Operation(answer=StandingPauseSerializer, page=True, query=PauseQuery),
        "retrieve": Operation(answer=StandingPauseSerializer, query=ShownQuery),
        "create": Operation(
            answer=StandingPauseSerializer,
            status=201,
            body=ScopePauseSerializer,
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={"scope": "queue", "value": "reports", "reason": "migration"},
            links=links_to("pause_retrieve", "pause_resume", id="id"),
        ),
        "resume": Operation(
            answer=either("StandingPause", RESUME_DRY_RUN),
            body=ResumeSerializer,
            conflicts=True,
            example={"run": "last"},
        ),
    }

    def get_queryset(self) -> PauseQuerySet:
        return visible.pauses()

    def list(self, request: Request) -> Response:
        query = PauseQuery.of(request)
        pauses = self.get_queryset()
        if query["state"] == "standing":
            pauses = pauses.standing()
        elif query["state"] == "ended":
            pauses = pauses.exclude(pk__in=Pause.objects.standing().values("pk"))
        for column in ("scope", "value"):
            if column in query:
                pauses = pauses.filter(**{column: query[column]})
        context = self.shown(query, StandingPauseSerializer)
        page = self.page(pauses, order=NEWEST_FIRST, query=query)
        serializer: Any = StandingPauseSerializer(page, many=True, context=context)
        return self.get_paginated_response(serializer.data)

    def retrieve(self, request: Request, pk: str) -> Response:
        context = self.shown(ShownQuery.of(request), StandingPauseSerializer)
        return Response(StandingPauseSerializer(self._find(pk), context=context).data)

    @idempotent
    def create(self, request: Request) -> Response:
        """Hold the fire times of a queue, a tag or everything, and what waits there (201)."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        pause = lifecycle.pause_scope(by=request.user.get_username(), **given.validated_data)
        return Response(
            StandingPauseSerializer(pause, context=self.get_serializer_context()).data,
            status=201,
            headers={"Location": Links(request).pause(pause.pk)},
        )

    @action(detail=True, methods=["post"], serializer_class=ResumeSerializer)
    def resume(self, request: Request, pk: str) -> Response:
        """End it; the jobs fire again from now on, and the fire times meanwhile are made up for only if asked."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        run = given.validated_data["run"]
        if run != lifecycle.RUN_NONE:
            permissions.require(request, permissions.RUN_JOB)
        pause = self._find(pk)
        if given.validated_data["dry_run"]:
            require_pause(pause.scope, pause.value)
            paused = pause.ended_at is None
            now = database_now()
            missed, jobs = lifecycle.missed_by_pause(pause, now=now) if paused else (0, 0)
            return Response(what_resume_runs(paused=paused, missed=missed, last=jobs, run=run))
        if not lifecycle.resume_scope(pause.pk, by=request.user.get_username(), run=run):
            raise Conflict(f"The pause of {pause} was over.")
        return Response(
            StandingPauseSerializer(self._find(pk), context=self.get_serializer_context()).data
        )

    def _find(self, pk: str) -> Pause:
        pause = self.get_queryset().filter(pk=as_id(pk) or 0).first()
        if pause is None:
            raise NotFound(f"There is no pause {pk[:20]}; it may have been pruned.")
        return pause
