"""What all pages of a job share: the job itself, the head of its pages, the way to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import Http404, HttpRequest
from django.urls import reverse

from scheduler_app.access import NotAllowed, visible
from scheduler_app.access.rights import may_use, refusal
from scheduler_app.models import Execution, Job, JobPlan
from scheduler_app.rules.masking import is_same_place, masked
from scheduler_app.rules.spec import JobSpec

from .base import SchedulerAdmin
from .display import count_text, printable
from .job_filters import pauses_of
from .overview import pulse_of
from .preview import schedule_of
from .state import state_of


class JobBase(SchedulerAdmin):
    """The job behind an address, and what stands at the head of its pages."""

    def page_url(self, job_id: int | str) -> str:
        """The job's page."""
        return reverse("admin:scheduler_app_job_detail", args=[job_id])

    def _get_job(self, job_id: int) -> Job:
        job: Job | None = visible.jobs().select_related("plan").filter(pk=job_id).first()
        if job is None:
            raise Http404("There is no such job; it may have been deleted.")
        return job

    def _header_context(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        return {
            "job": job,
            "plan": plan_of(job),
            "state": state_of(job, plan_of(job), pauses_of(request), pulse_of(request).now),
            "sentence": sentence_of(job),
            "may": {
                **self.rights(request),
                "run": self.may_run(request, job),
                "see_fate": self.may_see_fate(request),
            },
        }

    def may_run(self, request: HttpRequest, job: Job) -> bool:
        """Whether the user may run this job: jobs at all, and what this one does."""
        return self.has_run_permission(request) and may_use(request.user, job.kind, job.target)

    def require_run(self, request: HttpRequest, job: Job) -> None:
        """As `may_run`; refuses with the right that is missing."""
        self.require(self.has_run_permission(request))
        if why := refusal(request.user, job.kind, job.target):
            raise NotAllowed(why)

    def may_see_fate(self, request: HttpRequest) -> bool:
        """Whether the user may know what became of fire times: executions and gaps."""
        return all(
            request.user.has_perm(f"scheduler_app.view_{model}") for model in ("execution", "gap")
        )

    def _say_done(self, request: HttpRequest, verb: str, jobs: Sequence[Job], done: int) -> None:
        if done:
            what = printable(jobs[0].name) if len(jobs) == done == 1 else count_text(done, "job")
            self.say(request, f"{what}: {verb}.")
        if left := len(jobs) - done:
            already = "paused already" if verb == "paused" else "not paused"
            self.say(request, f"{count_text(left, 'job')}: {already}.", problem=True)


def plan_of(job: Job) -> JobPlan | None:
    """The job's plan, None for a job without one."""
    return getattr(job, "plan", None)


def execution_url(execution_id: int) -> str:
    """The page of an execution."""
    return reverse("admin:scheduler_app_execution_change", args=[execution_id])


def arguments_of(execution: Execution) -> Any:
    """What an execution ran with."""
    spec = execution.spec or {}
    if "arguments" in spec:
        return spec["arguments"]
    return execution.revision.spec.get("arguments", {}) if execution.revision else {}


def arguments_for(execution: Execution, job: Job) -> Any:
    """What an execution ran with, to run its job again; secrets stay masked unless they are for the job's target of now."""
    arguments = arguments_of(execution)
    if arguments == job.arguments:
        return arguments
    revision = execution.revision
    old = JobSpec.from_json(revision.spec if revision else None, execution.spec)
    if old.kind == job.kind and is_same_place(old.target, job.target):
        return arguments
    return masked(arguments)


def sentence_of(job: Job) -> str:
    """The job's schedule in words; empty when it cannot be read."""
    schedule = schedule_of(job)
    return schedule.describe() if schedule else ""
