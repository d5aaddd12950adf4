"""The task that every contender has."""

from django_tasks import task

from benchmarks import starts


@task
def start(number: int) -> None:
    starts.record(number)
