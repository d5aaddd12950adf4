"""Resume with a choice: how many fire times a pause held back, and which of them to run after all."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from scheduler_app import lifecycle
from scheduler_app.lifecycle import RUN_ALL, RUN_LAST, RUN_NONE, CannotDo
from scheduler_app.models import Job

from .definition import call_for_jobs
from .display import count_text, printable, span
from .job_base import JobBase
from .job_filters import pauses_of
from .overview import pulse_of
from .state import covers
from .verb_forms import ResumeForm

RUN_IN_WORDS = {
    RUN_NONE: "",
    RUN_LAST: ", and run the last of the missed fire times",
    RUN_ALL: ", and run all missed fire times",
}


class JobResume(JobBase):
    """Of one job and of many alike."""

    def get_urls(self) -> list[URLPattern]:
        """Also the address of the verb."""
        return [
            path(
                "<int:job_id>/resume/",
                self.admin_site.admin_view(self.resume_view),
                name="scheduler_app_job_resume",
            ),
            *super().get_urls(),
        ]

    def resume_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """GET: what was missed, and which of it to run. POST: resume; without a choice only where there is none."""
        self.require(self.has_view_permission(request) and self.has_pause_permission(request))
        job = self._get_job(job_id)
        answer = self.resume_or_ask(request, [job], "run" in request.POST)
        return answer or self.back(request, self.page_url(job.pk))

    def resume_or_ask(
        self,
        request: HttpRequest,
        jobs: Sequence[Job],
        is_answer: bool,
        carried: Sequence[tuple[str, str]] = (),
    ) -> HttpResponse | None:
        """Resume what is paused of these jobs; a page that asks for the choice while it has to be made."""
        missed = lifecycle.missed_while_paused(jobs, now=pulse_of(request).now)
        form = ResumeForm(
            request.POST if is_answer else None,
            missed=missed,
            of_many=len(jobs) > 1,
            may_run=all(self.may_run(request, job) for job in jobs),
        )
        if is_answer and form.is_valid():
            run = form.cleaned_data["run"]
        elif not is_answer and not missed and request.method == "POST":
            run = RUN_NONE
        else:
            return self._ask(request, jobs, form, missed, carried)
        try:
            self._resume(request, jobs, run)
        except CannotDo as error:
            form.add_error(None, str(error)) if is_answer else self.say(
                request, str(error), problem=True
            )
            return self._ask(request, jobs, form, missed, carried)
        return None

    def _ask(
        self,
        request: HttpRequest,
        jobs: Sequence[Job],
        form: ResumeForm,
        missed: int,
        carried: Sequence[tuple[str, str]],
    ) -> HttpResponse:
        what = printable(jobs[0].name) if len(jobs) == 1 else count_text(len(jobs), "job")
        origin = request.POST.get("from") or request.GET.get("from")
        return self.page(
            request,
            "verb.html",
            {
                "title": f"Resume {what}",
                "text": self._in_words(request, jobs, missed),
                "form": form,
                "submit": "Resume",
                "cancel_url": request.get_full_path()
                if carried
                else self.back(request, self.page_url(jobs[0].pk)).url,
                "api_call": call_for_jobs(request, "resume", jobs, run=RUN_NONE),
                "carried": [*carried, *([("from", origin)] if origin == "list" else [])],
                "subjects": [job.name for job in jobs[:30]] if len(jobs) > 1 else [],
                "more_subjects": max(0, len(jobs) - 30),
                "crumbs": [] if carried else [(jobs[0].name, self.page_url(jobs[0].pk))],
            },
        )

    def _in_words(self, request: HttpRequest, jobs: Sequence[Job], missed: int) -> str:
        """`Paused for 3 h by Ana: DB work. 36 fire times were missed.`"""
        count = f"{count_text(missed, 'fire time')} {'was' if missed == 1 else 'were'} missed."
        if len(jobs) > 1:
            return f"{count} Those that a calendar closes are left out."
        [job] = jobs
        if job.paused_at is None:
            return "It is not paused."
        text = f"Paused for {span(pulse_of(request).now - job.paused_at)}"
        text += f" by {job.paused_by}" if job.paused_by else ""
        text += f": {job.pause_reason}" if job.pause_reason else ""
        return f"{printable(text).rstrip('.')}. {count}"

    def _resume(self, request: HttpRequest, jobs: Sequence[Job], run: str) -> None:
        resumed = lifecycle.resume(
            [job.pk for job in jobs], by=request.user.get_username(), run=run
        )
        self._say_done(request, "resumed", jobs, len(resumed))
        held = [pause for pause in pauses_of(request) if any(covers(pause, job) for job in jobs)]
        if held:
            names = ", ".join(str(pause) for pause in held)
            self.say(
                request, f"A pause still holds: {names}. It is ended under Pauses.", problem=True
            )
