"""The guarded client: which addresses it calls, that it calls the ones it checked, and nothing else (S9, S10)."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time

import pytest
from django.test import override_settings

from scheduler_app.rules.addresses import allowance_problems, kind_of, read_allowances, refusal
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.urls import parse_url
from scheduler_app.targets.base import Stopped, TargetFailed
from scheduler_app.targets.guarded_http import (
    Client,
    Exchange,
    Request,
    RequestFailed,
    _is_own,
    system_resolve,
)
from scheduler_app.targets.http import HttpTarget

from .conftest import DEADLINE_S, World, wait_until

PUBLIC = "93.184.215.14"
PUBLIC_IPV6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

# Every way to write a loopback, metadata or otherwise closed address that some resolver understands.
SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "00000127.0.0.1",
    "0",
    "0.0.0.0",
    "0x0",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
    "%31%32%37.0.0.1",
    "127.0.0.1%00.example.com",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "any.localhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fec0::1]",
    "[fd00::1]",
    "[ff02::1]",
    "[fd00:ec2::254]",
    "169.254.169.254",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "2852039166",
    "169.254.43518",
    "168.63.129.16",
    "[::ffff:168.63.129.16]",
    "100.100.100.200",
    "192.0.0.192",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.0.1",
    "198.18.0.1",
    "203.0.113.1",
    "[2001:db8::1]",
    "[3fff::1]",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "user@127.0.0.1",
    "user:password@127.0.0.1",
    "example.com@127.0.0.1",
    "127.0.0.1\\@example.com",
    "127.0.0.1\t",
    "127.0.0.1\r\nX-Y: z",
    "127.0.0.1\x00.example.com",
]


class Listeners:
    """Sockets on all loopback addresses, at a port that is allowed: only the address can be the reason to refuse."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        # Other tests run beside this one, so each process begins elsewhere.
        for number in range(900):
            self.port = 8100 + (os.getpid() + number) % 900
            try:
                self._listen()
            except OSError:
                self.close()
            else:
                return
        raise AssertionError("all web ports are taken")

    def _listen(self) -> None:
        self.sockets.append(socket.create_server(("0.0.0.0", self.port)))
        if socket.has_ipv6:
            family = socket.AF_INET6
            self.sockets.append(socket.create_server(("::", self.port), family=family))
        for sock in self.sockets:
            sock.settimeout(0)

    def saw_a_connection(self) -> bool:
        for sock in self.sockets:
            try:
                sock.accept()
            except BlockingIOError:
                continue
            return True
        return False

    def close(self) -> None:
        while self.sockets:
            self.sockets.pop().close()


@pytest.fixture
def listeners():
    opened = Listeners()
    yield opened
    opened.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_s09_no_spelling_of_a_closed_address_is_called(scheme, listeners, make_execution):
    target = HttpTarget(Client())
    called = []
    for spelling in SPELLINGS:
        url = f"{scheme}://{spelling}:{listeners.port}/"
        assert target.problems(url, {}), f"{url!r} was accepted by the form"
        try:
            target.run(make_execution(url, timeout_s=2))
        except Invalid:
            continue
        called.append(spelling)

    assert called == []
    assert not listeners.saw_a_connection()


def test_s09_a_redirect_to_a_closed_address_leads_nowhere(server, listeners, make_execution):
    world = World(server)
    world.answers["public.example"] = [[PUBLIC]]
    away = f"http://127.0.0.1:{listeners.port}/"
    execution = make_execution(
        f"http://public.example/redirect_away?{away}",
        {"headers": {"Authorization": "Bearer canary"}},
    )

    with pytest.raises(TargetFailed) as raised:
        HttpTarget(world.client()).run(execution)

    assert raised.value.result["headers"]["location"] == away
    assert not listeners.saw_a_connection()


def test_the_listeners_would_see_a_connection(listeners):
    socket.create_connection(("127.0.0.1", listeners.port)).close()

    wait_until(listeners.saw_a_connection)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a9fe:a9fe"],
        ["169.254.169.254"],
        ["10.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        [PUBLIC, PUBLIC_IPV6, "fd00:ec2::254"],
    ],
)
def test_s09_a_name_with_one_closed_address_is_not_called_at_all(server, make_execution, addresses):
    world = World(server)
    world.answers["trap.example"] = [addresses]

    with pytest.raises(TargetFailed) as raised:
        HttpTarget(world.client()).run(make_execution("http://trap.example/ok"))

    assert raised.value.reason == "address_refused"
    assert raised.value.permanent
    assert "http_allowed_hosts" in str(raised.value)
    assert world.dialled == []
    assert server.connections == 0


def test_s10_a_name_is_resolved_once_and_the_checked_address_is_called(server, make_execution):
    world = World(server)
    world.answers["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    target = HttpTarget(world.client())

    result = target.run(make_execution("http://rebind.example:8080/ok"))

    assert world.questions == ["rebind.example"]
    assert world.dialled == [PUBLIC]
    assert result["address"] == PUBLIC
    [request] = server.requests
    assert request.headers["host"] == "rebind.example:8080"


def test_s10_a_pooled_connection_is_not_used_once_the_name_leads_elsewhere(server, make_execution):
    world = World(server)
    world.answers["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    client = world.client()
    target = HttpTarget(client)
    target.run(make_execution("http://rebind.example/ok"))
    client._resolver._known.clear()

    with pytest.raises(TargetFailed) as raised:
        target.run(make_execution("http://rebind.example/ok"))

    assert raised.value.reason == "address_refused"
    assert len(server.requests) == 1


def test_s10_the_certificate_must_be_the_names_while_the_address_is_pinned(
    tls_server, trusting_tls, make_execution
):
    world = World(tls_server)
    world.answers |= {"tls.example": [[PUBLIC]], "other.example": [[PUBLIC]]}
    target = HttpTarget(world.client(tls=trusting_tls))

    assert target.run(make_execution("https://tls.example/ok"))["status"] == 200
    assert tls_server.requests[0].headers["host"] == "tls.example"

    with pytest.raises(TargetFailed) as raised:
        target.run(make_execution("https://other.example/ok"))
    assert raised.value.reason == "tls_failed"
    assert len(tls_server.requests) == 1


def test_the_next_address_is_tried_when_the_first_does_not_answer(
    server, start_server, make_execution
):
    closed = start_server()
    closed.stop()
    world = World(server)
    world.answers["two.example"] = [[PUBLIC_IPV6, PUBLIC]]
    reachable = world.route

    def route(address, port):
        return (
            reachable(address, port)
            if address.version == 4
            else (
                socket.AF_INET,
                ("127.0.0.1", closed.port),
            )
        )

    client = Client(resolve=world.resolve, route=route)

    assert HttpTarget(client).run(make_execution("http://two.example/ok"))["address"] == PUBLIC


@pytest.mark.parametrize("port", [22, 25, 5432, 6379, 9200, 1, 65535])
def test_s09_ports_that_are_not_the_webs_are_refused(port, make_execution):
    target = HttpTarget(Client())

    [problem] = target.problems(f"http://api.example.com:{port}/", {})

    assert f"Port {port} is not one that HTTP targets call" in problem.message
    assert f"api.example.com:{port}" in problem.message


def test_this_machines_own_addresses_are_recognised():
    assert _is_own(ipaddress.ip_address("127.0.0.1"))
    assert not _is_own(ipaddress.ip_address("192.0.2.1"))


def test_s09_an_own_address_is_refused_though_it_is_public(server, make_execution, monkeypatch):
    monkeypatch.setattr("scheduler_app.targets.guarded_http._is_own", lambda address: True)
    world = World(server)
    world.answers["me.example"] = [[PUBLIC]]

    with pytest.raises(TargetFailed) as raised:
        HttpTarget(world.client()).run(make_execution("http://me.example/ok"))

    assert raised.value.reason == "address_refused"
    assert "an address of this machine" in str(raised.value)
    assert server.connections == 0


# --- The setting that opens more


@pytest.mark.parametrize(
    ("entry", "url", "opens"),
    [
        ("127.0.0.1", "http://127.0.0.1:{port}/ok", True),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}/ok", True),
        ("127.0.0.0/8", "http://127.0.0.1:{port}/ok", True),
        ("127.0.0.0/8:{port}", "http://127.0.0.1:{port}/ok", True),
        ("127.0.0.1", "http://localhost:{port}/ok", True),
        ("localhost", "http://localhost:{port}/ok", True),
        ("LocalHost:{port}", "http://LOCALHOST:{port}/ok", True),
        ("127.0.0.1:1", "http://127.0.0.1:{port}/ok", False),
        ("localhost:1", "http://localhost:{port}/ok", False),
        ("localhost", "http://127.0.0.1:{port}/ok", False),
        ("127.0.0.2", "http://127.0.0.1:{port}/ok", False),
        ("other", "http://localhost:{port}/ok", False),
    ],
)
def test_s09_the_setting_opens_what_it_names_and_no_more(
    start_server, make_execution, entry, url, opens
):
    server = start_server()
    client = Client(resolve=lambda name: [ipaddress.ip_address("127.0.0.1")])
    allowed = entry.replace("{port}", str(server.port))
    with override_settings(SCHEDULER={"http_allowed_hosts": (allowed,)}):
        target = HttpTarget(client)
        url = url.replace("{port}", str(server.port))
        assert bool(target.problems(url, {})) is not opens
        if opens:
            assert target.run(make_execution(url))["status"] == 200
    assert server.connections == int(opens)


def test_a_name_in_the_setting_opens_the_private_addresses_it_has():
    allowances = read_allowances(("inside.example",))

    def why(address: str) -> str | None:
        return refusal(
            ipaddress.ip_address(address), 80, name="inside.example", allowances=allowances
        )

    assert why("10.1.2.3") is None
    assert why("127.0.0.1") is None
    assert why("fd00::1") is None


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "::ffff:169.254.169.254",
    ],
)
def test_s09_a_name_in_the_setting_does_not_open_the_metadata_service(address):
    allowances = read_allowances(("inside.example",))

    message = refusal(
        ipaddress.ip_address(address), 80, name="inside.example", allowances=allowances
    )

    assert message is not None
    assert repr(str(ipaddress.ip_address(address))) in message


def test_a_network_in_the_setting_opens_mapped_addresses_too():
    allowances = read_allowances(("10.0.0.0/8",))
    address = ipaddress.ip_address("::ffff:10.0.0.1")

    assert refusal(address, 80, name="x", allowances=allowances) is None


@pytest.mark.parametrize("entry", ["*", "a b", "127.1", "host:0", "host:99999", "", "http://x", 5])
def test_an_entry_that_cannot_be_read_is_reported_and_opens_nothing(entry):
    [problem] = allowance_problems((entry,))

    assert repr(entry) in problem
    assert read_allowances((entry,)) == ()


def test_one_text_instead_of_a_list_of_hosts_is_reported():
    assert allowance_problems("localhost") == [
        "http_allowed_hosts must be a list of hosts, got the text 'localhost'."
    ]


@pytest.mark.parametrize(
    "address",
    [PUBLIC, PUBLIC_IPV6, "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "1.1.1.1"],
)
def test_public_addresses_are_public(address):
    assert kind_of(ipaddress.ip_address(address)) == ""


# --- URLs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a full URL"),
        ("example.com/x", "not a full URL"),
        ("//example.com/x", "not a full URL"),
        ("http:example.com", "not a full URL"),
        ("ftp://example.com/", "use http or https"),
        ("file:///etc/passwd", "use http or https"),
        ("gopher://example.com:70/_x", "use http or https"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://user:pw@example.com/", "user name or password"),
        ("http://example.com:0/", "from 1 to 65535"),
        ("http://example.com:99999/", "from 1 to 65535"),
        ("http://example.com:8o/", "from 1 to 65535"),
        ("http://example.com:\uff18\uff10/", "from 1 to 65535"),
        ("http://exa mple.com/", "a space"),
        ("http://example.com/a\nb", "a line break"),
        ("http://example.com/a\x00b", "U+0000"),
        ("http://example.com\\@x/", "a backslash"),
        ("http://a..b/", "not a valid host name"),
        ("http://-a.example/", "not a valid host name"),
        (f"http://{'a' * 64}.example/", "not a valid host name"),
        ("http://b\u00fccher.example/", "this one is xn--bcher-kva.example"),
        ("http://[::1/", "no host"),
        ("http://[example.com]/", "not an IPv6 address"),
        ("http://example.com/" + "a" * 2000, "at most 2,000"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused_with_the_reason(text, words):
    with pytest.raises(Invalid) as raised:
        parse_url(text)

    [problem] = raised.value.problems
    assert problem.field == "target"
    assert words in problem.message


def test_a_password_in_a_url_is_not_repeated():
    for text in (
        "http://user:s3cret@example.com/",
        "http://user:s3cret@example.com:8o/",
        "x:s3cret",
    ):
        with pytest.raises(Invalid) as raised:
            parse_url(text)
        assert "s3cret" not in repr(raised.value.problems)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443?a=b", "https://example.com/?a=b"),
        ("http://example.com/a#fragment", "http://example.com/a"),
        ("http://example.com/\u00fc?\u00e4=1%20x", "http://example.com/%C3%BC?%C3%A4=1%20x"),
        ("http://[2606:4700:0:0::1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ("http://under_score.example./", "http://under_score.example/"),
    ],
)
def test_a_url_is_brought_into_one_form(text, same):
    assert str(parse_url(text)) == same


# --- The resolver


def request_for(url: str) -> Request:
    return Request(
        method="GET", url=parse_url(url), headers={}, body=None, connect_timeout_s=DEADLINE_S
    )


def test_a_resolver_that_hangs_meets_the_deadline_and_a_stop():
    release = threading.Event()

    def resolve(name: str) -> list:
        release.wait(DEADLINE_S)
        raise OSError("too late")

    client = Client(resolve=resolve)
    try:
        with pytest.raises(RequestFailed, match="looking up the name slow") as raised:
            client.send(request_for("http://slow.example/"), Exchange(0.3))
        assert raised.value.reason == "timed_out"

        exchange = Exchange(DEADLINE_S)
        timer = threading.Timer(0.2, exchange.stop)
        timer.start()
        with pytest.raises(Stopped):
            client.send(request_for("http://slow.example/"), exchange)
        timer.join()
    finally:
        release.set()


def test_names_that_hang_do_not_use_up_threads_without_end():
    release = threading.Event()
    started: list[str] = []

    def resolve(name: str) -> list:
        started.append(name)
        release.wait(DEADLINE_S)
        raise OSError("too late")

    client = Client(resolve=resolve)
    try:
        for number in range(100):
            with pytest.raises(RequestFailed):
                client.send(request_for(f"http://n{number}.example/"), Exchange(0.001))
            with pytest.raises(RequestFailed):
                client.send(request_for("http://same.example/"), Exchange(0.001))
        assert len(started) <= 32
        assert started.count("same.example") == 1
    finally:
        release.set()


def test_a_name_that_is_looked_up_is_remembered_for_a_moment_and_a_failure_is_not(
    server, make_execution
):
    world = World(server)
    world.answers["known.example"] = [[PUBLIC]]
    target = HttpTarget(world.client())
    for _ in range(3):
        target.run(make_execution("http://known.example/ok"))
    # A slow machine may let the moment pass.
    assert len(world.questions) < 3 or server.connections == 1

    failures = []

    def fail(name: str) -> list:
        failures.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    target = HttpTarget(Client(resolve=fail))
    for _ in range(2):
        with pytest.raises(TargetFailed) as raised:
            target.run(make_execution("http://unknown.example/ok"))
        assert raised.value.reason == "name_unknown"
        assert str(raised.value) == "The name unknown.example is not known."
    assert len(failures) == 2


def test_the_systems_resolver_is_asked(server):
    assert ipaddress.ip_address("127.0.0.1") in system_resolve("localhost")
    assert ipaddress.ip_address("127.0.0.1") in system_resolve("127.1")


# --- Idle connections


def test_idle_connections_are_closed_after_a_while(server, make_execution, monkeypatch):
    world = World(server)
    world.answers["a.example"] = [[PUBLIC]]
    client = world.client()
    target = HttpTarget(client)
    target.run(make_execution("http://a.example/ok"))
    monkeypatch.setattr("scheduler_app.targets.guarded_http.IDLE_S", 0.0)

    target.run(make_execution("http://a.example/ok"))

    assert server.connections == 2


def test_closing_the_client_closes_what_is_idle(server, make_execution):
    world = World(server)
    world.answers["a.example"] = [[PUBLIC]]
    client = world.client()
    HttpTarget(client).run(make_execution("http://a.example/ok"))
    assert server._open

    client.close()

    wait_until(lambda: not server._open)


def test_the_number_of_idle_connections_is_bounded(server, make_execution, monkeypatch):
    monkeypatch.setattr("scheduler_app.targets.guarded_http.IDLE_CONNECTIONS", 2)
    world = World(server)
    names = [f"n{number}.example" for number in range(5)]
    world.answers |= {name: [[PUBLIC]] for name in names}
    target = HttpTarget(world.client())
    for name in names:
        target.run(make_execution(f"http://{name}/ok"))

    wait_until(lambda: len(server._open) == 2)


def test_a_stop_ends_a_connection_attempt():
    # A full backlog: the kernel drops the first packet of a connection and the client waits.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.1)
        client = Client(
            resolve=lambda name: [ipaddress.ip_address(PUBLIC)],
            route=lambda address, port: (socket.AF_INET, listener.getsockname()),
        )
        exchange = Exchange(DEADLINE_S)
        timer = threading.Timer(0.3, exchange.stop)
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped):
            client.send(request_for("http://full.example/"), exchange)
        timer.join()
        assert exchange.phase.startswith("connecting to")
        assert time.monotonic() - began < DEADLINE_S / 2
        for filler in fillers:
            filler.close()
