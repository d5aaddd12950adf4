"""The nodes: who lives, who ticks, who is busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse

from scheduler_app.conf import get_config
from scheduler_app.models import Execution, Node, NodeState

from .base import ReadOnlyAdmin
from .display import printable, span
from .filters import MenuFilter, whole_number
from .overview import pulse_of

EXECUTIONS_SHOWN = 50


@dataclass(slots=True)
class NodeRow:
    """A node as the list shows it."""

    node: Node
    key: str
    label: str
    note: str
    running: int


class NodeStateFilter(MenuFilter):
    """Those that live, or all that are remembered."""

    title = "State"
    parameter_name = "state"
    template = "admin/scheduler_app/filter_tabs.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("alive", "Alive"), *((state.value, str(state.label)) for state in NodeState)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Node]) -> QuerySet[Node]:
        if self.value() == "alive":
            return Node.objects.alive() & queryset
        return queryset.filter(state=self.value()) if self.value() else queryset


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    """Nodes write their rows themselves."""

    list_display = ("id",)
    sortable_by = ()
    ordering = ("-id",)
    list_filter = (NodeStateFilter,)

    def rows(self, request: HttpRequest, objects: Sequence[Node]) -> list[NodeRow]:
        """With the number of executions that each holds."""
        now = pulse_of(request).now
        held = dict(
            Execution.objects.running()
            .filter(node__in=[node.pk for node in objects])
            .order_by()
            .values_list("node")
            .annotate(Count("pk"))
        )
        return [node_row(node, held.get(node.pk, 0), now) for node in objects]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One node and what it runs."""
        self.require(self.has_view_permission(request))
        node_id = whole_number(object_id)
        node = None if node_id is None else Node.objects.filter(pk=node_id).first()
        if node is None:
            raise Http404("There is no such node; it may have been pruned.")
        held = (
            Execution.objects.running()
            .filter(node=node)
            .for_lists()
            .select_related("job")
            .defer("job__arguments", "job__description")
            .order_by("started_at", "id")
        )
        executions = list(held[: EXECUTIONS_SHOWN + 1])
        sees_executions = request.user.has_perm("scheduler_app.view_execution")
        return self.page(
            request,
            "node/detail.html",
            {
                "title": f"Node {printable(node.name)}",
                "row": node_row(node, len(executions), pulse_of(request).now),
                "node": node,
                "executions": executions[:EXECUTIONS_SHOWN] if sees_executions else None,
                "has_more": len(executions) > EXECUTIONS_SHOWN,
            },
        )


def node_row(node: Node, running: int, now: datetime) -> NodeRow:
    """How the node stands: its own word, unless it is silent or does not tick."""
    key, label, note = node.state, node.get_state_display(), node.state_reason
    lease = timedelta(seconds=get_config().lease)
    if node.is_alive and now - node.heartbeat_at > lease:
        key, label = "problem", "Silent"
        note = f"No heartbeat for {span(now - node.heartbeat_at)}; the next node that looks declares it dead."
    elif node.state == NodeState.ACTIVE and (
        node.last_tick_at is None or now - node.last_tick_at > lease
    ):
        since = node.last_tick_at or node.started_at
        if now - since > lease:
            key, label = "problem", "Does not tick"
            note = f"Its scheduler has not completed a turn for {span(now - since)}."
    return NodeRow(node, key, label, note, running)
