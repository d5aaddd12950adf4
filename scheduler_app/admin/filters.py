"""Filters of lists: menus and tabs that are links, and so need no script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from scheduler_app.access import visible

from .display import printable

JOBS_IN_MENU = 40
T = TypeVar("T")


class MenuFilter(admin.SimpleListFilter):
    """A filter as a menu; `tabs` of them are always open."""

    template = "admin/scheduler_app/filter_menu.html"
    all_label = "All"
    typed_as = ""
    """The parameter of what the menu does not hold and people type; empty where it holds all."""
    typed_label = ""
    has_more = False

    def value(self) -> str | None:
        """What was asked for, as far as a database can be asked for it."""
        return (super().value() or "").replace("\x00", "") or None

    def first(self, values: Sequence[T], limit: int) -> Sequence[T]:
        """As many as the menu holds; of more it says that there are more."""
        self.has_more = len(values) > limit
        return values[:limit]

    def choices(self, changelist: Any) -> Any:
        """The choices, the first for none; then what was typed, and where to type."""
        is_chosen = False
        for index, choice in enumerate(super().choices(changelist)):
            is_chosen = is_chosen or choice["selected"]
            yield {**choice, "display": self.all_label, "is_all": True} if index == 0 else choice
        if self.typed_as and not is_chosen:
            query = changelist.get_query_string({self.parameter_name: self.value()})
            yield {"selected": True, "query_string": query, "display": printable(self.value())}
        if self.has_more:
            yield {
                "is_typed": True,
                "carried": carried(changelist, self.typed_as, str(self.parameter_name)),
            }


def carried(changelist: Any, *without: str) -> list[tuple[str, str]]:
    """What a form within the list sends along, so that the list stays filtered."""
    return [(name, value) for name, value in changelist.params.items() if name not in without]


class JobFilter(MenuFilter):
    """By job; the menu holds a few, any other comes by a link or the list's search."""

    title = "Job"
    parameter_name = "job"
    typed_as = "q"
    typed_label = "Part of its name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = whole_number(self.value())
        jobs = list(
            visible.jobs_and_deleted().filter(pk=chosen).values_list("pk", "name")
            if chosen is not None
            else visible.jobs().order_by("name").values_list("pk", "name")[: JOBS_IN_MENU + 1]
        )
        return [(str(pk), printable(name)) for pk, name in self.first(jobs, JOBS_IN_MENU)]

    def has_output(self) -> bool:
        """Always, so that an unknown job gives an empty list and no error."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        job_id = whole_number(self.value())
        return queryset.none() if job_id is None else queryset.filter(job_id=job_id)


def whole_number(text: str | None) -> int | None:
    """The number, or None for what cannot be an id."""
    if text and text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    return None
