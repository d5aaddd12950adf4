"""Jobs: read, write, pause, resume, run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.conf import get_config
from scheduler_app.lifecycle.statistics import job_statistics
from scheduler_app.models import Job, Trigger, database_now
from scheduler_app.rules.masking import mask_places, unmasked
from scheduler_app.rules.problems import Problem

from . import permissions
from .errors import Conflict, PreconditionFailed, Refused, Stale, shown
from .executions import (
    ExecutionDetailSerializer,
    ExecutionSerializer,
    executions_for_lists,
    list_executions,
)
from .idempotency import idempotent
from .job_history import JobHistory
from .job_serializers import (
    RESUME_DRY_RUN,
    JobDetailSerializer,
    JobSerializer,
    NamedJobSerializer,
    PauseSerializer,
    ResumeSerializer,
    RunSerializer,
    StatsSerializer,
    attach_last_executions,
    masked_problem,
    what_resume_runs,
)
from .links import Links
from .operations import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    MATCH_PATTERN,
    Operation,
    either,
    links_to,
)
from .pagination import Order
from .queries import (
    ExecutionsOfJobQuery,
    JobQuery,
    ShownQuery,
    StatsQuery,
    as_id,
    filter_executions,
    filter_jobs,
    find_job,
)

ORDERS = {
    "id": Order("id", int),
    "name": Order("name", str),
    "created_at": Order("created_at", datetime),
    "updated_at": Order("updated_at", datetime),
    "priority": Order("priority", int),
    "next_fire_at": Order("fires_at", datetime),
}

# Where a job without a next fire time is sorted: last, either way.
NEVER = {False: datetime(9999, 1, 1, tzinfo=UTC), True: datetime(1, 1, 2, tzinfo=UTC)}

EXAMPLE_JOB = {
    "name": "nightly report",
    "schedule": "0 3 * * *",
    "timezone": "Europe/Paris",
    "kind": "http",
    "target": "https://example.com/report",
    "tags": ["finance"],
}

LINKS = links_to(
    *("job_retrieve", "job_update", "job_partial_update", "job_destroy"),
    *("job_pause", "job_resume", "job_run", "job_backfill", "job_skip_next"),
    *("job_executions", "job_timeline", "job_stats"),
    job="id",
)


class JobViewSet(JobHistory):
    """Jobs, by id or by name. A list takes name, tag, queue, kind, enabled, paused, search and ordering."""

    serializer_class = JobDetailSerializer
    lookup_url_kwarg = "job"
    lookup_value_regex = ".+?"
    needs = {
        **JobHistory.needs,
        "list": (permissions.VIEW_JOB,),
        "retrieve": (permissions.VIEW_JOB,),
        "executions": (permissions.VIEW_JOB, permissions.VIEW_EXECUTION),
        "stats": (permissions.VIEW_JOB, permissions.VIEW_EXECUTION),
        "create": (permissions.VIEW_JOB, permissions.ADD_JOB),
        "update": (permissions.VIEW_JOB, permissions.CHANGE_JOB),
        "partial_update": (permissions.VIEW_JOB, permissions.CHANGE_JOB),
        "destroy": (permissions.VIEW_JOB, permissions.DELETE_JOB),
        "pause": (permissions.VIEW_JOB, permissions.PAUSE_JOB),
        "resume": (permissions.VIEW_JOB, permissions.PAUSE_JOB),
        "run": (permissions.VIEW_JOB, permissions.RUN_JOB),
    }
    operations = {
        **JobHistory.operations,
        "list": Operation(answer=JobSerializer, page=True, query=JobQuery),
        "retrieve": Operation(answer=JobDetailSerializer, query=ShownQuery),
        "executions": Operation(answer=ExecutionSerializer, page=True, query=ExecutionsOfJobQuery),
        "stats": Operation(answer=StatsSerializer, query=StatsQuery),
        "create": Operation(
            answer=JobDetailSerializer,
            status=201,
            body=JobDetailSerializer,
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example=EXAMPLE_JOB,
            links=LINKS,
        ),
        "update": Operation(
            answer=JobDetailSerializer,
            body=NamedJobSerializer,
            others={201: JobDetailSerializer},
            headers=(IF_MATCH, IF_NONE_MATCH),
            conflicts=True,
            example=EXAMPLE_JOB,
        ),
        "partial_update": Operation(
            answer=JobDetailSerializer,
            body=JobDetailSerializer,
            headers=(IF_MATCH,),
            conflicts=True,
            example={"schedule": "30 4 * * *", "version": 3},
        ),
        "destroy": Operation(status=204, headers=(IF_MATCH,)),
        "pause": Operation(
            answer=JobDetailSerializer,
            body=PauseSerializer,
            conflicts=True,
            example={"reason": "migration", "until": "2030-01-01T00:00:00Z"},
        ),
        "resume": Operation(
            answer=either("JobDetail", RESUME_DRY_RUN),
            body=ResumeSerializer,
            conflicts=True,
            example={"run": "last"},
        ),
        "run": Operation(
            answer=ExecutionDetailSerializer,
            status=202,
            body=RunSerializer,
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={"arguments": {"day": "2030-01-31"}},
            links=links_to(
                *("execution_retrieve", "execution_log", "execution_cancel", "execution_retry"),
                id="id",
            ),
        ),
    }

    def get_queryset(self) -> QuerySet[Job]:
        jobs: QuerySet[Job] = visible.jobs().select_related("plan", "owner", "calendar")
        return jobs

    # --- Reading ---

    def list(self, request: Request) -> Response:
        query = JobQuery.of(request)
        jobs = filter_jobs(self.get_queryset(), query)
        order = Order.of(query["ordering"], ORDERS)
        if order.column == "fires_at":
            jobs = jobs.annotate(fires_at=Coalesce("plan__next_fire_at", NEVER[order.descending]))
        context = self.shown(query, JobSerializer)
        page = self.page(jobs, order=order, query=query)
        if "last_execution" in query.get("fields", ("last_execution",)):
            attach_last_executions(page)
        data = JobSerializer(page, many=True, context=context).data
        return self.get_paginated_response(data)

    def retrieve(self, request: Request, job: str) -> Response:
        query = ShownQuery.of(request)
        return self._shown(find_job(job, self.get_queryset()), query=query)

    @action(detail=True)
    def executions(self, request: Request, job: str) -> Response:
        """The job's executions, newest fire time first."""
        query = ExecutionsOfJobQuery.of(request)
        found = executions_for_lists().filter(job=find_job(job, self.get_queryset()))
        return list_executions(self, filter_executions(found, query), query)

    @action(detail=True)
    def stats(self, request: Request, job: str) -> Response:
        """How its newest finished executions fared: success rate, durations, drift."""
        query = StatsQuery.of(request)
        found = find_job(job, self.get_queryset())
        window = timedelta(hours=query["hours"]) if "hours" in query else None
        stats = job_statistics([found.pk], window=window, last=query["last"])[found.pk]
        return Response(StatsSerializer(stats).data)

    # --- Writing ---

    @idempotent
    def create(self, request: Request) -> Response:
        """A new job; its name must be free."""
        return self._created(request, self._valid(data=request.data))

    def _created(self, request: Request, created: Job) -> Response:
        created.owner_id = request.user.pk
        self._save(created)
        response = self._shown(self._again(created), status=201)
        response["Location"] = Links(request).job(created.pk)
        return response

    def update(self, request: Request, job: str) -> Response:
        """Replace the definition, what is left out gets its default (200); by a name that is free, create it (201)."""
        try:
            return self._edit(request, job, partial=False)
        except NotFound:
            if as_id(job) is not None:
                raise
        try:
            return self._create_named(request, job)
        except (Refused, Conflict):
            # Was somebody faster? Then what this one wanted is an edit now.
            with suppress(NotFound):
                return self._edit(request, job, partial=False)
            raise

    def _create_named(self, request: Request, name: str) -> Response:
        """For PUT: the job of this name, which there was none of a moment ago."""
        permissions.require(request, permissions.ADD_JOB)
        _tags(request, IF_NONE_MATCH)
        if _tags(request, IF_MATCH) is not None:
            raise PreconditionFailed(f"There is no job {shown(name)!r} to be edited.")
        given = request.data.get("name", name) if isinstance(request.data, Mapping) else name
        # No name keeps the blanks around it: the same PUT again would find no such job.
        kept = name.strip()
        if not given == name == kept:
            message = f"There is no job {shown(name)!r}, and the address is the name of a new one."
            raise Refused([Problem("name", message, given=shown(given), allowed=kept)])
        return self._created(request, self._valid(data=request.data, url_name=name))

    def partial_update(self, request: Request, job: str) -> Response:
        """Change what is given; the rest stays."""
        return self._edit(request, job, partial=True)

    def destroy(self, request: Request, job: str) -> Response:
        """No fire time after this becomes an execution; its history stays for a while."""
        with transaction.atomic(using=get_config().database):
            found = self._locked(request, job)
            lifecycle.delete_jobs([found.pk], by=request.user.get_username())
        return Response(status=204)

    def _edit(self, request: Request, job: str, *, partial: bool) -> Response:
        # Locked from the look at the version until the save: of two edits of one version one is stale.
        with transaction.atomic(using=get_config().database):
            found = self._locked(request, job)
            name = found.name if as_id(job) is None else ""
            self._save(self._valid(found, data=request.data, partial=partial, url_name=name))
        return self._shown(self._again(found))

    def _valid(self, *args: Any, url_name: str = "", **kwargs: Any) -> Job:
        """The job as it would be; raises Refused. A name in the address stands for one that is left out."""
        context = self.get_serializer_context() | {"url_name": url_name}
        serializer = JobDetailSerializer(*args, context=context, **kwargs)
        serializer.is_valid(raise_exception=True)
        return serializer.candidate

    def _locked(self, request: Request, job: str) -> Job:
        found = find_job(job, self.get_queryset().select_for_update(of=("self",)))
        require_match(request, found)
        return found

    def _save(self, job: Job) -> None:
        try:
            lifecycle.save_job(job, by=self.request.user.get_username())
        except IntegrityError as error:
            if "one_job_per_name" not in str(error):
                raise
            raise Conflict(f"There is a job {job.name!r} already.") from None

    # --- Verbs ---

    @action(detail=True, methods=["post"], serializer_class=PauseSerializer)
    def pause(self, request: Request, job: str) -> Response:
        """No fire time becomes an execution until it is resumed, or until the moment that is given."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        reason, until = given.validated_data.get("reason", ""), given.validated_data.get("until")
        found = find_job(job, self.get_queryset())
        paused = lifecycle.pause(
            [found.pk], by=request.user.get_username(), reason=reason, until=until
        )
        found = self._again(found)
        if not paused and (reason, until) not in (
            ("", None),
            (found.pause_reason, found.paused_until),
        ):
            raise Conflict(
                f"{found.name} was paused before, by {found.paused_by or 'somebody'}"
                f" at {found.paused_at:%Y-%m-%d %H:%M:%S %Z}; resume it to pause it otherwise."
            )
        return self._shown(found)

    @action(detail=True, methods=["post"], serializer_class=ResumeSerializer)
    def resume(self, request: Request, job: str) -> Response:
        """Fire again from now on; the fire times meanwhile are made up for only if asked."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        run = given.validated_data["run"]
        if run != lifecycle.RUN_NONE:
            permissions.require(request, permissions.RUN_JOB)
        found = find_job(job, self.get_queryset())
        if given.validated_data["dry_run"]:
            paused = found.paused_at is not None
            missed = lifecycle.missed_while_paused([found], now=database_now())
            return Response(
                what_resume_runs(paused=paused, missed=missed, last=min(missed, 1), run=run)
            )
        lifecycle.resume([found.pk], by=request.user.get_username(), run=run)
        return self._shown(self._again(found))

    @action(detail=True, methods=["post"], serializer_class=RunSerializer)
    @idempotent
    def run(self, request: Request, job: str) -> Response:
        """One execution, at once or when the job's limit allows; the schedule is not touched (202)."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        # Programs call this more than all else: it reads no more than it needs.
        found = find_job(job, self.get_queryset().select_related(None).only("arguments"))
        arguments = unmasked(given.validated_data.get("arguments"), found.arguments)
        if places := mask_places(arguments, "arguments"):
            raise Refused([masked_problem(place) for place in places])
        [execution] = lifecycle.run_now(
            [found.pk],
            by=request.user.get_username(),
            arguments=arguments,
            scheduled_for=given.validated_data.get("scheduled_for"),
            trigger=Trigger.API,
        )
        links = Links(request)
        data = ExecutionDetailSerializer(execution, context={"links": links}).data
        return Response(data, status=202, headers={"Location": links.execution(execution.pk)})

    def _again(self, job: Job) -> Job:
        """As it is after the verb, its plan included."""
        return find_job(str(job.pk), self.get_queryset())

    def _shown(self, job: Job, status: int = 200, query: dict[str, Any] | None = None) -> Response:
        context = self.shown(query or {}, JobDetailSerializer)
        serializer = JobDetailSerializer(job, context=context)
        return Response(serializer.data, status=status, headers={"ETag": f'"{job.version}"'})


def require_match(request: Request, job: Job) -> None:
    """Refuse an edit whose `If-Match` does not name the job's version, or that wants no job to be there."""
    if _names(request, IF_NONE_MATCH, job):
        raise PreconditionFailed(f"There is a job {job.name!r} already, of version {job.version}.")
    if _names(request, IF_MATCH, job) is False:
        raise Stale(job, status=412)


def _names(request: Request, header: str, job: Job) -> bool | None:
    """Whether the tags of a header name the job as it is; None without the header."""
    tags = _tags(request, header)
    return None if tags is None else bool(tags & {"*", str(job.version)})


def _tags(request: Request, header: str) -> set[str] | None:
    """What a header names; None without it. Raises Refused for what is no tag."""
    given = request.headers.get(header)
    if given is None:
        return None
    if not re.fullmatch(MATCH_PATTERN, given):
        message = "This is not an ETag."
        raise Refused(
            [Problem(header, message, given=shown(given), allowed='*, or ETags such as "3"')]
        )
    # A proxy that compresses turns "5" into W/"5".
    return {tag.strip().removeprefix("W/").strip('"') for tag in given.split(",")}
