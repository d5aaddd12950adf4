"""The strip: the last fire times of a job and what became of each, in the width of a word.

A fire time is an execution, a gap that says why not, or not decided although it is past. Each fate has a shape of its
own, so that the strip is read without colours, and a strip is a handful of paths, so that a page has room for fifty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from django.db import connections
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from scheduler_app.conf import get_config
from scheduler_app.models import Execution, Gap, GapReason, Job, Status, Trigger

from .display import OVERDUE_AFTER, count_text
from .state import is_manual

CELLS = 30
CELL_WIDTH = 6
HEIGHT = 16

STRIP_SQL = """
SELECT wanted.job_id, fates.statuses, fates.reasons, fates.counts
FROM unnest(%(job_ids)s::bigint[], %(by_hand)s::boolean[]) AS wanted (job_id, by_hand)
CROSS JOIN LATERAL (
    -- An array a column: a row for each of thousands of fire times costs more to fetch than to find.
    SELECT
        array_agg(status ORDER BY at) AS statuses,
        array_agg(reason ORDER BY at) AS reasons,
        array_agg(count ORDER BY at) AS counts
    FROM (
        (
            SELECT scheduled_for AS at, 1 AS count, status, reason
            FROM scheduler_app_execution
            WHERE job_id = wanted.job_id AND trigger = 'schedule' AND NOT wanted.by_hand
            ORDER BY scheduled_for DESC
            LIMIT %(cells)s
        )
        UNION ALL
        (
            -- What runs by hand only has no fire times but those that people gave it.
            SELECT scheduled_for, 1, status, reason
            FROM scheduler_app_execution
            WHERE job_id = wanted.job_id AND wanted.by_hand
            ORDER BY scheduled_for DESC
            LIMIT %(cells)s
        )
        UNION ALL
        (
            SELECT last_at, LEAST(count, %(cells)s), 'gap', reason
            FROM scheduler_app_gap
            WHERE job_id = wanted.job_id
            ORDER BY first_at DESC
            LIMIT %(cells)s
        )
        ORDER BY at DESC
        LIMIT %(cells)s
    ) AS fate
) AS fates
"""

SUCCEEDED, FAILED, LOST, CANCELLED, RUNNING, WAITING, SKIPPED, MISSED, OVERDUE = FATES = (
    # In the words that people read.
    *("succeeded", "failed", "lost", "cancelled", "running", "waiting"),
    *("skipped", "missed", "overdue"),
)

_OF_STATUS: dict[str, str] = {
    Status.SUCCEEDED: SUCCEEDED,
    Status.FAILED: FAILED,
    Status.LOST: LOST,
    Status.CANCELLED: CANCELLED,
    Status.RUNNING: RUNNING,
    Status.READY: WAITING,
    Status.BLOCKED: WAITING,
}
_MISSED = (GapReason.MISSED, GapReason.COALESCED, GapReason.LIMIT)
# Within a cell that begins at 0: full bars for what went well, so that anything else stands out by its shape.
_SHAPES = {
    SUCCEEDED: "M{x2} 1v14",
    FAILED: "M{x0} 3.5l4 9m0-9l-4 9",
    LOST: "M{x0} 4l2 3l2-3M{x2} 7v3M{x2} 13v.5",
    CANCELLED: "M{x4} 3l-4 10",
    RUNNING: "M{x0} 4l4 4l-4 4z",
    WAITING: "M{x0} 6h4v4h-4z",
    SKIPPED: "M{x0} 8h4",
    MISSED: "M{x0} 1v3m0 3v2m0 3v3M{x4} 1v3m0 3v2m0 3v3",
    OVERDUE: "M{x2} 2v8m0 3v1",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One fire time, or several that became no execution for one reason."""

    fate: str
    count: int = 1


def last_fates(jobs: Sequence[Job], now: datetime, cells: int = CELLS) -> dict[int, list[Cell]]:
    """By job id, the last fire times, oldest first; one statement for all jobs."""
    parameters: dict[str, Any] = {
        "job_ids": [job.pk for job in jobs],
        "by_hand": [is_manual(job) for job in jobs],
        "cells": cells,
    }
    found: dict[int, list[Cell]] = {job.pk: [] for job in jobs}
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(STRIP_SQL, parameters)
        for job_id, statuses, reasons, counts in cursor.fetchall():
            found[job_id] = [
                Cell(_fate(*each), count)
                for *each, count in zip(statuses or (), reasons or (), counts or (), strict=True)
            ]
    return {job.pk: _with_overdue(job, found[job.pk], now)[-cells:] for job in jobs}


def fates_of(
    job: Job, executions: Iterable[Execution], gaps: Iterable[Gap], now: datetime
) -> list[Cell]:
    """As `last_fates`, from rows of the job that were read already; asks the database for nothing."""
    by_hand = is_manual(job)
    found = [
        (one.scheduled_for, Cell(_fate(one.status, one.reason)))
        for one in executions
        if by_hand or one.trigger == Trigger.SCHEDULE
    ]
    found += [(gap.last_at, Cell(_fate("gap", gap.reason), gap.count)) for gap in gaps]
    found.sort(key=itemgetter(0))
    return _with_overdue(job, [cell for _, cell in found], now)[-CELLS:]


def _with_overdue(job: Job, cells: list[Cell], now: datetime) -> list[Cell]:
    plan = getattr(job, "plan", None)
    if plan and plan.next_fire_at and plan.next_fire_at < now - OVERDUE_AFTER:
        return [*cells, Cell(OVERDUE)]
    return cells


def _fate(status: str, reason: str) -> str:
    if status == "gap":
        return MISSED if reason in _MISSED else SKIPPED
    return _OF_STATUS.get(status, WAITING)


def summary(cells: Sequence[Cell]) -> str:
    """`Of the last 30 fire times 27 succeeded, 2 failed, 1 was skipped.`"""
    counts = dict.fromkeys(FATES, 0)
    for cell in _spread(cells, CELLS):
        counts[cell.fate] += 1
    parts = [f"{count} {fate}" for fate, count in counts.items() if count]
    return (
        f"Last {count_text(sum(counts.values()), 'fire time')}: {', '.join(parts)}" if parts else ""
    )


def strip_html(cells: Sequence[Cell], *, size: int = CELLS) -> SafeString:
    """The strip as one picture; the newest is at its right end."""
    spread = _spread(cells, size)
    paths: dict[str, list[str]] = {}
    for place, cell in enumerate(spread, start=size - len(spread)):
        x = place * CELL_WIDTH + 1
        shape = _SHAPES[cell.fate].format(x0=x, x2=x + 2, x4=x + 4)
        paths.setdefault(cell.fate, []).append(shape)
    return format_html(
        '<svg class="sch-strip" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        '<title>{words}</title><path class="sch-strip-base" d="M0 15.5h{width}"/>{paths}</svg>',
        width=size * CELL_WIDTH,
        height=HEIGHT,
        words=summary(cells) or "No fire time yet",
        paths=format_html_join(
            "", '<path class="sch-fate-{}" d="{}"/>', ((k, "".join(v)) for k, v in paths.items())
        ),
    )


def legend_html(fates: Iterable[str] = FATES) -> SafeString:
    """Each shape with its word."""
    return format_html_join(
        "",
        '<span class="sch-legend"><svg class="sch-strip" viewBox="0 0 {} {}" width="{}" height="{}" aria-hidden="true">'
        '<path class="sch-fate-{}" d="{}"/></svg>{}</span> ',
        (
            (
                *(CELL_WIDTH, HEIGHT, CELL_WIDTH, HEIGHT, fate),
                *(_SHAPES[fate].format(x0=1, x2=3, x4=5), fate),
            )
            for fate in fates
        ),
    )


def _spread(cells: Sequence[Cell], size: int) -> list[Cell]:
    """A cell for each fire time, the newest `size` of them."""
    found: list[Cell] = []
    for cell in reversed(cells):
        found += [cell] * min(cell.count, size - len(found))
        if len(found) == size:
            break
    return found[::-1]
