"""Cancel or retry all executions that a filter lets through: counted first, done in chunks, watched by its record."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.lifecycle import Selection
from scheduler_app.models import BulkOperation, BulkVerb, Node, Status, Trigger
from scheduler_app.rules.problems import Problem

from . import permissions
from .base import ApiViewSet
from .bulk import JobRefField
from .errors import Conflict, Refused, shown
from .fields import (
    FlagField,
    MomentField,
    NothingSerializer,
    Selective,
    Strict,
    TextField,
    WordField,
)
from .idempotency import idempotent
from .links import Links
from .operations import IDEMPOTENCY_KEY, Operation, links_to
from .pagination import Order
from .queries import PageQuery, ShownQuery

MOST_WORDS = 100
NEWEST_FIRST = Order("created_at", datetime, descending=True, key=uuid.UUID)


class WordList(serializers.ListField):
    """Some of a few words."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, min_length=1, max_length=MOST_WORDS, **kwargs)


class SelectionSerializer(Strict):
    """Executions by what they are; every condition that is given must hold."""

    noun = "a filter of executions"
    together: ClassVar[Mapping[str, Any]] = {"minProperties": 1}
    status = WordList(child=WordField(choices=Status.values))
    job = WordList(child=JobRefField(), help_text="Ids or names of jobs.")
    queue = WordList(child=TextField(max_length=50))
    trigger = WordList(child=WordField(choices=Trigger.values))
    node = WordList(child=TextField(max_length=100), help_text="Names of nodes.")
    since = MomentField(required=False, help_text="Of the fire time.")
    until = MomentField(required=False, help_text="Of the fire time, not included.")
    error = TextField(max_length=200, required=False, help_text="Within the error line.")
    arguments = serializers.DictField(
        child=TextField(max_length=200, allow_blank=True),
        required=False,
        help_text='By path, such as {"customer": "42"}; five at most.',
    )


class BulkBody(Strict):
    """Which executions, and why."""

    noun = "a bulk operation"
    filter = SelectionSerializer(help_text="Not empty.")
    reason = TextField(max_length=40, required=False, allow_blank=True)
    dry_run = FlagField(default=False, help_text="Count them, and change nothing.")

    def validate_filter(self, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise serializers.ValidationError(
                "An empty filter is every execution; name at least one thing to choose them by."
            )
        return value


class BulkCountSerializer(serializers.Serializer[Any]):
    """What it would do, as far as it was counted."""

    suitable = serializers.IntegerField()
    is_capped = serializers.BooleanField(help_text="There may be more.")
    refused = serializers.SerializerMethodField()

    def get_refused(self, count: Any) -> dict[str, int]:
        """Of the others that the filter lets through: why they cannot be, and how many."""
        return dict(count.refused)


class BulkOperationSerializer(Selective):
    """An operation that was asked for, and how far it has come."""

    id = serializers.UUIDField()
    url = serializers.SerializerMethodField()
    verb = serializers.CharField()
    selection = serializers.DictField(read_only=True)
    reason = serializers.CharField()
    requested_by = serializers.CharField()
    created_at = MomentField()
    expected = serializers.IntegerField(
        help_text="How many there were, as far as they were counted."
    )
    expected_is_capped = serializers.BooleanField()
    changed = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="Those whose state changed before their turn.")
    finished_at = MomentField(allow_null=True)
    stopped_by = serializers.CharField()

    def get_url(self, operation: BulkOperation) -> str:
        links: Links = self.context["links"]
        return links.bulk(operation.pk)


class BulkExecutionsViewSet(ApiViewSet[BulkOperation]):
    """Operations on all executions that match, newest first. Nodes go on with what a request begins."""

    serializer_class = BulkBody
    lookup_value_regex = "[0-9a-f-]{36}"
    needs = {
        "list": (permissions.VIEW_EXECUTION,),
        "retrieve": (permissions.VIEW_EXECUTION,),
        "cancel": (permissions.VIEW_EXECUTION, permissions.RUN_JOB),
        "retry": (permissions.VIEW_EXECUTION, permissions.RUN_JOB),
        "stop": (permissions.VIEW_EXECUTION, permissions.RUN_JOB),
    }
    operations = {
        "list": Operation(answer=BulkOperationSerializer, page=True, query=PageQuery),
        "retrieve": Operation(answer=BulkOperationSerializer, query=ShownQuery),
        "cancel": Operation(
            answer=BulkOperationSerializer,
            status=202,
            body=BulkBody,
            others={200: BulkCountSerializer},
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={"filter": {"status": ["failed"], "error": "timeout"}, "dry_run": True},
            links=links_to("bulk_executions_retrieve", "bulk_executions_stop", id="id"),
        ),
        "retry": Operation(
            answer=BulkOperationSerializer,
            status=202,
            body=BulkBody,
            others={200: BulkCountSerializer},
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={"filter": {"status": ["failed"], "error": "timeout"}, "dry_run": True},
            links=links_to("bulk_executions_retrieve", "bulk_executions_stop", id="id"),
        ),
        "stop": Operation(answer=BulkOperationSerializer, body=NothingSerializer, conflicts=True),
    }

    def get_queryset(self) -> QuerySet[BulkOperation]:
        return visible.bulk_operations()

    def list(self, request: Request) -> Response:
        query = PageQuery.of(request)
        context = self.shown(query, BulkOperationSerializer)
        page = self.page(self.get_queryset(), order=NEWEST_FIRST, query=query)
        serializer: Any = BulkOperationSerializer(page, many=True, context=context)
        return self.get_paginated_response(serializer.data)

    def retrieve(self, request: Request, pk: str) -> Response:
        context = self.shown(ShownQuery.of(request), BulkOperationSerializer)
        return Response(BulkOperationSerializer(self._find(pk), context=context).data)

    @action(detail=False, methods=["post"])
    @idempotent
    def cancel(self, request: Request) -> Response:
        """Cancel all that wait or run among these (202)."""
        return self._start(request, BulkVerb.CANCEL)

    @action(detail=False, methods=["post"])
    @idempotent
    def retry(self, request: Request) -> Response:
        """Try all again that failed, were lost or cancelled among these (202)."""
        return self._start(request, BulkVerb.RETRY)

    @action(detail=True, methods=["post"], serializer_class=NothingSerializer)
    def stop(self, request: Request, pk: str) -> Response:
        """Leave the rest as it is; what was done is not undone."""
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        operation = self._find(pk)
        if not lifecycle.stop_bulk(operation.pk, by=request.user.get_username()):
            raise Conflict("This operation is over.")
        return self._shown(operation.pk, status=200)

    def _start(self, request: Request, verb: BulkVerb) -> Response:
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        selection = selection_of(given.validated_data["filter"])
        if given.validated_data["dry_run"]:
            return Response(BulkCountSerializer(lifecycle.count_bulk(verb, selection)).data)
        operation = lifecycle.start_bulk(
            uuid.uuid4(),
            verb,
            selection,
            by=request.user.get_username(),
            reason=given.validated_data.get("reason", ""),
            # With a key the request is one transaction, which must not hold many executions for long: nodes do the work.
            budget_s=0 if IDEMPOTENCY_KEY in request.headers else None,
        )
        response = self._shown(operation.pk, status=202)
        response["Location"] = Links(request).bulk(operation.pk)
        return response

    def _shown(self, pk: uuid.UUID, *, status: int) -> Response:
        context = self.get_serializer_context()
        operation = self.get_queryset().get(pk=pk)
        return Response(BulkOperationSerializer(operation, context=context).data, status=status)

    def _find(self, pk: str) -> BulkOperation:
        try:
            found = self.get_queryset().filter(pk=uuid.UUID(pk)).first()
        except ValueError:
            found = None
        if found is None:
            raise NotFound(f"There is no bulk operation {pk}.")
        return found


def selection_of(given: dict[str, Any]) -> Selection:
    """The filter of a body as the verbs take it; raises Refused for jobs and nodes that there are not."""
    return Selection(
        statuses=tuple(given.get("status", ())),
        jobs=_job_ids(given["job"]) if "job" in given else None,
        queues=tuple(given.get("queue", ())),
        triggers=tuple(given.get("trigger", ())),
        nodes=_node_ids(given.get("node", ())),
        since=given.get("since"),
        until=given.get("until"),
        arguments=tuple(given.get("arguments", {}).items()),
        error=given.get("error", ""),
    )


def _job_ids(refs: list[int | str]) -> tuple[int, ...]:
    # What deleted jobs left behind can be chosen by their ids.
    ids = set(
        visible.jobs_and_deleted()
        .filter(pk__in=[ref for ref in refs if isinstance(ref, int)])
        .order_by()
        .values_list("pk", flat=True)
    )
    by_name = dict(
        visible.jobs()
        .filter(name__in=[ref for ref in refs if isinstance(ref, str)])
        .order_by()
        .values_list("name", "pk")
    )
    missing = [ref for ref in refs if ref not in ids and ref not in by_name]
    if missing:
        raise Refused(
            [
                Problem("filter.job", f"There is no job {shown(ref)}.", given=shown(ref))
                for ref in missing
            ]
        )
    return tuple(sorted(ids | set(by_name.values())))


def _node_ids(names: Any) -> tuple[int, ...]:
    if not names:
        return ()
    found = list(Node.objects.filter(name__in=names).order_by("-pk").values_list("pk", flat=True))
    if not found:
        message = "There are no nodes of these names."
        raise Refused([Problem("filter.node", message, given=shown(list(names)))])
    return tuple(found[:1000])
