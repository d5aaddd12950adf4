"""A job's definition as a value: what a revision keeps and what the rules decide from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

TIMING = (
    *("name", "schedule", "timezone", "anchor_at", "day_match", "start_at", "end_at", "jitter_s"),
    *("calendar_name", "calendar_days", "calendar_mode", "on_closed"),
)
"""The fields that fire times follow from: two jobs that agree in all of them fire together.

A calendar is there if it has a name; without days it may close all of them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The columns of a job that say what it does and when. Durations are seconds, moments aware."""

    name: str = ""
    tags: tuple[str, ...] = ()
    schedule: str = "@manual"
    timezone: str = "UTC"
    anchor_at: datetime | None = None
    day_match: str = "or"
    start_at: datetime | None = None
    end_at: datetime | None = None
    max_runs: int | None = None
    jitter_s: int = 0
    calendar_name: str = ""
    calendar_mode: str = "avoid"
    calendar_days: tuple[tuple[str, str], ...] = ()
    on_closed: str = "skip"
    kind: str = "task"
    target: str = ""
    arguments: Any = field(default_factory=dict)
    queue: str = "default"
    priority: int = 0
    on_misfire: str = "latest"
    misfire_grace_s: int | None = None
    on_overlap: str = "skip"
    max_running: int | None = None
    max_attempts: int = 1
    retry_backoff_s: float = 10
    retry_factor: float = 2
    retry_cap_s: float = 3600
    retry_jitter: float = 0.1
    timeout_s: float = 3600
    guarantee: str = "at_least_once"
    isolation: str = "thread"
    memory_limit_mb: int | None = None
    cpu_limit_s: int | None = None
    keep_days: int | None = None
    keep_last: int | None = None
    enabled: bool = True
    paused_at: datetime | None = None
    paused_by: str = ""
    paused_until: datetime | None = None
    pause_reason: str = ""
    deleted_at: datetime | None = None

    @classmethod
    @lru_cache(maxsize=1)
    def field_names(cls) -> tuple[str, ...]:
        """The names of all fields, which are columns of the job as well."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def from_json(cls, *layers: Mapping[str, Any] | None) -> JobSpec:
        """The definition in a revision, and over it what an execution changed; unknown keys are ignored."""
        values: dict[str, Any] = {}
        for layer in layers:
            for name, value in (layer or {}).items():
                if name in cls.field_names():
                    values[name] = value
        for name in ("anchor_at", "start_at", "end_at", "paused_at", "paused_until", "deleted_at"):
            if isinstance(values.get(name), str):
                values[name] = datetime.fromisoformat(values[name])
        values["tags"] = tuple(values.get("tags") or ())
        values["calendar_days"] = tuple(map(tuple, values.get("calendar_days") or ()))
        return cls(**values)

    @property
    def limit(self) -> int | None:
        """How many executions of the job may run side by side; None: any number."""
        return limit_of(self.max_running, self.on_overlap)

    @property
    def is_in_force(self) -> bool:
        """Whether there are fire times at all, paused or not."""
        return self.enabled and self.deleted_at is None


def limit_of(max_running: int | None, on_overlap: str) -> int | None:
    """As `JobSpec.limit`, of a row that is not read whole."""
    if max_running is None and on_overlap == "allow":
        return None
    return max_running or 1
