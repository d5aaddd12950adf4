"""The audit trail: a list that nobody can change, with filters for who, what, where and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from scheduler_app.access import visible
from scheduler_app.models import AuditEntry, Source, Verb
from scheduler_app.models.clock import DatabaseNow

from .base import ReadOnlyAdmin
from .display import printable
from .filters import MenuFilter, whole_number
from .trail import Deed, deeds

PEOPLE_AMONG = 2000
"""The newest entries, whose people are in the menu."""
JOBS_FOUND = 200

PERIODS = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}


class WhenFilter(MenuFilter):
    """By time."""

    title = "Time"
    parameter_name = "when"
    all_label = "Any time"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, label) for key, (label, _) in PERIODS.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        if self.value() not in PERIODS:
            return queryset
        return queryset.filter(at__gt=DatabaseNow() - PERIODS[self.value() or ""][1])


class WhoFilter(MenuFilter):
    """By who did it: those of late, or whoever the address names."""

    title = "Who"
    parameter_name = "who"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = visible.audit_entries().order_by("-at", "-id").values_list("who", flat=True)
        names = {*newest[:PEOPLE_AMONG], *([self.value()] if self.value() else [])}
        return [(name, printable(name)) for name in sorted(name for name in names if name)]

    def has_output(self) -> bool:
        return True

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        return queryset.filter(who=self.value()) if self.value() else queryset


class VerbFilter(MenuFilter):
    """By what was done."""

    title = "What"
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(verb.value, str(verb.label)) for verb in Verb]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        return queryset.filter(verb=self.value()) if self.value() else queryset


class SourceFilter(MenuFilter):
    """By the way that they came."""

    title = "By"
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(source.value, str(source.label)) for source in Source]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        return queryset.filter(source=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyAdmin):
    """Entries are written by the verbs, and told whole by the list."""

    list_display = ("id",)
    list_display_links = None
    sortable_by = ()
    ordering = ("-at", "-id")
    list_filter = (WhenFilter, WhoFilter, VerbFilter, SourceFilter)
    search_fields = ("object_name",)
    search_help_text = "Job name, user or =id"
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """Those about what the user sees."""
        return visible.audit_entries()

    def rows(self, request: HttpRequest, objects: Sequence[AuditEntry]) -> list[Deed]:
        """With their changes in words."""
        return deeds(objects)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        """`=123` is an object's id; else a user's name, an object's, or part of a job's: each has an index or is few."""
        term = search_term.replace("\x00", "").strip()[:200]
        if not term:
            return queryset, False
        if term.startswith("="):
            wanted = whole_number(term[1:].strip())
            kinds = ("job", "execution", "node", "pause", "calendar", "token")
            if wanted is None:
                return queryset.none(), False
            return queryset.filter(object_kind__in=kinds, object_id=str(wanted)), False
        found = visible.jobs_and_deleted().filter(name__icontains=term).order_by("-id")
        job_ids = list(found.values_list("pk", flat=True)[:JOBS_FOUND])
        return queryset.filter(Q(who=term) | Q(job_id__in=job_ids)), False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """An entry is told whole by the list."""
        self.require(self.has_view_permission(request))
        return HttpResponseRedirect(self.list_url(request))
