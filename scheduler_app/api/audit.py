"""The audit trail: who did what, when and from where. Only read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app.access import visible
from scheduler_app.models import AuditEntry

from . import permissions
from .base import ApiViewSet
from .fields import MomentField, Selective
from .links import Links
from .operations import Operation
from .pagination import Order
from .queries import AuditQuery, ShownQuery, as_id, find_job

NEWEST_FIRST = Order("at", datetime, descending=True)


class AuditSerializer(Selective):
    """One thing that somebody did to one object."""

    id = serializers.IntegerField()
    at = MomentField()
    who = serializers.CharField()
    source = serializers.CharField(  # type: ignore[assignment]  # DRF takes declared fields off the class.
        help_text="admin, api, command or code."
    )
    address = serializers.CharField(help_text="Of the client, as far as it is known.")
    token = serializers.CharField(help_text="The name of the API token that was used.")
    verb = serializers.CharField()
    words = serializers.CharField(help_text="The verb as people read it.")
    object_kind = serializers.CharField()
    object_id = serializers.CharField()
    object_name = serializers.CharField()
    job = serializers.SerializerMethodField()
    changes = serializers.SerializerMethodField()
    reason = serializers.CharField()

    def get_job(self, entry: AuditEntry) -> str | None:
        """The address of the job that it is about, directly or through an execution."""
        links: Links = self.context["links"]
        return None if entry.job_id is None else links.job(entry.job_id)

    def get_changes(self, entry: AuditEntry) -> dict[str, Any]:
        """By field, the old and the new value; secrets masked."""
        return dict(entry.changes)


class AuditViewSet(ApiViewSet[AuditEntry]):
    """What people and programs did, newest first. A list takes who, verb, source, object, job, since and until."""

    serializer_class = AuditSerializer
    lookup_value_regex = "[0-9]+"
    needs = {"list": (permissions.VIEW_AUDIT,), "retrieve": (permissions.VIEW_AUDIT,)}
    operations = {
        "list": Operation(answer=AuditSerializer, page=True, query=AuditQuery),
        "retrieve": Operation(answer=AuditSerializer, query=ShownQuery),
    }

    def get_queryset(self) -> QuerySet[AuditEntry]:
        return visible.audit_entries()

    def list(self, request: Request) -> Response:
        query = AuditQuery.of(request)
        entries = self.get_queryset()
        for column in ("who", "source", "object_kind", "object_id"):
            if column in query:
                entries = entries.filter(**{column: query[column]})
        if "verb" in query:
            entries = entries.filter(verb__in=query["verb"])
        if "job" in query:
            entries = entries.filter(job=find_job(query["job"], visible.jobs_and_deleted()))
        if "since" in query:
            entries = entries.filter(at__gte=query["since"])
        if "until" in query:
            entries = entries.filter(at__lt=query["until"])
        context = self.shown(query, AuditSerializer)
        page = self.page(entries, order=NEWEST_FIRST, query=query)
        serializer: Any = AuditSerializer(page, many=True, context=context)
        return self.get_paginated_response(serializer.data)

    def retrieve(self, request: Request, pk: str) -> Response:
        context = self.shown(ShownQuery.of(request), AuditSerializer)
        entry = self.get_queryset().filter(pk=as_id(pk) or 0).first()
        if entry is None:
            raise NotFound(f"There is no audit entry {pk[:20]}.")
        return Response(AuditSerializer(entry, context=context).data)
