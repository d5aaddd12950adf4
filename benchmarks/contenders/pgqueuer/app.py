"""pgqueuer: its worker over asyncpg and uvloop; schedules are code, so the worker learns from a file how many."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pgqueuer
import uvloop
from pgqueuer.models import Job, Schedule

from benchmarks import starts
from benchmarks.contenders.peer import URL, remember_jobs, remembered_jobs

BATCH = 500


@asynccontextmanager
async def worker() -> AsyncIterator[pgqueuer.PgQueuer]:
    async with asyncpg.create_pool(URL, min_size=2, max_size=10) as pool:
        found = pgqueuer.PgQueuer.from_asyncpg_pool(pool)

        @found.entrypoint("start")
        async def start(job: Job) -> None:
            starts.record(int(job.payload or b"0"))

        for number in range(remembered_jobs()):
            found.schedule(f"job {number}", "* * * * * *")(recorder(number))
        yield found


def recorder(number: int) -> Callable[[Schedule], Awaitable[None]]:
    async def start(schedule: Schedule) -> None:
        starts.record(number)

    return start


async def main(command: str, *arguments: str) -> None:
    logging.disable(logging.WARNING)
    if command == "work":
        print("ready", flush=True)
        await pgqueuer.run(worker, batch_size=BATCH)
    elif command == "every_second":
        remember_jobs(int(arguments[0]))
    else:
        connection = await asyncpg.connect(URL)
        queries = pgqueuer.Queries.from_asyncpg_connection(connection)
        if command == "setup":
            await queries.install()
            await queries.optimize_autovacuum()  # as its guide asks for
        elif command == "enqueue":
            await enqueue(queries, int(arguments[0]))
        elif command == "pickup":
            for number in range(int(arguments[0])):
                await queries.enqueue("start", str(number).encode())
                print(repr(time.time()), flush=True)
                await asyncio.sleep(0.05)
        elif command == "at":
            after = datetime.fromtimestamp(int(arguments[0]), UTC) - datetime.now(UTC)
            await enqueue(queries, int(arguments[1]), after)
        await connection.close()


async def enqueue(queries: pgqueuer.Queries, count: int, after: timedelta | None = None) -> None:
    payloads: list[bytes | None] = [str(number).encode() for number in range(count)]
    await queries.enqueue(["start"] * count, payloads, [0] * count, [after] * count)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
