"""The tasks that jobs can run, with what each takes."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app.models import Job
from scheduler_app.targets.base import UnknownTarget
from scheduler_app.targets.task import TaskInfo, known_tasks, registry

from . import permissions
from .base import ApiViewSet
from .fields import Selective
from .links import Links
from .operations import Operation
from .pagination import KeysetPagination
from .queries import ShownQuery, TaskQuery


class ParameterSerializer(serializers.Serializer[Any]):
    """A parameter of the function, as people read it."""

    name = serializers.CharField()
    annotation = serializers.CharField(help_text="As written; empty without one.")
    default = serializers.CharField(help_text="As Python writes it; empty without one.")
    required = serializers.BooleanField()  # type: ignore[assignment]  # DRF takes declared fields off the class.
    variadic = serializers.BooleanField(help_text="*args or **kwargs: any number.")


class TaskSerializer(Selective):
    """A function that jobs of the kind `task` can run: its name is their `target`."""

    name = serializers.CharField()
    url = serializers.SerializerMethodField()
    description = serializers.CharField(help_text="The docstring.")
    signature = serializers.CharField(help_text="As Python writes it.")
    is_async = serializers.BooleanField()
    parameters = ParameterSerializer(many=True)
    arguments_schema = serializers.SerializerMethodField()

    def get_url(self, info: TaskInfo) -> str:
        links: Links = self.context["links"]
        return links.task(info.name)

    def get_arguments_schema(self, info: TaskInfo) -> dict[str, Any]:
        """JSON Schema (2020-12) of the `arguments` of a job that runs it."""
        return registry.get(info.name).arguments_schema()


class TaskViewSet(ApiViewSet[Job]):
    """The tasks that are registered here, by name. A list takes search."""

    serializer_class = TaskSerializer
    lookup_url_kwarg = "name"
    lookup_value_regex = "[^/]+"
    needs = {"list": (permissions.VIEW_JOB,), "retrieve": (permissions.VIEW_JOB,)}
    operations = {
        "list": Operation(answer=TaskSerializer, page=True, query=TaskQuery),
        "retrieve": Operation(answer=TaskSerializer, query=ShownQuery),
    }

    def get_queryset(self) -> QuerySet[Job]:
        nothing: QuerySet[Job] = Job.objects.none()
        return nothing

    def list(self, request: Request) -> Response:
        query = TaskQuery.of(request)
        word = query.get("search", "").lower()
        found = [
            info for info in known_tasks() if word in f"{info.name}\n{info.description}".lower()
        ]
        context = self.shown(query, TaskSerializer)
        assert isinstance(self.paginator, KeysetPagination)
        page = self.paginator.paginate_named(
            found, request, size=query["page_size"], cursor=query.get("cursor", "")
        )
        serializer: Any = TaskSerializer(page, many=True, context=context)
        return self.get_paginated_response(serializer.data)

    def retrieve(self, request: Request, name: str) -> Response:
        context = self.shown(ShownQuery.of(request), TaskSerializer)
        try:
            info = registry.get(name).info
        except UnknownTarget as error:
            raise NotFound(str(error)) from None
        return Response(TaskSerializer(info, context=context).data)
