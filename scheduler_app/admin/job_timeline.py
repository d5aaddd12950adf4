"""Why did it run, or not? Every fire time of a job with its verdict, page by page, and any one moment explained."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime
from django.utils.http import urlencode

from scheduler_app.lifecycle.timeline import Look, Verdict
from scheduler_app.rules.timetable import KNOWN_FROM, KNOWN_UNTIL, TICK

from .job_base import JobBase
from .overview import pulse_of
from .verb_forms import MomentForm

SHOWN = 50
"""Verdicts on a page."""
NEXT_SHOWN = 5


class JobTimeline(JobBase):
    """The page of verdicts; the sentences are those of `explainjob` and of the API."""

    def get_urls(self) -> list[URLPattern]:
        """Also the page's address."""
        return [
            path(
                "<int:job_id>/timeline/",
                self.admin_site.admin_view(self.timeline_view),
                name="scheduler_app_job_timeline",
            ),
            *super().get_urls(),
        ]

    def timeline_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Newest first, from `before` on; with `at`, what became of that moment."""
        self.require(self.has_view_permission(request) and self.may_see_fate(request))
        job = self._get_job(job_id)
        now = pulse_of(request).now
        form = MomentForm(request.GET if "at" in request.GET else None, timezone=job.timezone)
        at = form.cleaned_data["at"] if form.is_bound and form.is_valid() else None
        before = _moment(request.GET.get("before"))
        look = Look.at(job, now=now)
        found = look.timeline(KNOWN_FROM, min(before or now, now), limit=SHOWN + 1)
        verdicts, older = cut(found)
        return self.page(
            request,
            "job/timeline.html",
            {
                **self._header_context(request, job),
                "title": f"Timeline of {job.name}",
                "tab": "timeline",
                "crumb": "Timeline",
                "form": form,
                "at": at,
                "explanation": look.explain(at) if at else "",
                "following": look.following(limit=NEXT_SHOWN) if before is None else [],
                "verdicts": verdicts,
                "is_newest": before is None,
                "older": "?" + urlencode({"before": older.isoformat()}) if older else "",
            },
        )


def cut(found: Sequence[Verdict]) -> tuple[Sequence[Verdict], datetime | None]:
    """A page of verdicts, and the moment from which the next page goes on; those of one moment stay together."""
    if len(found) <= SHOWN:
        return found, None
    last = found[SHOWN].first_at
    kept = [verdict for verdict in found[:SHOWN] if verdict.first_at > last]
    # More at one moment than fit a page are cut all the same, rather than shown for ever.
    return (kept, last) if kept else (found[:SHOWN], last - TICK)


def _moment(text: str | None) -> datetime | None:
    """A moment from an address; None for what is none."""
    try:
        moment = parse_datetime((text or "")[:64])
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None or not KNOWN_FROM <= moment <= KNOWN_UNTIL:
        return None
    return moment
