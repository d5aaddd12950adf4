"""The questions that people ask of the jobs list: state, kind, queue, tag."""

from __future__ import annotations

from typing import Any

from django.db import connections, models
from django.db.models import Exists, Func, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from scheduler_app.access import visible
from scheduler_app.access.ownership import in_sql
from scheduler_app.conf import get_config
from scheduler_app.models import Execution, Job, Pause, Status
from scheduler_app.models.execution import FINISHED
from scheduler_app.targets import kinds

from .display import printable
from .filters import MenuFilter
from .state import over_q, overdue_q, paused_q, standing_pauses

CHOICES_SHOWN = 50
"""Queues and tags in a filter."""
MENUS_SQL = """
WITH job AS MATERIALIZED (
    SELECT queue, timezone, tags FROM scheduler_app_job WHERE deleted_at IS NULL AND {visible}
)
(SELECT DISTINCT 'queue', queue FROM job ORDER BY 2 LIMIT %(limit)s)
UNION ALL
(SELECT DISTINCT 'tag', unnest(tags) FROM job ORDER BY 2 LIMIT %(limit)s)
UNION ALL
(SELECT DISTINCT 'zone', timezone FROM job ORDER BY 2 LIMIT %(limit)s)
"""

FAILING = (Status.FAILED, Status.LOST)


def pauses_of(request: HttpRequest) -> list[Pause]:
    """The standing pauses of queues, tags and everything, asked for once a request."""
    found: list[Pause] | None = getattr(request, "scheduler_pauses", None)
    if found is None:
        found = list(standing_pauses())
        request.scheduler_pauses = found  # type: ignore[attr-defined]
    return found


class StateFilter(MenuFilter):
    """The questions that operators have about jobs."""

    title = "State"
    parameter_name = "state"
    template = "admin/scheduler_app/filter_tabs.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("failing", "Failing"),
            ("overdue", "Overdue"),
            ("paused", "Paused"),
            ("disabled", "Disabled"),
            ("never", "Never ran"),
            ("over", "Over"),
            ("problem", "Cannot be planned"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        match self.value():
            case "failing":
                last = Execution.objects.filter(job=OuterRef("pk"), status__in=FINISHED)
                status = last.order_by("-scheduled_for").values("status")[:1]
                return queryset.alias(last_status=Subquery(status)).filter(last_status__in=FAILING)
            case "overdue":
                return queryset.filter(overdue_q())
            case "paused":
                return queryset.filter(paused_q(pauses_of(request)))
            case "disabled":
                return queryset.filter(enabled=False)
            case "never":
                ran = Execution.objects.filter(job=OuterRef("pk"), status__in=FINISHED)
                return queryset.filter(~Exists(ran))
            case "over":
                return queryset.filter(over_q())
            case "problem":
                return queryset.exclude(plan__problem="")
        return queryset


class KindFilter(MenuFilter):
    """By what jobs do."""

    title = "Kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(kinds().items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class QueueFilter(MenuFilter):
    """By the queue."""

    title = "Queue"
    parameter_name = typed_as = "queue"
    typed_label = "Its name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        queues = self.first(menus_of(request)["queue"], CHOICES_SHOWN)
        return [(queue, printable(queue)) for queue in queues]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(queue=self.value()) if self.value() else queryset


class TagFilter(MenuFilter):
    """By a tag."""

    title = "Tag"
    parameter_name = typed_as = "tag"
    typed_label = "Its name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tags = self.first(menus_of(request)["tag"], CHOICES_SHOWN)
        return [(tag, printable(tag)) for tag in tags]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(tags__contains=[self.value()]) if self.value() else queryset


class ZoneFilter(MenuFilter):
    """By the time zone of the schedule."""

    title = "Zone"
    parameter_name = typed_as = "zone"
    typed_label = "Its name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        zones = self.first(menus_of(request)["zone"], CHOICES_SHOWN)
        return [(zone, printable(zone)) for zone in zones]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(timezone=self.value()) if self.value() else queryset


def menus_of(request: HttpRequest) -> dict[str, list[str]]:
    """The queues, tags and zones of the jobs that the caller sees, asked for in one statement once a request."""
    found: dict[str, list[str]] | None = getattr(request, "scheduler_menus", None)
    if found is None:
        found = {"queue": [], "tag": [], "zone": []}
        only, view = in_sql("id")
        with connections[get_config().database].cursor() as cursor:
            # One more tells that there are more.
            limit = {"limit": CHOICES_SHOWN + 1}
            cursor.execute(MENUS_SQL.replace("{visible}", only), {**limit, **view})
            for kind, value in cursor.fetchall():
                found[kind].append(value)
        request.scheduler_menus = found  # type: ignore[attr-defined]
    return found


def known_queues(limit: int = CHOICES_SHOWN) -> list[str]:
    """The queues that jobs name."""
    queues = visible.jobs().order_by("queue").values_list("queue", flat=True)
    return list(queues.distinct()[:limit])


def known_tags() -> list[str]:
    """The tags that jobs have."""
    tag = Func("tags", function="unnest", output_field=models.CharField())
    return list(
        visible.jobs()
        .annotate(tag=tag)
        .order_by("tag")
        .values_list("tag", flat=True)
        .distinct()[:CHOICES_SHOWN]
    )
