"""Nodes: which processes run executions, and when they were last heard of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.models import Node
from scheduler_app.models.clock import DatabaseNow

from . import permissions
from .base import ApiViewSet
from .fields import MomentField, NothingSerializer, Selective
from .links import Links
from .operations import Operation
from .pagination import Order
from .queries import NodeQuery, ShownQuery, as_id

NEWEST_FIRST = Order("id", int, descending=True)


class NodeSerializer(Selective):
    """A node; ages are seconds by the database's clock."""

    id = serializers.IntegerField()
    url = serializers.SerializerMethodField()
    name = serializers.CharField()
    host = serializers.CharField()
    pid = serializers.IntegerField()
    release = serializers.CharField()
    queues = serializers.ListField(child=serializers.CharField(), help_text="Empty: all queues.")
    threads = serializers.IntegerField()
    busy = serializers.IntegerField()
    state = serializers.CharField()
    state_reason = serializers.CharField()
    listening = serializers.BooleanField()
    started_at = MomentField()
    heartbeat_at = MomentField()
    heartbeat_age_s = serializers.SerializerMethodField()
    last_tick_at = MomentField(allow_null=True)
    tick_age_s = serializers.SerializerMethodField()
    drain_requested_at = MomentField(allow_null=True)
    drain_requested_by = serializers.CharField()
    finished_at = MomentField(allow_null=True)

    def get_url(self, node: Node) -> str:
        links: Links = self.context["links"]
        return links.node(node.pk)

    def get_heartbeat_age_s(self, node: Any) -> float:
        return _age(node.heartbeat_at, node.now)

    def get_tick_age_s(self, node: Any) -> float | None:
        return None if node.last_tick_at is None else _age(node.last_tick_at, node.now)


class NodeViewSet(ApiViewSet[Node]):
    """Nodes, the newest first; each is one life of one process. A list takes name and state."""

    serializer_class = NodeSerializer
    lookup_value_regex = "[0-9]+"
    needs = {
        "list": (permissions.VIEW_NODE,),
        "retrieve": (permissions.VIEW_NODE,),
        "drain": (permissions.VIEW_NODE, permissions.DRAIN_NODE),
    }
    operations = {
        "list": Operation(answer=NodeSerializer, page=True, query=NodeQuery),
        "retrieve": Operation(answer=NodeSerializer, query=ShownQuery),
        "drain": Operation(
            answer=NodeSerializer, status=202, body=NothingSerializer, conflicts=True
        ),
    }

    def get_queryset(self) -> QuerySet[Node]:
        return Node.objects.annotate(now=DatabaseNow())

    def list(self, request: Request) -> Response:
        query = NodeQuery.of(request)
        nodes = self.get_queryset()
        if "name" in query:
            nodes = nodes.filter(name=query["name"])
        if "state" in query:
            nodes = nodes.filter(state__in=query["state"])
        context = self.shown(query, NodeSerializer)
        page = self.page(nodes, order=NEWEST_FIRST, query=query)
        serializer: Any = NodeSerializer(page, many=True, context=context)
        return self.get_paginated_response(serializer.data)

    def retrieve(self, request: Request, pk: str) -> Response:
        context = self.shown(ShownQuery.of(request), NodeSerializer)
        return Response(NodeSerializer(self._find(pk), context=context).data)

    @action(detail=True, methods=["post"], serializer_class=NothingSerializer)
    def drain(self, request: Request, pk: str) -> Response:
        """Finish what runs, take nothing new, and stop (202); asked again, nothing more happens."""
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        lifecycle.drain_node(self._find(pk).pk, by=request.user.get_username())
        context = self.get_serializer_context()
        return Response(NodeSerializer(self._find(pk), context=context).data, status=202)

    def _find(self, pk: str) -> Node:
        node = self.get_queryset().filter(pk=as_id(pk) or 0).first()
        if node is None:
            raise NotFound(f"There is no node {pk[:20]}.")
        return node


def _age(moment: datetime, now: datetime) -> float:
    return round((now - moment).total_seconds(), 3)
