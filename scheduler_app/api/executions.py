"""Executions: what ran, runs and waits; cancel and retry."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.models import Execution, Status
from scheduler_app.rules.masking import masked, masked_text
from scheduler_app.rules.spec import JobSpec

from . import logs, permissions
from .base import ApiViewSet
from .errors import Conflict
from .fields import (
    MaskedJsonField,
    MaskedTextField,
    MomentField,
    NothingSerializer,
    Selective,
    Strict,
    TextField,
)
from .idempotency import idempotent
from .links import Links
from .operations import IDEMPOTENCY_KEY, RANGE, Operation
from .pagination import Order
from .queries import ExecutionQuery, LatestQuery, LogQuery, ShownQuery, as_id, filter_executions
from .renderers import PlainTextRenderer

ORDERS = {"scheduled_for": Order("scheduled_for", datetime)}
NEWEST_FIRST = Order.of("-scheduled_for", ORDERS)

LIST_COLUMNS = (
    "id",
    "job_id",
    "trigger",
    "scheduled_for",
    "run_after",
    "queue",
    "priority",
    "status",
    "reason",
    "attempt",
    "node_id",
    "created_at",
    "claimed_at",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "cancelled_by",
    "error",
    "requested_by",
    "release",
)
"""What a list shows. The others may be large, and one large row must not make a list slow."""


def executions_for_lists() -> QuerySet[Execution]:
    found = visible.executions().select_related("job", "node")
    return found.only(*LIST_COLUMNS, "job__name", "node__name")


class ExecutionSerializer(Selective):
    """An execution as lists show it."""

    id = serializers.IntegerField()
    url = serializers.SerializerMethodField()
    log_url = serializers.SerializerMethodField()
    job = serializers.SerializerMethodField()
    trigger = serializers.CharField()
    scheduled_for = MomentField()
    run_after = MomentField()
    queue = serializers.CharField()
    priority = serializers.IntegerField()
    status = serializers.CharField()
    reason = serializers.CharField()
    attempt = serializers.IntegerField()
    node = serializers.SerializerMethodField()
    created_at = MomentField()
    claimed_at = MomentField(allow_null=True)
    started_at = MomentField(allow_null=True)
    finished_at = MomentField(allow_null=True)
    drift_s = serializers.SerializerMethodField()
    duration_s = serializers.SerializerMethodField()
    error = MaskedTextField()
    requested_by = serializers.CharField()
    cancel_requested_at = MomentField(allow_null=True)
    cancelled_by = serializers.CharField()
    release = serializers.CharField()

    @property
    def links(self) -> Links:
        found: Links = self.context["links"]
        return found

    def get_url(self, execution: Execution) -> str:
        return self.links.execution(execution.pk)

    def get_log_url(self, execution: Execution) -> str:
        return self.links.log(execution.pk)

    def get_job(self, execution: Execution) -> dict[str, Any] | None:
        if execution.job_id is None:
            return None
        # The row may be gone while its history is not.
        name = execution.job.name if execution.job else None
        return {"id": execution.job_id, "name": name, "url": self.links.job(execution.job_id)}

    def get_node(self, execution: Execution) -> dict[str, Any] | None:
        if execution.node_id is None:
            return None
        name = execution.node.name if execution.node else None
        return {"id": execution.node_id, "name": name, "url": self.links.node(execution.node_id)}

    def get_drift_s(self, execution: Execution) -> float | None:
        return execution.drift.total_seconds() if execution.drift is not None else None

    def get_duration_s(self, execution: Execution) -> float | None:
        return execution.duration.total_seconds() if execution.duration is not None else None


class ExecutionDetailSerializer(ExecutionSerializer):
    """An execution with all that it left behind, and what it ran."""

    job_version = serializers.SerializerMethodField()
    kind = serializers.SerializerMethodField()
    target = serializers.SerializerMethodField()
    arguments = serializers.SerializerMethodField()
    result = MaskedJsonField()
    traceback = MaskedTextField()
    failures = MaskedJsonField()
    crashes = serializers.IntegerField()

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        revision = instance.revision
        self._spec = JobSpec.from_json(revision.spec if revision else None, instance.spec)
        return super().to_representation(instance)

    def get_job_version(self, execution: Execution) -> int | None:
        return execution.revision.version if execution.revision else None

    def get_kind(self, execution: Execution) -> str:
        return self._spec.kind

    def get_target(self, execution: Execution) -> str:
        return masked_text(self._spec.target)

    def get_arguments(self, execution: Execution) -> Any:
        return masked(self._spec.arguments)


class CancelSerializer(Strict):
    """What may be said when cancelling."""

    noun = "cancel"
    reason = TextField(
        max_length=40, required=False, allow_blank=True, help_text="A word or two; kept with it."
    )


class ExecutionViewSet(ApiViewSet[Execution]):
    """Executions, newest fire time first. A list takes job, status, trigger, node, since and until."""

    serializer_class = ExecutionDetailSerializer
    lookup_value_regex = "[0-9]+"
    needs = {
        "list": (permissions.VIEW_EXECUTION,),
        "retrieve": (permissions.VIEW_EXECUTION,),
        "latest": (permissions.VIEW_EXECUTION,),
        "log": (permissions.VIEW_EXECUTION,),
        "cancel": (permissions.VIEW_EXECUTION, permissions.RUN_JOB),
        "retry": (permissions.VIEW_EXECUTION, permissions.RUN_JOB),
    }
    operations = {
        "list": Operation(answer=ExecutionSerializer, page=True, query=ExecutionQuery),
        "retrieve": Operation(answer=ExecutionDetailSerializer, query=ShownQuery),
        "latest": Operation(answer=ExecutionDetailSerializer, query=LatestQuery),
        "log": Operation(
            answer=logs.LogPartSerializer,
            query=LogQuery,
            others={206: None},
            headers=(RANGE,),
            text=True,
        ),
        "cancel": Operation(
            answer=ExecutionDetailSerializer,
            body=CancelSerializer,
            others={202: ExecutionDetailSerializer},
            conflicts=True,
            example={"reason": "not_needed"},
        ),
        "retry": Operation(
            answer=ExecutionDetailSerializer,
            status=202,
            body=NothingSerializer,
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
        ),
    }

    def get_queryset(self) -> QuerySet[Execution]:
        return visible.executions_by_id().select_related("job", "node", "revision")

    def list(self, request: Request) -> Response:
        query = ExecutionQuery.of(request)
        return list_executions(self, filter_executions(executions_for_lists(), query), query)

    def retrieve(self, request: Request, pk: str) -> Response:
        query = ShownQuery.of(request)
        return self._shown(self._find(pk), query=query)

    @action(detail=False)
    def latest(self, request: Request) -> Response:
        """The newest execution that the filters let through, such as ?job=NAME."""
        query = LatestQuery.of(request)
        executions = visible.executions().select_related("job", "node", "revision")
        found = filter_executions(executions, query)
        newest = NEWEST_FIRST.sorted(found, backwards=False).first()
        if newest is None:
            raise NotFound("No execution matches.")
        return self._shown(newest, query=query)

    @action(detail=True, renderer_classes=(PlainTextRenderer, JSONRenderer))
    def log(self, request: Request, pk: str) -> HttpResponseBase:
        """What it printed and logged: all of it, a range of bytes, its last lines, or what comes after an offset."""
        query = LogQuery.of(request)
        execution = self._find(pk)
        return logs.respond(request, execution, query, Links(request).log(execution.pk))

    @action(detail=True, methods=["post"], serializer_class=CancelSerializer)
    def cancel(self, request: Request, pk: str) -> Response:
        """What waits never begins (200). What runs is asked to stop (202)."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        execution = self._find(pk)
        answer = lifecycle.cancel(
            [execution.pk],
            by=request.user.get_username(),
            reason=given.validated_data.get("reason", ""),
        )
        execution = self._find(pk)
        if answer.finished:
            raise Conflict(
                f"Execution {execution.pk} is over ({execution.status}) and cannot be cancelled."
            )
        return self._shown(execution, status=202 if answer.requested else 200)

    @action(detail=True, methods=["post"], serializer_class=NothingSerializer)
    @idempotent
    def retry(self, request: Request, pk: str) -> Response:
        """One more attempt for what failed, was lost or was cancelled (202)."""
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        execution = self._find(pk)
        retried = lifecycle.retry([execution.pk], by=request.user.get_username())
        execution = self._find(pk)
        if not retried:
            raise Conflict(why_no_retry(execution))
        response = self._shown(execution, status=202)
        response["Location"] = Links(request).execution(execution.pk)
        return response

    def _find(self, pk: str) -> Execution:
        execution = self.get_queryset().filter(pk=as_id(pk) or 0).first()
        if execution is None:
            raise NotFound(f"There is no execution {pk[:20]}.")
        return execution

    def _shown(
        self, execution: Execution, status: int = 200, query: dict[str, Any] | None = None
    ) -> Response:
        context = self.shown(query or {}, ExecutionDetailSerializer)
        serializer = ExecutionDetailSerializer(execution, context=context)
        return Response(serializer.data, status=status)


def list_executions(
    view: ApiViewSet[Any], executions: QuerySet[Execution], query: dict[str, Any]
) -> Response:
    """One page of executions, newest first unless told otherwise."""
    context = view.shown(query, ExecutionSerializer)
    page = view.page(executions, order=Order.of(query["ordering"], ORDERS), query=query)
    serializer: Any = ExecutionSerializer(page, many=True, context=context)
    return view.get_paginated_response(serializer.data)


def why_no_retry(execution: Execution) -> str:
    match execution.status:
        case Status.SUCCEEDED:
            return f"Execution {execution.pk} succeeded; run its job again instead."
        case Status.READY | Status.BLOCKED | Status.RUNNING:
            return f"Execution {execution.pk} is {execution.status}: it has not come to an end."
    return f"The job of execution {execution.pk} was deleted."
