"""Where things are, as absolute addresses."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.reverse import reverse


class Links:
    """Addresses for one request; each kind of thing is looked up when needed, and once, however many rows there are."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._found: dict[str, str] = {}

    def _list(self, kind: str) -> str:
        if kind not in self._found:
            self._found[kind] = reverse(f"api:{kind}-list", request=self._request)
        return self._found[kind]

    def job(self, job_id: int) -> str:
        return f"{self._list('job')}/{job_id}"

    def executions_of(self, job_id: int) -> str:
        return f"{self._list('job')}/{job_id}/executions"

    def execution(self, execution_id: int) -> str:
        return f"{self._list('execution')}/{execution_id}"

    def log(self, execution_id: int) -> str:
        return f"{self._list('execution')}/{execution_id}/log"

    def node(self, node_id: int) -> str:
        return f"{self._list('node')}/{node_id}"

    def calendar(self, calendar_id: int) -> str:
        return f"{self._list('calendar')}/{calendar_id}"

    def pause(self, pause_id: int) -> str:
        return f"{self._list('pause')}/{pause_id}"

    def task(self, name: str) -> str:
        return f"{self._list('task')}/{name}"

    def bulk(self, operation_id: object) -> str:
        return f"{self._list('bulk-executions')}/{operation_id}"
