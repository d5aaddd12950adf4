"""What people copy: a job's definition as JSON and YAML, and the requests to the API that do what the pages do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest
from django.urls import reverse

from scheduler_app.lifecycle import Selection, definitions
from scheduler_app.models import Job, Node
from scheduler_app.rules.masking import MASK, masked

from .display import printable

MOST_NAMED = 100
"""Jobs that a request names one by one."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The definition in each form, as people copy it; secrets are asterisks."""

    json: str
    yaml: str
    curl: str
    has_secrets: bool


def texts_of(request: HttpRequest, job: Job) -> Texts:
    """What differs from a job about which nothing was said."""
    told = definitions.definition_of(job)
    as_json = json.dumps(told, indent=2, ensure_ascii=False)
    as_yaml = definitions.as_yaml(told)
    # No reverse(): a name may hold what an address of the API's routes does not match.
    address = reverse("api:job-list") + "/" + quote(job.name, safe="")
    curl = _curl(request, "PUT", address, as_json)
    return Texts(printable(as_json), printable(as_yaml), curl, MASK in as_json)


def api_call(request: HttpRequest, name: str, *arguments: int, **body: Any) -> str:
    """What a page's button does, as a request to the API of this route; secrets are asterisks."""
    address = reverse(f"api:{name}", args=arguments)
    return _curl(request, "POST", address, json.dumps(masked(body), ensure_ascii=False))


def call_for_jobs(request: HttpRequest, verb: str, jobs: Sequence[Job], **body: Any) -> str:
    """The same for a verb of one job or of many; empty for more than one would copy."""
    if len(jobs) == 1:
        return api_call(request, f"job-{verb}", jobs[0].pk, **body)
    if len(jobs) > MOST_NAMED:
        return ""
    return api_call(request, f"bulk-jobs-{verb}", jobs=[job.pk for job in jobs], **body)


def call_for_executions(request: HttpRequest, verb: str, selection: Selection) -> str:
    """The same for all that match; empty where the API has no word for what chooses them."""
    nodes = Node.objects.filter(pk__in=selection.nodes).order_by("name") if selection.nodes else ()
    chosen = {
        "status": selection.statuses,
        "job": selection.jobs,
        "queue": selection.queues,
        "trigger": selection.triggers,
        "node": sorted({node.name for node in nodes}),
        "since": selection.since and selection.since.isoformat(),
        "until": selection.until and selection.until.isoformat(),
        "error": selection.error,
        "arguments": dict(selection.arguments),
    }
    told = {name: value for name, value in chosen.items() if value}
    is_known = selection.ids is None and not selection.job_names and selection.jobs != ()
    if not told or not is_known:
        return ""
    return api_call(request, f"bulk-executions-{verb}", filter=told, reason="")


def _curl(request: HttpRequest, method: str, address: str, body: str) -> str:
    """For a shell; it asks for the password, so that none stands in its history."""
    return printable(
        f"curl -u {shlex.quote(request.user.get_username())} -X {method} {request.build_absolute_uri(address)} "
        f"-H 'Content-Type: application/json' --data {shlex.quote(body)}"
    )
