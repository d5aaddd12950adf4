"""What may be asked of a list: each parameter by its name, everything else refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.settings import api_settings

from scheduler_app.access import visible
from scheduler_app.models import Execution, Job, NodeState, PauseScope, Status, Trigger
from scheduler_app.models.audit import Source, Verb
from scheduler_app.models.job import TARGET_PLACE
from scheduler_app.rules.problems import Problem

from .errors import Refused, shown
from .fields import (
    FlagField,
    MomentField,
    NumberField,
    Strict,
    TextField,
    WholeField,
    WordField,
    WordsField,
)

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200


class Query(Strict):
    """The parameters of one list."""

    noun = "this list"
    part = "parameter"
    texts_only = True

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """The parameters that were given and those that have defaults; raises Refused."""
        given: dict[str, Any] = {}
        fields = cls().fields
        for name, values in request.query_params.lists():
            if name == api_settings.URL_FORMAT_OVERRIDE and all(values):
                # Chose the renderer; the browsable API has it in its links.
                continue
            if isinstance(fields.get(name), serializers.ListField):
                given[name] = values
            elif len(values) > 1:
                raise Refused([Problem(name, f"{shown(name)} was given {len(values)} times.")])
            else:
                given[name] = values[0]
        query = cls(data=given)
        query.is_valid(raise_exception=True)
        found: dict[str, Any] = query.validated_data
        return found


class NoQuery(Query):
    """For what changes something."""

    noun = "this request; its fields go into the body"


class ShownQuery(Query):
    """For one thing."""

    noun = "this address"
    fields = WordsField(
        child=TextField(max_length=50),
        allow_empty=False,
        required=False,
        help_text="Only these fields of each, with commas between them.",
    )  # type: ignore[assignment]  # DRF takes declared fields off the class.


class PageQuery(ShownQuery):
    noun = "this list"
    page_size = WholeField(min_value=1, max_value=MAX_PAGE_SIZE, default=DEFAULT_PAGE_SIZE)
    cursor = TextField(max_length=1000, required=False)


def signed(orders: Sequence[str]) -> list[str]:
    """The words for `ordering`: each as it is, and with a sign for the other way round."""
    return [sign + order for order in orders for sign in ("", "-")]


JOB_ORDERS = ("name", "id", "created_at", "updated_at", "next_fire_at", "priority")


class JobFilters(Query):
    """Which jobs."""

    noun = "a filter of jobs"
    together: ClassVar[Mapping[str, Any]] = {"minProperties": 1}
    name = TextField(max_length=200, required=False)
    tag = TextField(max_length=50, required=False)
    queue = TextField(max_length=50, required=False)
    kind = TextField(max_length=20, required=False)
    enabled = FlagField(required=False)
    paused = FlagField(required=False)
    search = TextField(
        max_length=100, required=False, help_text="A word in the name, description or target."
    )


class JobQuery(JobFilters, PageQuery):
    noun = "this list"
    ordering = WordField(choices=signed(JOB_ORDERS), default="name")


class ExecutionFilters(ShownQuery):
    """Which executions; without the job, for lists that belong to one."""

    status = WordsField(child=WordField(choices=Status.choices), allow_empty=False, required=False)
    trigger = WordsField(
        child=WordField(choices=Trigger.choices), allow_empty=False, required=False
    )
    node = TextField(max_length=100, required=False)
    since = MomentField(required=False)
    until = MomentField(required=False)


class LatestQuery(ExecutionFilters):
    job = TextField(max_length=200, required=False)


EXECUTION_ORDERS = ("scheduled_for",)


class ExecutionQuery(LatestQuery, PageQuery):
    ordering = WordField(choices=signed(EXECUTION_ORDERS), default="-scheduled_for")


class ExecutionsOfJobQuery(ExecutionFilters, PageQuery):
    ordering = WordField(choices=signed(EXECUTION_ORDERS), default="-scheduled_for")


class NodeQuery(PageQuery):
    name = TextField(max_length=100, required=False)
    state = WordsField(
        child=WordField(choices=NodeState.choices), allow_empty=False, required=False
    )


CALENDAR_ORDERS = ("name", "id", "updated_at")


class CalendarQuery(PageQuery):
    name = TextField(max_length=100, required=False)
    search = TextField(max_length=100, required=False)
    ordering = WordField(choices=signed(CALENDAR_ORDERS), default="name")


class PauseQuery(PageQuery):
    scope = WordField(choices=PauseScope.choices, required=False)
    value = TextField(max_length=50, required=False)
    state = WordField(choices=("standing", "ended", "all"), default="standing")


class StatsQuery(Query):
    noun = "this address"
    hours = NumberField(
        min_value=0.01,
        max_value=24 * 366,
        required=False,
        help_text="Only fire times of the last so many hours.",
    )
    last = WholeField(
        min_value=1, max_value=1000, default=100, help_text="At most so many finished executions."
    )


class AuditQuery(PageQuery):
    who = TextField(max_length=150, required=False)
    verb = WordsField(child=WordField(choices=Verb.values), allow_empty=False, required=False)
    source = WordField(choices=Source.values, required=False)  # type: ignore[assignment]  # As above.
    object_kind = TextField(max_length=20, required=False)
    object_id = TextField(max_length=64, required=False)
    job = TextField(max_length=200, required=False, help_text="The job's id, or its name.")
    since = MomentField(required=False)
    until = MomentField(required=False)


class TaskQuery(PageQuery):
    search = TextField(max_length=100, required=False)


class LogQuery(Query):
    """Which part of a log."""

    noun = "a log"
    attempt = WholeField(
        min_value=1, max_value=2**31 - 1, required=False, help_text="Of this attempt alone."
    )
    offset = WholeField(
        min_value=0, max_value=2**53, required=False, help_text="From this byte of the text on."
    )
    tail = WholeField(
        min_value=1, max_value=10_000, required=False, help_text="Only so many lines of its end."
    )
    wait = WholeField(
        min_value=0,
        max_value=20,
        default=0,
        help_text="When there is nothing at the offset yet, wait so many seconds for more.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "offset" in attrs and "tail" in attrs:
            self.refuse([Problem("tail", "Give an offset or a tail, not both.")])
        return attrs


def filter_jobs(jobs: QuerySet[Job], query: dict[str, Any]) -> QuerySet[Job]:
    for column in ("name", "queue", "kind", "enabled"):
        if column in query:
            jobs = jobs.filter(**{column: query[column]})
    if "tag" in query:
        jobs = jobs.filter(tags__contains=[query["tag"]])
    if "paused" in query:
        jobs = jobs.filter(paused_at__isnull=not query["paused"])
    if "search" in query:
        word = query["search"]
        jobs = jobs.alias(target_place=TARGET_PLACE).filter(
            Q(name__icontains=word)
            | Q(description__icontains=word)
            | Q(target_place__icontains=word)
        )
    return jobs


def filter_executions(
    executions: QuerySet[Execution], query: dict[str, Any]
) -> QuerySet[Execution]:
    """Raises NotFound for a job that does not exist."""
    if "job" in query:
        executions = executions.filter(job=find_job(query["job"], visible.jobs_and_deleted()))
    if "status" in query:
        executions = executions.filter(status__in=query["status"])
    if "trigger" in query:
        executions = executions.filter(trigger__in=query["trigger"])
    if "node" in query:
        node = as_id(query["node"])
        executions = executions.filter(
            **({"node__name": query["node"]} if node is None else {"node_id": node})
        )
    if "since" in query:
        executions = executions.filter(scheduled_for__gte=query["since"])
    if "until" in query:
        executions = executions.filter(scheduled_for__lt=query["until"])
    return executions


def as_id(text: str) -> int | None:
    """The number that a text of digits is; one too long for an id is cut, and found nowhere."""
    return int(text[:20]) if text.isascii() and text.isdigit() else None


def find_job(id_or_name: str, jobs: QuerySet[Job]) -> Job:
    """The job of this id, or else of this name among those not deleted; raises NotFound."""
    if (job_id := as_id(id_or_name)) is not None:
        found = jobs.filter(pk=job_id).first()
    elif "\0" in id_or_name:
        found = None
    else:
        found = jobs.filter(name=id_or_name, deleted_at=None).first()
    if found is None:
        raise NotFound(f"There is no job {shown(id_or_name)!r}.")
    return found
