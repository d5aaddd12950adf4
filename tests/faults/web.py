"""The web part, as a process of its own, and a client of its API."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from scheduler_app.management.drill.nodes import wait_until
from scheduler_app.management.drill.prepare import OPERATOR
from tests.ports import free_port

from .cluster import PATIENCE_S, ROOT, Stage

API = "/api/v1"
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """gunicorn on the stage's database; a context manager."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.port = free_port()
        self._log = (stage.directory / "web.log").open("wb")
        credentials = base64.b64encode(f"{OPERATOR}:{OPERATOR}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/json",
        }

    def __enter__(self) -> Web:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "jobscheduler.wsgi"],
            cwd=ROOT,
            env=self._stage.cluster.environment()
            | {
                "DATABASE_URL": self._stage.cluster.server.url(self._stage.database),
                "PORT": str(self.port),
                "WEB_CONCURRENCY": "1",
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        if not wait_until(self._is_up, PATIENCE_S):
            self.__exit__()
            raise TimeoutError("the web process does not answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(15.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _is_up(self) -> bool:
        try:
            return self.ask("GET", "/livez", prefix="").status == 200
        except OSError:
            return False

    def log_in(self) -> None:
        """Open a session of the admin, for its pages."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        connection.request("GET", "/admin/login/")
        token = connection.getresponse()
        token.read()
        csrf = token.headers["Set-Cookie"].partition("csrftoken=")[2].partition(";")[0]
        form = urlencode({"username": OPERATOR, "password": OPERATOR, "csrfmiddlewaretoken": csrf})
        connection.request(
            "POST",
            "/admin/login/",
            form,
            {
                "Cookie": f"csrftoken={csrf}",
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        answer = connection.getresponse()
        answer.read()
        cookies = [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie", [])]
        self._headers["Cookie"] = "; ".join(cookies)
        connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, **values: Any) -> Answer:
        return self.ask("POST", path, values)

    def ask(
        self, method: str, path: str, values: dict[str, Any] | None = None, *, prefix: str = API
    ) -> Answer:
        """One request on a connection of its own; raises OSError when there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        body = None if values is None else json.dumps(values)
        try:
            connection.request(method, prefix + path, body, self._headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
