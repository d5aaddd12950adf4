"""Business calendars: the days that jobs avoid or follow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.models import Calendar
from scheduler_app.rules.problems import Problem

from . import permissions
from .base import ApiViewSet
from .errors import shown
from .fields import MomentField, Selective, Strict, TextField
from .idempotency import idempotent
from .links import Links
from .operations import IDEMPOTENCY_KEY, Operation, links_to
from .pagination import Order
from .queries import CalendarQuery, ShownQuery, as_id

ORDERS = {
    "name": Order("name", str),
    "id": Order("id", int),
    "updated_at": Order("updated_at", datetime),
}


EXAMPLE = {"name": "holidays", "days": "2030-01-01\n2030-12-24 - 2030-12-26"}


class CalendarSerializer(Selective, Strict, serializers.ModelSerializer[Calendar]):
    """Days under a name, one day or range a line; an edit of them plans the jobs anew that use it."""

    noun = "a calendar"

    url = serializers.SerializerMethodField()
    name = TextField(max_length=100)
    description = TextField(max_length=10_000, required=False, allow_blank=True)
    days = TextField(
        max_length=100_000,
        required=False,
        allow_blank=True,
        style={"base_template": "textarea.html", "rows": 8},
        help_text="One day or range a line: 2030-12-25, or 2030-12-24 - 2030-12-26. # begins a remark.",
    )
    ranges = serializers.SerializerMethodField()
    updated_at = MomentField(read_only=True)

    class Meta:
        model = Calendar
        fields = ["id", "url", "name", "description", "days", "ranges", "updated_at"]
        validators: list[Any] = []

    def get_url(self, calendar: Calendar) -> str:
        links: Links = self.context["links"]
        return links.calendar(calendar.pk)

    def get_ranges(self, calendar: Calendar) -> list[list[str]]:
        return [list(days) for days in calendar.ranges]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        candidate = self.instance or Calendar()
        if not self.partial:
            attrs = {"description": "", "days": ""} | attrs
        for name, value in attrs.items():
            setattr(candidate, name, value)
        try:
            candidate.full_clean()
        except ValidationError as error:
            self.refuse(
                [
                    Problem(field, message, given=shown(getattr(candidate, field, ""), field))
                    for field, messages in error.message_dict.items()
                    for message in messages
                ]
            )
        self.candidate = candidate
        return attrs


class CalendarDetailSerializer(CalendarSerializer):
    """A calendar with the jobs that use it."""

    jobs = serializers.SerializerMethodField()

    class Meta(CalendarSerializer.Meta):
        fields = [*CalendarSerializer.Meta.fields, "jobs"]

    def get_jobs(self, calendar: Calendar) -> list[str]:
        """The names of the first thousand."""
        return lifecycle.jobs_using(calendar.pk)


class CalendarViewSet(ApiViewSet[Calendar]):
    """Calendars, by id or by name. A list takes name, search and ordering."""

    serializer_class = CalendarDetailSerializer
    lookup_url_kwarg = "calendar"
    lookup_value_regex = ".+?"
    needs = {
        "list": (permissions.VIEW_CALENDAR,),
        "retrieve": (permissions.VIEW_CALENDAR,),
        "create": (permissions.VIEW_CALENDAR, permissions.ADD_CALENDAR),
        "update": (permissions.VIEW_CALENDAR, permissions.CHANGE_CALENDAR),
        "partial_update": (permissions.VIEW_CALENDAR, permissions.CHANGE_CALENDAR),
        "destroy": (permissions.VIEW_CALENDAR, permissions.DELETE_CALENDAR),
    }
    operations = {
        "list": Operation(answer=CalendarSerializer, page=True, query=CalendarQuery),
        "retrieve": Operation(answer=CalendarDetailSerializer, query=ShownQuery),
        "create": Operation(
            answer=CalendarDetailSerializer,
            status=201,
            body=CalendarDetailSerializer,
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example=EXAMPLE,
            links=links_to(
                *("calendar_retrieve", "calendar_update", "calendar_destroy"), calendar="id"
            ),
        ),
        "update": Operation(
            answer=CalendarDetailSerializer,
            body=CalendarDetailSerializer,
            conflicts=True,
            example=EXAMPLE,
        ),
        "partial_update": Operation(
            answer=CalendarDetailSerializer,
            body=CalendarDetailSerializer,
            conflicts=True,
            example={"days": "2030-12-24 - 2030-12-26"},
        ),
        "destroy": Operation(status=204, conflicts=True),
    }

    def get_queryset(self) -> QuerySet[Calendar]:
        return Calendar.objects.all()

    def list(self, request: Request) -> Response:
        query = CalendarQuery.of(request)
        calendars = self.get_queryset()
        if "name" in query:
            calendars = calendars.filter(name=query["name"])
        if "search" in query:
            word = query["search"]
            calendars = calendars.filter(Q(name__icontains=word) | Q(description__icontains=word))
        context = self.shown(query, CalendarSerializer)
        page = self.page(calendars, order=Order.of(query["ordering"], ORDERS), query=query)
        return self.get_paginated_response(
            CalendarSerializer(page, many=True, context=context).data
        )

    def retrieve(self, request: Request, calendar: str) -> Response:
        context = self.shown(ShownQuery.of(request), CalendarDetailSerializer)
        return self._shown(find_calendar(calendar, self.get_queryset()), context)

    @idempotent
    def create(self, request: Request) -> Response:
        """A new calendar; its name must be free."""
        created = self._save(self.get_serializer(data=request.data))
        context = self.get_serializer_context()
        response = self._shown(created, context, status=201)
        response["Location"] = Links(request).calendar(created.pk)
        return response

    def update(self, request: Request, calendar: str) -> Response:
        """Replace it; what is left out becomes empty."""
        return self._edit(request, calendar, partial=False)

    def partial_update(self, request: Request, calendar: str) -> Response:
        """Change what is given; the rest stays."""
        return self._edit(request, calendar, partial=True)

    def destroy(self, request: Request, calendar: str) -> Response:
        """Only while no job uses it; otherwise a 409 that names the jobs."""
        found = find_calendar(calendar, self.get_queryset())
        lifecycle.delete_calendar(found.pk, by=request.user.get_username())
        return Response(status=204)

    def _edit(self, request: Request, calendar: str, *, partial: bool) -> Response:
        with transaction.atomic(using=get_config().database):
            found = find_calendar(calendar, self.get_queryset().select_for_update())
            saved = self._save(self.get_serializer(found, data=request.data, partial=partial))
        return self._shown(saved, self.get_serializer_context())

    def _save(self, serializer: Any) -> Calendar:
        serializer.is_valid(raise_exception=True)
        return lifecycle.save_calendar(serializer.candidate, by=self.request.user.get_username())

    def _shown(self, calendar: Calendar, context: dict[str, Any], status: int = 200) -> Response:
        return Response(CalendarDetailSerializer(calendar, context=context).data, status=status)


def find_calendar(id_or_name: str, calendars: QuerySet[Calendar]) -> Calendar:
    """The calendar of this id, or else of this name; raises NotFound."""
    if (calendar_id := as_id(id_or_name)) is not None:
        found = calendars.filter(pk=calendar_id).first()
    else:
        found = None if "\0" in id_or_name else calendars.filter(name=id_or_name).first()
    if found is None:
        raise NotFound(f"There is no calendar {shown(id_or_name)!r}.")
    return found
