"""What the executions list can be asked for: its menus, its search, its links. All of it is one `Selection`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime

from scheduler_app.access import visible
from scheduler_app.lifecycle import Selection
from scheduler_app.lifecycle.selecting import LONGEST_TEXT, MOST_ARGUMENTS
from scheduler_app.models import Execution, Node, Status, Trigger
from scheduler_app.models.execution import LIVE, UNSUCCESSFUL

from .display import clock, printable, zone_of
from .filters import JobFilter, MenuFilter, carried, whole_number
from .job_filters import CHOICES_SHOWN, known_queues

NAMES_TAKEN = 10
"""Parts of a job's name in one search."""
JOBS_NAMED = 12
"""Of the jobs that a search found, those that the list names."""
NODES_IN_MENU = 20
IDS_NAMED = 10

PERIODS = {
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
GROUPS = {"live": LIVE, "unsuccessful": UNSUCCESSFUL}

SEARCH_HELP = "job name, =id, key:value, error:text"

_TERM = re.compile(r'(?:(?P<key>[^\s":]+):)?(?:"(?P<quoted>[^"]*)"|(?P<plain>\S+))')


class ExecutionMenu(MenuFilter):
    """A menu of the list; what is chosen becomes part of the list's selection."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        return queryset


class StatusFilter(ExecutionMenu):
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


class WhenFilter(ExecutionMenu):
    """By fire time: the last while, or from one moment to another."""

    title = "Time"
    parameter_name = "when"
    template = "admin/scheduler_app/execution/filter_when.html"

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        self.since = request.GET.get("since", "")
        self.until = request.GET.get("until", "")
        super().__init__(request, *args)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("10m", "Last 10 minutes"),
            ("1h", "Last hour"),
            ("24h", "Last 24 hours"),
            ("7d", "Last 7 days"),
        ]

    def choices(self, changelist: Any) -> Any:
        """The periods, and the form for other moments with what it has to carry along."""
        is_custom = bool(self.since or self.until)
        for choice in super().choices(changelist):
            yield {**choice, "selected": choice["selected"] and not is_custom}
        shown = f"{self.since or '…'} to {self.until or '…'}".replace("T", " ")
        yield {
            "is_custom": True,
            "selected": is_custom,
            "display": printable(shown),
            "since": self.since,
            "until": self.until,
            "carried": carried(changelist, "when", "since", "until"),
        }


class OfJobFilter(ExecutionMenu, JobFilter):
    """By job; the menu holds a few, any other comes by a link or the search."""

    template = MenuFilter.template


class OfQueueFilter(ExecutionMenu):
    """By the queue that it waited in."""

    title = "Queue"
    parameter_name = typed_as = "queue"
    typed_label = "Its name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        queues = self.first(known_queues(CHOICES_SHOWN + 1), CHOICES_SHOWN)
        return [(queue, printable(queue)) for queue in queues]


class TriggerFilter(ExecutionMenu):
    """By what asked for it."""

    title = "Trigger"
    parameter_name = "trigger"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(trigger.value, str(trigger.label)) for trigger in Trigger]


class NodeFilter(ExecutionMenu):
    """By the node that ran it."""

    title = "Node"
    parameter_name = "node"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        nodes = list(
            Node.objects.order_by("-id").values_list("pk", "name", "state")[:NODES_IN_MENU]
        )
        chosen = whole_number(self.value())
        if chosen is not None and chosen not in [node[0] for node in nodes]:
            nodes.append((chosen, f"node {chosen}", "of before"))
        return [(str(pk), printable(f"{name} · {state}")) for pk, name, state in nodes]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the parameters of the list mean."""

    selection: Selection
    jobs: tuple[tuple[int, str], ...]
    """Ids and names of some jobs that were searched for by name."""


def selection_of(given: Mapping[str, str], *, now: datetime) -> Asked:
    """What the parameters of the list mean at this moment. What cannot be meant matches nothing."""

    def asked(name: str) -> str:
        return given.get(name, "").replace("\x00", "").strip()

    parts, jobs_found = _search(asked("q"))
    if status := asked("status"):
        parts["statuses"] = tuple(map(str, GROUPS.get(status, (status,))))
    if job := asked("job"):
        ids = _ids(job)
        found = parts.get("jobs")
        parts["jobs"] = ids if found is None else tuple(set(ids) & set(found))
    if queue := asked("queue"):
        parts["queues"] = (queue,)
    if trigger := asked("trigger"):
        parts["triggers"] = (trigger,)
    if node := asked("node"):
        parts["nodes"] = _ids(node) or (0,)
    since, until = moment_of(asked("since")), moment_of(asked("until"))
    if not (since or until) and (period := PERIODS.get(asked("when"))):
        since = now - period
    return Asked(Selection(**parts, since=since, until=until), jobs_found)


def moment_of(text: str) -> datetime | None:
    """What a person or a link gave as a moment; without an offset it is UTC."""
    try:
        found = parse_datetime(text.strip())
    except ValueError:
        return None
    if found is None:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def in_words(selection: Selection) -> list[tuple[str, str]]:
    """The conditions as people read them, for the page that asks whether to go on."""
    words = []
    if selection.ids is not None:
        named = ", ".join(map(str, selection.ids[:IDS_NAMED])) or "none"
        more = len(selection.ids) - IDS_NAMED
        words.append(("Execution", named + (f" and {more} more" if more > 0 else "")))
    if selection.statuses:
        words.append(("Status", ", ".join(selection.statuses)))
    if selection.jobs is not None:
        names = visible.jobs_and_deleted().filter(pk__in=selection.jobs).order_by("name")
        shown = list(names.values_list("name", flat=True)[:10])
        more = len(selection.jobs) - len(shown)
        words.append(("Job", ", ".join(shown) + (f" and {more} more" if more > 0 else "")))
    if selection.job_names:
        words.append(("Name of the job has", ", ".join(selection.job_names)))
    for label, values in (("Queue", selection.queues), ("Trigger", selection.triggers)):
        if values:
            words.append((label, ", ".join(values)))
    if selection.nodes:
        nodes = Node.objects.filter(pk__in=selection.nodes).values_list("name", flat=True)
        words.append(("Node", ", ".join(nodes) or ", ".join(map(str, selection.nodes))))
    zone = zone_of("UTC")
    if selection.since:
        words.append(("Fire time from", clock(selection.since, zone)))
    if selection.until:
        words.append(("Fire time before", clock(selection.until, zone)))
    words += [("Argument", f"{path}: {value}") for path, value in selection.arguments]
    if selection.error:
        words.append(("Error contains", selection.error))
    if selection.view is not None:
        words.append(("Jobs", "those that whoever asked sees"))
    return words


def _search(text: str) -> tuple[dict[str, Any], tuple[tuple[int, str], ...]]:
    """`=123` is an id, `error:text` is looked for in errors, `key:value` in arguments, the rest in names of jobs."""
    if text.startswith("="):
        return {"ids": _ids(text[1:].strip())}, ()
    names: list[str] = []
    arguments: list[tuple[str, str]] = []
    error = ""
    for term in _TERM.finditer(text):
        value = (term["quoted"] if term["quoted"] is not None else term["plain"])[:LONGEST_TEXT]
        if term["key"] == "error":
            error = value
        elif term["key"] and len(arguments) < MOST_ARGUMENTS:
            # Quoted, a number is meant as a text.
            arguments.append((term["key"], f'"{value}"' if term["quoted"] is not None else value))
        elif value:
            names.append(value)
    parts: dict[str, Any] = {"arguments": tuple(arguments), "error": error}
    if not names:
        return parts, ()
    names = names[:NAMES_TAKEN]
    jobs = visible.jobs_and_deleted().order_by("name")
    for name in names:
        jobs = jobs.filter(name__icontains=name)
    found = tuple(jobs.values_list("pk", "name")[: JOBS_NAMED + 1])
    if len(found) > 1:
        parts["job_names"] = tuple(names)
    else:
        # An index knows the executions of one job.
        parts["jobs"] = tuple(pk for pk, _ in found)
    return parts, found


def _ids(text: str) -> tuple[int, ...]:
    found = whole_number(text)
    return () if found is None else (found,)
