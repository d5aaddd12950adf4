"""The page of a job: what it does and when, how it went, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from scheduler_app.lifecycle.timeline import Look
from scheduler_app.models import Execution, Job, JobPlan, JobRevision, Status
from scheduler_app.rules.masking import masked, masked_text
from scheduler_app.rules.timetable import jitter_of

from .definition import api_call, texts_of
from .durations import duration_chart
from .history import edits
from .job_backfill import progress_of
from .job_base import JobBase, plan_of
from .job_filters import pauses_of
from .overview import pulse_of
from .preview import skippable, upcoming_of
from .queries import LastRun, last_runs
from .since_green import LOOKED_AT, since_green
from .state import is_overdue
from .strip import CELLS, fates_of, strip_html, summary

EXECUTIONS_SHOWN = 6
VERDICTS_SHOWN = 12
GAPS_READ = 30
REVISIONS_SHOWN = 10

POLICY_FIELDS = (
    *("queue", "priority", "timeout_s", "max_attempts", "retry_backoff_s", "retry_factor"),
    *("retry_cap_s", "retry_jitter", "guarantee", "on_overlap", "max_running", "on_misfire"),
    *("misfire_grace_s", "isolation", "memory_limit_mb", "cpu_limit_s", "keep_days", "keep_last"),
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
        pauses = pauses_of(request)
        revisions = list(
            JobRevision.objects.filter(job=job).order_by("-version")[: REVISIONS_SHOWN + 1]
        )
        return self.page(
            request,
            "job/detail.html",
            {
                **self._header_context(request, job),
                **self._fate(request, job, revisions, now),
                "title": job.name,
                "tab": "overview",
                "preview": upcoming_of(job, now=now, pauses=pauses),
                "overdue": is_overdue(plan, now),
                "skip_at": _to_be_skipped(plan),
                "skippable": skippable(job, plan, pauses=pauses),
                "jitter": jitter_of(job.name, job.jitter_s),
                "edits": edits(revisions, REVISIONS_SHOWN),
                "has_older_edits": len(revisions) > REVISIONS_SHOWN,
                "arguments": masked(job.arguments),
                "target": masked_text(job.target),
                "texts": texts_of(request, job),
                "api_call": api_call(request, "job-skip-next", job.pk),
                "policies": [_policy(job, name) for name in POLICY_FIELDS],
            },
        )

    def _fate(
        self, request: HttpRequest, job: Job, revisions: Sequence[JobRevision], now: datetime
    ) -> dict[str, Any]:
        """What became of its fire times, as far as the user may know it: the newest rows are read once for all."""
        if not request.user.has_perm("scheduler_app.view_execution"):
            return {"last": last_runs([job.pk])[job.pk], "executions": None, "verdicts": None}
        executions = list(
            Execution.objects.filter(job=job)
            .for_lists()
            .select_related("node")
            .order_by("-scheduled_for", "-id")[:LOOKED_AT]
        )
        versions = {revision.pk: revision.version for revision in revisions}
        chart = duration_chart(executions, versions, job.timezone)
        found: dict[str, Any] = {
            "last": _last_of(job, executions),
            "executions": executions[:EXECUTIONS_SHOWN],
            "verdicts": None,
            "chart": chart,
            "since_green": since_green(executions, chart.usual if chart else ""),
        }
        if any(execution.backfill for execution in executions):
            found["backfills"] = progress_of(job)
        if self.may_see_fate(request):
            gaps = list(job.gaps.order_by("-first_at")[:GAPS_READ])
            decided = Look.at(job, now=now).decided(
                executions[:VERDICTS_SHOWN], gaps[:VERDICTS_SHOWN]
            )
            found["verdicts"] = decided[:VERDICTS_SHOWN]
            found["cells"] = fates_of(job, executions, gaps, now)
            found["strip"] = strip_html(found["cells"], size=CELLS)
            found["strip_summary"] = summary(found["cells"])
        return found


def _last_of(job: Job, executions: Sequence[Execution]) -> LastRun:
    """As `last_runs` finds it, from the newest executions."""
    last = next((one for one in executions if one.finished_at is not None), None)
    live = [one.status for one in executions if one.is_live]
    running = live.count(Status.RUNNING)
    return LastRun(
        job.pk,
        last.pk if last else None,
        last.status if last else "",
        last.reason if last else "",
        masked_text(last.error)[:300] if last else "",
        last.scheduled_for if last else None,
        last.started_at if last else None,
        last.finished_at if last else None,
        running,
        len(live) - running,
    )


def _to_be_skipped(plan: JobPlan | None) -> datetime | None:
    """The fire time that is to be skipped, while it has not come."""
    if plan is None or plan.skip_at is None or plan.skip_at <= plan.decided_until:
        return None
    return plan.skip_at


def _policy(job: Job, name: str) -> tuple[str, str]:
    field = Job._meta.get_field(name)
    display = getattr(job, f"get_{name}_display", None)
    value = display() if display else getattr(job, name)
    label = str(getattr(field, "verbose_name", name))
    if isinstance(value, float):
        value = f"{value:g}"
    return label[:1].upper() + label[1:], "" if value is None else str(value)
