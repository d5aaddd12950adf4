"""A job as text that makes the same job elsewhere: JSON, YAML, and the request that puts it there."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import yaml
from django.http import HttpRequest
from django.urls import reverse

from scheduler_app.models import Job
from scheduler_app.rules.masking import MASK, masked, masked_text

from .display import printable

ALWAYS = ("name", "schedule", "timezone", "kind", "target", "arguments")
"""Told even where they are as they would be anyway."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The definition in each form, as people copy it; secrets are asterisks."""

    json: str
    yaml: str
    curl: str
    has_secrets: bool


def texts_of(request: HttpRequest, job: Job) -> Texts:
    """What differs from a job about which nothing was said."""
    told = definition_of(job)
    as_json = json.dumps(told, indent=2, ensure_ascii=False)
    as_yaml = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100)
    # No reverse(): a name may hold what an address of the API's routes does not match.
    address = reverse("api:job-list") + "/" + quote(job.name, safe="")
    curl = (
        f"curl -u {shlex.quote(request.user.get_username())} -X PUT {request.build_absolute_uri(address)} "
        f"-H 'Content-Type: application/json' --data {shlex.quote(as_json)}"
    )
    return Texts(printable(as_json), printable(as_yaml), printable(curl), MASK in as_json)


def definition_of(job: Job) -> dict[str, Any]:
    """The fields that people write, as the API takes them."""
    told = {}
    for field in Job._meta.concrete_fields:
        if field.editable and not field.primary_key:
            value = getattr(job, field.attname)
            if field.name in ALWAYS or value != field.get_default():
                told[field.name] = _plain(job, field.name, value)
    return told


def _plain(job: Job, name: str, value: Any) -> Any:
    if name == "calendar":
        return job.calendar.name if job.calendar else None
    if name == "arguments":
        return masked(value)
    if name == "target":
        return masked_text(value)
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
