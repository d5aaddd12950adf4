"""Run fire times of the past: count them first, then run them, and see how far they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo
from scheduler_app.models import Backfill, Execution, Job, Status
from scheduler_app.models.execution import LIVE

from .definition import api_call
from .display import count_text, printable
from .job_base import JobBase
from .overview import pulse_of
from .verb_forms import MISSING, BackfillForm

SHOWN = 10
"""Fire times that a count names, from the first on."""
BACKFILLS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What a backfill would run."""

    moments: list[datetime]
    left_out: int
    """Fire times of the range that have a success or are under way."""

    @property
    def count(self) -> int:
        return len(self.moments)

    @property
    def first(self) -> list[datetime]:
        """Those that are named."""
        return self.moments[:SHOWN]

    @property
    def more(self) -> int:
        return max(0, self.count - SHOWN)


@dataclass(frozen=True, slots=True)
class Progress:
    """A backfill and how far it is."""

    backfill: Backfill
    succeeded: int
    unsuccessful: int
    live: int

    @property
    def done(self) -> int:
        """Those that are over."""
        return self.succeeded + self.unsuccessful


class JobBackfill(JobBase):
    """The page that counts and starts a backfill."""

    def get_urls(self) -> list[URLPattern]:
        """Also the page's address."""
        return [
            path(
                "<int:job_id>/backfill/",
                self.admin_site.admin_view(self.backfill_view),
                name="scheduler_app_job_backfill",
            ),
            *super().get_urls(),
        ]

    def backfill_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """GET: ask for the range. POST: count, and run what was counted when `_run` was pressed."""
        self.require(self.has_view_permission(request) and self.has_run_permission(request))
        job = self._get_job(job_id)
        self.require_run(request, job)
        now = pulse_of(request).now
        form = BackfillForm(request.POST or None, timezone=job.timezone, now=now)
        context: dict[str, Any] = {"form": form}
        if request.method == "POST" and form.is_valid():
            try:
                if "_run" in request.POST and request.POST.get("counted") == _range(form):
                    return self._run(request, job, form)
                context["found"] = _found(job, form)
                context["counted"] = _range(form)
                context["changed"] = "_run" in request.POST
            except CannotDo as error:
                form.add_error(None, str(error))
        return self.page(
            request,
            "job/backfill.html",
            {
                **self._header_context(request, job),
                **context,
                "api_call": api_call(request, "job-backfill", job.pk, **_body(form, now)),
                "title": f"Backfill {printable(job.name)}",
                "tab": "",
                "crumb": "Backfill",
            },
        )

    def _run(self, request: HttpRequest, job: Job, form: BackfillForm) -> HttpResponse:
        values = form.cleaned_data
        record = lifecycle.backfill(
            job.pk,
            values["since"],
            values["until"],
            by=request.user.get_username(),
            only_missing=values["what"] == MISSING,
            max_running=values["max_running"],
            request=values["request"],
        )
        runs = count_text(record.count, "fire time")
        self.say(
            request,
            f"{printable(job.name)}: {runs} of the past will run, "
            f"{values['max_running']} side by side at most.",
        )
        return HttpResponseRedirect(self.page_url(job.pk))


def progress_of(job: Job) -> list[Progress]:
    """The job's newest backfills, and how far each is, in two statements."""
    backfills = list(Backfill.objects.filter(job=job).order_by("-created_at")[:BACKFILLS_SHOWN])
    counts: dict[Any, dict[str, int]] = {backfill.pk: {} for backfill in backfills}
    if backfills:
        rows = (
            Execution.objects.filter(backfill__in=list(counts))
            .order_by()
            .values_list("backfill", "status")
            .annotate(Count("pk"))
        )
        for key, status, count in rows:
            counts[key][status] = count
    return [_progress(backfill, counts[backfill.pk]) for backfill in backfills]


def _progress(backfill: Backfill, counts: dict[str, int]) -> Progress:
    succeeded = counts.get(Status.SUCCEEDED, 0)
    live = sum(counts.get(status, 0) for status in LIVE)
    return Progress(backfill, succeeded, sum(counts.values()) - succeeded - live, live)


def _found(job: Job, form: BackfillForm) -> Found:
    since, until = form.cleaned_data["since"], form.cleaned_data["until"]
    every = lifecycle.fire_times_to_fill(job, since, until, only_missing=False)
    if form.cleaned_data["what"] != MISSING:
        return Found(every, 0)
    missing = lifecycle.fire_times_to_fill(job, since, until, only_missing=True)
    return Found(missing, len(every) - len(missing))


def _body(form: BackfillForm, now: datetime) -> dict[str, Any]:
    """What the form says, as the API takes it; a day back where it says nothing that can be meant."""
    given = form.cleaned_data if form.is_bound and form.is_valid() else {}
    return {
        "since": given.get("since", now - timedelta(days=1)).isoformat(),
        "until": given.get("until", now).isoformat(),
        "only_missing": given.get("what", MISSING) == MISSING,
        "max_running": given.get("max_running", 1),
    }


def _range(form: BackfillForm) -> str:
    """What was counted; another range has to be counted before it is run."""
    values = form.cleaned_data
    return f"{values['since'].timestamp()} {values['until'].timestamp()} {values['what']}"
