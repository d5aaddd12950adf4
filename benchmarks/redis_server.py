"""A Redis server for the contenders that need one: of a round's own, as durable as PostgreSQL's commits."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contenders.environments import Unavailable, redis_server

START_TIMEOUT_S = 20

# What Redis has acknowledged survives a power cut, as with everybody else; its default is to lose a minute.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


@contextmanager
def redis(directory: Path) -> Iterator[Path]:
    """The socket at which it listens."""
    socket, log = directory / "redis.sock", directory / "redis.log"
    process = subprocess.Popen(
        [
            *(redis_server(), "--port", "0", "--unixsocket", socket, "--dir", directory),
            *("--logfile", log, *DURABLE),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("redis-server does not start")
            time.sleep(0.02)
        yield socket
    finally:
        process.terminate()
        process.wait()
