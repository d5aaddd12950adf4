"""The executions: what ran, what runs, what waits; the page of each with its log; cancel, retry, run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, F, Func, IntegerField, QuerySet, Sum, Window
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo
from scheduler_app.models import Execution, Job, LogChunk, Node, Status, Trigger
from scheduler_app.models.clock import DatabaseNow
from scheduler_app.models.execution import LIVE, UNSUCCESSFUL
from scheduler_app.rules.masking import masked, masked_text
from scheduler_app.rules.spec import JobSpec

from .base import CappedPaginator, ReadOnlyAdmin
from .display import count_text, printable
from .filters import JobFilter, MenuFilter, whole_number
from .job_base import arguments_of, execution_url

LOG_SHOWN = 256 * 1024
"""Bytes of log on a page; the whole can be downloaded."""
FAILURES_SHOWN = 20
JOBS_FOUND = 200
"""Jobs that a search by name takes together."""
NODES_IN_MENU = 20

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}


class StatusFilter(MenuFilter):
    """By status; the unsuccessful and the live together have an index of their own."""

    title = "Status"
    parameter_name = "status"
    template = "admin/scheduler_app/filter_tabs.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("live", "Live"),
            ("unsuccessful", "Unsuccessful"),
            *((status.value, str(status.label)) for status in Status),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        value = self.value()
        if value == "live":
            return queryset.filter(status__in=LIVE)
        if value == "unsuccessful":
            return queryset.filter(status__in=UNSUCCESSFUL)
        if value in LIVE:
            # The condition of the index as well, so that it is used.
            return queryset.filter(status__in=LIVE).filter(status=value)
        if value in UNSUCCESSFUL:
            return queryset.filter(status__in=UNSUCCESSFUL).filter(status=value)
        return queryset.filter(status=value) if value else queryset


class WhenFilter(MenuFilter):
    """By fire time. What no index helps to find is looked for in the last day, unless told otherwise."""

    title = "Time"
    parameter_name = "when"
    WITHOUT_INDEX = ("trigger", "node")

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        self._default = "24h" if any(request.GET.get(name) for name in self.WITHOUT_INDEX) else None
        super().__init__(request, *args)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days")]

    def value(self) -> str | None:
        """The period, `all` for any time."""
        return super().value() or self._default

    def choices(self, changelist: Any) -> Any:
        """As they are, but any time has to be said where it is not the default."""
        for choice in super().choices(changelist):
            if choice.get("is_all"):
                yield {
                    **choice,
                    "selected": self.value() in (None, "all"),
                    "display": "Any time",
                    "query_string": changelist.get_query_string({self.parameter_name: "all"}),
                }
            else:
                yield choice

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        period = PERIODS.get(self.value() or "")
        return queryset.filter(scheduled_for__gt=DatabaseNow() - period) if period else queryset


class TriggerFilter(MenuFilter):
    """By what asked for it."""

    title = "Trigger"
    parameter_name = "trigger"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(trigger.value, str(trigger.label)) for trigger in Trigger]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        return queryset.filter(trigger=self.value()) if self.value() else queryset


class NodeFilter(MenuFilter):
    """By the node that ran it."""

    title = "Node"
    parameter_name = "node"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        nodes = Node.objects.order_by("-id").values_list("pk", "name", "state")[:NODES_IN_MENU]
        return [(str(pk), printable(f"{name} · {state}")) for pk, name, state in nodes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        node_id = whole_number(self.value())
        return queryset if node_id is None else queryset.filter(node_id=node_id)


@dataclass(slots=True)
class AttemptLog:
    """What one attempt printed, or the end of it."""

    attempt: int
    text: str


@dataclass(slots=True)
class ShownLog:
    """The log of an execution as far as a page shows it."""

    attempts: list[AttemptLog] = field(default_factory=list)
    is_cut: bool = False


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    """Nobody edits an execution; those who may run jobs cancel, retry and run again."""

    list_display = ("id",)
    sortable_by = ()
    ordering = ("-scheduled_for", "-id")
    list_filter = (StatusFilter, WhenFilter, JobFilter, TriggerFilter, NodeFilter)
    list_select_related = ("job", "node")
    search_fields = ("id",)
    search_help_text = "Job name, or =id"
    actions = ("cancel_selected", "retry_selected")

    # --- the list ---------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        """Without the large columns, their own and their jobs'."""
        return (
            Execution.objects.for_lists()
            .select_related("job", "node")
            .defer("spec", "result", "traceback", "failures", "job__arguments", "job__description")
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        """`=123` is an id; anything else is looked for among the jobs' names first, which are few."""
        term = search_term.replace("\x00", "").strip()
        if not term:
            return queryset, False
        if term.startswith("="):
            wanted = whole_number(term[1:].strip())
            return (queryset.none() if wanted is None else queryset.filter(pk=wanted)), False
        job_ids = list(
            Job.including_deleted.filter(name__icontains=term[:200])
            .order_by("-id")
            .values_list("pk", flat=True)[:JOBS_FOUND]
        )
        return queryset.filter(job_id__in=job_ids), False

    # --- the page ---------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The stock addresses and those of the verbs."""
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
            path(
                "<int:execution_id>/log/",
                view(self.log_view),
                name="scheduler_app_execution_log",
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
                "result": result,
                "exchange": _exchange(spec.kind, result),
                "drift": _first_drift(execution),
                "traceback": masked_text(execution.traceback),
                "failures": masked(execution.failures[::-1][:FAILURES_SHOWN]),
                "older_failures": max(0, len(execution.failures) - FAILURES_SHOWN),
                "log": shown_log(execution.pk),
                "can": _verbs_for(execution, self.has_run_permission(request)),
            },
        )

    def log_view(self, request: HttpRequest, execution_id: int) -> StreamingHttpResponse:
        """The whole log as a file."""
        self.require(self.has_view_permission(request))
        if not Execution.objects.filter(pk=execution_id).exists():
            raise Http404("There is no such execution.")
        return StreamingHttpResponse(
            _whole_log(execution_id),
            content_type="text/plain; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="execution-{execution_id}.log"',
                "X-Content-Type-Options": "nosniff",
            },
        )

    # --- verbs --------------------------------------------------------------------------------

    def cancel_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """What waits never begins; what runs is asked to stop."""
        self.require(self.has_run_permission(request))
        self._cancel(request, [self._get_execution(execution_id)])
        return self.back(request, execution_url(execution_id))

    def retry_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """The same execution, one more attempt."""
        self.require(self.has_run_permission(request))
        self._retry(request, [self._get_execution(execution_id)])
        return self.back(request, execution_url(execution_id))

    def run_again_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """A new execution of the same job, with the arguments of this one."""
        self.require(self.has_run_permission(request))
        execution = self._get_execution(execution_id)
        job = execution.job
        if job is None or job.deleted_at is not None:
            self.say(request, "The job of this execution was deleted.", problem=True)
            return self.back(request, execution_url(execution_id))
        arguments = arguments_of(execution)
        try:
            [started] = lifecycle.run_now(
                [job.pk],
                by=request.user.get_username(),
                arguments=None if arguments == job.arguments else arguments,
            )
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return self.back(request, execution_url(execution_id))
        self.log(request, [job], f"Run again, as execution {execution_id}.")
        self.say(request, f"Execution {started.pk} is on its way.")
        return self.back(request, execution_url(started.pk))

    @admin.action(permissions=["run"], description="Cancel")
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        """Cancel those of the chosen that live."""
        self._cancel(request, self._chosen(queryset))

    @admin.action(permissions=["run"], description="Retry")
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        """Retry those of the chosen that did not succeed."""
        self._retry(request, self._chosen(queryset))

    def _chosen(self, queryset: QuerySet[Execution]) -> list[Execution]:
        return list(queryset.select_related(None).only("pk")[: CappedPaginator.CAP])

    def _cancel(self, request: HttpRequest, executions: Sequence[Execution]) -> None:
        answer = lifecycle.cancel(
            [execution.pk for execution in executions], by=request.user.get_username()
        )
        touched = {*answer.cancelled, *answer.requested}
        self.log(request, [one for one in executions if one.pk in touched], "Cancelled.")
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
        self.log(request, [one for one in executions if one.pk in retried], "Retried.")
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
            Execution.objects.select_related("job", "node", "revision")
            .filter(pk=execution_id)
            .first()
        )
        if execution is None:
            raise Http404("There is no such execution; it may have been pruned.")
        return execution


def shown_log(execution_id: int) -> ShownLog:
    """The newest LOG_SHOWN bytes of the log, by attempt, oldest first."""
    size = Func(F("text"), function="octet_length", output_field=IntegerField())
    newest_first = [F("attempt").desc(), F("token").desc(), F("seq").desc()]
    chunks = list(
        LogChunk.objects.filter(execution=execution_id)
        .annotate(
            newer=Window(Sum(size), order_by=newest_first) - size,
            parts=Window(Count("pk")),
        )
        .filter(newer__lt=LOG_SHOWN)
        .order_by(*newest_first)
        .values_list("attempt", "text", "parts")
    )
    log = ShownLog()
    left = LOG_SHOWN
    for attempt, text, parts in chunks:
        log.is_cut |= parts > len(chunks)
        if len(text) > left:
            log.is_cut = True
            text = text[len(text) - left :].partition("\n")[2]
        left -= len(text)
        text = masked_text(text)
        if log.attempts and log.attempts[-1].attempt == attempt:
            log.attempts[-1].text = text + log.attempts[-1].text
        else:
            log.attempts.append(AttemptLog(attempt, text))
    log.attempts.reverse()
    return log


def _whole_log(execution_id: int) -> Iterator[str]:
    attempt = None
    chunks = LogChunk.objects.filter(execution=execution_id).order_by("attempt", "token", "seq")
    for number, text in chunks.values_list("attempt", "text").iterator(chunk_size=20):
        if number != attempt:
            attempt = number
            yield f"--- attempt {number} ---\n"
        yield masked_text(text)


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


def _verbs_for(execution: Execution, may_run: bool) -> dict[str, bool]:
    job_exists = execution.job is not None and execution.job.deleted_at is None
    return {
        "cancel": may_run and execution.is_live and execution.cancel_requested_at is None,
        "retry": may_run
        and execution.status in UNSUCCESSFUL
        and (job_exists or execution.job_id is None),
        "again": may_run and job_exists,
    }


def _exchange(kind: str, result: Any) -> dict[str, Any] | None:
    """The result of an HTTP call as an exchange, if it is one."""
    if kind != "http" or not isinstance(result, dict) or not {"method", "url"} <= result.keys():
        return None
    # Written by the target, but a page must open whatever stands in the row.
    headers = result.get("headers")
    return {**result, "headers": headers if isinstance(headers, dict) else {}}
