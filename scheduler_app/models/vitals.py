"""How the scheduler is, measured in one statement whose cost does not grow with the backlog."""

from __future__ import annotations

from django.db import connections, transaction

from scheduler_app.conf import get_config
from scheduler_app.rules.health import Vitals

from .pause import SCOPE_IS_PAUSED

COUNTED_TO = 10_000
TIMEOUT_MS = 3000

VITALS_SQL = f"""
WITH alive AS MATERIALIZED (
    SELECT
        state,
        heartbeat_at > scheduler_now() - make_interval(secs => GREATEST(lease_s, %(lease_s)s)) AS beats,
        COALESCE(last_tick_at, started_at)
            > scheduler_now() - make_interval(secs => GREATEST(lease_s, %(lease_s)s)) AS turns,
        last_tick_at IS NOT NULL AS has_turned,
        trouble
    FROM scheduler_app_node
    WHERE state IN ('active', 'draining')
),
overdue AS MATERIALIZED (
    SELECT next_fire_at
    FROM scheduler_app_jobplan
    WHERE next_fire_at <= scheduler_now()
    ORDER BY next_fire_at
    LIMIT %(counted_to)s
),
ready AS MATERIALIZED (
    SELECT execution.run_after
    FROM scheduler_app_execution AS execution
    WHERE execution.status = 'ready'
      AND execution.run_after <= scheduler_now()
      AND NOT {SCOPE_IS_PAUSED}   -- what a pause holds back is not late
    LIMIT %(counted_to)s
),
oldest_ready AS MATERIALIZED (   -- one look into the index for each priority that there can be
    SELECT min(first.run_after) AS run_after
    FROM generate_series(-100, 100) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT execution.run_after
        FROM scheduler_app_execution AS execution
        WHERE execution.status = 'ready'
          AND execution.priority = level.priority
          AND execution.run_after <= scheduler_now()
          AND NOT {SCOPE_IS_PAUSED}
        ORDER BY execution.run_after
        LIMIT 1
    ) AS first
)
SELECT
    (SELECT count(*) FROM alive WHERE state = 'active' AND beats AND turns AND has_turned),
    (SELECT count(*) FROM alive WHERE state = 'draining' AND beats),
    (SELECT count(*) FROM alive WHERE state = 'active' AND beats AND NOT turns),
    (SELECT count(*) FROM alive WHERE NOT beats),
    (SELECT extract(epoch FROM scheduler_now() - max(last_tick_at))::float8 FROM scheduler_app_node),
    (SELECT count(*) FROM ready),
    (SELECT extract(epoch FROM scheduler_now() - run_after)::float8 FROM oldest_ready),
    (SELECT count(*) FROM overdue),
    (SELECT extract(epoch FROM scheduler_now() - min(next_fire_at))::float8 FROM overdue),
    ARRAY(SELECT DISTINCT trouble FROM alive WHERE beats AND trouble <> '' ORDER BY trouble LIMIT 10)
"""


def read_vitals(*, lease_s: float) -> Vitals:
    """Ask the database, giving each node `lease_s` or its own lease, whichever is longer.

    Raises django.db.Error when it does not answer, or not within three seconds.
    """
    alias = get_config().database
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])
        cursor.execute(
            VITALS_SQL,
            {"lease_s": lease_s, "counted_to": COUNTED_TO},
        )
        row = cursor.fetchone()
    return Vitals(
        nodes_ticking=row[0],
        nodes_draining=row[1],
        nodes_stuck=row[2],
        nodes_silent=row[3],
        tick_age_s=_rounded(row[4]),
        ready=row[5],
        ready_age_s=_rounded(row[6]),
        overdue=row[7],
        overdue_age_s=_rounded(row[8]),
        counted_to=COUNTED_TO,
        troubles=tuple(row[9]),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
