"""django-q2: its cluster on the ORM broker."""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime

import django
from django.conf import settings
from django.core.management import call_command
from django.db import transaction

from benchmarks.contenders.peer import django_settings

settings.configure(
    **django_settings(),
    INSTALLED_APPS=["django_q"],
    Q_CLUSTER={
        "name": "benchmark",
        "orm": "default",
        "poll": 0.05,
        "bulk": 50,
        "queue_limit": 100,
        "timeout": 60,
        "retry": 120,
        "recycle": 5000,
        "save_limit": 0,  # keeps every success
        "log_level": "ERROR",
    },
)

START = "tasks.start"


def main(command: str, *arguments: str) -> None:
    logging.disable(logging.WARNING)
    django.setup()
    from django_q.tasks import async_task

    if command == "setup":
        call_command("migrate", verbosity=0)
    elif command == "work":
        print("ready", flush=True)
        call_command("qcluster")
    elif command == "enqueue":
        with transaction.atomic():
            for number in range(int(arguments[0])):
                async_task(START, number)
    elif command == "pickup":
        for number in range(int(arguments[0])):
            async_task(START, number)
            print(repr(time.time()), flush=True)
            time.sleep(0.05)
    elif command == "at":
        store_jobs(int(arguments[1]), datetime.fromtimestamp(int(arguments[0]), UTC))


def store_jobs(count: int, moment: datetime) -> None:
    from django_q.models import Schedule

    Schedule.objects.bulk_create(
        Schedule(func=START, args=f"({number},)", schedule_type=Schedule.ONCE, next_run=moment)
        for number in range(count)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
