"""The task that every contender has."""

from benchmarks import starts
from scheduler_app.tasks import current_execution, task


@task
def start(number: int) -> None:
    """Write down that it started."""
    execution = current_execution()
    starts.record(number, execution.scheduled_for.timestamp() if execution else 0.0)
