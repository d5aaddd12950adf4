"""A job as text that makes the same job elsewhere: the fields that people write, as the API takes them.

What the admin shows to be copied, what `jobs export` writes and what the API reads are these.
"""

from __future__ import annotations

import io
import re
from datetime import UTC, date, datetime
from typing import Any

import yaml
from django.db import models

from scheduler_app.models import Job
from scheduler_app.rules.masking import masked, masked_text
from scheduler_app.rules.storable import STEERING

WRITABLE = (
    "name",
    "description",
    "tags",
    "schedule",
    "timezone",
    "anchor_at",
    "day_match",
    "start_at",
    "end_at",
    "max_runs",
    "jitter_s",
    "calendar",
    "calendar_mode",
    "on_closed",
    "kind",
    "target",
    "arguments",
    "queue",
    "priority",
    "on_misfire",
    "misfire_grace_s",
    "on_overlap",
    "max_running",
    "max_attempts",
    "retry_backoff_s",
    "retry_factor",
    "retry_cap_s",
    "retry_jitter",
    "timeout_s",
    "guarantee",
    "isolation",
    "memory_limit_mb",
    "cpu_limit_s",
    "keep_days",
    "keep_last",
    "enabled",
)
"""The fields of a job that people write, in the order in which they are shown."""

ALWAYS = ("name", "schedule", "kind", "target")
"""Told even where they are as they would be anyway."""


# ASCII's control characters YAML escapes by itself.
_STEERS = re.compile(f"[{STEERING}]")


class _Dumper(yaml.SafeDumper):
    """Writes letters of all languages as they are, but texts that steer a terminal with escapes."""

    def analyze_scalar(self, scalar: str) -> Any:
        # Asked before each text is written.
        self.allow_unicode = not _STEERS.search(scalar)
        return super().analyze_scalar(scalar)


def defaults() -> dict[str, Any]:
    """What each field is where nothing is said about it."""
    fields = (Job._meta.get_field(name) for name in WRITABLE)
    return {field.name: field.get_default() for field in fields if isinstance(field, models.Field)}


def values_of(job: Job) -> dict[str, Any]:
    """Every field that can be written, in JSON's types, secrets included."""
    values = {name: getattr(job, name) for name in WRITABLE}
    values["calendar"] = job.calendar.name if job.calendar else None
    return {name: plain(value) for name, value in values.items()}


def definition_of(job: Job) -> dict[str, Any]:
    """What differs from a job about which nothing was said, with secrets masked."""
    unsaid = {name: plain(value) for name, value in defaults().items()}
    told = {
        name: value
        for name, value in values_of(job).items()
        if name in ALWAYS or value != unsaid.get(name)
    }
    told["target"] = masked_text(told["target"])
    if "arguments" in told:
        told["arguments"] = masked(told["arguments"])
    return told


def as_yaml(definition: dict[str, Any]) -> str:
    """YAML with the fields in their order, without control characters."""
    text = io.StringIO()
    dumper = _Dumper(text, sort_keys=False, width=100)
    dumper.open()
    dumper.represent(definition)
    dumper.close()
    return text.getvalue()


def plain(value: Any) -> Any:
    """As JSON has it: moments as texts, with their offset if they have one."""
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(UTC)
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
