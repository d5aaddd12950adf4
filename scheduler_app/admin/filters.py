"""Filters of lists: menus and tabs that are links, and so need no script."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from scheduler_app.access import visible

from .display import printable

JOBS_IN_MENU = 40


class MenuFilter(admin.SimpleListFilter):
    """A filter as a menu; `tabs` of them are always open."""

    template = "admin/scheduler_app/filter_menu.html"
    all_label = "All"

    def value(self) -> str | None:
        """What was asked for, as far as a database can be asked for it."""
        return (super().value() or "").replace("\x00", "") or None

    def choices(self, changelist: Any) -> Any:
        """The choices, the first for none."""
        for index, choice in enumerate(super().choices(changelist)):
            yield {**choice, "display": self.all_label, "is_all": True} if index == 0 else choice


class JobFilter(MenuFilter):
    """By job; the menu holds a few, any other comes by a link or the search."""

    title = "Job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = whole_number(self.value())
        jobs = list(
            visible.jobs_and_deleted().filter(pk=chosen).values_list("pk", "name")
            if chosen is not None
            else visible.jobs().order_by("name").values_list("pk", "name")[: JOBS_IN_MENU + 1]
        )
        return [(str(pk), printable(name)) for pk, name in jobs[:JOBS_IN_MENU]]

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
