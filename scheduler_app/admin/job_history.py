"""The job's log: what was done to it by people."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from .filters import whole_number
from .job_base import JobBase


class JobHistory(JobBase):
    """The stock log, under the head of the job's other pages."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What was done by the admin, under the head of the job's other pages."""
        job_id = whole_number(object_id)
        if job_id is None:
            raise Http404("There is no such job.")
        header = {
            **self._header_context(request, self._get_job(job_id)),
            "tab": "log",
            "crumb": "Log",
        }
        return super().history_view(request, object_id, {**header, **(extra_context or {})})
