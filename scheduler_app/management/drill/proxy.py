"""A TCP proxy on the loopback that breaks connections to PostgreSQL in all the ways in which networks do.

One proxy stands before one node, so that each can be cut off alone. It runs in a thread of its own with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CHUNK = 65_536
COMMIT_DONE = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""CommandComplete of a COMMIT: the server sends it when the transaction is durable."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that closes with a reset."""

Address = str | tuple[str, int]
"""The path of a unix socket, or host and port."""


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.role = ""

    def learn_role(self, data: bytes) -> None:
        """The name that the client gives itself in its first message."""
        _, found, rest = data.partition(b"application_name\x00")
        if found and not self.role:
            self.role = rest.split(b"\x00", 1)[0].decode(errors="replace")

    def reset(self) -> None:
        """Break off without a good-bye, in both directions."""
        for writer in (self.client, self.server):
            if writer is None:
                continue
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                if raw.family != socket.AF_UNIX:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """Listens on 127.0.0.1 and passes on to one server, as long as it is allowed to."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._links: set[_Link] = set()
        self._deaf_roles: tuple[str, ...] = ()
        self._delay_s = 0.0
        self._commits_to_lose = 0
        self._server: asyncio.Server | None = None
        self.port = 0
        self.opened = 0
        """How many connections were opened through it."""
        self.lost_commits = 0
        """How many transactions committed without their client being told."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._call(self._listen())

    # --- What can go wrong ---

    def stall(self) -> None:
        """From now on bytes arrive nowhere, and nobody is told."""
        self._soon(self._flowing.clear)

    def flow(self) -> None:
        """The end of a stall: what was sent meanwhile arrives."""
        self._soon(self._flowing.set)

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        self._soon(self._reset_all)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._call(self._close())
        self.cut()

    def accept(self) -> None:
        """Accept connections again, at the same port."""
        self._call(self._listen())

    def delay(self, seconds: float) -> None:
        """Let every message take so much longer, each way; 0 ends it."""
        self._soon(lambda: setattr(self, "_delay_s", seconds))

    def deafen(self, *roles: str) -> None:
        """Swallow what the server says to the connections of these application names; none ends it."""
        self._soon(lambda: setattr(self, "_deaf_roles", roles))

    def lose_commits(self, count: int) -> None:
        """Let the next so many transactions commit, and break the connection instead of passing on the answer."""
        self._soon(lambda: setattr(self, "_commits_to_lose", count))

    def close(self) -> None:
        """Stop for good."""
        self.refuse()
        self._soon(self._loop.stop)
        self._thread.join(5.0)

    # --- How ---

    def _call(self, step: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(10.0)

    def _soon(self, step: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            step()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(10.0)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, writer)
        self._links.add(link)
        self.opened += 1
        try:
            await self._flowing.wait()
            opening: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
            if isinstance(self._target, str):
                opening = asyncio.open_unix_connection(self._target)
            else:
                opening = asyncio.open_connection(*self._target)
            server_reader, link.server = await opening
            pumps = [
                asyncio.create_task(self._pump(link, reader, link.server, from_server=False)),
                asyncio.create_task(self._pump(link, server_reader, writer, from_server=True)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        except OSError:
            pass  # the server is away, and the client finds a closed connection
        finally:
            self._links.discard(link)
            for end in (writer, link.server):
                if end is not None:
                    end.close()

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        from_server: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if not from_server:
                    link.learn_role(data)
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._flowing.wait()
                if from_server and link.role in self._deaf_roles:
                    continue
                if from_server and self._commits_to_lose and COMMIT_DONE in data:
                    self._commits_to_lose -= 1
                    self.lost_commits += 1
                    link.reset()
                    return
                writer.write(data)
                await writer.drain()
