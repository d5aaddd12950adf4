"""Pages that belong to no one model: the part of the front page that renews itself, failures, and the panorama."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from scheduler_app.access import visible
from scheduler_app.conf import get_config
from scheduler_app.lifecycle import statistics

from . import panorama
from .front_page import DAY, failure_group, front_page, shown_group
from .overview import may_retry, may_see, pulse_of

View = Callable[..., HttpResponseBase]
EXECUTIONS_SHOWN = 50


def for_staff(*models: str) -> Callable[[View], View]:
    """A view within the admin, for those who may see all these models."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not all(may_see(request.user, model) for model in models):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return admin.site.admin_view(guarded)

    return decorate


def page(
    request: HttpRequest, template: str, title: str, context: dict[str, Any]
) -> TemplateResponse:
    """A page of the admin with its frame."""
    request.current_app = admin.site.name
    return TemplateResponse(
        request,
        f"admin/scheduler_app/{template}",
        {
            **admin.site.each_context(request),
            "title": title,
            "now": pulse_of(request).now,
            **context,
        },
    )


@for_staff()
def live_view(request: HttpRequest) -> HttpResponse:
    """The parts of the front page that renew themselves, alone."""
    response = render(request, "admin/scheduler_app/live.html", front_page(request))
    response["Cache-Control"] = "no-store"
    return response


@for_staff("execution")
@require_safe
def failures_view(request: HttpRequest, fingerprint: str) -> HttpResponseBase:
    """Failures of the last day that are the same, and the way to retry them."""
    group = failure_group(fingerprint)
    if group is None:
        raise Http404("No failure of the last day is of this kind any more.")
    executions = (
        visible.executions()
        .filter(pk__in=group.execution_ids[:EXECUTIONS_SHOWN])
        .select_related("job", "node")
        .for_lists()
        .defer("job__arguments", "job__description")
        .order_by("-scheduled_for", "-id")
    )
    first_at = statistics.first_failure_of(group)
    # What is pruned goes in batches, a while after its time.
    kept_for = timedelta(days=get_config().retention_days) - DAY
    return page(
        request,
        "failures.html",
        "The same failure",
        {
            "shown": shown_group(group, jobs=EXECUTIONS_SHOWN),
            "group": group,
            "first_at": first_at,
            "may_be_older": first_at and first_at < pulse_of(request).now - kept_for,
            "executions": executions,
            "more": max(0, group.count - EXECUTIONS_SHOWN),
            "may_retry": may_retry(request.user),
        },
    )


@for_staff("job", "execution")
def timeline_view(request: HttpRequest) -> HttpResponseBase:
    """What happened and what will, across jobs, on one axis."""
    context = panorama.timeline_context(request, pulse_of(request).now)
    return page(request, "timeline.html", "Timeline", context)


@for_staff("job")
def agenda_view(request: HttpRequest) -> HttpResponseBase:
    """The fire times of the next 24 hours."""
    context = panorama.agenda_context(request, pulse_of(request).now)
    return page(request, "agenda.html", "Agenda", context)


@for_staff("job")
def heat_view(request: HttpRequest) -> HttpResponseBase:
    """Where fire times crowd."""
    context = panorama.heat_context(request, pulse_of(request).now)
    return page(request, "heat.html", "Heat map", context)
