"""APScheduler: one scheduler with ten threads over its SQLAlchemy store, in PostgreSQL."""

from __future__ import annotations

import logging
import signal
import sys
from datetime import UTC, datetime

from apscheduler.events import EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger

from benchmarks import starts
from benchmarks.contenders.peer import URL

THREADS = 10


def start() -> None:
    """What it does is recorded by `record`, which also knows the fire time."""


def record(event: JobExecutionEvent) -> None:
    starts.record(int(event.job_id), event.scheduled_run_time.timestamp())


def main(command: str, *arguments: str) -> None:
    logging.disable(logging.ERROR)
    url = URL.replace("://", "+psycopg://", 1)
    # What is stored before the measurement need not reach the disk job by job.
    hasty = {} if command == "work" else {"connect_args": {"options": "-c synchronous_commit=off"}}
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url, engine_options=hasty)},
        executors={"default": ThreadPoolExecutor(THREADS)},
        # Late runs are made up for, every one of them.
        job_defaults={"misfire_grace_time": None, "coalesce": False, "max_instances": 100},
        timezone=UTC,
    )
    if command == "work":
        scheduler.add_listener(record, EVENT_JOB_EXECUTED)
        scheduler.start()
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})
    else:
        scheduler.start(paused=True)
        if command == "enqueue":
            add_jobs(scheduler, int(arguments[0]), DateTrigger(datetime.now(UTC)))
        elif command == "every_second":
            add_jobs(scheduler, int(arguments[0]), CronTrigger(second="*", timezone=UTC))
        elif command == "at":
            moment = datetime.fromtimestamp(int(arguments[0]), UTC)
            add_jobs(scheduler, int(arguments[1]), DateTrigger(moment))
    scheduler.shutdown(wait=False)


def add_jobs(scheduler: BackgroundScheduler, count: int, trigger: BaseTrigger) -> None:
    for number in range(count):
        scheduler.add_job("__main__:start", trigger, id=str(number))


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(*sys.argv[1:])
