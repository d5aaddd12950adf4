"""procrastinate: its asynchronous worker; periodic tasks are code, so the worker learns from a file how many."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime

import procrastinate

from benchmarks import starts
from benchmarks.contenders.peer import URL, remember_jobs, remembered_jobs

CONCURRENCY = 20
POLL_S = 0.1
BATCH = 1000

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=URL, min_size=1, max_size=CONCURRENCY)
)


@app.task(name="start")
async def start(number: int, timestamp: int = 0) -> None:
    starts.record(number, timestamp)


async def main(command: str, *arguments: str) -> None:
    logging.disable(logging.WARNING)
    for number in range(remembered_jobs()):
        app.periodic(cron="* * * * * *", periodic_id=str(number), task_kwargs={"number": number})(
            start
        )
    async with app.open_async():
        if command == "setup":
            await app.schema_manager.apply_schema_async()
        elif command == "work":
            print("ready", flush=True)
            await app.run_worker_async(concurrency=CONCURRENCY, fetch_job_polling_interval=POLL_S)
        elif command == "enqueue":
            await enqueue(int(arguments[0]))
        elif command == "pickup":
            for number in range(int(arguments[0])):
                await start.defer_async(number=number)
                print(repr(time.time()), flush=True)
                await asyncio.sleep(0.05)
        elif command == "every_second":
            remember_jobs(int(arguments[0]))
        elif command == "at":
            moment = datetime.fromtimestamp(int(arguments[0]), UTC)
            await enqueue(int(arguments[1]), schedule_at=moment)


async def enqueue(count: int, schedule_at: datetime | None = None) -> None:
    """In batches, as one statement has its limits."""
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        deferrer = start.configure(schedule_at=schedule_at)
        await deferrer.batch_defer_async(*({"number": number} for number in numbers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
