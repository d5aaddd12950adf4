"""A loopback HTTP server with all the manners that a server can have, the path choosing among them."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache


@dataclass
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """Counted from 1."""


@dataclass
class LoopbackServer:
    """Serves each connection in a thread, from `start()` to `stop()`."""

    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    requests: list[Received] = field(default_factory=list)

    def start(self) -> LoopbackServer:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self.port), family=family)
        self.port = self._listener.getsockname()[1]
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        self._thread.join(10)

    def drop_connections(self) -> None:
        """Close what is open, as a server does that restarts."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def url(self, path: str = "/ok") -> str:
        scheme = "https" if self.tls else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(
                target=self._serve, args=(connection, self.connections), daemon=True
            ).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        self._open.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self._open.add(connection)
            with connection, connection.makefile("rb") as reader:
                while request := self._read(reader, number):
                    self.requests.append(request)
                    name = request.path.split("?")[0].strip("/").split("/")[0]
                    if name not in MANNERS or not MANNERS[name](self, connection, request):
                        return
        except (OSError, ValueError):
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def _read(self, reader, number: int) -> Received | None:
        line = reader.readline().decode("latin-1")
        if not line:
            return None
        method, path, _ = line.split(" ")
        headers = {}
        while (header := reader.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0)))
        return Received(method, path, headers, body, number)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the server's end."""
        if self._stopping.wait(seconds):
            raise OSError("the server stops")


def answer(
    connection: socket.socket, body: bytes = b"", status: str = "200 OK", **headers: str
) -> bool:
    """Send a whole answer; True, as the connection stays open."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    return True


Manner = Callable[[LoopbackServer, socket.socket, Received], bool]
MANNERS: dict[str, Manner] = {}


def manner(function: Manner) -> Manner:
    MANNERS[function.__name__] = function
    return function


@manner
def ok(server, connection, request) -> bool:
    """Tell what was received."""
    told = {
        "method": request.method,
        "path": request.path,
        "headers": request.headers,
        "body": request.body.decode("utf-8", "replace"),
    }
    body = b"" if request.method == "HEAD" else json.dumps(told).encode()
    return answer(connection, body, Content_Type="application/json", Set_Cookie="secret=1")


@manner
def status(server, connection, request) -> bool:
    return answer(connection, b"no luck", request.path.split("/")[2] + " Whatever")


@manner
def redirect(server, connection, request) -> bool:
    return answer(connection, b"", "302 Found", Location=server.url("/ok?redirected"))


@manner
def redirect_away(server, connection, request) -> bool:
    return answer(connection, b"", "302 Found", Location=request.path.partition("?")[2])


@manner
def hang(server, connection, request) -> bool:
    server.pause(60)
    return False


@manner
def hang_in_headers(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")
    server.pause(60)
    return False


@manner
def hang_in_body(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe start")
    server.pause(60)
    return False


@manner
def trickle(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        server.pause(0.05)


@manner
def trickle_headers(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"x")
        server.pause(0.05)


@manner
def endless_headers(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: " + b"x" * 60_000 + b"\r\n")


@manner
def endless_line(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-More: ")
    while True:
        connection.sendall(b"x" * 60_000)


@manner
def endless_interim_answers(server, connection, request) -> bool:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\nX-More: x\r\n\r\n")


@manner
def endless_body(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 60_000)


@manner
def endless_chunks(server, connection, request) -> bool:
    """Chunks of one byte, each with an extension that is much larger."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1;" + b"e" * 30_000 + b"\r\nx\r\n")


@manner
def chunks(server, connection, request) -> bool:
    parts = [b"4\r\nWiki\r\n", b"6\r\npedia \r\n", b"0\r\n\r\n"]
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for part in parts:
        connection.sendall(part)
        time.sleep(0.01)
    return True


@manner
def large(server, connection, request) -> bool:
    """More than is kept, less than is read."""
    return answer(connection, "äö".encode() * 25_000, Content_Type="text/plain; charset=utf-8")


@manner
def quotes(server, connection, request) -> bool:
    """Doubles in size when it is written as JSON."""
    return answer(connection, b'"' * 60_000)


@cache
def bomb() -> bytes:
    """256 MiB of zeros in a quarter of a mebibyte."""
    deflate = zlib.compressobj(wbits=31)
    return b"".join(deflate.compress(bytes(1 << 20)) for _ in range(256)) + deflate.flush()


@manner
def gzip_bomb(server, connection, request) -> bool:
    return answer(connection, bomb(), Content_Encoding="gzip", Content_Type="text/plain")


@manner
def latin(server, connection, request) -> bool:
    return answer(connection, b"gr\xfc\xdfe", Content_Type="text/plain; charset=ISO-8859-1")


@manner
def odd_charset(server, connection, request) -> bool:
    return answer(connection, b"a\x00b\xff", Content_Type="text/plain; charset=zlib_codec")


@manner
def short(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe start")
    return False


@manner
def until_close(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    return False


@manner
def close(server, connection, request) -> bool:
    return False


@manner
def close_afterwards(server, connection, request) -> bool:
    """Promise to stay, and close all the same."""
    answer(connection, b"good bye")
    return False


@manner
def close_when_reused(server, connection, request) -> bool:
    """Close without an answer when the connection has served a request before."""
    if sum(known.connection == request.connection for known in server.requests) > 1:
        return False
    return answer(connection, str(request.connection).encode())


@manner
def reset(server, connection, request) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


@manner
def garbage(server, connection, request) -> bool:
    connection.sendall(b"220 mail.example ESMTP\r\n")
    return False


@manner
def early_hints(server, connection, request) -> bool:
    connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    return answer(connection, b"late")


@manner
def strange_reason(server, connection, request) -> bool:
    return answer(connection, b"", "500 \x1b[31mred\x00 <b>")


@manner
def refuse_upload(server, connection, request) -> bool:
    """Answer and close at once, without looking at the body."""
    answer(connection, b"too large", "413 Content Too Large", Connection="close")
    return False
