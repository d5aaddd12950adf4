"""Tasks of this project, which the sample jobs run. Add your own here or in any installed app's `tasks.py`."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.sessions.models import Session
from django.db.models import Count
from django.utils import timezone

from scheduler_app.models import Execution
from scheduler_app.targets.base import Stopped
from scheduler_app.tasks import current_execution, task


@task
def tick() -> str:
    """Answer with how late it is: the milliseconds between the fire time and now."""
    execution = current_execution()
    if execution is None:
        return "tick"
    late = timezone.now() - execution.scheduled_for
    return (
        f"tick, {late / timedelta(milliseconds=1):.0f} ms after {execution.scheduled_for:%H:%M:%S}"
    )


@task
def clear_expired_sessions() -> int:
    """Delete the sessions of the site that are over; returns how many there were."""
    deleted, _ = Session.objects.filter(expire_date__lt=timezone.now()).delete()
    return deleted


@task
def fetch_from_unreliable_service() -> str:
    """Stand in for a service that does not answer at the first try of every even minute, and does at the second."""
    execution = current_execution()
    if execution and execution.attempt == 1 and execution.scheduled_for.minute % 2 == 0:
        raise ConnectionError("the service did not answer")
    return "fetched" if execution is None else f"fetched at attempt {execution.attempt}"


@task
def build_report(seconds: float = 8) -> str:
    """Take its time, and give up early when asked to stop."""
    execution = current_execution()
    if execution and execution.wait(seconds):
        raise Stopped("the report was not finished")
    return f"built in {seconds:g} s"


@task
async def summarize_executions(hours: int = 24) -> dict[str, int]:
    """How many executions of the last hours came to which status."""
    since = timezone.now() - timedelta(hours=hours)
    counts = (
        Execution.objects.filter(scheduled_for__gte=since)
        .order_by()
        .values_list("status")
        .annotate(number=Count("pk"))
    )
    return {status: number async for status, number in counts}
