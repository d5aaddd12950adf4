"""End the pauses of jobs that were given an end."""

from __future__ import annotations

from typing import Any

import psycopg

RESUME_EXPIRED_SQL = """
UPDATE scheduler_app_job
SET paused_at = NULL, paused_by = '', paused_until = NULL, pause_reason = ''
WHERE id IN (
    SELECT id
    FROM scheduler_app_job
    WHERE paused_until <= scheduler_now()
    ORDER BY paused_until
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
"""


def resume_expired(connection: psycopg.Connection[Any]) -> int:
    """Every tick: resume the jobs whose pause is over.

    The rules end such a pause to the microsecond by its `paused_until`; this makes the job's row say so too.
    """
    with connection.transaction():
        connection.execute("SELECT set_config('scheduler.actor', 'scheduler', true)")
        return connection.execute(RESUME_EXPIRED_SQL).rowcount
