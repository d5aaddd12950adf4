"""What changed since the last green run? The first questions of whoever looks at a failure, answered beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scheduler_app.access import visible
from scheduler_app.lifecycle.selecting import NEWEST_FIRST, up_to
from scheduler_app.models import Execution, Status

from .display import duration, printable
from .durations import duration_chart
from .history import Change, changed_fields, changes, shown

BAD = (Status.FAILED, Status.LOST)
LOOKED_AT = 100
"""Executions among which the last green is looked for."""
_NOT_TOLD = ("calendar_name", "calendar_days", "paused_at", "paused_by", "paused_until")


@dataclass(frozen=True, slots=True)
class SinceGreen:
    """The newest failure, the last success before it, and what differs between the two."""

    failure: Execution
    green: Execution | None
    """None when there is no success among those that were looked at."""
    failures: int
    """How many have failed since."""
    changes: list[Change]
    same: list[str]
    """What is the same, so that nobody has to look."""
    took: str


def since_green(executions: Sequence[Execution], usual: str) -> SinceGreen | None:
    """Of a job's executions, newest first; None unless the newest that ended went wrong. One statement if it did."""
    ended = [execution for execution in executions if execution.finished_at is not None]
    ended = [execution for execution in ended if execution.status != Status.CANCELLED]
    if not ended or ended[0].status not in BAD:
        return None
    failure = ended[0]
    green = next((one for one in ended if one.status == Status.SUCCEEDED), None)
    count = ended.index(green) if green else len(ended)
    took = duration(failure.duration)
    if took and usual:
        took += f", usually {usual}"
    found, same = ([], []) if green is None else _compared(green, failure)
    return SinceGreen(failure, green, count, found, same, took)


def since_green_of(execution: Execution) -> SinceGreen | None:
    """As `since_green`, of a job's execution and those before it; None unless it went wrong. Two statements if it did."""
    job = execution.job
    if job is None or execution.status not in BAD:
        return None
    rows = visible.executions().filter(job=job).for_lists().select_related("node")
    until = up_to(rows, (execution.scheduled_for, execution.pk))
    found = list(until.order_by(*NEWEST_FIRST)[:LOOKED_AT])
    chart = duration_chart(found, {}, job.timezone)
    return since_green(found, chart.usual if chart else "")


def _compared(green: Execution, failure: Execution) -> tuple[list[Change], list[str]]:
    definitions = _definitions(green, failure)
    before, after = definitions[green.pk], definitions[failure.pk]
    names = [name for name in changed_fields(before, after) if name not in _NOT_TOLD]
    found = changes(before, after, names)
    same = [] if "arguments" in names else ["arguments"]
    if not [name for name in names if name != "arguments"]:
        same.append("definition")
    for name, old, new in (
        ("release", green.release, failure.release),
        ("node", _node(green), _node(failure)),
    ):
        if old == new:
            same.append(name)
        else:
            found.append(Change(name, name.capitalize(), shown(name, old), shown(name, new)))
    return found, same


def _definitions(*executions: Execution) -> dict[int, dict[str, Any]]:
    """What each ran with: its revision, and over it what was given for it alone."""
    rows = Execution.objects.filter(pk__in=[one.pk for one in executions])
    return {
        pk: {**(definition or {}), **(spec or {})}
        for pk, definition, spec in rows.values_list("pk", "revision__spec", "spec")
    }


def _node(execution: Execution) -> str:
    return printable(execution.node.name) if execution.node else ""
