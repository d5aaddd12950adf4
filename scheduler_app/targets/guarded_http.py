"""The one way out: an HTTP client that calls only addresses it has checked, within one deadline.

A name is resolved once; every address of the answer must be allowed, and the connection goes to one of those,
while Host, SNI and certificate stay with the name. No proxies, no redirects, no decompression. The deadline covers
everything from the resolver to the last byte, because each socket asks how much of it is left before it waits.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import urllib3.connection
import urllib3.exceptions

from scheduler_app.rules.addresses import SETTING, Address, Allowance, is_opened, refusal
from scheduler_app.rules.urls import DEFAULT_PORTS, Url

from .base import Stopped

KEPT_BODY_BYTES = 64 * 1024
"""Of the answer's body."""
READ_BODY_BYTES = 1024 * 1024
"""Of the answer's body; then the connection is closed."""
HEADER_BYTES = 128 * 1024
"""Of the status line and the headers together; interim answers count."""
FRAMING_BYTES = 1024 * 1024
"""What the chunks of a body may take beside the body."""

IDLE_S = 15.0
"""An unused connection is kept this long."""
UNSAFE_IDLE_S = 1.0
"""And this long for a method that must not be sent twice: the server may be closing an older one just now."""
IDLE_CONNECTIONS = 256
RESOLVED_FOR_S = 2.0
"""The addresses of a name are used this long before it is resolved again."""
RESOLVED_NAMES = 1000
RESOLVER_THREADS = 32
"""How many names are resolved at the same time. `getaddrinfo` cannot be interrupted, so it has its own threads."""

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

Resolve = Callable[[str], Sequence[Address]]
"""The addresses of a name, at least one; raises OSError."""
Route = Callable[[Address, int], tuple[int, tuple[Any, ...]]]
"""The socket family and the socket address to connect to."""
Key = tuple[str, str, int, Address]
"""What two requests on one connection have in common: scheme, host, port and the checked address."""


class RequestFailed(Exception):
    """No answer, or not a whole one. `reason` is a short machine word, `answer` what came until then."""

    def __init__(self, message: str, *, reason: str, permanent: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.permanent = permanent
        self.answer: Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send. The caller has checked the method and the headers."""

    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes | None
    connect_timeout_s: float
    """For the connection with its TLS handshake, for each address tried."""
    allowances: tuple[Allowance, ...] = ()


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came back; of the body perhaps only the start."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """Names in any case."""
    address: Address
    body: bytearray
    received: int = 0
    """Bytes of the body that were read."""
    truncated: bool = False
    """There was more than was kept."""


class Exchange:
    """One request's deadline and off switch, which its sockets ask before every wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.phase = "starting"
        """What it waits for, as people would say it."""
        self.is_stopped = False
        self._deadline = time.monotonic() + seconds
        self._bytes_left = HEADER_BYTES
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._wake: threading.Event | None = None

    def time_left(self) -> float:
        """Seconds until the deadline, more than 0; raises when it has passed, or when asked to stop."""
        if self.is_stopped:
            raise Stopped("The request was stopped.")
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.timed_out()
        return left

    def timed_out(self) -> RequestFailed:
        """The error for a deadline that has passed."""
        message = f"Timed out after {_seconds(self.seconds)} while {self.phase}."
        return RequestFailed(message, reason="timed_out")

    def stop(self) -> None:
        """End the request from another thread: what waits for the network wakes up."""
        with self._lock:
            self.is_stopped = True
            if self._wake is not None:
                self._wake.set()
            if self._socket is not None:
                with suppress(OSError):
                    # Not SSLSocket's own: that takes the session away from under the thread that reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def hold(self, sock: socket.socket | None) -> None:
        """From here on this is the socket that `stop()` shuts."""
        with self._lock:
            self._socket = sock

    def wait_for(self, lookup: Future[Sequence[Address]]) -> Sequence[Address]:
        """What the lookup found."""
        with self._lock:
            self._wake = wake = threading.Event()
        lookup.add_done_callback(lambda _: wake.set())
        while not lookup.done():
            wake.wait(self.time_left())
        return lookup.result()

    def expect(self, size: int) -> None:
        """Let at most so many bytes in from here on."""
        self._bytes_left = size

    def count(self, size: int) -> None:
        """Note that bytes came in; raises when they are too many."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise _TooMuch


class _TooMuch(Exception):
    """The other side sends more than is read."""


class _PlainSocket(socket.socket):
    """A socket that never waits beyond its exchange's deadline."""

    exchange: Exchange

    def recv_into(self, *args: Any) -> int:
        self.settimeout(self.exchange.time_left())
        size = super().recv_into(*args)
        self.exchange.count(size)
        return size

    def sendall(self, *args: Any) -> None:
        self.settimeout(self.exchange.time_left())
        super().sendall(*args)


class _TLSSocket(ssl.SSLSocket):
    """The same over TLS. Python itself holds one read or write, of however many packets, to one timeout."""

    exchange: Exchange

    def recv_into(self, *args: Any) -> int:
        self.settimeout(self.exchange.time_left())
        size = super().recv_into(*args)
        self.exchange.count(size)
        return size

    def send(self, *args: Any) -> int:
        self.settimeout(self.exchange.time_left())
        return super().send(*args)


class _Connection(urllib3.connection.HTTPConnection):
    """HTTP on a socket that was connected to a checked address; it never connects by itself."""

    sock: _PlainSocket | _TLSSocket | None
    auto_open = 0

    def __init__(self, key: Key) -> None:
        scheme, host, port, self.address = self.key = key
        super().__init__(host, port, timeout=None)
        self.default_port = DEFAULT_PORTS[scheme]  # type: ignore[misc] # decides what Host says
        self.idle_since = 0.0


class Client:
    """Sends requests over pooled connections; all threads share one."""

    def __init__(
        self,
        *,
        resolve: Resolve | None = None,
        route: Route | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolver = _Resolver(resolve or system_resolve)
        self._route = route or _socket_address
        self._tls = tls
        self._idle = _IdleConnections()

    def send(self, request: Request, exchange: Exchange) -> Answer:
        """The answer, whatever its status; raises `RequestFailed` or `Stopped`."""
        try:
            addresses = self._checked_addresses(request, exchange)
            connection = self._idle_connection(request, addresses)
            if connection is not None:
                try:
                    return self._talk(connection, request, exchange)
                except _NeverAnswered:
                    # It was closed while it was idle, as far as anyone can tell.
                    if request.method not in REPEATABLE:
                        raise
            connection = self._connect(request, addresses, exchange)
            return self._talk(connection, request, exchange)
        except Exception as error:
            explained = _explained(error, request, exchange)
            if explained is error:
                raise
            raise explained from error
        finally:
            exchange.hold(None)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._idle.close_all()

    def _checked_addresses(self, request: Request, exchange: Exchange) -> Sequence[Address]:
        url = request.url
        if url.address is not None:
            addresses: Sequence[Address] = (url.address,)
        else:
            exchange.phase = f"looking up the name {url.host}"
            addresses = self._resolver.addresses_of(url.host, exchange)
        for address in addresses:
            message = refusal(address, url.port, name=url.host, allowances=request.allowances)
            if message is not None:
                raise _refused(message)
        return addresses

    def _idle_connection(
        self, request: Request, addresses: Sequence[Address]
    ) -> _Connection | None:
        longest = IDLE_S if request.method in REPEATABLE else UNSAFE_IDLE_S
        for address in addresses:
            connection = self._idle.take(_key(request.url, address), longest)
            if connection is not None:
                return connection
        return None

    def _connect(
        self, request: Request, addresses: Sequence[Address], exchange: Exchange
    ) -> _Connection:
        *others, last = addresses
        for address in others:
            try:
                return self._connect_to(address, request, exchange)
            except OSError:
                exchange.time_left()
        return self._connect_to(last, request, exchange)

    def _connect_to(self, address: Address, request: Request, exchange: Exchange) -> _Connection:
        url = request.url
        if _is_own(address) and not is_opened(address, url.port, url.host, request.allowances):
            raise _refused(
                f"{url.host} is {address}, an address of this machine, which HTTP targets do not call. "
                f"To allow it, add {url.host!r} to the setting {SETTING}."
            )
        exchange.phase = f"connecting to {_place(url, address)}"
        connect_until = time.monotonic() + request.connect_timeout_s
        family, socket_address = self._route(address, url.port)
        connection = _Connection(_key(url, address))
        connection.sock = sock = _PlainSocket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            exchange.hold(sock)
            sock.settimeout(_wait(exchange, connect_until))
            sock.connect(socket_address)
            if url.scheme == "https":
                exchange.phase = f"negotiating TLS with {_place(url, address)}"
                context = self._tls or default_tls()
                secure = context.wrap_socket(
                    sock, server_hostname=url.host, do_handshake_on_connect=False
                )
                assert isinstance(secure, _TLSSocket)
                connection.sock = secure
                exchange.hold(secure)
                secure.settimeout(_wait(exchange, connect_until))
                secure.do_handshake()
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError):
                exchange.time_left()
                raise _ConnectTimedOut(address) from error
            raise
        return connection

    def _talk(self, connection: _Connection, request: Request, exchange: Exchange) -> Answer:
        sock = connection.sock
        assert sock is not None
        sock.exchange = exchange
        exchange.hold(sock)
        exchange.expect(HEADER_BYTES)
        whole = False
        try:
            response = self._ask(connection, request, exchange)
            answer = Answer(
                status=response.status,
                reason=response.reason or "",
                headers=response.headers,
                address=connection.address,
                body=bytearray(),
            )
            whole = _read_body(response, answer, exchange)
            return answer
        finally:
            exchange.hold(None)
            # After an interim answer the real one is still to come.
            if whole and connection.sock is not None and answer.status >= 200:
                self._idle.give(connection)
            else:
                connection.close()

    def _ask(
        self, connection: _Connection, request: Request, exchange: Exchange
    ) -> urllib3.HTTPResponse:
        place = _place(request.url, connection.address)
        try:
            exchange.phase = f"sending the request to {place}"
            # A server may answer, and close, before it has read the whole request.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    request.method,
                    request.url.path,
                    body=request.body,
                    headers=request.headers,
                    preload_content=False,
                    decode_content=False,
                )
            exchange.phase = f"waiting for an answer from {place}"
            return connection.getresponse()
        except (ConnectionError, ssl.SSLEOFError) as error:
            raise _NeverAnswered from error


class _NeverAnswered(Exception):
    """The connection ended before the first line of an answer."""


class _ConnectTimedOut(OSError):
    """One address did not take the connection in time; another one may."""


def _read_body(response: urllib3.HTTPResponse, answer: Answer, exchange: Exchange) -> bool:
    """Read what is wanted of the body; whether that was all of it."""
    exchange.phase = f"reading the answer of {answer.address}"
    exchange.expect(READ_BODY_BYTES + FRAMING_BYTES)
    try:
        while answer.received < READ_BODY_BYTES:
            chunk = response.read1(KEPT_BODY_BYTES)
            if not chunk:
                if exchange.is_stopped:
                    raise Stopped("The request was stopped.")
                return True
            answer.received += len(chunk)
            answer.body += chunk[: KEPT_BODY_BYTES - len(answer.body)]
            answer.truncated = answer.received > len(answer.body)
    except _TooMuch:
        pass
    except Exception as error:
        # Told to the one who explains the error, so that the start of the answer is not lost.
        error.answer = answer  # type: ignore[attr-defined]
        answer.truncated = True
        raise
    answer.truncated = True
    return False


class _IdleConnections:
    """Connections that wait for their next request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[Key, list[_Connection]] = {}
        self._count = 0
        self._swept_at = 0.0

    def take(self, key: Key, longest_s: float) -> _Connection | None:
        """The one used last, if it is still good."""
        while True:
            with self._lock:
                waiting = self._by_key.get(key)
                if not waiting:
                    return None
                connection = waiting.pop()
                self._count -= 1
                if not waiting:
                    del self._by_key[key]
            idle_s = time.monotonic() - connection.idle_since
            if idle_s <= longest_s and connection.is_connected:
                return connection
            connection.close()

    def give(self, connection: _Connection) -> None:
        """Keep it for a while."""
        now = connection.idle_since = time.monotonic()
        outdated = self._take_outdated(now)
        with self._lock:
            if self._count < IDLE_CONNECTIONS:
                self._by_key.setdefault(connection.key, []).append(connection)
                self._count += 1
            else:
                outdated.append(connection)
        for each in outdated:
            each.close()

    def close_all(self) -> None:
        for connection in self._take_outdated(float("inf")):
            connection.close()

    def _take_outdated(self, now: float) -> list[_Connection]:
        outdated: list[_Connection] = []
        with self._lock:
            if now - self._swept_at < 1:
                return outdated
            self._swept_at = min(now, time.monotonic())
            for key, waiting in list(self._by_key.items()):
                # The oldest stand first.
                while waiting and now - waiting[0].idle_since > IDLE_S:
                    outdated.append(waiting.pop(0))
                if not waiting:
                    del self._by_key[key]
            self._count -= len(outdated)
        return outdated


class _Resolver:
    """Resolves names in threads of its own, each name once at a time, and remembers for a moment."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Sequence[Address]]] = {}
        self._running: dict[str, Future[Sequence[Address]]] = {}
        self._waiting: deque[str] = deque()
        self._threads = 0

    def addresses_of(self, name: str, exchange: Exchange) -> Sequence[Address]:
        """Raises what the resolver raised, or at the exchange's deadline."""
        with self._lock:
            until, addresses = self._known.get(name, (0.0, ()))
            if time.monotonic() < until:
                return addresses
            lookup = self._running.get(name)
            if lookup is None:
                lookup = self._running[name] = Future()
                self._waiting.append(name)
                if self._threads < RESOLVER_THREADS:
                    self._threads += 1
                    # A daemon, because a resolver that hangs must not keep the process from ending.
                    threading.Thread(target=self._work, name="resolver", daemon=True).start()
        return exchange.wait_for(lookup)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                name = self._waiting.popleft()
            try:
                addresses, error = self._resolve(name), None
            except Exception as raised:  # noqa: BLE001 - handed to those who wait
                addresses, error = (), raised
            with self._lock:
                lookup = self._running.pop(name)
                if error is None:
                    if len(self._known) >= RESOLVED_NAMES:
                        self._known.clear()
                    self._known[name] = (time.monotonic() + RESOLVED_FOR_S, addresses)
            if error is None:
                lookup.set_result(addresses)
            else:
                lookup.set_exception(error)


def system_resolve(name: str) -> Sequence[Address]:
    """The addresses that the system's resolver gives, in its order."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    texts = [str(entry[4][0]).partition("%")[0] for entry in found]
    return tuple(dict.fromkeys(ipaddress.ip_address(text) for text in texts))


@cache
def shared_client() -> Client:
    """The client of this process."""
    return Client()


if hasattr(os, "register_at_fork"):
    # Two processes on one connection would read each other's answers.
    os.register_at_fork(after_in_child=shared_client.cache_clear)


@cache
def default_tls() -> ssl.SSLContext:
    """Certificates are checked against the system's authorities."""
    return guarded_tls(ssl.create_default_context())


def guarded_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, made to produce sockets that keep to the deadline."""
    context.sslsocket_class = _TLSSocket
    context.set_alpn_protocols(["http/1.1"])
    return context


def _socket_address(address: Address, port: int) -> tuple[int, tuple[Any, ...]]:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return family, (str(address), port)


def _is_own(address: Address) -> bool:
    """Whether this machine has the address itself. Sends nothing: connecting UDP only chooses a route."""
    family, socket_address = _socket_address(address, 9)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(socket_address)
            return ipaddress.ip_address(sock.getsockname()[0]) == address
    except (OSError, ValueError):
        return False


def _key(url: Url, address: Address) -> Key:
    return url.scheme, url.host, url.port, address


def _wait(exchange: Exchange, until: float) -> float:
    """Seconds to wait for a connection."""
    return max(0.001, min(exchange.time_left(), until - time.monotonic()))


def _place(url: Url, address: Address) -> str:
    where = f"{address} port {url.port}"
    return where if url.host == str(address) else f"{url.host} ({where})"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}".removesuffix(".0") + " s"


def _refused(message: str) -> RequestFailed:
    return RequestFailed(message, reason="address_refused", permanent=True)


def _explained(error: Exception, request: Request, exchange: Exchange) -> Exception:
    """The error as a sentence with a reason; one that is not of the network's making stays as it is."""
    answer: Answer | None = getattr(error, "answer", None)
    if exchange.is_stopped and not isinstance(error, RequestFailed):
        return error if isinstance(error, Stopped) else Stopped("The request was stopped.")
    found = _as_failure(error, request, exchange)
    if found is None:
        return error
    found.answer = answer
    return found


def _as_failure(error: Exception, request: Request, exchange: Exchange) -> RequestFailed | None:
    if isinstance(error, RequestFailed):
        return error
    # urllib3 wraps what it meets while it reads.
    while isinstance(error, urllib3.exceptions.HTTPError) and isinstance(
        error.__cause__, Exception
    ):
        error = error.__cause__
    host = request.url.host
    if isinstance(error, _NeverAnswered):
        message = f"{host} closed the connection without an answer."
        return RequestFailed(message, reason="connection_lost")
    if isinstance(error, _ConnectTimedOut):
        message = (
            f"No connection within {_seconds(request.connect_timeout_s)} while {exchange.phase}."
        )
        return RequestFailed(message, reason="connect_timed_out")
    if isinstance(error, TimeoutError):
        return exchange.timed_out()
    if isinstance(error, _TooMuch):
        message = f"{host} sent more than {HEADER_BYTES // 1024} KiB of headers."
        return RequestFailed(message, reason="bad_answer")
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"The certificate of {host} was not accepted: {error.verify_message}."
        return RequestFailed(message, reason="tls_failed")
    if isinstance(error, ssl.SSLError):
        what = (error.reason or str(error)).replace("_", " ").lower()
        return RequestFailed(f"TLS with {host} failed: {what}.", reason="tls_failed")
    if isinstance(error, socket.gaierror | UnicodeError):
        return _lookup_failure(error, host)
    if isinstance(error, ConnectionRefusedError):
        message = f"The connection was refused while {exchange.phase}."
        return RequestFailed(message, reason="connection_refused")
    if isinstance(error, ConnectionError | http.client.IncompleteRead):
        message = f"{host} closed the connection in the middle of its answer."
        return RequestFailed(message, reason="connection_lost")
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        message = f"The network reported an error while {exchange.phase}: {what}."
        return RequestFailed(message, reason="network_error")
    if isinstance(error, http.client.HTTPException | urllib3.exceptions.HTTPError):
        what = str(error) or type(error).__name__
        return RequestFailed(f"{host} did not answer in HTTP: {what:.200}.", reason="bad_answer")
    return None


def _lookup_failure(error: socket.gaierror | UnicodeError, host: str) -> RequestFailed:
    unknown = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
    if isinstance(error, UnicodeError) or error.errno in unknown:
        return RequestFailed(f"The name {host} is not known.", reason="name_unknown")
    message = f"The name {host} could not be looked up: {error.strerror}."
    return RequestFailed(message, reason="lookup_failed")
