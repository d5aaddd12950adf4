"""Where things are, as absolute addresses."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.reverse import reverse


class Links:
    """Addresses for one request; each kind of thing is looked up once, however many rows there are."""

    def __init__(self, request: Request) -> None:
        self._jobs = reverse("api:job-list", request=request)
        self._executions = reverse("api:execution-list", request=request)
        self._nodes = reverse("api:node-list", request=request)
        self._calendars = reverse("api:calendar-list", request=request)
        self._pauses = reverse("api:pause-list", request=request)
        self._tasks = reverse("api:task-list", request=request)
        self._bulk = reverse("api:bulk-executions-list", request=request)

    def job(self, job_id: int) -> str:
        return f"{self._jobs}/{job_id}"

    def executions_of(self, job_id: int) -> str:
        return f"{self._jobs}/{job_id}/executions"

    def execution(self, execution_id: int) -> str:
        return f"{self._executions}/{execution_id}"

    def log(self, execution_id: int) -> str:
        return f"{self._executions}/{execution_id}/log"

    def node(self, node_id: int) -> str:
        return f"{self._nodes}/{node_id}"

    def calendar(self, calendar_id: int) -> str:
        return f"{self._calendars}/{calendar_id}"

    def pause(self, pause_id: int) -> str:
        return f"{self._pauses}/{pause_id}"

    def task(self, name: str) -> str:
        return f"{self._tasks}/{name}"

    def bulk(self, operation_id: object) -> str:
        return f"{self._bulk}/{operation_id}"
