"""A job's definition in the forms that people copy: JSON, YAML, and the request that puts it there."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from urllib.parse import quote

from django.http import HttpRequest
from django.urls import reverse

from scheduler_app.lifecycle import definitions
from scheduler_app.models import Job
from scheduler_app.rules.masking import MASK

from .display import printable


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
    curl = (
        f"curl -u {shlex.quote(request.user.get_username())} -X PUT {request.build_absolute_uri(address)} "
        f"-H 'Content-Type: application/json' --data {shlex.quote(as_json)}"
    )
    return Texts(printable(as_json), printable(as_yaml), printable(curl), MASK in as_json)
