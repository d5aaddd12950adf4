"""How long a job's executions took, one bar each, with failures and edits marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler_app.models import Execution, Status

from .charts import WIDTH, Bar, Column, Mark, nice_top, stacked_bars
from .display import clock, count_text, duration, zone_of

KEYS = {Status.SUCCEEDED: "succeeded", Status.CANCELLED: "cancelled"}
"""By status; whatever else has ended went wrong."""


@dataclass(frozen=True, slots=True)
class DurationChart:
    """Bars from the oldest to the newest, and where the definition changed between two."""

    bars: list[Bar]
    edits: list[Mark]
    top: str
    summary: str
    usual: str
    """Half of the successes took at most this."""


def duration_chart(
    executions: Sequence[Execution], versions: Mapping[int, int], timezone: str
) -> DurationChart | None:
    """Of the finished among these, newest first; `versions` by revision id. None while there are fewer than two."""
    finished = [
        execution
        for execution in reversed(executions)
        if execution.finished_at is not None and execution.started_at is not None
    ]
    if len(finished) < 2:
        return None
    seconds = [_seconds(execution) for execution in finished]
    # Below a second a nice number is one of milliseconds.
    top = nice_top(max(seconds)) if max(seconds) > 1 else nice_top(max(seconds) * 1000) / 1000
    columns = [
        # What took no time at all still happened.
        Column(_title(execution, timezone), [(_key(execution), max(took, top / 100))])
        for execution, took in zip(finished, seconds, strict=True)
    ]
    good = sorted(
        took
        for execution, took in zip(finished, seconds, strict=True)
        if execution.status == Status.SUCCEEDED
    )
    bad = sum(_key(execution) == "failed" for execution in finished)
    return DurationChart(
        bars=stacked_bars(columns, top),
        edits=_edits(finished, versions),
        top=duration(top),
        summary=f"{count_text(len(finished), 'execution')}, {bad} of them failed or lost",
        usual=duration(good[(len(good) - 1) // 2]) if good else "",
    )


def _seconds(execution: Execution) -> float:
    took = execution.duration
    return max(0.0, took.total_seconds()) if took else 0.0


def _key(execution: Execution) -> str:
    return KEYS.get(Status(execution.status), "failed")


def _title(execution: Execution, timezone: str) -> str:
    at = clock(execution.scheduled_for, zone_of(timezone))
    return f"{at}: {execution.status}, took {duration(execution.duration)}"


def _edits(finished: Sequence[Execution], versions: Mapping[int, int]) -> list[Mark]:
    """Between the last of one definition and the first of the next."""
    slot = WIDTH / len(finished)
    marks = []
    for place in range(1, len(finished)):
        before, after = finished[place - 1].revision_id, finished[place].revision_id
        if before is not None and after is not None and after > before:
            version = versions.get(after)
            label = f"version {version}" if version else "an edit"
            marks.append(Mark(round(slot * place, 2), label))
    return marks
