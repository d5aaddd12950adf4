"""What the tests of targets share: servers on the loopback interface, and executions to run for."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler_app.targets.base import CurrentExecution
from scheduler_app.targets.guarded_http import Client, guarded_tls

from .server import LoopbackServer

TLS = Path(__file__).parent / "tls"
DEADLINE_S = 30.0
"""How long a test waits for what should happen at once, on a machine that is busy."""


@pytest.fixture
def start_server() -> Iterator[Callable[..., LoopbackServer]]:
    servers: list[LoopbackServer] = []

    def start(**options: Any) -> LoopbackServer:
        servers.append(LoopbackServer(**options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., LoopbackServer]) -> LoopbackServer:
    return start_server()


@pytest.fixture
def tls_server(start_server: Callable[..., LoopbackServer]) -> LoopbackServer:
    """Its certificate is for tls.example and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    return start_server(tls=context)


@pytest.fixture
def trusting_tls() -> ssl.SSLContext:
    """Trusts the authority of the tests' certificate, and no other."""
    return guarded_tls(ssl.create_default_context(cafile=TLS / "authority.pem"))


class World:
    """A resolver and a network of the test's own: names have the addresses it says, and all of them lead to one
    server on the loopback interface."""

    def __init__(self, server: LoopbackServer) -> None:
        self.server = server
        self.answers: dict[str, list[list[str]]] = {}
        """By name, the answers to one question after another; the last one stays."""
        self.questions: list[str] = []
        self.dialled: list[str] = []

    def resolve(self, name: str) -> list[Any]:
        self.questions.append(name)
        answers = self.answers[name]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ipaddress.ip_address(address) for address in addresses]

    def route(self, address: Any, port: int) -> Any:
        self.dialled.append(str(address))
        return socket.AF_INET, (self.server.host, self.server.port)

    def client(self, **options: Any) -> Client:
        return Client(resolve=self.resolve, route=self.route, **options)


@pytest.fixture
def make_execution() -> Callable[..., CurrentExecution]:
    def make(target: str = "", arguments: Any = None, **values: Any) -> CurrentExecution:
        defaults: dict[str, Any] = {
            "id": 4711,
            "job_id": 1,
            "job_name": "a job",
            "attempt": 1,
            "scheduled_for": datetime(2030, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC),
            "timeout_s": DEADLINE_S,
        }
        arguments = {} if arguments is None else arguments
        return CurrentExecution(target=target, arguments=arguments, **(defaults | values))

    return make


def wait_until(question: Callable[[], Any]) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not question():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def stop_soon(execution: CurrentExecution, when: Callable[[], Any]) -> threading.Thread:
    """Ask the execution to stop, from another thread, once something is true."""

    def work() -> None:
        wait_until(when)
        execution.stop()

    thread = threading.Thread(target=work)
    thread.start()
    return thread
