"""The page of a job: what it does and when, how it went, and what changed."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from scheduler_app.models import Execution, Job, JobRevision
from scheduler_app.rules.masking import masked, masked_text

from .history import edits
from .job_base import JobBase, plan_of
from .overview import pulse_of
from .preview import preview
from .queries import last_runs
from .state import is_overdue

EXECUTIONS_SHOWN = 20
GAPS_SHOWN = 10
REVISIONS_SHOWN = 10

POLICY_FIELDS = (
    *("calendar", "calendar_mode", "on_closed"),
    *("queue", "priority", "timeout_s", "max_attempts", "retry_backoff_s", "retry_factor"),
    *("retry_cap_s", "retry_jitter", "guarantee", "on_overlap", "max_running", "on_misfire"),
    *("misfire_grace_s",),
)


class JobPage(JobBase):
    """The page that a job's name leads to."""

    def get_urls(self) -> list[URLPattern]:
        """Also the page's address."""
        view = self.admin_site.admin_view
        return [
            path("<int:job_id>/", view(self.detail_view), name="scheduler_app_job_detail"),
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

    def _last_executions(self, request: HttpRequest, job: Job) -> Any:
        if not request.user.has_perm("scheduler_app.view_execution"):
            return None
        return (
            Execution.objects.filter(job=job)
            .for_lists()
            .select_related("node")
            .order_by("-scheduled_for", "-id")[:EXECUTIONS_SHOWN]
        )


def _policy(job: Job, name: str) -> tuple[str, str]:
    field = Job._meta.get_field(name)
    display = getattr(job, f"get_{name}_display", None)
    value = display() if display else getattr(job, name)
    label = str(getattr(field, "verbose_name", name))
    if isinstance(value, float):
        value = f"{value:g}"
    return label[:1].upper() + label[1:], "" if value is None else str(value)
