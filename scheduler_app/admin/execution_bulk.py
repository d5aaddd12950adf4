"""Cancel or retry all that a list's filters match: counted and asked first, then with progress for as long as it takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from scheduler_app import lifecycle
from scheduler_app.access import NotAllowed, visible
from scheduler_app.lifecycle import CannotDo, Selection
from scheduler_app.models import BulkOperation, BulkVerb
from scheduler_app.rules.masking import masked_text
from scheduler_app.rules.problems import Invalid

from .base import ReadOnlyAdmin
from .definition import call_for_executions
from .execution_filters import in_words, selection_of
from .front_page import failure_group
from .overview import pulse_of

STILL_FOR = timedelta(seconds=5)
"""An operation that has not moved for this long is left to nobody at the moment."""


class ExecutionBulk(ReadOnlyAdmin):
    """The question, the progress, and the end of a bulk operation."""

    def get_urls(self) -> list[URLPattern]:
        """Also the addresses of bulk operations."""
        view = self.admin_site.admin_view
        name = "scheduler_app_execution_bulk"
        return [
            path("bulk/", view(self.bulk_view), name=name),
            path("bulk/<uuid:key>/", view(self.bulk_progress_view), name=f"{name}_progress"),
            path(
                "bulk/<uuid:key>/continue/",
                view(require_POST(self.bulk_continue_view)),
                name=f"{name}_continue",
            ),
            path(
                "bulk/<uuid:key>/stop/",
                view(require_POST(self.bulk_stop_view)),
                name=f"{name}_stop",
            ),
            *super().get_urls(),
        ]

    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """GET: what would be done, and to how many. POST: do it."""
        self._require_both(request)
        if request.method == "POST":
            return self._start(request)
        given = request.GET.copy()
        verb = str((given.pop("verb", None) or [""])[0])
        if verb not in BulkVerb.values:
            raise BadRequest("verb must be cancel or retry")
        if "failure" in given:
            return self._ask_about_failure(request, verb, str(given["failure"]))
        selection = selection_of(given, now=pulse_of(request).now).selection
        leave_url = reverse("admin:scheduler_app_execution_changelist") + f"?{given.urlencode()}"
        return self._ask(request, verb, selection, in_words(selection), given, leave_url)

    def _ask_about_failure(self, request: HttpRequest, verb: str, fingerprint: str) -> HttpResponse:
        """About the failures of the last day that are the same, each of them by its id."""
        group = failure_group(fingerprint)
        if group is None:
            self.say(request, "Nothing is left to retry in this group.", problem=True)
            return HttpResponseRedirect(reverse("admin:index"))
        selection = Selection(ids=tuple(group.execution_ids))
        conditions = [("Failed with", masked_text(group.error)), *in_words(selection)]
        back = QueryDict("status=unsuccessful&when=24h")
        leave_url = reverse("scheduler:failures", args=[fingerprint])
        return self._ask(request, verb, selection, conditions, back, leave_url)

    def _ask(
        self,
        request: HttpRequest,
        verb: str,
        selection: Selection,
        conditions: Sequence[tuple[str, str]],
        back: QueryDict,
        leave_url: str,
    ) -> HttpResponse:
        counted = lifecycle.count_bulk(verb, selection)
        refusal = lifecycle.bulk_refusal(verb, selection)
        return self.page(
            request,
            "execution/bulk_ask.html",
            {
                "title": f"{BulkVerb(verb).label} all that match",
                "verb": verb,
                "conditions": conditions,
                "counted": counted,
                "refusal": refusal,
                "may_go_on": not refusal and (counted.suitable or counted.is_capped),
                "selection": json.dumps(selection.to_json()),
                "key": uuid4(),
                "list_query": back.urlencode(),
                "leave_url": leave_url,
                "api_call": call_for_executions(request, verb, selection),
            },
        )

    def bulk_progress_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """How far it has come; loads itself anew until it is done."""
        self._require_both(request)
        operation = self._operation(key)
        now = pulse_of(request).now
        moved_at = operation.moved_at or operation.created_at
        return self.page(
            request,
            "execution/bulk_progress.html",
            {
                "title": f"{operation.get_verb_display()} all that match",
                "operation": operation,
                "conditions": in_words(Selection.from_json(operation.selection)),
                "done": operation.changed + operation.refused,
                "is_still": operation.finished_at is None and now - moved_at > STILL_FOR,
                "list_query": QueryDict(request.GET.get("back", "")).urlencode(),
            },
        )

    def bulk_continue_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """Go on with it in this process, for when no node does."""
        self._require_both(request)
        lifecycle.continue_bulk(self._operation(key).pk)
        return self._to_progress(key, request.GET.get("back", ""))

    def bulk_stop_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """Leave the rest as it is."""
        self._require_both(request)
        if not lifecycle.stop_bulk(self._operation(key).pk, by=request.user.get_username()):
            self.say(request, "It was over before.", problem=True)
        return self._to_progress(key, request.GET.get("back", ""))

    def _start(self, request: HttpRequest) -> HttpResponse:
        given = request.POST
        try:
            key = UUID(given.get("key", ""))
            verb = BulkVerb(given.get("verb", ""))
            stored = json.loads(given.get("selection", ""))
            if not isinstance(stored, dict):
                raise ValueError("the selection is no object")
            selection = Selection.from_json(stored)
        except Invalid as error:
            self.say(request, f"Nothing was done: {error}", problem=True)
            return HttpResponseRedirect(self.list_url(request))
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"This is not what the page sends: {error}") from None
        try:
            lifecycle.start_bulk(
                key,
                verb,
                selection,
                by=request.user.get_username(),
                reason=given.get("reason", "").replace("\x00", "").strip(),
            )
        except (CannotDo, NotAllowed) as error:
            self.say(request, str(error), problem=True)
            return HttpResponseRedirect(self.list_url(request))
        return self._to_progress(key, given.get("back", ""))

    def _to_progress(self, key: UUID, back: str) -> HttpResponse:
        url = reverse("admin:scheduler_app_execution_bulk_progress", args=[key])
        query = QueryDict(mutable=True)
        if back:
            query["back"] = back
        return HttpResponseRedirect(f"{url}?{query.urlencode()}" if back else url)

    def _operation(self, key: UUID) -> BulkOperation:
        found: BulkOperation | None = visible.bulk_operations().filter(pk=key).first()
        if found is None:
            raise Http404("There is no such operation; it may have been pruned.")
        return found

    def _require_both(self, request: HttpRequest) -> None:
        self.require(self.has_view_permission(request) and self.has_run_permission(request))


def bulk_links(query: str, *, may_retry: bool) -> list[tuple[str, str]]:
    """The verbs for all that the query of a list matches, and where each asks."""
    url = reverse("admin:scheduler_app_execution_bulk")
    separator = "&" if query else ""
    return [
        (str(verb.label), f"{url}?verb={verb.value}{separator}{query}")
        for verb in (BulkVerb.RETRY, BulkVerb.CANCEL)
        if verb != BulkVerb.RETRY or may_retry
    ]
