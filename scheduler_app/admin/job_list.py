"""The jobs list: how each job stands, and what can be done to many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.lifecycle import CannotDo
from scheduler_app.lifecycle.statistics import JobStatistics, job_statistics
from scheduler_app.models import Job
from scheduler_app.models.job import TARGET_PLACE
from scheduler_app.rules.masking import masked_text
from scheduler_app.rules.spec import limit_of

from .definition import call_for_jobs
from .display import count_text
from .job_base import plan_of, sentence_of
from .job_filters import (
    KindFilter,
    QueueFilter,
    StateFilter,
    TagFilter,
    ZoneFilter,
    pauses_of,
)
from .job_resume import JobResume
from .job_verbs import JobVerbs
from .overview import pulse_of
from .queries import LastRun, last_runs
from .state import NEXT_FIRE_FIRST, JobState, covers, is_overdue, state_of
from .strip import Cell, last_fates, strip_html
from .verb_forms import PauseForm


@dataclass(slots=True)
class JobRow:
    """A job as the list shows it."""

    job: Job
    state: JobState
    sentence: str
    overdue: bool
    last: LastRun
    target: str
    cells: list[Cell]
    statistics: JobStatistics | None
    may_run: bool

    @property
    def zone(self) -> str:
        """The zone, unless the sentence names it."""
        return "" if self.job.timezone in self.sentence else self.job.timezone

    @property
    def strip(self) -> SafeString:
        """The last fire times as one picture."""
        return strip_html(self.cells)


class JobList(JobVerbs, JobResume):
    """The list, its search and filters, and the actions on what is selected."""

    # A row is large: with its strip, its buttons and its moments.
    list_per_page = 40
    list_display = ("name", "next_fire")
    sortable_by = ("name", "next_fire")
    list_filter = (StateFilter, KindFilter, QueueFilter, TagFilter, ZoneFilter)
    search_fields = ("name", "target", "tags")
    search_help_text = "Name, target or tag"
    ordering = ("name", "id")
    actions = ("run_selected", "pause_selected", "resume_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Jobs with their plans; those without one have not been planned yet."""
        jobs: QuerySet[Job] = visible.jobs().select_related("plan")
        return jobs

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Every word in the name or target, or as a tag."""
        queryset = queryset.alias(target_place=TARGET_PLACE)
        for word in search_term.replace("\x00", "").split()[:10]:
            queryset = queryset.filter(
                Q(name__icontains=word) | Q(target_place__icontains=word) | Q(tags__contains=[word])
            )
        return queryset, False

    @admin.display(ordering=NEXT_FIRE_FIRST)
    def next_fire(self, job: Job) -> Any:
        """What the list can be sorted by beside the name."""
        return plan_of(job) and job.plan.next_fire_at

    def rows(self, request: HttpRequest, objects: Sequence[Job]) -> list[JobRow]:
        """With the fates and the usual duration of each, in one more statement a kind."""
        now = pulse_of(request).now
        pauses = pauses_of(request)
        last = last_runs(job.pk for job in objects)
        may_see = self.may_see_fate(request)
        cells = last_fates(objects, now) if may_see else {}
        statistics: dict[int, JobStatistics] = {}
        if may_see:
            statistics = dict(job_statistics([job.pk for job in objects]))
        return [
            JobRow(
                job=job,
                state=state_of(job, plan_of(job), pauses, now),
                sentence=sentence_of(job),
                overdue=is_overdue(plan_of(job), now),
                last=last[job.pk],
                target=masked_text(job.target),
                cells=cells.get(job.pk, []),
                statistics=statistics.get(job.pk),
                may_run=self.may_run(request, job),
            )
            for job in objects
        ]

    @admin.action(permissions=["run"], description="Run now…")
    def run_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """One execution of each, at once or when the job's limit allows; asks first when there are many."""
        jobs = self._chosen(request, queryset)
        if not jobs:
            return None
        if len(jobs) > 1:
            # Those of the others are refused one by one, and with them all.
            allowed = [job for job in jobs if self.may_run(request, job)]
            if "apply" not in request.POST or not allowed:
                return self._ask_run(request, jobs, allowed)
            jobs = allowed
        try:
            executions = lifecycle.run_now([job.pk for job in jobs], by=request.user.get_username())
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return None
        self._say_started(request, executions)
        return None

    def _ask_run(
        self, request: HttpRequest, jobs: Sequence[Job], allowed: Sequence[Job]
    ) -> TemplateResponse:
        """How many would run, and what whoever chose them may not have seen."""
        pauses = pauses_of(request)
        live = last_runs(job.pk for job in allowed)
        held = [
            job
            for job in allowed
            if not job.enabled or job.paused_at or any(covers(pause, job) for pause in pauses)
        ]
        full = [job for job in allowed if _is_full(job, live[job.pk])]
        others = len(jobs) - len(allowed)
        notes = [
            f"{count:,} of them {'is' if count == 1 else 'are'} {words}"
            for count, words in (
                (len(held), "paused or disabled. Run by hand, they run all the same."),
                (len(full), "under way as often as allowed: one more waits for its turn."),
                (others, "left out: you may not use what they do."),
            )
            if count
        ]
        return self.page(
            request,
            "verb.html",
            {
                "title": f"Run {count_text(len(allowed), 'job')} now",
                "text": "One execution of each, with its own arguments, at once. Their schedules go on as they are.",
                "notes": notes,
                "submit": f"Run {len(allowed):,} now" if allowed else "",
                "cancel_url": request.get_full_path(),
                "carried": _carried(request, "run_selected", jobs),
                "api_call": call_for_jobs(request, "run", allowed) if allowed else "",
                "subjects": [job.name for job in allowed[:30]],
                "more_subjects": max(0, len(allowed) - 30),
            },
        )

    @admin.action(permissions=["pause"], description="Pause…")
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Ask why and until when, then pause."""
        jobs = self._chosen(request, queryset)
        if not jobs:
            return None
        zones = {job.timezone for job in jobs}
        is_answer = "apply" in request.POST
        form = PauseForm(
            request.POST if is_answer else None, timezone=zones.pop() if len(zones) == 1 else "UTC"
        )
        if is_answer and form.is_valid():
            self._pause(request, jobs, form)
            return None
        carried = _carried(request, "pause_selected", jobs)
        return self._ask_pause(request, form, jobs, request.get_full_path(), carried)

    @admin.action(permissions=["pause"], description="Resume…")
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Fire again from now on; asks which of the missed fire times to run, if any were."""
        jobs = self._chosen(request, queryset)
        if not jobs:
            return None
        carried = _carried(request, "resume_selected", jobs)
        return self.resume_or_ask(request, jobs, "apply" in request.POST, carried)

    def _chosen(self, request: HttpRequest, queryset: QuerySet[Job]) -> list[Job]:
        """The jobs that were chosen; says so when there are none any more."""
        jobs = list(queryset)
        if not jobs:
            self.say(request, "There are no such jobs; they may have been deleted.", problem=True)
        return jobs


def _is_full(job: Job, live: LastRun) -> bool:
    """Whether one more would wait for the job's limit."""
    limit = limit_of(job.max_running, job.on_overlap)
    return limit is not None and live.running + live.waiting >= limit


def _carried(request: HttpRequest, action: str, jobs: Sequence[Job]) -> list[tuple[str, str]]:
    """What the answer to an action's question must say, so that it is about the same jobs."""
    across = request.POST.get("select_across", "0")
    # All that match the filter are found again by it; a form has room for a page of ids.
    chosen = jobs[:1] if across == "1" else jobs
    return [
        ("action", action),
        ("select_across", across),
        ("apply", "1"),
        *((ACTION_CHECKBOX_NAME, str(job.pk)) for job in chosen),
    ]
