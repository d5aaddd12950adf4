"""The job's form: added, changed, deleted; saved through `lifecycle`, with its author."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from scheduler_app import lifecycle
from scheduler_app.models import Job
from scheduler_app.models.job import Provenance
from scheduler_app.targets.task import known_tasks

from .forms import JobForm
from .job_base import JobBase, plan_of
from .overview import pulse_of
from .preview import preview


class JobEditing(JobBase):
    """The stock form with a preview of the schedule, and without the stock way of writing rows."""

    form = JobForm
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
            context["preview_zone"] = form.instance.timezone
        context["tasks"] = known_tasks()
        context["is_preview"] = form.is_bound and form.is_preview
        return super().render_change_form(request, context, add, change, form_url, obj)

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
