"""The job's form: added, changed, deleted; saved through `lifecycle`, with its author."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from django.db import IntegrityError, router, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.lifecycle import TRIED, CannotDo
from scheduler_app.lifecycle.impact import impact
from scheduler_app.models import Execution, Job
from scheduler_app.models.job import Provenance
from scheduler_app.rules.problems import Invalid

from .filters import whole_number
from .forms import JobForm
from .job_base import JobBase
from .overview import pulse_of

TIMING = (
    *("schedule", "timezone", "day_match", "anchor_at", "start_at", "end_at", "max_runs"),
    *("jitter_s", "calendar", "calendar_mode", "on_closed"),
)
"""What decides about fire times."""


class JobEditing(JobBase):
    """The stock form with a preview of the schedule, and without the stock way of writing rows."""

    form = JobForm
    change_form_template = "admin/scheduler_app/job/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        """Also the address that the form's script asks."""
        return [
            path(
                "assist/",
                self.admin_site.admin_view(require_POST(self.assist_view)),
                name="scheduler_app_job_assist",
            ),
            *super().get_urls(),
        ]

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
            "How it is kept apart",
            {"fields": ("isolation", ("memory_limit_mb", "cpu_limit_s"))},
        ),
        ("How long its history is kept", {"fields": (("keep_days", "keep_last"),)}),
        (
            "When it overlaps or was missed",
            {"fields": (("on_overlap", "max_running"), ("on_misfire", "misfire_grace_s"))},
        ),
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
            job_id = whole_number(object_id)
            if job_id is None:
                raise Http404("There is no such job.")
            return HttpResponseRedirect(self.page_url(job_id))
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
            job = visible.jobs().select_for_update().filter(pk=job.pk).first()
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
        """With what the schedule in the form means, and the fields of what it would run."""
        form = context["adminform"].form
        context["tab"] = "edit"
        context["crumb"] = "Edit"
        context["may_test"] = self.has_run_permission(request)
        stored = None
        if obj is not None:
            stored = self._get_job(obj.pk)
            context.update(self._header_context(request, stored))
        context.update(self._meaning(request, form, stored))
        if form.is_bound and "_test" in request.POST:
            context["tested"] = self._test(request, form)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _test(self, request: HttpRequest, form: JobForm) -> Execution | None:
        """Run what the form says once, if what it says about that is right; nothing of it is saved."""
        self.require(self.has_run_permission(request))
        if wrong := [name for name in form.errors if name in TRIED]:
            labels = ", ".join(str(form[name].label) for name in wrong)
            self.say(request, f"Not run. Please correct first: {labels}.", problem=True)
            return None
        try:
            return lifecycle.try_out(form.instance, by=request.user.get_username())
        except CannotDo as error:
            form.add_error("arguments", str(error))
            return None

    def assist_view(self, request: HttpRequest) -> HttpResponse:
        """What the form means as it stands, for the script that asks while somebody types. Saves nothing."""
        job_id = whole_number(request.GET.get("job"))
        stored = None if job_id is None else self._get_job(job_id)
        self.require(
            self.has_change_permission(request) if stored else self.has_add_permission(request)
        )
        instance = None if stored is None else Job.objects.get(pk=stored.pk)
        form = cast(JobForm, self.get_form(request, instance)(request.POST, instance=instance))
        context = {"form": form, **self._meaning(request, form, stored)}
        return self.page(request, "job/assist.html", context)

    def _meaning(self, request: HttpRequest, form: JobForm, stored: Job | None) -> dict[str, Any]:
        """What the schedule in the form means, what is wrong with it, and what it changes about the stored job."""
        now = pulse_of(request).now
        errors = dict(form.errors) if form.is_bound else {}
        try:
            found = impact(form.instance.spec(), now=now, stored=stored)
        except Invalid:
            found = None
        if not form.is_bound:
            # Opened and not changed yet: before is after.
            found = None if found is None else replace(found, before=None)
        elif {"schedule", "timezone"} & form.unread:
            found = None
        return {
            "now": now,
            "impact": found,
            "zone": form.instance.timezone,
            "zone_before": stored.timezone if stored else "",
            "is_preview": form.is_bound and form.is_preview,
            "timing_errors": [
                (str(form[name].label), [str(message) for message in errors[name]])
                for name in TIMING
                if name in errors
            ],
            "known": form.description_of_target,
            "is_task": form.instance.kind == "task",
            "what_fields": [form["kind"], form["target"]],
            "tasks": () if any(form.description_of_target) else form.tasks_to_choose,
        }

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
