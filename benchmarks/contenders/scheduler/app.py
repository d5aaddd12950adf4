"""This project: nodes of `runscheduler`, tasks enqueued through Django's tasks, jobs saved as an operator would."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime

os.environ |= {
    "DATABASE_URL": os.environ["BENCH_URL"],
    "DEBUG": "0",
    "ALLOWED_HOSTS": "localhost",
    "SECRET_KEY": "only-for-benchmarks",
    "LOG_LEVEL": "WARNING",
    "DJANGO_SETTINGS_MODULE": "benchmarks.contenders.scheduler.settings",
}

import django


def main(command: str, *arguments: str) -> None:
    django.setup()
    from django.core.management import call_command

    from benchmarks.contenders.scheduler.tasks import start

    if command == "setup":
        call_command("migrate", verbosity=0)
    elif command == "work":
        print("ready", flush=True)
        call_command("runscheduler", *arguments)
    elif command == "enqueue":
        numbers = range(int(arguments[0]))
        start.get_backend().enqueue_many(start, [((number,), {}) for number in numbers])
    elif command == "pickup":
        for number in range(int(arguments[0])):
            start.enqueue(number)
            print(repr(time.time()), flush=True)
            time.sleep(0.05)
    elif command == "every_second":
        save_jobs(int(arguments[0]), schedule="* * * * * *")
    elif command == "http_every_second":
        save_jobs(
            int(arguments[0]),
            schedule="* * * * * *",
            kind="http",
            target=f"http://127.0.0.1:{arguments[1]}/",
        )
    elif command in ("steps", "enqueuing"):
        from benchmarks.contenders.scheduler import measuring

        {"steps": measuring.steps, "enqueuing": measuring.enqueuing}[command]()
    elif command == "at":
        moment = datetime.fromtimestamp(int(arguments[0]), UTC)
        save_jobs(int(arguments[1]), schedule=f"@at {moment:%Y-%m-%dT%H:%M:%SZ}")


def save_jobs(count: int, **fields: str) -> None:
    from django.db import transaction

    from benchmarks.contenders.scheduler.tasks import start
    from scheduler_app.models import Job

    with transaction.atomic():
        Job.objects.bulk_create(
            (
                Job(
                    **{
                        "name": f"job {number}",
                        "target": start.module_path,
                        "arguments": {} if fields.get("kind") == "http" else [number],
                        **fields,
                    }
                )
                for number in range(count)
            ),
            batch_size=1000,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
