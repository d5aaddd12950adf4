"""The guarded HTTP client alone, in as many threads as a node has: `python -m benchmarks.calls PORT THREADS SECONDS`."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import UTC, datetime

os.environ |= {"DJANGO_SETTINGS_MODULE": "benchmarks.contenders.scheduler.settings", "DEBUG": "1"}


def main(port: int, threads: int, seconds: float) -> None:
    os.environ["SCHEDULER_HTTP_ALLOWED_HOSTS"] = f"127.0.0.1:{port}"
    import django

    django.setup()
    from scheduler_app.targets import get_target
    from scheduler_app.targets.base import CurrentExecution

    target = get_target("http")
    calls = [0] * threads
    end = time.monotonic() + seconds

    def call(place: int) -> None:
        while time.monotonic() < end:
            target.run(
                CurrentExecution(
                    id=1,
                    job_id=1,
                    job_name="call",
                    attempt=1,
                    scheduled_for=datetime.now(UTC),
                    target=f"http://127.0.0.1:{port}/",
                    arguments={},
                    timeout_s=30,
                )
            )
            calls[place] += 1

    workers = [threading.Thread(target=call, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(sum(calls) / seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
