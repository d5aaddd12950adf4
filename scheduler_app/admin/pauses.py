"""The pauses of queues, tags and everything: what is held, by whom, until when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path

from scheduler_app import lifecycle
from scheduler_app.access import NotAllowed, visible
from scheduler_app.access.ownership import require_pause
from scheduler_app.lifecycle import RUN_NONE, CannotDo
from scheduler_app.models import Pause, PauseScope

from .base import SchedulerAdmin
from .definition import api_call
from .display import count_text, printable, span
from .filters import MenuFilter
from .job_filters import known_queues, known_tags
from .job_resume import RUN_IN_WORDS
from .overview import pulse_of
from .state import standing_pauses
from .verb_forms import ResumeForm, ScopePauseForm


class StandingFilter(MenuFilter):
    """Those that hold now, unless told otherwise."""

    title = "State"
    parameter_name = "state"
    template = "admin/scheduler_app/filter_tabs.html"
    all_label = "Standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("ended", "Ended"), ("all", "All")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Pause]) -> QuerySet[Pause]:
        if self.value() == "all":
            return queryset
        standing = standing_pauses().values("pk")
        if self.value() == "ended":
            return queryset.exclude(pk__in=standing)
        return queryset.filter(pk__in=standing)


@admin.register(Pause)
class PauseAdmin(SchedulerAdmin):
    """Pauses begin and end by verbs; nobody edits or deletes one."""

    list_display = ("id",)
    list_display_links = None
    sortable_by = ()
    ordering = ("-paused_at", "-id")
    list_filter = (StandingFilter,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pause]:
        """Those that hold, or held, what the user sees."""
        return visible.pauses()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits a pause; `change_pause` lets people end it."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may begin or end pauses sees them."""
        return any(
            request.user.has_perm(f"scheduler_app.{verb}_pause")
            for verb in ("view", "add", "change")
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """End a pause."""
        return request.user.has_perm("scheduler_app.change_pause")

    def rights(self, request: HttpRequest) -> dict[str, bool]:
        """And whether the user may end pauses."""
        return {**super().rights(request), "resume": self.has_resume_permission(request)}

    def get_urls(self) -> list[URLPattern]:
        """The stock addresses and that of resuming."""
        return [
            path(
                "<int:pause_id>/resume/",
                self.admin_site.admin_view(self.resume_view),
                name="scheduler_app_pause_resume",
            ),
            *super().get_urls(),
        ]

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Ask what to pause, why and until when."""
        self.require(self.has_add_permission(request))
        form = ScopePauseForm(
            request.POST or None,
            timezone="UTC",
            suggestions=self._suggestions,
            initial={name: request.GET[name] for name in ("scope", "value") if name in request.GET},
        )
        if request.method == "POST" and form.is_valid():
            values = form.cleaned_data
            try:
                pause = lifecycle.pause_scope(
                    values["scope"],
                    values["value"],
                    by=request.user.get_username(),
                    reason=values["reason"],
                    until=values["until"],
                )
            except (CannotDo, NotAllowed) as error:
                form.add_error(None, str(error))
            else:
                self.say(request, f"Paused {pause}.")
                return HttpResponseRedirect(self.list_url(request))
        return self.page(
            request,
            "verb.html",
            {
                "title": "Pause a queue, a tag or everything",
                "text": "While it stands, the fire times of the jobs it covers become no executions, and what "
                "waits does not begin. What runs goes on.",
                "form": form,
                "submit": "Pause",
                "api_call": api_call(
                    request,
                    "pause-list",
                    scope=request.GET.get("scope") or PauseScope.QUEUE,
                    value=request.GET.get("value") or "default",
                    reason="why",
                ),
                "cancel_url": self.list_url(request),
            },
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """A pause is told whole by the list."""
        return HttpResponseRedirect(f"{self.list_url(request)}?state=all")

    def resume_view(self, request: HttpRequest, pause_id: int) -> HttpResponse:
        """GET: what was missed, and which of it to run. POST: end it; without a choice only where there is none."""
        self.require(self.has_resume_permission(request))
        pause = visible.pauses().filter(pk=pause_id).first()
        if pause is None:
            raise Http404("There is no such pause; it may have been pruned.")
        require_pause(pause.scope, pause.value)
        missed, jobs = (0, 0)
        if pause.ended_at is None:
            missed, jobs = lifecycle.missed_by_pause(pause, now=pulse_of(request).now)
        is_answer = "run" in request.POST
        form = ResumeForm(
            request.POST if is_answer else None,
            missed=missed,
            of_many=jobs > 1,
            may_run=self.has_run_permission(request),
        )
        if request.method == "POST" and (form.is_valid() if is_answer else not missed):
            run = form.cleaned_data["run"] if is_answer else RUN_NONE
            try:
                self._resume(request, pause, run)
                return HttpResponseRedirect(self.list_url(request))
            except CannotDo as error:
                form.add_error(None, str(error))
        return self.page(
            request,
            "verb.html",
            {
                "title": f"Resume {pause}",
                "text": _in_words(pause, missed, jobs, pulse_of(request).now),
                "form": form,
                "submit": "Resume",
                "api_call": api_call(request, "pause-resume", pause.pk),
                "cancel_url": self.list_url(request),
            },
        )

    def _resume(self, request: HttpRequest, pause: Pause, run: str) -> None:
        if lifecycle.resume_scope(pause.pk, by=request.user.get_username(), run=run):
            self.say(request, f"Resumed {printable(pause)}{RUN_IN_WORDS[run]}.")
        else:
            self.say(request, f"The pause of {printable(pause)} was over.", problem=True)

    def _suggestions(self) -> list[tuple[str, str]]:
        return [
            *((queue, "queue") for queue in known_queues()),
            *((tag, "tag") for tag in known_tags()),
        ]


def _in_words(pause: Pause, missed: int, jobs: int, now: datetime) -> str:
    """`Paused for 3 h by Ana: DB work. 36 fire times of 4 jobs were missed.`"""
    if pause.ended_at is not None:
        return "This pause is over."
    text = f"Paused for {span(now - pause.paused_at)}"
    text += f" by {pause.paused_by}" if pause.paused_by else ""
    text += f": {pause.reason}" if pause.reason else ""
    count = f"{count_text(missed, 'fire time')} of {count_text(jobs, 'job')} "
    count += "was missed." if missed == 1 else "were missed."
    return f"{printable(text).rstrip('.')}. {count if missed else 'No fire time was missed.'}"
