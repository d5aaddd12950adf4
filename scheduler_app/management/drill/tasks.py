"""The job of a drill: it works for a while and writes down in the side log that it did."""

from __future__ import annotations

import os
import uuid

from scheduler_app.targets.base import CurrentExecution, Stopped
from scheduler_app.tasks import current_execution, task

from . import sidelog


@task
def work(seconds: float = 0.0, raises: bool = False) -> str:
    """Work for some seconds, then return or raise; either carries the key that the side log has."""
    execution = current_execution()
    if execution is None:
        raise RuntimeError("This task runs as a job of a drill only.")
    key = begin(execution)
    if seconds and execution.wait(seconds):
        end(key, "stopped")
        raise Stopped(key)
    if raises:
        end(key, "raised")
        raise RuntimeError(key)
    end(key, "returned")
    return key


def begin(execution: CurrentExecution) -> str:
    """Write down that a run begins; returns its key."""
    key = uuid.uuid4().hex
    sidelog.write(
        os.environ[sidelog.VARIABLE],
        "began",
        key=key,
        execution=execution.id,
        attempt=execution.attempt,
        job=execution.job_name,
        fire_time=execution.scheduled_for.timestamp(),
    )
    return key


def end(key: str, how: str) -> None:
    """Write down how the run ended."""
    sidelog.write(os.environ[sidelog.VARIABLE], how, key=key)
