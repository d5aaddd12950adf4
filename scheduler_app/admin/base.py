"""What the pages of all models share: rights, the way back, the trail of what was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import unquote
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property

from .overview import may_retry, pulse_of
from .trail import deeds, trail_of

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator


class CappedPaginator(_Paginator):
    """Counts up to a cap and offers no page after it, so that no list has to read a whole table."""

    CAP = 10_000

    @cached_property
    def count(self) -> int:
        """The number of rows, CAP + 1 when there are more."""
        # Sliced, so the order stays: an index that gives it is read no further than the cap.
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.values("pk")[: self.CAP + 1].count()

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than were counted."""
        return self.count > self.CAP

    @cached_property
    def num_pages(self) -> int:
        """Pages up to the cap."""
        return max(1, -(-min(self.count, self.CAP) // self.per_page))

    @property
    def count_text(self) -> str:
        """The count as people read it: `1,234` or `10,000+`."""
        return f"{self.CAP:,}+" if self.is_capped else f"{self.count:,}"


class SchedulerAdmin(_ModelAdmin):
    """Lists with own rows, paged and counted cheaply; changes only through verbs."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0

    def rows(self, request: HttpRequest, objects: Sequence[Any]) -> Sequence[Any]:
        """What the list's template shows of each object."""
        return objects

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The stock list, with rows and the database's time for the own template."""
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            context: dict[str, Any] = response.context_data  # type: ignore[assignment]
            cl = context["cl"]
            context["now"] = pulse_of(request).now
            context["rows"] = self.rows(request, list(cl.result_list))
            context["headers"] = self._headers(cl)
            context["title"] = str(self.opts.verbose_name_plural).capitalize()
            context["may"] = self.rights(request)
        return response

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit trail of one object: who did what, and each field before and after."""
        self.require(self.has_view_permission(request) and self.sees_trail(request))
        if self.get_object(request, unquote(object_id)) is None:
            raise Http404(f"There is no such {self.opts.verbose_name}.")
        trail = CappedPaginator(trail_of(str(self.opts.model_name), object_id), self.list_per_page)
        page = trail.get_page(request.GET.get("p", "1"))
        context = {
            "title": f"History of this {self.opts.verbose_name}",
            "trail": page,
            "deeds": deeds(page.object_list),
            **(extra_context or {}),
        }
        folder = f"{self.opts.model_name}/" if self.opts.model_name == "job" else ""
        return self.page(request, f"{folder}object_history.html", context)

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponseRedirect:
        """A 404, as on every other page: the stock way leads to the front page and says the id there."""
        raise Http404(f"There is no such {opts.verbose_name}.")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """None but those of the list's filters: `?arguments__password__startswith=a` would tell what is masked, and
        `?job_id__owner__username=ana` what is another's. What names nothing leads back to the list without it."""
        own = {getattr(filter, "parameter_name", None) for filter in self.get_list_filter(request)}
        return lookup in own or not self._names_something(lookup.partition(LOOKUP_SEP)[0])

    def _names_something(self, name: str) -> bool:
        """Whether a filter of the model can begin with this: a field, what it is stored as, or a way back to it."""
        try:
            self.opts.get_field(name)
        except FieldDoesNotExist:
            return name == "pk"
        return True

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Nothing: the verbs write the audit trail."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Nothing: the verbs write the audit trail."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Nothing: the verbs write the audit trail."""

    def rights(self, request: HttpRequest) -> dict[str, bool]:
        """What the user may do, for templates that hide what is refused."""
        return {
            "run": self.has_run_permission(request),
            "retry": self.has_retry_permission(request),
            "pause": self.has_pause_permission(request),
            "add": self.has_add_permission(request),
            "change": self.has_change_permission(request),
            "delete": self.has_delete_permission(request),
            "see_trail": self.sees_trail(request),
        }

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Run jobs, cancel and retry executions."""
        return request.user.has_perm("scheduler_app.run_job")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Retry at least some executions."""
        return may_retry(request.user)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Pause and resume jobs."""
        return request.user.has_perm("scheduler_app.pause_job")

    def sees_trail(self, request: HttpRequest) -> bool:
        """Read the audit trail: who did what, and from which address."""
        return request.user.has_perm("scheduler_app.view_auditentry")

    def require(self, allowed: bool) -> None:
        """Refuse the request unless it is allowed."""
        if not allowed:
            raise PermissionDenied

    def page(
        self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
    ) -> TemplateResponse:
        """A page of our own within the admin."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"admin/scheduler_app/{template}",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "now": pulse_of(request).now,
                "may": self.rights(request),
                "preserved_filters": self.get_preserved_filters(request),
                **context,
            },
            status=status,
        )

    def list_url(self, request: HttpRequest) -> str:
        """The list, with the filters that the request carries along."""
        url = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist",
            current_app=self.admin_site.name,
        )
        found: str = add_preserved_filters(
            {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}, url
        )
        return found

    def back(self, request: HttpRequest, page_url: str) -> HttpResponseRedirect:
        """To the list when the request came from there, and to `page_url` otherwise."""
        origin = request.POST.get("from") or request.GET.get("from")
        return HttpResponseRedirect(self.list_url(request) if origin == "list" else page_url)

    def say(self, request: HttpRequest, text: str, *, problem: bool = False) -> None:
        """A message on the next page."""
        self.message_user(request, text, messages.WARNING if problem else messages.SUCCESS)

    def _headers(self, cl: Any) -> dict[str, dict[str, Any]]:
        """The columns that the list can be sorted by, with the link that does it."""
        current = cl.get_ordering_field_columns()
        found = {}
        for index, name in enumerate(cl.list_display):
            if name in (cl.sortable_by or ()):
                direction = current.get(index, "")
                turned = f"-{index}" if direction == "asc" else str(index)
                found[name] = {"url": cl.get_query_string({"o": turned}), "direction": direction}
        return found


class ReadOnlyAdmin(SchedulerAdmin):
    """For rows that only the scheduler writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
