"""What can be done to jobs: run now, pause, skip the next. Each verb asks by GET and acts by POST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo
from scheduler_app.models import Execution, Job, Status

from .definition import call_for_jobs
from .display import clock, count_text, printable, zone_of
from .filters import whole_number
from .job_base import JobBase, arguments_for, execution_url
from .typed_arguments import description_of
from .verb_forms import PauseForm, RunForm


class JobVerbs(JobBase):
    """The verbs of one job, and what they share with those of the list."""

    def get_urls(self) -> list[URLPattern]:
        """Also the addresses of the verbs."""
        view = self.admin_site.admin_view
        return [
            path("<int:job_id>/run/", view(self.run_view), name="scheduler_app_job_run"),
            path("<int:job_id>/pause/", view(self.pause_view), name="scheduler_app_job_pause"),
            path(
                "<int:job_id>/skip/",
                view(require_POST(self.skip_view)),
                name="scheduler_app_job_skip",
            ),
            path(
                "<int:job_id>/unskip/",
                view(require_POST(self.unskip_view)),
                name="scheduler_app_job_unskip",
            ),
            *super().get_urls(),
        ]

    def run_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """GET: a form for other arguments. POST: run now, with the form's arguments or the job's own."""
        self.require(self.has_view_permission(request) and self.has_run_permission(request))
        job = self._get_job(job_id)
        self.require_run(request, job)
        if request.method != "POST" or "arguments" in request.POST:
            return self._run_with_arguments(request, job)
        try:
            [execution] = lifecycle.run_now([job.pk], by=request.user.get_username())
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return self.back(request, self.page_url(job.pk))
        self._say_started(request, [execution])
        return self.back(request, self.page_url(job.pk))

    def pause_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """GET: ask why and until when. POST: pause."""
        self.require(self.has_view_permission(request) and self.has_pause_permission(request))
        job = self._get_job(job_id)
        form = PauseForm(request.POST or None, timezone=job.timezone)
        if request.method == "POST" and form.is_valid():
            self._pause(request, [job], form)
            return self.back(request, self.page_url(job.pk))
        return self._ask_pause(request, form, [job], self.back(request, self.page_url(job.pk)).url)

    def skip_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """The fire time that the page showed as the next becomes no execution."""
        self.require(self.has_view_permission(request) and self.has_pause_permission(request))
        job = self._get_job(job_id)
        seen = parse_datetime(request.POST.get("fire_time", "")[:64])
        try:
            moment = lifecycle.skip_next(
                job.pk,
                by=request.user.get_username(),
                expected=seen if seen and seen.tzinfo else None,
            )
        except CannotDo as error:
            self.say(request, str(error), problem=True)
        else:
            shown = clock(moment, zone_of(job.timezone))
            self.say(request, f"{printable(job.name)}: {shown} will be skipped.")
        return self.back(request, self.page_url(job.pk))

    def unskip_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Take a skip back."""
        self.require(self.has_view_permission(request) and self.has_pause_permission(request))
        job = self._get_job(job_id)
        if lifecycle.unskip_next(job.pk, by=request.user.get_username()):
            self.say(request, f"{printable(job.name)}: no fire time will be skipped.")
        else:
            self.say(request, "There was nothing to skip any more.", problem=True)
        return self.back(request, self.page_url(job.pk))

    def _run_with_arguments(self, request: HttpRequest, job: Job) -> HttpResponse:
        source, stored = self._arguments_to_start_from(request, job)
        form = RunForm(request.POST or None, job=job, stored=stored)
        if request.method == "POST" and form.is_valid():
            arguments, moment = form.cleaned_data["arguments"], form.cleaned_data["scheduled_for"]
            try:
                [execution] = lifecycle.run_now(
                    [job.pk],
                    by=request.user.get_username(),
                    arguments=None if arguments == job.arguments else arguments,
                    scheduled_for=moment,
                )
            except CannotDo as error:
                place = error.problems[0].field if error.problems else "arguments"
                form.add_error(place.split(".")[0], str(error))
            else:
                self._say_started(request, [execution])
                return HttpResponseRedirect(execution_url(execution.pk))
        return self.page(
            request,
            "job/run.html",
            {
                "title": f"Run {printable(job.name)} now",
                "known": description_of(job.kind, job.target),
                "is_task": job.kind == "task",
                "text": "One execution with these arguments; the job itself stays as it is."
                + (f" They are those of execution {source}." if source else ""),
                "form": form,
                "submit": "Run now",
                "cancel_url": self.page_url(job.pk),
                "crumbs": [(job.name, self.page_url(job.pk))],
                "api_call": call_for_jobs(request, "run", [job], arguments=job.arguments),
            },
        )

    def _arguments_to_start_from(self, request: HttpRequest, job: Job) -> tuple[int | None, Any]:
        """Those of the execution that the address names, if it is the job's; the job's own otherwise."""
        wanted = whole_number(request.GET.get("execution"))
        if wanted is not None:
            found = Execution.objects.filter(pk=wanted, job=job).select_related("revision")
            if (execution := found.first()) is not None:
                return execution.pk, arguments_for(execution, job)
        return None, job.arguments

    def _pause(self, request: HttpRequest, jobs: Sequence[Job], form: PauseForm) -> None:
        reason, until = form.cleaned_data["reason"], form.cleaned_data["until"]
        try:
            paused = lifecycle.pause(
                [job.pk for job in jobs],
                by=request.user.get_username(),
                reason=reason,
                until=until,
            )
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return
        self._say_done(request, "paused", jobs, len(paused))

    def _say_started(self, request: HttpRequest, executions: Sequence[Execution]) -> None:
        waiting = [execution for execution in executions if execution.status == Status.BLOCKED]
        if len(executions) == 1:
            [execution] = executions
            name = printable(execution.job.name if execution.job else execution)
            ending = " waits until the job's limit allows it" if waiting else " is on its way"
            self.say(request, f"{name}: execution {execution.pk}{ending}.")
            return
        text = f"{count_text(len(executions), 'execution')} on the way."
        if waiting:
            text += f" Of these, {len(waiting)} wait until their jobs' limits allow it."
        self.say(request, text)

    def _ask_pause(
        self,
        request: HttpRequest,
        form: PauseForm,
        jobs: Sequence[Job],
        cancel_url: str,
        carried: Sequence[tuple[str, str]] = (),
    ) -> TemplateResponse:
        what = printable(jobs[0].name) if len(jobs) == 1 else count_text(len(jobs), "job")
        return self.page(
            request,
            "verb.html",
            {
                "title": f"Pause {what}",
                "text": "Fire times that pass meanwhile become no executions, and what waits does not begin. "
                "What runs goes on.",
                "form": form,
                "submit": "Pause",
                "cancel_url": cancel_url,
                "carried": carried,
                "crumbs": [(jobs[0].name, self.page_url(jobs[0].pk))] if len(jobs) == 1 else [],
                "api_call": call_for_jobs(request, "pause", jobs, reason="why"),
                "subjects": [job.name for job in jobs[:30]] if len(jobs) > 1 else [],
                "more_subjects": max(0, len(jobs) - 30),
            },
        )
