"""`/metrics`: how the scheduler is and what it has done, for Prometheus.

Everything is read from the database, in a fixed number of statements, so every web process says the same and a restart
sets no counter back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, ClassVar

from django.db.models import Count, Q, Sum
from django.http import HttpResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from scheduler_app.conf import get_config
from scheduler_app.lifecycle import read_tallies
from scheduler_app.lifecycle.statistics import QueueDepth, queue_depths
from scheduler_app.models import Node, NodeState
from scheduler_app.models.vitals import read_vitals
from scheduler_app.rules import tallies
from scheduler_app.rules.health import judge

from . import permissions
from .base import ApiView
from .operations import Operation

QUEUES_SHOWN = 50
OTHER_QUEUES = "(others)"
STATUSES = ("ok", "degraded", "down")

Counts = dict[tuple[str, int], tuple[int, float]]


class MetricsView(ApiView):
    """How the scheduler is and what it has done, in the text format of Prometheus."""

    renderer_classes = (JSONRenderer,)
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"get": (permissions.VIEW_NODE,)}
    operations: ClassVar[dict[str, Operation]] = {"get": Operation(text=True)}

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # Prometheus asks for its own formats; errors are JSON.
        return super().perform_content_negotiation(request, force=True)

    def get(self, request: Request) -> HttpResponse:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(SchedulerCollector())
        return HttpResponse(
            generate_latest(registry),
            content_type=CONTENT_TYPE_LATEST,
            headers={"Cache-Control": "no-store"},
        )


class SchedulerCollector(Collector):
    """Reads all of it anew at each scrape."""

    def collect(self) -> Iterator[Metric]:
        yield from _vitals()
        yield from _nodes()
        yield from _queues(queue_depths(of_all=True))
        counts = read_tallies()
        yield _counter("fired", "Fire times that became executions.", counts[tallies.FIRED])
        yield _counter(
            "withheld",
            "Fire times that became no execution, by reason.",
            counts[tallies.WITHHELD],
            "reason",
            tallies.GAP_REASONS,
        )
        yield _counter(
            "finished",
            "Executions that ended on a node, or with it, by outcome.",
            counts[tallies.FINISHED],
            "outcome",
            tallies.OUTCOMES,
        )
        yield _counter(
            "retried",
            "Attempts that failed and were followed by another.",
            counts[tallies.RETRIED],
        )
        yield _counter(
            "rescued",
            "Executions that were taken from a dead node, to run again.",
            counts[tallies.RESCUED],
        )
        yield _histogram(
            tallies.DRIFT, "How late executions of fire times began.", counts[tallies.DRIFT]
        )
        yield _histogram(tallies.DURATION, "How long last attempts took.", counts[tallies.DURATION])


def _vitals() -> Iterator[Metric]:
    vitals = read_vitals(lease_s=get_config().lease)
    status = judge(vitals).status
    health = _gauge("health", "1 for what health says, 0 for the others.", ["status"])
    for word in STATUSES:
        health.add_metric([word], word == status)
    yield health
    yield _gauge(
        "tick_age_seconds",
        "Since any node last completed a turn of its loop; NaN before the first.",
        value=_or_nan(vitals.tick_age_s),
    )
    yield _gauge(
        "overdue_jobs",
        f"Jobs with a fire time that is due and not decided, counted up to {vitals.counted_to}.",
        value=vitals.overdue,
    )
    yield _gauge(
        "overdue_age_seconds",
        "For how long the oldest of those fire times has been due; 0 when there is none.",
        value=vitals.overdue_age_s or 0,
    )
    yield _gauge(
        "ready_age_seconds",
        "For how long the oldest execution that could start has waited; 0 when there is none.",
        value=vitals.ready_age_s or 0,
    )


def _nodes() -> Iterator[Metric]:
    alive = Q(state__in=(NodeState.ACTIVE, NodeState.DRAINING))
    rows = dict(Node.objects.order_by().values_list("state").annotate(Count("pk")))
    states = _gauge(
        "nodes",
        "Nodes by state; those that ended are counted until they are removed.",
        ["state"],
    )
    for state in NodeState.values:
        states.add_metric([state], rows.get(state, 0))
    yield states
    sums = Node.objects.filter(alive).aggregate(
        **{name: Sum(name, default=0) for name in ("threads", "busy", "stuck", "unwritten")},
        deaf=Count("pk", filter=Q(listening=False)),
        troubled=Count("pk", filter=~Q(trouble="")),
    )
    for name, words in (
        ("threads", "Executions that the living nodes can run at the same time."),
        ("busy", "Executions that the living nodes run."),
        ("stuck", "Threads that were given up because they ignored that they must stop."),
        ("unwritten", "Outcomes that are not in the database yet."),
    ):
        yield _gauge(f"nodes_{name}", words, value=sums[name])
    yield _gauge(
        "nodes_deaf",
        "Living nodes that no notification reaches, so that they only poll.",
        value=sums["deaf"],
    )
    yield _gauge(
        "nodes_in_trouble",
        "Living nodes that the database refuses something.",
        value=sums["troubled"],
    )


def _queues(depths: list[QueueDepth]) -> Iterator[Metric]:
    """By queue, the fullest first; many queues must not become many series."""
    fullest = sorted(depths, key=lambda depth: -(depth.waiting + depth.blocked + depth.running))
    backlog = _gauge(
        "backlog", "Executions that wait or run, by queue and state.", ["queue", "state"]
    )
    age = _gauge(
        "backlog_age_seconds",
        "For how long the oldest execution that could start has waited, by queue.",
        ["queue"],
    )
    for depth in fullest[:QUEUES_SHOWN]:
        for state, number in _states(depth):
            backlog.add_metric([depth.queue, state], number)
        age.add_metric([depth.queue], depth.oldest_s or 0)
    others = fullest[QUEUES_SHOWN:]
    if others:
        for number, (state, _) in enumerate(_states(others[0])):
            total = sum(_states(depth)[number][1] for depth in others)
            backlog.add_metric([OTHER_QUEUES, state], total)
        age.add_metric([OTHER_QUEUES], max(depth.oldest_s or 0 for depth in others))
    yield backlog
    yield age


def _states(depth: QueueDepth) -> tuple[tuple[str, int], ...]:
    return (("ready", depth.waiting), ("blocked", depth.blocked), ("running", depth.running))


def _gauge(
    name: str, words: str, labels: list[str] | None = None, value: float | None = None
) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"scheduler_{name}", words, value=value, labels=labels)


def _counter(
    name: str, words: str, counts: Counts, label: str = "", values: tuple[str, ...] = ()
) -> CounterMetricFamily:
    """With a label, each value that there can be has a series from the start, so that rates see the first one."""
    metric = CounterMetricFamily(f"scheduler_{name}", words, labels=[label] if label else None)
    for value in values or ("",):
        metric.add_metric([value] if label else [], counts.get((value, 0), (0, 0.0))[0])
    return metric


def _histogram(name: str, words: str, counts: Counts) -> HistogramMetricFamily:
    bounds = [*(str(float(bound)) for bound in tallies.BUCKETS[name]), "+Inf"]
    numbers = [counts.get(("", bucket), (0, 0.0)) for bucket in range(len(bounds))]
    running = accumulate(count for count, _ in numbers)
    return HistogramMetricFamily(
        f"scheduler_{name}_seconds",
        words,
        buckets=list(zip(bounds, running, strict=True)),
        sum_value=sum(seconds for _, seconds in numbers),
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
