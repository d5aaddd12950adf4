"""How moments, durations, texts and JSON read on a page. Values in, plain text out; nothing here is HTML."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from scheduler_app.rules.zones import zone_names

OVERDUE_AFTER = timedelta(seconds=2)
"""A fire time that is past by less is being fired this moment."""

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_VISIBLE = {code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)}
_VISIBLE |= {0x0D: "\n", 0x7F: "␡"}
_VISIBLE |= {code: f"⟦{code:02X}⟧" for code in range(0x80, 0xA0)}
# They would reorder what stands around them.
_VISIBLE |= {code: f"⟦U+{code:04X}⟧" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}

_REASONS = {
    "raised": "raised an exception",
    "timed_out": "timed out",
    "cancelled": "",
    "poisoned": "crashed too often",
    "crashed": "its process crashed",
    "cpu_limit": "used up its CPU time",
    "too_many_processes": "started too many processes",
    "no_child_process": "its node could not start a process",
    "fenced": "its node was cut off",
    "unknown_task": "no node knows the task",
    "invalid_target": "the target cannot run",
    "invalid_arguments": "the arguments do not fit",
    "job_deleted": "the job was deleted",
    "owner_not_entitled": "its owner may not let it run any more",
    "node_died": "its node died",
    "drained": "its node stopped",
    "overlap": "the next one took its place",
    "paused": "held by a pause",
    "stopped": "stopped early",
    "exit_code": "the program reported a failure",
    "not_started": "the program could not be started",
    "missing_secret": "its node lacks a secret",
}


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The zone, or UTC for a name that was written past the validation."""
    return ZoneInfo(name) if name in zone_names() else ZoneInfo("UTC")


def clock(moment: datetime, zone: ZoneInfo) -> str:
    """`2030-01-31 09:00:00 +01:00`, or `UTC` in place of the offset."""
    local = moment.astimezone(zone)
    if zone.key == "UTC":
        return f"{local:%Y-%m-%d %H:%M:%S} UTC"
    offset = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M:%S} {offset[:3]}:{offset[3:5]}"


def utc_clock(moment: datetime) -> str:
    """`2030-01-31 08:00:00.123 UTC`, for comparing with logs."""
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} UTC"


def span(delta: timedelta) -> str:
    """Two units at most: `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    seconds = int(abs(delta).total_seconds())
    for size, unit, smaller_size, smaller in (
        (365 * 86_400, "y", 86_400, "d"),
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            rest = seconds % size // smaller_size
            return (
                f"{seconds // size} {unit} {rest} {smaller}"
                if rest
                else f"{seconds // size} {unit}"
            )
    return f"{seconds} s"


def relative(moment: datetime, now: datetime) -> str:
    """`in 5 min 3 s`, `12 s ago`, `now`."""
    delta = moment - now
    if abs(delta) < timedelta(seconds=1):
        return "now"
    return f"in {span(delta)}" if delta > timedelta(0) else f"{span(delta)} ago"


def duration(delta: timedelta | float | None) -> str:
    """How long something took: `350 ms`, `4.2 s`, `3 min 12 s`."""
    if delta is None:
        return ""
    seconds = delta.total_seconds() if isinstance(delta, timedelta) else float(delta)
    sign = "-" if seconds < 0 else ""
    seconds = abs(seconds)
    if seconds < 0.9995:
        return f"{sign}{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{sign}{seconds:.1f} s"
    return sign + span(timedelta(seconds=round(seconds)))


def printable(text: object) -> str:
    """The text without terminal colours; other control characters become visible and harmless."""
    shown = str(text)
    if "\x1b" in shown or "\x9b" in shown:
        shown = _ANSI.sub("", shown)
    return shown.replace("\r\n", "\n").translate(_VISIBLE)


def pretty_json(value: Any) -> str:
    """The value as people read JSON."""
    return printable(json.dumps(value, indent=2, ensure_ascii=False))


def reason_in_words(reason: str) -> str:
    """The machine word on an execution, for people."""
    known = _REASONS.get(reason)
    return printable(reason).replace("_", " ") if known is None else known


def count_text(count: int, noun: str, plural: str = "") -> str:
    """`1 job`, `2 jobs`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def per_day(rate: float) -> str:
    """`1,440 runs a day`, `2.5 runs a day`, `one run in 30 days`, `no run in the next 30 days`."""
    if rate <= 0:
        return "no run in the next 30 days"
    if rate < 0.95:
        days = round(1 / rate)
        return f"one run in {count_text(max(2, days), 'day')}"
    shown = f"{rate:,.0f}" if rate >= 10 or abs(rate - round(rate)) < 0.05 else f"{rate:.1f}"
    return f"{shown} run{'' if shown == '1' else 's'} a day"
