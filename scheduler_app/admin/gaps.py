"""The gaps: fire times that became no execution, and why."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from scheduler_app.access import visible
from scheduler_app.models import Gap, GapReason

from .base import ReadOnlyAdmin
from .filters import JobFilter, MenuFilter


class ReasonFilter(MenuFilter):
    """By the reason."""

    title = "Reason"
    parameter_name = "reason"
    template = "admin/scheduler_app/filter_tabs.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason.value, reason.value.capitalize()) for reason in GapReason]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Gap]) -> QuerySet[Gap]:
        return queryset.filter(reason=self.value()) if self.value() else queryset


@admin.register(Gap)
class GapAdmin(ReadOnlyAdmin):
    """Gaps are written when they are decided and never changed."""

    list_display = ("id",)
    list_display_links = None
    sortable_by = ()
    ordering = ("-last_at", "-id")
    list_filter = (ReasonFilter, JobFilter)
    list_select_related = ("job",)
    search_fields = ("job__name",)
    search_help_text = "Job name"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Gap]:
        """With their jobs, without the large columns of these."""
        return visible.gaps().select_related("job").defer("job__arguments", "job__description")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """A gap is told whole by the list."""
        return HttpResponseRedirect(self.list_url(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Gap], search_term: str
    ) -> tuple[QuerySet[Gap], bool]:
        """Jobs by name first: they are few, and gaps of a job have an index."""
        term = search_term.replace("\x00", "").strip()
        if not term:
            return queryset, False
        found = visible.jobs_and_deleted().filter(name__icontains=term[:200])
        return queryset.filter(job_id__in=list(found.values_list("pk", flat=True)[:200])), False
