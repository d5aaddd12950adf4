"""huey on Redis: its consumer with threads."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from huey import RedisHuey
from redis import ConnectionPool, UnixDomainSocketConnection

from benchmarks import starts

THREADS = 10

pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=os.environ["BENCH_REDIS"])
huey = RedisHuey(connection_pool=pool)


@huey.task()
def start(number: int) -> None:
    starts.record(number)


def main(command: str, *arguments: str) -> None:
    logging.disable(logging.WARNING)
    if command == "work":
        consumer = huey.create_consumer(
            workers=THREADS, scheduler_interval=1, graceful_signal="TERM"
        )
        print("ready", flush=True)
        consumer.run()
    elif command == "enqueue":
        in_threads(start, int(arguments[0]))
    elif command == "pickup":
        for number in range(int(arguments[0])):
            start(number)
            print(repr(time.time()), flush=True)
            time.sleep(0.05)
    elif command == "at":
        moment = datetime.fromtimestamp(int(arguments[0]), UTC)
        in_threads(lambda number: start.schedule((number,), eta=moment), int(arguments[1]))


def in_threads(store: Callable[[int], object], count: int) -> None:
    """Several at a time, which Redis then writes to disk together."""
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(store, range(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
