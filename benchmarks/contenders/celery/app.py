"""Celery on Redis: its worker, and beside it `beat` with the schedules of django-celery-beat."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from django.core.management import call_command
from tasks import app, start

THREADS = 10


def main(command: str, *arguments: str) -> None:
    if command == "setup":
        call_command("migrate", verbosity=0)
    elif command == "work":
        work()
    elif command == "enqueue":
        enqueue(int(arguments[0]))
    elif command == "pickup":
        for number in range(int(arguments[0])):
            start.delay(number)
            print(repr(time.time()), flush=True)
            time.sleep(0.05)
    elif command == "every_second":
        store_jobs(int(arguments[0]))
    elif command == "at":
        enqueue(int(arguments[1]), eta=datetime.fromtimestamp(int(arguments[0]), UTC))


def work() -> None:
    celery = [sys.executable, "-m", "celery", "--quiet", "--app", "tasks"]
    beat = subprocess.Popen(
        [
            *(*celery, "beat", "--loglevel", "ERROR", "--pidfile="),
            *("--scheduler", "django_celery_beat.schedulers:DatabaseScheduler"),
        ],
        cwd=Path(__file__).parent,
    )
    print("ready", flush=True)
    try:
        app.worker_main(
            ["--quiet", "worker", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"]
        )
    finally:
        beat.terminate()
        beat.wait()


def enqueue(count: int, **options: datetime) -> None:
    """In several threads, whose tasks Redis then writes to disk together."""

    def store(number: int) -> None:
        start.apply_async((number,), **options)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(store, range(count)))


def store_jobs(count: int) -> None:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

    every_second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.bulk_create(
        PeriodicTask(
            name=f"job {number}", task=start.name, interval=every_second, args=f"[{number}]"
        )
        for number in range(count)
    )
    PeriodicTasks.update_changed()


if __name__ == "__main__":
    main(*sys.argv[1:])
