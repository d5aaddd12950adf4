"""The front page: what happens now, what failed, and how the last hour and day went; for what the user may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone as django_timezone

from scheduler_app.lifecycle import statistics
from scheduler_app.lifecycle.statistics import QueueDepth, Running, Slice
from scheduler_app.models import Node
from scheduler_app.rules.masking import masked_text

from . import charts, queries
from .display import OVERDUE_AFTER, count_text, duration
from .nodes import node_row
from .overview import may_see, pulse_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SHOWN = 8
"""Rows of each list."""

OUTCOMES = (("failed", "Failed"), ("lost", "Lost"), ("cancelled", "Cancelled"), ("succeeded", "Succeeded"), ("live", "Not finished"))  # fmt: skip
"""From the bottom of a bar to its top: what went wrong stands on the ground, where it can be compared."""

DRIFT_LINES = (("p50", "half"), ("p95", "95 %"), ("p99", "99 %"))
DRIFT_FLOOR_S = 0.001


@dataclass(frozen=True, slots=True)
class Throughput:
    """How executions came and went over a window: bars by outcome, lines of drift, and both as a table."""

    title: str
    key: str
    slices: Sequence[Slice]
    bars: Sequence[charts.Bar]
    top: str
    lines: Sequence[charts.Line]
    drift_marks: Sequence[charts.Mark]
    ticks: Sequence[str]
    summary: str
    drift_summary: str
    is_capped: bool
    has_day: bool
    """Whether moments need their date."""


@dataclass(frozen=True, slots=True)
class RunningRow:
    """What runs, and how far it is if it takes as long as usual."""

    running: Running
    elapsed: timedelta | None
    share: float
    """Of the bar; full at the 95 % of its usual duration."""
    is_long: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """All queues together."""

    depths: Sequence[QueueDepth]
    waiting: int
    blocked: int
    running: int
    oldest_s: float | None


def front_page(request: HttpRequest) -> dict[str, Any]:
    """The context of the part that renews itself; what the user may not see is left out."""
    user = request.user
    pulse = pulse_of(request)
    now = pulse.now
    found: dict[str, Any] = {"now": now, "pulse": pulse, "shown": SHOWN}
    if may_see(user, "execution"):
        hour = statistics.slices(HOUR, timedelta(minutes=1), now=now)
        day = statistics.slices(DAY, timedelta(minutes=15), now=now)
        waiting = _waiting(statistics.queue_depths())
        errors = statistics.error_groups(DAY)
        found |= {
            "waiting": waiting,
            "counts": _counts(hour, waiting),
            "charts": [
                throughput("Last hour", "hour", hour),
                throughput("Last day", "day", day),
            ],
            "running": [
                _running_row(running, now) for running in statistics.running_now(limit=SHOWN)
            ],
            "errors": [shown_group(group) for group in errors.groups[:SHOWN]],
            "more_errors": max(0, len(errors.groups) - SHOWN),
            "errors_capped": errors.is_capped,
        }
    if may_see(user, "job"):
        found["next_up"] = queries.next_up(limit=SHOWN)
        found["overdue_before"] = now - OVERDUE_AFTER
    if may_see(user, "node"):
        nodes = Node.objects.alive().order_by("-id")[: SHOWN + 1]
        found["nodes"] = [node_row(node, 0, now) for node in nodes]
    return found


def throughput(title: str, key: str, found: Sequence[Slice]) -> Throughput:
    """The slices as a chart; the bars stand for executions per minute."""
    has_day = found[-1].end - found[0].start > HOUR * 2
    highest = max(one.per_minute for one in found)
    top = charts.nice_top(highest)
    minutes = (found[0].end - found[0].start) / timedelta(minutes=1)
    columns = [
        charts.Column(_words_of(one), [(key, getattr(one, key) / minutes) for key, _ in OUTCOMES])
        for one in found
    ]
    drifts = [[getattr(one.drift, f"{key}_s") for one in found] for key, _ in DRIFT_LINES]
    scale = charts.Decades.holding(
        (value for line in drifts for value in line), floor=DRIFT_FLOOR_S
    )
    total = sum(one.total for one in found)
    wrong = sum(one.failed + one.lost for one in found)
    known = [value for value in drifts[1] if value is not None]
    return Throughput(
        title=title,
        key=key,
        slices=found,
        bars=charts.stacked_bars(columns, top),
        top=f"{top:g}/min",
        lines=[
            charts.line(key, values, scale)
            for (key, _), values in zip(DRIFT_LINES, drifts, strict=True)
        ],
        drift_marks=[charts.Mark(scale.y(step), _round_duration(step)) for step in scale.steps],
        ticks=[
            _clock(moment)
            for moment in (found[0].start, found[len(found) // 2].start, found[-1].end)
        ],
        summary=f"{count_text(total, 'execution')}, {wrong:,} failed or lost, "
        f"{_figure(highest)} per minute at most",
        drift_summary=f"95 % started within {duration(max(known))} in the worst slice"
        if known
        else "nothing started",
        is_capped=any(one.is_capped for one in found),
        has_day=has_day,
    )


def failure_group(fingerprint: str) -> statistics.ErrorGroup | None:
    """The failures of the last day with this fingerprint; None when there are none any more."""
    groups = statistics.error_groups(DAY).groups
    return next((group for group in groups if group.fingerprint == fingerprint), None)


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """A group of failures, its error masked."""

    group: statistics.ErrorGroup
    error: str
    jobs: Sequence[tuple[int | None, str]]
    more_jobs: int


def shown_group(group: statistics.ErrorGroup, *, jobs: int = 3) -> ShownGroup:
    """The group as pages show it, with the names of its first jobs."""
    named = list(group.jobs.items())
    return ShownGroup(group, masked_text(group.error), named[:jobs], max(0, len(named) - jobs))


def _counts(hour: Sequence[Slice], waiting: Waiting) -> list[tuple[str, str, int, str]]:
    """The tiles: key, words, number, and the filter of the list that shows the same."""
    return [
        ("running", "Running now", waiting.running, "status=running"),
        ("ready", "Waiting now", waiting.waiting, "status=ready"),
        ("blocked", "Blocked now", waiting.blocked, "status=blocked"),
        *(
            (key, label, sum(getattr(one, key) for one in hour), f"status={key}&when=1h")
            for key, label in (OUTCOMES[3], OUTCOMES[0], OUTCOMES[1], OUTCOMES[2])
        ),
    ]


def _waiting(depths: Sequence[QueueDepth]) -> Waiting:
    ages = [depth.oldest_s for depth in depths if depth.oldest_s is not None]
    return Waiting(
        depths,
        sum(depth.waiting for depth in depths),
        sum(depth.blocked for depth in depths),
        sum(depth.running for depth in depths),
        max(ages, default=None),
    )


def _running_row(running: Running, now: datetime) -> RunningRow:
    elapsed = None if running.started_at is None else max(timedelta(0), now - running.started_at)
    limit = running.usual.p95_s
    if elapsed is None or not limit:
        return RunningRow(running, elapsed, 0.0, is_long=False)
    seconds = elapsed.total_seconds()
    # What usually takes milliseconds is not "long" after one second.
    is_long = seconds > max(1.5 * limit, limit + 2)
    return RunningRow(running, elapsed, round(min(1.0, seconds / limit) * 100, 1), is_long)


def _words_of(one: Slice) -> str:
    parts = [
        f"{getattr(one, key):,} {label.lower()}" for key, label in OUTCOMES if getattr(one, key)
    ]
    drift = f"; 95 % within {duration(one.drift.p95_s)}" if one.drift.p95_s is not None else ""
    return f"{_clock(one.start)} to {_clock(one.end)}: {', '.join(parts) or 'nothing'}{drift}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _round_duration(seconds: float) -> str:
    """A power of ten: `10 ms`, `1 s`, `10,000 s`."""
    return f"{seconds:,.0f} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _clock(moment: datetime) -> str:
    """In the site's zone, which the note beside the charts names."""
    return f"{django_timezone.localtime(moment):%H:%M}"
