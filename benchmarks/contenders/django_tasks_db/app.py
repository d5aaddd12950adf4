"""django-tasks-db: its `db_worker`."""

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
    INSTALLED_APPS=["django_tasks", "django_tasks_db"],
    TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
)


def main(command: str, *arguments: str) -> None:
    logging.disable(logging.WARNING)
    django.setup()
    from tasks import start

    if command == "setup":
        call_command("migrate", verbosity=0)
    elif command == "work":
        print("ready", flush=True)
        call_command("db_worker", "--interval", "0.1", "--no-startup-delay", verbosity=0)
    elif command == "enqueue":
        with transaction.atomic():
            for number in range(int(arguments[0])):
                start.enqueue(number)
    elif command == "pickup":
        for number in range(int(arguments[0])):
            start.enqueue(number)
            print(repr(time.time()), flush=True)
            time.sleep(0.05)
    elif command == "at":
        moment = datetime.fromtimestamp(int(arguments[0]), UTC)
        with transaction.atomic():
            for number in range(int(arguments[1])):
                start.using(run_after=moment).enqueue(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
