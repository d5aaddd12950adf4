"""Jobs of the fault suite that do what well-behaved ones do not."""

from __future__ import annotations

from django.db import connection, transaction

from scheduler_app.management.drill.tasks import begin, end
from scheduler_app.tasks import current_execution, task


@task
def in_transaction(seconds: float) -> str:
    """Hold a transaction of the job's own open for a while; fails when somebody ends its connection."""
    execution = current_execution()
    key = begin(execution)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            execution.wait(seconds)
            cursor.execute("SELECT 1")
    except BaseException:
        end(key, "raised")
        raise
    end(key, "returned")
    return key
