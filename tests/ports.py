"""Ports for servers that tests start as processes of their own."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port of loopback on which nobody listens; from below those that the kernel gives away by itself (32768 on),
    else a connection of anybody could have it before the server does.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
