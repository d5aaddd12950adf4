"""The jobs: their list, the page of each, its form, and what can be done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import IntegrityError, router, transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo
from scheduler_app.models import Execution, Job, JobPlan, JobRevision, Status
from scheduler_app.models.job import Provenance
from scheduler_app.rules.masking import masked, masked_text
from scheduler_app.targets.task import known_tasks

from .base import SchedulerAdmin
from .display import count_text, printable
from .filters import whole_number
from .forms import JobForm, PauseForm, RunForm
from .history import edits
from .job_filters import KindFilter, QueueFilter, StateFilter, TagFilter, pauses_of
from .overview import pulse_of
from .preview import preview, schedule_of
from .queries import LastRun, last_runs
from .state import (
    NEXT_FIRE_FIRST,
    JobState,
    covers,
    is_overdue,
    state_of,
)

EXECUTIONS_SHOWN = 20
GAPS_SHOWN = 10
REVISIONS_SHOWN = 10

POLICY_FIELDS = (
    *("calendar", "calendar_mode", "on_closed"),
    *("queue", "priority", "timeout_s", "max_attempts", "retry_backoff_s", "retry_factor"),
    *("retry_cap_s", "retry_jitter", "guarantee", "on_overlap", "max_running", "on_misfire"),
    *("misfire_grace_s",),
)


@dataclass(slots=True)
class JobRow:
    """A job as the list shows it."""

    job: Job
    state: JobState
    sentence: str
    overdue: bool
    last: LastRun
    target: str


@admin.register(Job)
class JobAdmin(SchedulerAdmin):
    """Jobs change through the verbs of `lifecycle`, each with its permission and an entry in the log."""

    form = JobForm
    list_display = ("name", "next_fire")
    sortable_by = ("name", "next_fire")
    list_filter = (StateFilter, KindFilter, QueueFilter, TagFilter)
    search_fields = ("name", "target", "tags")
    search_help_text = "Name, target or tag"
    ordering = ("name", "id")
    actions = ("run_selected", "pause_selected", "resume_selected")
    fieldsets = (
        (None, {"fields": ("opened_version", "name", "description", "tags")}),
        ("What it does", {"fields": ("kind", "target", "arguments")}),
        ("When", {"fields": ("schedule", "timezone", "enabled")}),
        (
            "Limits of the schedule",
            {
                "classes": ("collapse",),
                "fields": (
                    ("start_at", "end_at"),
                    ("max_runs", "jitter_s"),
                    ("anchor_at", "day_match"),
                    ("calendar", "calendar_mode", "on_closed"),
                ),
            },
        ),
        ("Where and how urgent", {"fields": (("queue", "priority"),)}),
        (
            "When it fails",
            {
                "fields": (
                    ("timeout_s", "max_attempts"),
                    ("retry_backoff_s", "retry_factor"),
                    ("retry_cap_s", "retry_jitter"),
                    "guarantee",
                )
            },
        ),
        (
            "When it overlaps or was missed",
            {"fields": (("on_overlap", "max_running"), ("on_misfire", "misfire_grace_s"))},
        ),
    )

    # --- the list ---------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Jobs with their plans; those without one have not been planned yet."""
        jobs: QuerySet[Job] = Job.objects.select_related("plan")
        return jobs

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Every word in the name or target, or as a tag."""
        for word in search_term.replace("\x00", "").split()[:10]:
            queryset = queryset.filter(
                Q(name__icontains=word) | Q(target__icontains=word) | Q(tags__contains=[word])
            )
        return queryset, False

    @admin.display(ordering=NEXT_FIRE_FIRST)
    def next_fire(self, job: Job) -> Any:
        """What the list can be sorted by beside the name."""
        return plan_of(job) and job.plan.next_fire_at

    def rows(self, request: HttpRequest, objects: Sequence[Job]) -> list[JobRow]:
        """With the last outcome of each, in one more statement."""
        now = pulse_of(request).now
        pauses = pauses_of(request)
        last = last_runs(job.pk for job in objects)
        return [
            JobRow(
                job=job,
                state=state_of(job, plan_of(job), pauses, now),
                sentence=_sentence(job),
                overdue=is_overdue(plan_of(job), now),
                last=last[job.pk],
                target=masked_text(job.target),
            )
            for job in objects
        ]

    # --- the page and the form ---------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The stock addresses and those of the page and its verbs."""
        view = self.admin_site.admin_view
        return [
            path("<int:job_id>/", view(self.detail_view), name="scheduler_app_job_detail"),
            path("<int:job_id>/run/", view(self.run_view), name="scheduler_app_job_run"),
            path("<int:job_id>/pause/", view(self.pause_view), name="scheduler_app_job_pause"),
            path(
                "<int:job_id>/resume/",
                view(require_POST(self.resume_view)),
                name="scheduler_app_job_resume",
            ),
            *super().get_urls(),
        ]

    def detail_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """What the job does and when, how it went, and what changed."""
        self.require(self.has_view_permission(request))
        job = self._get_job(job_id)
        now = pulse_of(request).now
        plan = plan_of(job)
        revisions = list(
            JobRevision.objects.filter(job=job).order_by("-version")[: REVISIONS_SHOWN + 1]
        )
        return self.page(
            request,
            "job/detail.html",
            {
                **self._header_context(request, job),
                "title": job.name,
                "tab": "overview",
                "preview": preview(job, now=now, runs=plan.runs if plan else 0),
                "overdue": is_overdue(plan, now),
                "last": last_runs([job.pk])[job.pk],
                "executions": self._last_executions(request, job),
                "gaps": job.gaps.order_by("-first_at")[:GAPS_SHOWN]
                if request.user.has_perm("scheduler_app.view_gap")
                else None,
                "edits": edits(revisions, REVISIONS_SHOWN),
                "has_older_edits": len(revisions) > REVISIONS_SHOWN,
                "arguments": masked(job.arguments),
                "target": masked_text(job.target),
                "policies": [_policy(job, name) for name in POLICY_FIELDS],
            },
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form; those who may only look get the page, which masks what is secret."""
        if self.has_view_permission(request) and not self.has_change_permission(request):
            return HttpResponseRedirect(self.page_url(object_id))
        return super().change_view(request, object_id, form_url, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """As the stock view, but a name that was taken this moment is said, not a server error."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError as error:
            if "one_job_per_name" not in str(error):
                raise
            self.say(
                request,
                "Another job was given this name a moment ago. Nothing was saved.",
                problem=True,
            )
            return HttpResponseRedirect(request.get_full_path())

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Job | None:
        """Locked when it is about to be saved, so that the version that is checked is the one overwritten."""
        job: Job | None = super().get_object(request, object_id, from_field)
        if job is not None and transaction.get_connection(router.db_for_write(Job)).in_atomic_block:
            job = Job.objects.select_for_update().filter(pk=job.pk).first()
        return job

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Job | None = None,
    ) -> HttpResponse:
        """With what the schedule in the form means."""
        form = context["adminform"].form
        now = pulse_of(request).now
        context["now"] = now
        context["tab"] = "edit"
        if obj is not None:
            context.update(self._header_context(request, Job.objects.get(pk=obj.pk)))
        if not (form.is_bound and {"schedule", "timezone"} & set(form.errors)):
            runs = obj.plan.runs if obj is not None and plan_of(obj) else 0
            context["preview"] = preview(form.instance, now=now, runs=runs)
        context["tasks"] = known_tasks()
        context["is_preview"] = form.is_bound and form.is_preview
        return super().render_change_form(request, context, add, change, form_url, obj)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What was done by the admin, under the head of the job's other pages."""
        job_id = whole_number(object_id)
        if job_id is None:
            raise Http404("There is no such job.")
        header = {**self._header_context(request, self._get_job(job_id)), "tab": "log"}
        return super().history_view(request, object_id, {**header, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Job, form: JobForm, change: bool) -> None:
        """Through `lifecycle`, with the author in the job's history."""
        if not change:
            obj.provenance = Provenance.ADMIN
            obj.owner = request.user  # type: ignore[assignment]
        lifecycle.save_job(obj, by=request.user.get_username())

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        """Mark it as deleted; its history stays until it is pruned."""
        lifecycle.delete_jobs([obj.pk], by=request.user.get_username())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """As `delete_model`."""
        lifecycle.delete_jobs(queryset.values_list("pk", flat=True), by=request.user.get_username())

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Only the jobs themselves: nothing is deleted with them, what waits is cancelled."""
        names = [job.name for job in objs]
        return names, {"jobs": len(names)}, set(), []

    def response_post_save_add(self, request: HttpRequest, obj: Job) -> HttpResponseRedirect:
        """To the job's page, which shows when it fires."""
        return HttpResponseRedirect(self.page_url(obj.pk))

    def response_post_save_change(self, request: HttpRequest, obj: Job) -> HttpResponseRedirect:
        """To the job's page, which shows when it fires now."""
        return HttpResponseRedirect(self.page_url(obj.pk))

    # --- verbs --------------------------------------------------------------------------------

    def run_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """GET: a form for other arguments. POST: run now, with the form's arguments or the job's own."""
        self.require(self.has_run_permission(request))
        job = self._get_job(job_id)
        if request.method != "POST" or "arguments" in request.POST:
            return self._run_with_arguments(request, job)
        try:
            [execution] = lifecycle.run_now([job.pk], by=request.user.get_username())
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return self.back(request, self.page_url(job.pk))
        self.log(request, [job], "Run now.")
        self._say_started(request, [execution])
        return self.back(request, self.page_url(job.pk))

    def pause_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """GET: ask why and until when. POST: pause."""
        self.require(self.has_pause_permission(request))
        job = self._get_job(job_id)
        form = PauseForm(request.POST or None, timezone=job.timezone)
        if request.method == "POST" and form.is_valid():
            self._pause(request, [job], form)
            return self.back(request, self.page_url(job.pk))
        return self._ask_pause(request, form, [job], self.back(request, self.page_url(job.pk)).url)

    def resume_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Fire again from now on."""
        self.require(self.has_pause_permission(request))
        job = self._get_job(job_id)
        self._resume(request, [job])
        return self.back(request, self.page_url(job.pk))

    @admin.action(permissions=["run"], description="Run now")
    def run_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """One execution of each, at once or when the job's limit allows."""
        jobs = list(queryset)
        try:
            executions = lifecycle.run_now([job.pk for job in jobs], by=request.user.get_username())
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return
        self.log(request, jobs, "Run now.")
        self._say_started(request, executions)

    @admin.action(permissions=["pause"], description="Pause…")
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Ask why and until when, then pause."""
        jobs = list(queryset)
        zones = {job.timezone for job in jobs}
        is_answer = "apply" in request.POST
        form = PauseForm(
            request.POST if is_answer else None, timezone=zones.pop() if len(zones) == 1 else "UTC"
        )
        if is_answer and form.is_valid():
            self._pause(request, jobs, form)
            return None
        across = request.POST.get("select_across", "0")
        # All that match the filter are found again by it; a form has room for a page of ids.
        chosen = jobs[:1] if across == "1" else jobs
        carried = [
            ("action", "pause_selected"),
            ("select_across", across),
            ("apply", "1"),
            *((ACTION_CHECKBOX_NAME, str(job.pk)) for job in chosen),
        ]
        return self._ask_pause(request, form, jobs, request.get_full_path(), carried)

    @admin.action(permissions=["pause"], description="Resume")
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Fire again from now on."""
        self._resume(request, list(queryset))

    def _run_with_arguments(self, request: HttpRequest, job: Job) -> HttpResponse:
        source, stored = self._arguments_to_start_from(request, job)
        form = RunForm(request.POST or None, stored=stored)
        if request.method == "POST" and form.is_valid():
            arguments = form.cleaned_data["arguments"]
            try:
                [execution] = lifecycle.run_now(
                    [job.pk],
                    by=request.user.get_username(),
                    arguments=None if arguments == job.arguments else arguments,
                )
            except CannotDo as error:
                form.add_error("arguments", str(error))
            else:
                same = "" if arguments == job.arguments else " with other arguments"
                self.log(request, [job], f"Run now{same}.")
                self._say_started(request, [execution])
                return HttpResponseRedirect(execution_url(execution.pk))
        return self.page(
            request,
            "verb.html",
            {
                "title": f"Run {printable(job.name)} now",
                "text": "One execution with these arguments; the job itself stays as it is."
                + (f" They are those of execution {source}." if source else ""),
                "form": form,
                "submit": "Run now",
                "cancel_url": self.page_url(job.pk),
                "crumbs": [(job.name, self.page_url(job.pk))],
            },
        )

    def _arguments_to_start_from(self, request: HttpRequest, job: Job) -> tuple[int | None, Any]:
        """Those of the execution that the address names, if it is the job's; the job's own otherwise."""
        wanted = whole_number(request.GET.get("execution"))
        if wanted is not None:
            found = Execution.objects.filter(pk=wanted, job=job).select_related("revision")
            if (execution := found.first()) is not None:
                return execution.pk, arguments_of(execution)
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
        ending = f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
        self.log(
            request,
            [job for job in jobs if job.pk in set(paused)],
            f"Paused{ending}" + (f": {reason}" if reason else "."),
        )
        self._say_done(request, "paused", jobs, len(paused))

    def _resume(self, request: HttpRequest, jobs: Sequence[Job]) -> None:
        resumed = lifecycle.resume([job.pk for job in jobs], by=request.user.get_username())
        self.log(request, [job for job in jobs if job.pk in set(resumed)], "Resumed.")
        self._say_done(request, "resumed", jobs, len(resumed))
        held = [pause for pause in pauses_of(request) if any(covers(pause, job) for job in jobs)]
        if held:
            names = ", ".join(str(pause) for pause in held)
            self.say(
                request, f"A pause still holds: {names}. It is ended under Pauses.", problem=True
            )

    def _say_done(self, request: HttpRequest, verb: str, jobs: Sequence[Job], done: int) -> None:
        if done:
            what = printable(jobs[0].name) if len(jobs) == done == 1 else count_text(done, "job")
            self.say(request, f"{what}: {verb}.")
        if left := len(jobs) - done:
            already = "paused already" if verb == "paused" else "not paused"
            self.say(request, f"{count_text(left, 'job')}: {already}.", problem=True)

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
                "subjects": [job.name for job in jobs[:30]] if len(jobs) > 1 else [],
                "more_subjects": max(0, len(jobs) - 30),
            },
        )

    # --- shared -------------------------------------------------------------------------------

    def page_url(self, job_id: int | str) -> str:
        """The job's page."""
        return reverse("admin:scheduler_app_job_detail", args=[job_id])

    def _get_job(self, job_id: int) -> Job:
        job: Job | None = Job.objects.select_related("plan").filter(pk=job_id).first()
        if job is None:
            raise Http404("There is no such job; it may have been deleted.")
        return job

    def _header_context(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        return {
            "job": job,
            "plan": plan_of(job),
            "state": state_of(job, plan_of(job), pauses_of(request), pulse_of(request).now),
            "sentence": _sentence(job),
            "may": self.rights(request),
        }

    def _last_executions(self, request: HttpRequest, job: Job) -> Any:
        if not request.user.has_perm("scheduler_app.view_execution"):
            return None
        return (
            Execution.objects.filter(job=job)
            .for_lists()
            .select_related("node")
            .order_by("-scheduled_for", "-id")[:EXECUTIONS_SHOWN]
        )


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


def _sentence(job: Job) -> str:
    schedule = schedule_of(job)
    return schedule.describe() if schedule else ""


def _policy(job: Job, name: str) -> tuple[str, str]:
    field = Job._meta.get_field(name)
    display = getattr(job, f"get_{name}_display", None)
    value = display() if display else getattr(job, name)
    label = str(getattr(field, "verbose_name", name))
    if isinstance(value, float):
        value = f"{value:g}"
    return label[:1].upper() + label[1:], "" if value is None else str(value)
