"""The business calendars: named lists of days, shown as months, with the jobs that follow or avoid them."""

from __future__ import annotations

import calendar as months
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.access.ownership import current_view
from scheduler_app.lifecycle import CannotDo
from scheduler_app.models import Calendar, Job
from scheduler_app.rules.calendars import Days, read_days

from .base import SchedulerAdmin
from .display import printable
from .filters import whole_number
from .overview import pulse_of

MONTHS_SHOWN = 12
RANGES_SHOWN = 12
JOBS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """A calendar as the list shows it."""

    calendar: Calendar
    jobs: int
    days: int
    next: Days | None


@dataclass(frozen=True, slots=True)
class Day:
    """A square of a month; without a number it only fills the week."""

    number: int
    is_listed: bool
    is_today: bool


@dataclass(frozen=True, slots=True)
class Month:
    """A month as weeks from Monday on."""

    name: str
    weeks: list[list[Day]]
    listed: int


class CalendarForm(forms.ModelForm):  # type: ignore[type-arg]
    """A calendar's name and days. It refuses to undo what somebody saved meanwhile."""

    opened_at = forms.CharField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Calendar
        fields = ("name", "description", "days")
        widgets = {
            "description": forms.Textarea(attrs={"rows": 2, "cols": 80}),
            "days": forms.Textarea(attrs={"rows": 14, "cols": 60, "class": "sch-json"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["opened_at"] = self.instance.updated_at.isoformat()

    @property
    def is_preview(self) -> bool:
        """Whether the person only wants to see the days."""
        return self.is_bound and "_preview" in self.data

    def is_valid(self) -> bool:
        """A preview is never saved."""
        return super().is_valid() and not self.is_preview

    def clean(self) -> dict[str, Any]:
        """Refuse an edit of a calendar that is not the current one."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        opened = values.get("opened_at")
        if self.instance.pk and opened and opened != self.instance.updated_at.isoformat():
            raise ValidationError(
                "Somebody saved this calendar while you edited it. Nothing was saved: "
                "open it again, and make your change there."
            )
        return values


@admin.register(Calendar)
class CalendarAdmin(SchedulerAdmin):
    """Calendars change through the verbs of `lifecycle`, which plan the jobs that use them anew."""

    form = CalendarForm
    list_display = ("name",)
    sortable_by = ("name",)
    ordering = ("name", "id")
    search_fields = ("name", "description")
    search_help_text = "Name or description"
    actions = None
    fieldsets = ((None, {"fields": ("opened_at", "name", "description", "days")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Calendar]:
        """With the number of jobs that use each, of those that the user sees."""
        counted = Q(jobs__deleted_at=None)
        if (view := current_view()) is not None:
            counted &= Q(jobs__in=view.jobs.values("pk"))
        return Calendar.objects.annotate(jobs_count=Count("jobs", filter=counted, distinct=True))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Calendar | None:
        """Without the count, which belongs to the list."""
        pk = whole_number(object_id)
        return None if pk is None else Calendar.objects.filter(pk=pk).first()

    def rows(self, request: HttpRequest, objects: Sequence[Any]) -> list[CalendarRow]:
        """With the next listed days of each."""
        today = pulse_of(request).now.date()
        return [
            CalendarRow(one, one.jobs_count, _day_count(ranges), _next_of(ranges, today))
            for one in objects
            for ranges in [_ranges(one)]
        ]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Calendar | None = None,
    ) -> HttpResponse:
        """With the months that the days in the form make, and the jobs that use them."""
        form = context["adminform"].form
        text = form.data.get("days", "") if form.is_bound else form.instance.days
        ranges = read_days(str(text))[0]
        now = pulse_of(request).now
        context.update(
            {
                "now": now,
                "calendar": obj,
                "months": months_of(ranges, now.date(), MONTHS_SHOWN),
                "coming": [pair for pair in sorted(ranges) if pair[1] >= now.date()][:RANGES_SHOWN],
                "is_preview": form.is_bound and form.is_preview,
                "users": self._users(request, obj),
            }
        )
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request: HttpRequest, obj: Calendar, form: Any, change: bool) -> None:
        """Through `lifecycle`: the jobs that use it are planned anew, and their history names the author."""
        lifecycle.save_calendar(obj, by=request.user.get_username())

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Refused, with their names, while jobs use it."""
        self.require(self.has_delete_permission(request))
        calendar = self.get_object(request, object_id)
        if calendar is None:
            raise Http404("There is no such calendar; it may have been deleted.")
        if request.method == "POST":
            try:
                lifecycle.delete_calendar(calendar.pk, by=request.user.get_username())
            except CannotDo as error:
                self.say(request, str(error), problem=True)
                return HttpResponseRedirect(request.get_full_path())
            self.say(request, f"Deleted the calendar {printable(calendar.name)}.")
            return HttpResponseRedirect(self.list_url(request))
        return self.page(
            request,
            "calendar/delete_confirmation.html",
            {
                "title": f"Delete {calendar.name}",
                "calendar": calendar,
                "users": self._users(request, calendar),
            },
        )

    def _users(self, request: HttpRequest, calendar: Calendar | None) -> list[Job]:
        if calendar is None:
            return []
        jobs = visible.jobs().filter(calendar=calendar).select_related("plan").order_by("name")
        return list(jobs.defer("arguments", "description")[:JOBS_SHOWN])


def months_of(ranges: Sequence[Days], today: date, count: int) -> list[Month]:
    """So many months from that of `today` on, with the listed days marked."""
    found = []
    year, month = today.year, today.month
    for _ in range(count):
        first = date(year, month, 1)
        last = date(year, month, months.monthrange(year, month)[1])
        listed = _days_within(ranges, first, last)
        weeks = [
            [
                Day(day, day in listed, date(year, month, day) == today) if day else _FILL
                for day in week
            ]
            for week in months.Calendar().monthdayscalendar(year, month)
        ]
        found.append(Month(f"{first:%B %Y}", weeks, len(listed)))
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return found


_FILL = Day(0, False, False)


def _days_within(ranges: Sequence[Days], first: date, last: date) -> set[int]:
    """The days of a month that lie in a range; the cost does not depend on how long the ranges are."""
    found: set[int] = set()
    for start, end in ranges:
        if start <= last and end >= first:
            found.update(range(max(start, first).day, min(end, last).day + 1))
    return found


def _ranges(calendar: Calendar) -> list[Days]:
    return sorted(
        (date.fromisoformat(first), date.fromisoformat(last)) for first, last in calendar.ranges
    )


def _day_count(ranges: Sequence[Days]) -> int:
    """How many days are listed, each once."""
    total, reached = 0, date.min
    for first, last in ranges:
        begin = max(first, reached + timedelta(days=1)) if reached > date.min else first
        if begin <= last:
            total += (last - begin).days + 1
            reached = last
    return total


def _next_of(ranges: Sequence[Days], today: date) -> Days | None:
    return next((pair for pair in ranges if pair[1] >= today), None)
