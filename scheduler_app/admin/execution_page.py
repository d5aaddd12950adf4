"""The page of one execution: what it did, how it went, what it printed; cancel, retry, run again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.access.rights import may_use
from scheduler_app.lifecycle import CannotDo, statistics
from scheduler_app.models import Execution
from scheduler_app.models.execution import UNSUCCESSFUL
from scheduler_app.rules.masking import has_mask, masked, masked_text
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.tracebacks import own_places

from .base import CappedPaginator, ReadOnlyAdmin
from .display import count_text, pretty_json
from .execution_log import place_of, shown_log
from .filters import whole_number
from .front_page import DAY
from .job_base import arguments_for, arguments_of, execution_url
from .since_green import BAD, since_green_of

FAILURES_SHOWN = 20
TEXT_SHOWN = 32 * 1024
"""Characters of a traceback, a result or an answer on the page; more could only be scrolled past."""


class ExecutionPage(ReadOnlyAdmin):
    """The page and its verbs, and the same verbs for what is selected in the list."""

    actions = ("cancel_selected", "retry_selected")

    def get_urls(self) -> list[URLPattern]:
        """Also the addresses of the verbs."""
        view = self.admin_site.admin_view
        post = {
            "cancel": self.cancel_view,
            "retry": self.retry_view,
            "again": self.run_again_view,
        }
        return [
            *(
                path(
                    f"<int:execution_id>/{name}/",
                    view(require_POST(verb)),
                    name=f"scheduler_app_execution_{name}",
                )
                for name, verb in post.items()
            ),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Everything that is known about one execution."""
        self.require(self.has_view_permission(request))
        execution_id = whole_number(object_id)
        if execution_id is None:
            raise Http404("There is no such execution.")
        execution = self._get_execution(execution_id)
        before, offset = place_of(request.GET.get("before"))
        job = execution.job
        revision = execution.revision
        spec = JobSpec.from_json(revision.spec if revision else None, execution.spec)
        result = masked(execution.result)
        return self.page(
            request,
            "execution/detail.html",
            {
                "title": f"Execution {execution.pk}",
                "execution": execution,
                "job": job,
                "zone": job.timezone if job else spec.timezone,
                "spec": spec,
                "name": job.name if job else spec.name,
                "target": masked_text(spec.target),
                "arguments": masked(arguments_of(execution) if revision else spec.arguments),
                "has_own_arguments": "arguments" in (execution.spec or {}),
                "revision": revision,
                "is_current": bool(job and revision and job.version == revision.version),
                "error": masked_text(execution.error),
                "result": None if result is None else _shortened(pretty_json(result)),
                "exchange": _exchange(spec.kind, result),
                "drift": _first_drift(execution),
                "traceback": _shortened(masked_text(execution.traceback)),
                "places": own_places(execution.traceback),
                "since_green": since_green_of(execution),
                "group": statistics.fingerprint_of(execution.pk, DAY)
                if execution.status in BAD
                else "",
                "failures": [_failure(one) for one in execution.failures[::-1][:FAILURES_SHOWN]],
                "older_failures": max(0, len(execution.failures) - FAILURES_SHOWN),
                "log": shown_log(execution.pk, before, offset),
                "is_earlier": before is not None,
                "follows": execution.is_live and before is None,
                "can": verbs_for(
                    execution,
                    self.has_run_permission(request),
                    may_use(request.user, spec.kind, spec.target),
                ),
            },
        )

    def cancel_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """What waits never begins; what runs is asked to stop."""
        self.require(self.has_view_permission(request) and self.has_run_permission(request))
        self._cancel(request, [self._get_execution(execution_id)])
        return self.back(request, execution_url(execution_id))

    def retry_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """The same execution, one more attempt."""
        self.require(self.has_view_permission(request) and self.has_run_permission(request))
        self._retry(request, [self._get_execution(execution_id)])
        return self.back(request, execution_url(execution_id))

    def run_again_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """A new execution of the same job, with the arguments of this one."""
        self.require(self.has_view_permission(request) and self.has_run_permission(request))
        execution = self._get_execution(execution_id)
        job = execution.job
        if job is None or job.deleted_at is not None:
            self.say(request, "The job of this execution was deleted.", problem=True)
            return self.back(request, execution_url(execution_id))
        arguments = arguments_for(execution, job)
        if has_mask(arguments):
            self.say(
                request,
                "Nothing was run: the job has another target now, and the hidden values of this execution are not "
                "sent there. Choose “Run again with…” and type them, or run the job with its own arguments.",
                problem=True,
            )
            return self.back(request, execution_url(execution_id))
        try:
            [started] = lifecycle.run_now(
                [job.pk],
                by=request.user.get_username(),
                arguments=None if arguments == job.arguments else arguments,
            )
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return self.back(request, execution_url(execution_id))
        self.say(request, f"Execution {started.pk} is on its way.")
        return self.back(request, execution_url(started.pk))

    @admin.action(permissions=["run"], description="Cancel")
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        """Cancel those of the chosen that live."""
        self._cancel(request, self._chosen(queryset))

    @admin.action(permissions=["retry"], description="Retry")
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        """Retry those of the chosen that did not succeed."""
        self._retry(request, self._chosen(queryset))

    def _chosen(self, queryset: QuerySet[Execution]) -> list[Execution]:
        return list(queryset.select_related(None).only("pk")[: CappedPaginator.CAP])

    def _cancel(self, request: HttpRequest, executions: Sequence[Execution]) -> None:
        answer = lifecycle.cancel(
            [execution.pk for execution in executions], by=request.user.get_username()
        )
        if answer.cancelled:
            self.say(request, f"{count_text(len(answer.cancelled), 'execution')} cancelled.")
        if answer.requested:
            count = count_text(len(answer.requested), "running execution")
            self.say(request, f"{count} asked to stop.")
        if answer.finished:
            count = count_text(len(answer.finished), "execution")
            self.say(request, f"{count} finished before.", problem=True)

    def _retry(self, request: HttpRequest, executions: Sequence[Execution]) -> None:
        retried = set(
            lifecycle.retry(
                [execution.pk for execution in executions], by=request.user.get_username()
            )
        )
        if retried:
            self.say(request, f"{count_text(len(retried), 'execution')} will be tried again.")
        if left := len(executions) - len(retried):
            self.say(
                request,
                f"{count_text(left, 'execution')} cannot be retried: only those that failed, were lost "
                "or cancelled can, while their job exists.",
                problem=True,
            )

    def _get_execution(self, execution_id: int) -> Execution:
        execution = (
            visible.executions_by_id()
            .select_related("job", "node", "revision")
            .filter(pk=execution_id)
            .first()
        )
        if execution is None:
            raise Http404("There is no such execution; it may have been pruned.")
        return execution


def _first_drift(execution: Execution) -> timedelta | None:
    """How late the first attempt started: later ones wait on purpose."""
    if execution.attempt <= 1:
        return execution.drift
    for failure in execution.failures:
        try:
            return datetime.fromisoformat(failure["started_at"]) - execution.scheduled_for
        except (KeyError, TypeError, ValueError):
            continue
    return None


def verbs_for(execution: Execution, may_run: bool, may_use_target: bool) -> dict[str, bool]:
    """What the user may do with it; to stop something needs no right to what it does."""
    may_run_it = may_run and may_use_target
    job_exists = execution.job is not None and execution.job.deleted_at is None
    return {
        "cancel": may_run and execution.is_live and execution.cancel_requested_at is None,
        "retry": may_run_it
        and execution.status in UNSUCCESSFUL
        and (job_exists or execution.job_id is None),
        "again": may_run_it and job_exists,
    }


def _exchange(kind: str, result: Any) -> dict[str, Any] | None:
    """The result of an HTTP call as an exchange, if it is one."""
    if kind != "http" or not isinstance(result, dict) or not {"method", "url"} <= result.keys():
        return None
    # Written by the target, but a page must open whatever stands in the row.
    headers = result.get("headers")
    return {**result, "headers": headers if isinstance(headers, dict) else {}}


def _failure(found: Any) -> Any:
    """An earlier attempt, masked and with its own places."""
    if not isinstance(found, dict):
        return found
    traceback = str(found.get("traceback") or "")
    shown = masked({name: value for name, value in found.items() if name != "traceback"})
    return {
        **shown,
        "traceback": _shortened(masked_text(traceback)),
        "places": own_places(traceback),
    }


def _shortened(text: str) -> str:
    """The beginning and the end of a long text: in between lies what repeats."""
    if len(text) <= TEXT_SHOWN:
        return text
    half = TEXT_SHOWN // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters are not shown …\n{text[-half:]}"
