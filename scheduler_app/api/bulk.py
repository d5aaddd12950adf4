"""One request for many jobs: pause, resume, run. All of it is done, or nothing with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.lifecycle import MOST_RUNS, Run
from scheduler_app.models import Job, Trigger
from scheduler_app.rules.masking import mask_places, unmasked
from scheduler_app.rules.problems import Problem

from . import permissions
from .base import ApiViewSet
from .errors import Conflict, Refused, shown
from .fields import FlagField, JsonField, MomentField, Strict, WordField, one_of
from .idempotency import idempotent
from .job_serializers import PauseSerializer, masked_problem
from .operations import IDEMPOTENCY_KEY, Operation
from .queries import JobFilters, as_id, filter_jobs

MOST_JOBS = 1000
NAMES_SHOWN = 10


@extend_schema_field(
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
            {"type": "string", "minLength": 1, "maxLength": 200},
        ]
    }
)
class JobRefField(serializers.Field[Any, Any, Any, Any]):
    """A job, by its id as a number or text, or by its name."""

    default_error_messages = {"invalid": "This must be the id or the name of a job."}

    def to_internal_value(self, data: Any) -> int | str:
        if isinstance(data, int | float) and not isinstance(data, bool):
            # 7.0 is a whole number to JSON.
            if not 0 < data < 2**63 or data != int(data):
                self.fail("invalid")
            return int(data)
        if not isinstance(data, str) or not 0 < len(data) <= 200 or "\0" in data:
            self.fail("invalid")
        number = as_id(data)
        return data if number is None else number

    def to_representation(self, value: Any) -> Any:
        return value


class ChosenJobs(Strict):
    """Which jobs: a list of them, or a filter as the list of jobs takes it."""

    together: ClassVar[Mapping[str, Any]] = one_of("jobs", "filter")

    jobs = serializers.ListField(
        child=JobRefField(),
        min_length=1,
        max_length=MOST_JOBS,
        required=False,
        help_text="Ids or names.",
    )
    filter = JobFilters(required=False, help_text="All jobs that this lets through; not empty.")
    dry_run = FlagField(default=False, help_text="Say which jobs these are, and change nothing.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("jobs" in attrs) == ("filter" in attrs):
            self.refuse([Problem("jobs", "Give either jobs or a filter.")])
        if "filter" in attrs and not attrs["filter"]:
            message = "An empty filter is every job; name at least one thing to choose them by."
            self.refuse([Problem("filter", message)])
        return attrs


class BulkPauseSerializer(ChosenJobs, PauseSerializer):
    """Which jobs to pause, why and until when."""

    noun = "a bulk pause"


class BulkResumeSerializer(ChosenJobs):
    """Which jobs to resume, and which of their fire times meanwhile to run."""

    noun = "a bulk resume"
    run = WordField(
        choices=lifecycle.RUN_CHOICES,
        default="none",
        help_text="Which of the fire times meanwhile are run after all.",
    )


class RunItemSerializer(Strict):
    """One run."""

    noun = "a run"
    job = JobRefField(help_text="An id or a name.")
    arguments = JsonField(required=False, help_text="Instead of the job's arguments.")
    scheduled_for = MomentField(
        required=False, help_text="The fire time that it is told, now at the latest."
    )


class BulkRunSerializer(ChosenJobs):
    """Which jobs to run once each; or a list of runs, which may name a job several times."""

    noun = "a bulk run"
    together: ClassVar[Mapping[str, Any]] = one_of("jobs", "filter", "runs")
    runs = RunItemSerializer(many=True, required=False, min_length=1, max_length=MOST_RUNS)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "runs" not in attrs:
            return super().validate(attrs)
        if "jobs" in attrs or "filter" in attrs:
            self.refuse([Problem("runs", "Give one of jobs, filter and runs.")])
        return attrs


class BulkAnswerSerializer(serializers.Serializer[Any]):
    """What was chosen, and what became of it."""

    count = serializers.IntegerField(help_text="How many jobs were chosen.")
    names = serializers.ListField(
        child=serializers.CharField(), help_text="The names of the first ten."
    )
    changed = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="The ids of the jobs that were paused or resumed by this.",
    )
    executions = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="The ids of the executions that were created, in the order of the request.",
    )


class BulkJobsViewSet(ApiViewSet[Job]):
    """Many jobs at once."""

    serializer_class = BulkRunSerializer
    needs = {
        "pause": (permissions.VIEW_JOB, permissions.PAUSE_JOB),
        "resume": (permissions.VIEW_JOB, permissions.PAUSE_JOB),
        "run": (permissions.VIEW_JOB, permissions.RUN_JOB),
    }
    operations = {
        "pause": Operation(
            answer=BulkAnswerSerializer,
            body=BulkPauseSerializer,
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={"filter": {"tag": "nightly"}, "reason": "migration"},
        ),
        "resume": Operation(
            answer=BulkAnswerSerializer,
            body=BulkResumeSerializer,
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={"filter": {"tag": "nightly"}, "run": "last", "dry_run": True},
        ),
        "run": Operation(
            answer=BulkAnswerSerializer,
            status=202,
            body=BulkRunSerializer,
            others={200: BulkAnswerSerializer},
            headers=(IDEMPOTENCY_KEY,),
            conflicts=True,
            example={"runs": [{"job": "report", "arguments": {"day": "2030-01-31"}}]},
        ),
    }

    def get_queryset(self) -> QuerySet[Job]:
        return visible.jobs()

    @action(detail=False, methods=["post"], serializer_class=BulkPauseSerializer)
    @idempotent
    def pause(self, request: Request) -> Response:
        """Pause all of these; those that are paused already stay as they are."""
        given = self._given(request)
        jobs = self._chosen(given)
        if given["dry_run"]:
            return _answer(jobs)
        until: datetime | None = given.get("until")
        changed = lifecycle.pause(
            [job.pk for job in jobs],
            by=request.user.get_username(),
            reason=given.get("reason", ""),
            until=until,
        )
        return _answer(jobs, changed=changed)

    @action(detail=False, methods=["post"], serializer_class=BulkResumeSerializer)
    @idempotent
    def resume(self, request: Request) -> Response:
        """Resume all of these that are paused."""
        given = self._given(request)
        if given["run"] != lifecycle.RUN_NONE:
            permissions.require(request, permissions.RUN_JOB)
        jobs = self._chosen(given)
        if given["dry_run"]:
            return _answer(jobs)
        changed = lifecycle.resume(
            [job.pk for job in jobs], by=request.user.get_username(), run=given["run"]
        )
        return _answer(jobs, changed=changed)

    @action(detail=False, methods=["post"], serializer_class=BulkRunSerializer)
    @idempotent
    def run(self, request: Request) -> Response:
        """One execution for each job or run, at once or when the job's limit allows (202)."""
        given = self._given(request)
        if "runs" in given:
            jobs, runs = self._asked(given["runs"])
        else:
            jobs = self._chosen(given)
            runs = [Run(job.pk) for job in jobs]
        if given["dry_run"] or not runs:
            return _answer(jobs)
        executions = lifecycle.run_many(runs, by=request.user.get_username(), trigger=Trigger.API)
        return _answer(jobs, executions=executions, status=202)

    def _given(self, request: Request) -> dict[str, Any]:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        found: dict[str, Any] = serializer.validated_data
        return found

    def _chosen(self, given: dict[str, Any]) -> list[Job]:
        """Raises Refused for jobs that there are not, Conflict for a filter that lets too many through."""
        if "jobs" in given:
            by_ref = self._find(given["jobs"], "jobs.{}")
            return list({job.pk: job for job in by_ref}.values())
        found = list(filter_jobs(self.get_queryset(), given["filter"])[: MOST_JOBS + 1])
        if len(found) > MOST_JOBS:
            raise Conflict(f"More than {MOST_JOBS:,} jobs match this filter; narrow it.")
        return found

    def _asked(self, items: Sequence[dict[str, Any]]) -> tuple[list[Job], list[Run]]:
        jobs = self._find([item["job"] for item in items], "runs.{}.job")
        runs = []
        for place, (item, job) in enumerate(zip(items, jobs, strict=True)):
            arguments = unmasked(item.get("arguments"), job.arguments)
            if places := mask_places(arguments, f"runs.{place}.arguments"):
                raise Refused([masked_problem(where) for where in places])
            runs.append(Run(job.pk, arguments, item.get("scheduled_for")))
        return list({job.pk: job for job in jobs}.values()), runs

    def _find(self, refs: Sequence[int | str], field: str) -> list[Job]:
        """The job for each id or name, in one query for each of the two kinds; raises Refused."""
        ids = {ref for ref in refs if isinstance(ref, int)}
        names = {ref for ref in refs if isinstance(ref, str)}
        found: dict[int | str, Job] = {}
        if ids:
            found |= self.get_queryset().in_bulk(ids)
        if names:
            found |= {job.name: job for job in self.get_queryset().filter(name__in=names)}
        missing = [
            Problem(field.format(place), f"There is no job {shown(ref)}.", given=shown(ref))
            for place, ref in enumerate(refs)
            if ref not in found
        ]
        if missing:
            raise Refused(missing[:100])
        return [found[ref] for ref in refs]


def _answer(
    jobs: Sequence[Job],
    *,
    changed: Sequence[int] = (),
    executions: Sequence[int] = (),
    status: int = 200,
) -> Response:
    body = {
        "count": len(jobs),
        "names": [job.name for job in jobs[:NAMES_SHOWN]],
        "changed": list(changed),
        "executions": list(executions),
    }
    return Response(body, status=status)
