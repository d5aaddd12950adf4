"""Addresses of the API; included under `/api/v1/`."""

from __future__ import annotations

from typing import ClassVar

from django.urls import path, re_path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from .audit import AuditViewSet
from .base import ApiView, Router, UnknownAddress
from .bulk import BulkJobsViewSet
from .bulk_executions import BulkExecutionsViewSet
from .calendars import CalendarViewSet
from .documents import DocsView, SchemaView
from .executions import ExecutionViewSet
from .health import HealthView
from .jobs import JobViewSet
from .metrics import MetricsView
from .nodes import NodeViewSet
from .operations import Operation
from .pauses import PauseViewSet
from .schedules import ScheduleViewSet
from .tasks import TaskViewSet

app_name = "api"

ADDRESSES = {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}


class RootView(ApiView):
    """The scheduler's API. Everything that the admin can do with jobs and executions, for programs."""

    name = "API"
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"get": ()}
    operations = {"get": Operation(answer=ADDRESSES)}

    def get(self, request: Request) -> Response:
        names = {
            "jobs": "job-list",
            "executions": "execution-list",
            "calendars": "calendar-list",
            "pauses": "pause-list",
            "nodes": "node-list",
            "tasks": "task-list",
            "audit": "audit-list",
            "health": "health",
            "metrics": "metrics",
            "schema": "schema",
            "docs": "docs",
        }
        return Response(
            {key: reverse(f"api:{name}", request=request) for key, name in names.items()}
        )


router = Router()
router.register("jobs", JobViewSet, basename="job")
router.register("executions", ExecutionViewSet, basename="execution")
router.register("nodes", NodeViewSet, basename="node")
router.register("tasks", TaskViewSet, basename="task")
router.register("bulk/jobs", BulkJobsViewSet, basename="bulk-jobs")
router.register("bulk/executions", BulkExecutionsViewSet, basename="bulk-executions")
router.register("audit", AuditViewSet, basename="audit")
router.register("calendars", CalendarViewSet, basename="calendar")
router.register("pauses", PauseViewSet, basename="pause")
router.register("schedules", ScheduleViewSet, basename="schedule")

urlpatterns = [
    path("", RootView.as_view(), name="root"),
    re_path(r"^health/?$", HealthView.as_view(), name="health"),
    re_path(r"^metrics/?$", MetricsView.as_view(), name="metrics"),
    re_path(r"^schema/?$", SchemaView.as_view(), name="schema"),
    re_path(r"^docs/?$", DocsView.as_view(), name="docs"),
    *router.urls,
    re_path(r"", UnknownAddress.as_view(), name="unknown"),
]
