"""The task that every contender has, and how Celery is set."""

from __future__ import annotations

import os

import django
from celery import Celery
from django.conf import settings

from benchmarks import starts
from benchmarks.contenders.peer import django_settings

settings.configure(**django_settings(), INSTALLED_APPS=["django_celery_beat"])
django.setup()

app = Celery("tasks", broker=f"redis+socket://{os.environ['BENCH_REDIS']}")
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=64,
    worker_hijack_root_logger=False,
    beat_max_loop_interval=1,
    timezone="UTC",
)


@app.task(name="start")
def start(number: int) -> None:
    starts.record(number)
