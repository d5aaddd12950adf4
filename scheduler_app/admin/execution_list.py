"""The executions list: newest first, page after page by key, and never more rows looked at than a page may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from scheduler_app.access import visible
from scheduler_app.access.rights import may_use
from scheduler_app.lifecycle import Selection
from scheduler_app.lifecycle.selecting import TRIED, Key, count, find_page
from scheduler_app.models import Execution

from .base import CappedPaginator, ReadOnlyAdmin
from .execution_bulk import bulk_links
from .execution_filters import (
    JOBS_NAMED,
    SEARCH_HELP,
    NodeFilter,
    OfJobFilter,
    OfQueueFilter,
    StatusFilter,
    TriggerFilter,
    WhenFilter,
    moment_of,
    selection_of,
)
from .execution_page import verbs_for
from .filters import whole_number
from .overview import pulse_of

BOUNDS = ("since", "until")
KEYS = ("before", "after")


class Counted:
    """How many there are, as the head of a list says it; pages go by key, so that there is one."""

    num_pages = 1

    def __init__(self, number: int, is_capped: bool) -> None:
        self.count = number
        self.is_capped = is_capped

    @property
    def count_text(self) -> str:
        """`1,234`, or `10,000+` where counting stopped."""
        return f"{self.count:,}+" if self.is_capped else f"{self.count:,}"


class ExecutionChangeList(ChangeList):
    """The stock list, its rows found by a `Selection` and a key."""

    selection: Selection
    older: Key | None = None
    newer: Key | None = None
    tried_to: Key | None = None
    is_first = True

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        asked = selection_of(request.GET, now=pulse_of(request).now)
        self.selection = asked.selection
        self.jobs_found = asked.jobs if len(asked.jobs) > 1 else ()
        self._before = _key(request.GET.get("before", ""))
        self._after = None if self._before else _key(request.GET.get("after", ""))
        super().__init__(request, *args, **kwargs)

    def get_filters_params(self, params: Any = None) -> Any:
        """Without our own, which name no field."""
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in BOUNDS + KEYS}

    def get_results(self, request: HttpRequest) -> None:
        """The page by key; the number of all on the first page only."""
        for name in KEYS:
            self.params.pop(name, None)
        rows: QuerySet[Execution] = self.root_queryset
        found = find_page(
            rows, self.selection, size=self.list_per_page, before=self._before, after=self._after
        )
        self.is_first = self._before is None and self._after is None
        self.older, self.newer = found.older, found.newer
        self.tried_to = None if found.is_full else found.bound
        number, is_capped = len(found.rows), False
        if self.is_first:
            number, is_capped = count(
                self.selection, rows, cap=CappedPaginator.CAP, bound=found.bound
            )
        self.paginator = Counted(number, is_capped)
        self.result_list = found.rows
        # All that match are chosen by another way than the list's own, which reads every row.
        self.result_count = self.full_result_count = len(found.rows)
        self.show_full_result_count = self.can_show_all = self.show_all = self.multi_page = False
        self.has_active_filters = self.selection != Selection()

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """A link to the list with other filters begins at the newest; another period replaces the moments."""
        given = dict(new_params or {})
        gone = [*(remove or ()), *(key for key in KEYS if key not in given)]
        if "when" in given or "when" in (remove or ()):
            gone += BOUNDS
        text: str = super().get_query_string(given, gone)
        return text

    @property
    def older_url(self) -> str:
        """The next page, or the rest of the search."""
        return "" if self.older is None else self.get_query_string({"before": _text(self.older)})

    @property
    def newer_url(self) -> str:
        """The page before."""
        return "" if self.newer is None else self.get_query_string({"after": _text(self.newer)})

    @property
    def newest_url(self) -> str:
        """The first page."""
        return self.get_query_string()


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """An execution as the list shows it, and what the user may do with it."""

    execution: Execution
    may_cancel: bool
    may_retry: bool


class ExecutionList(ReadOnlyAdmin):
    """The list, its filters and its search."""

    list_display = ("id",)
    sortable_by = ()
    ordering = ("-scheduled_for", "-id")
    list_filter = (StatusFilter, WhenFilter, OfJobFilter, OfQueueFilter, TriggerFilter, NodeFilter)
    search_fields = ("id",)
    search_help_text = SEARCH_HELP

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that pages by key."""
        return ExecutionChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Also with how much was looked at, and what can be done to all that match."""
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["jobs_found"] = context["cl"].jobs_found[:JOBS_NAMED]
            context["tried_text"] = f"{TRIED:,}"
            context["bulk_links"] = bulk_links(
                context["cl"].get_query_string().removeprefix("?"),
                may_retry=self.has_retry_permission(request),
            )
        return response

    def rows(self, request: HttpRequest, objects: Sequence[Execution]) -> list[ExecutionRow]:
        """With the user's rights, by what the jobs do now: what each did then, its own page has read."""
        may_run = self.has_run_permission(request)
        found = []
        for execution in objects:
            job = execution.job
            may_use_target = job is not None and may_use(request.user, job.kind, job.target)
            can = verbs_for(execution, may_run, may_use_target)
            found.append(ExecutionRow(execution, can["cancel"], can["retry"]))
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        """Without the large columns, their own and their jobs'."""
        return (
            visible.executions()
            .for_lists()
            .select_related("job", "node")
            .defer("spec", "result", "traceback", "failures", "job__arguments", "job__description")
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        """What is searched for is part of the list's selection."""
        return queryset, False


def _text(key: Key) -> str:
    return f"{key[0].isoformat()}~{key[1]}"


def _key(text: str) -> Key | None:
    moment, _, number = text.replace(" ", "+").partition("~")
    found, pk = moment_of(moment), whole_number(number)
    return None if found is None or pk is None else (found, pk)
