"""The nodes: who lives, who ticks, who is busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

from scheduler_app import lifecycle
from scheduler_app.access import visible
from scheduler_app.lifecycle import CannotDo, statistics
from scheduler_app.lifecycle.statistics import NodeStatistics
from scheduler_app.models import Execution, Node, NodeState

from .base import ReadOnlyAdmin
from .definition import api_call
from .display import printable, span
from .filters import MenuFilter, whole_number
from .overview import pulse_of

EXECUTIONS_SHOWN = 50
LATELY = timedelta(hours=1)
NOTHING_LATELY = NodeStatistics()


@dataclass(slots=True)
class NodeRow:
    """A node as the list shows it."""

    node: Node
    key: str
    label: str
    note: str
    running: int
    lately: NodeStatistics = NOTHING_LATELY

    @property
    def may_drain(self) -> bool:
        """Whether there is something to ask it."""
        return self.node.is_alive and self.node.drain_requested_at is None


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
        """With the number of executions that each holds, and how late those of the last hour started."""
        now = pulse_of(request).now
        ids = [node.pk for node in objects]
        held = dict(
            Execution.objects.running()
            .filter(node__in=ids)
            .order_by()
            .values_list("node")
            .annotate(Count("pk"))
        )
        lately = statistics.node_statistics(ids, LATELY)
        return [
            node_row(node, held.get(node.pk, 0), now, lately.get(node.pk, NOTHING_LATELY))
            for node in objects
        ]

    def rights(self, request: HttpRequest) -> dict[str, bool]:
        """What the user may do, draining among it."""
        return {**super().rights(request), "drain": self.has_drain_permission(request)}

    def has_drain_permission(self, request: HttpRequest) -> bool:
        """Ask a node to finish what runs and stop."""
        return request.user.has_perm("scheduler_app.drain_node")

    def get_urls(self) -> list[URLPattern]:
        """The stock addresses and that of the verb."""
        return [
            path(
                "<int:node_id>/drain/",
                self.admin_site.admin_view(self.drain_view),
                name="scheduler_app_node_drain",
            ),
            *super().get_urls(),
        ]

    def drain_view(self, request: HttpRequest, node_id: int) -> HttpResponse:
        """Ask first, and tell what follows; POST asks the node."""
        self.require(self.has_view_permission(request) and self.has_drain_permission(request))
        node = self._get_node(node_id)
        if request.method == "POST":
            self._drain(request, node)
            return self.back(request, node_url(node_id))
        others = Node.objects.filter(state=NodeState.ACTIVE).exclude(pk=node_id)
        running = Execution.objects.running().filter(node=node_id).count()
        return self.page(
            request,
            "node/drain.html",
            {
                "title": f"Drain {printable(node.name)}",
                "node": node,
                "row": node_row(node, running, pulse_of(request).now),
                "others": others.count(),
                "api_call": api_call(request, "node-drain", node_id),
            },
        )

    def _drain(self, request: HttpRequest, node: Node) -> None:
        try:
            asked = lifecycle.drain_node(node.pk, by=request.user.get_username())
        except CannotDo as error:
            self.say(request, str(error), problem=True)
            return
        name = printable(node.name)
        if asked:
            self.say(
                request, f"Draining: {name} takes nothing new, finishes what it runs and stops."
            )
        else:
            self.say(request, f"The node {name} was asked to drain before.", problem=True)

    def _get_node(self, node_id: int | None) -> Node:
        node = None if node_id is None else Node.objects.filter(pk=node_id).first()
        if node is None:
            raise Http404("There is no such node; it may have been pruned.")
        return node

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One node and what it runs."""
        self.require(self.has_view_permission(request))
        node = self._get_node(whole_number(object_id))
        held = (
            visible.executions()
            .running()
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
                "row": node_row(
                    node,
                    len(executions),
                    pulse_of(request).now,
                    statistics.node_statistics([node.pk], LATELY).get(node.pk, NOTHING_LATELY),
                ),
                "node": node,
                "turns": sorted(node.turn_ages.items()) if isinstance(node.turn_ages, dict) else [],
                "executions": executions[:EXECUTIONS_SHOWN] if sees_executions else None,
                "has_more": len(executions) > EXECUTIONS_SHOWN,
            },
        )


def node_url(node_id: int) -> str:
    """The page of a node."""
    return reverse("admin:scheduler_app_node_change", args=[node_id])


def node_row(
    node: Node, running: int, now: datetime, lately: NodeStatistics = NOTHING_LATELY
) -> NodeRow:
    """How the node stands: its own word, unless it is silent, does not tick or says that something is wrong."""
    key, label, note = node.state, node.get_state_display(), node.state_reason
    since = node.last_tick_at or node.started_at
    if node.is_alive and now - node.heartbeat_at > node.lease:
        key, label = "problem", "Silent"
        note = f"No heartbeat for {span(now - node.heartbeat_at)}; the next node that looks declares it dead."
    elif node.state == NodeState.ACTIVE and now - since > node.lease:
        key, label = "problem", "Does not tick"
        note = f"Its scheduler has not completed a turn for {span(now - since)}."
    elif node.is_alive and node.trouble:
        key, label, note = "problem", "In trouble", node.trouble_note or node.trouble
    elif node.state == NodeState.DRAINING and node.drain_requested_by:
        note = f"Asked by {node.drain_requested_by}."
    return NodeRow(node, key, label, note, running, lately)
