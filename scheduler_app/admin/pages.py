"""Pages that belong to no one model: the part of the front page that renews itself, failures, and the panorama."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.lifecycle import statistics

from . import panorama
from .display import count_text
from .front_page import DAY, front_page, shown_group
from .overview import may_see, pulse_of

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
def failures_view(request: HttpRequest, fingerprint: str) -> HttpResponseBase:
    """Failures of the last day that are the same; POST retries them."""
    may_run = request.user.has_perm("scheduler_app.run_job")
    group = next(
        (one for one in statistics.error_groups(DAY).groups if one.fingerprint == fingerprint), None
    )
    if group is None:
        if request.method == "POST":
            messages.warning(request, "Nothing is left to retry in this group.")
            return HttpResponseRedirect(reverse("admin:index"))
        raise Http404("No failure of the last day is of this kind any more.")
    if request.method == "POST":
        if not may_run:
            raise PermissionDenied
        _retry(request, group)
        return HttpResponseRedirect(reverse("admin:index"))
    executions = (
        visible.executions()
        .filter(pk__in=group.execution_ids[:EXECUTIONS_SHOWN])
        .select_related("job", "node")
        .for_lists()
        .defer("job__arguments", "job__description")
        .order_by("-scheduled_for", "-id")
    )
    return page(
        request,
        "failures.html",
        "The same failure",
        {
            "shown": shown_group(group, jobs=EXECUTIONS_SHOWN),
            "group": group,
            "executions": executions,
            "more": max(0, group.count - EXECUTIONS_SHOWN),
            "may_run": may_run,
        },
    )


def _retry(request: HttpRequest, group: statistics.ErrorGroup) -> None:
    """Those that are still failed; the others have been retried meanwhile, or their job is gone."""
    retried = lifecycle.retry(group.execution_ids, by=request.user.get_username())
    if retried:
        messages.success(request, f"{count_text(len(retried), 'execution')} will be tried again.")
    if left := group.count - len(retried):
        messages.warning(
            request,
            f"{count_text(left, 'execution')} cannot be retried: their job was deleted, or somebody was faster.",
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
