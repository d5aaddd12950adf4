"""A week of a busy installation, made by the database itself: thousands of jobs, millions of executions, gaps, logs.

Believable in what decides the cost of a page: a few jobs run all the time and most seldom, one in fifty executions did not
succeed, some live, nodes come and go, errors repeat, some logs are huge.
"""

from __future__ import annotations

from typing import Any

HUGE_LOG_CHUNKS = 160
"""Of 64 KiB: ten megabytes."""

JOBS_SQL = """
INSERT INTO scheduler_app_job (
    name, description, tags, schedule, timezone, day_match, jitter_s, calendar_mode, on_closed, kind, target, arguments,
    queue, priority, on_misfire, on_overlap, max_attempts, retry_backoff_s, retry_factor, retry_cap_s, retry_jitter,
    timeout_s, guarantee, enabled, paused_by, pause_reason, provenance
)
SELECT
    (ARRAY['import', 'export', 'mail', 'report', 'sync'])[1 + n %% 5] || ' of shop ' || n,
    'Made for measuring pages.',
    ARRAY['team ' || n %% 12, (ARRAY['nightly', 'hourly', 'customer'])[1 + n %% 3]],
    (ARRAY['*/5 * * * *', '@hourly', '30 2 * * *', '@every 90s', '0 9 * * mon-fri', '@manual'])[1 + n %% 6],
    (ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo'])[1 + n %% 4],
    'or', 0, 'avoid', 'skip', 'task', 'jobscheduler.samples.tasks.echo',
    jsonb_build_object('customer', n %% 1000, 'shop', 'shop ' || n),
    (ARRAY['default', 'default', 'mail', 'reports'])[1 + n %% 4], 0, 'latest', 'skip', 3, 10, 2, 3600, 0.1, 3600,
    'at_least_once', n %% 50 <> 0, '', '', 'api'
FROM generate_series(1, %(jobs)s) AS n
"""

PAUSE_SQL = """
UPDATE scheduler_app_job
SET paused_at = now() - interval '1 hour', paused_by = 'ana', pause_reason = 'maintenance'
WHERE id %% 40 = 0
"""

PLANS_SQL = """
UPDATE scheduler_app_jobplan
SET dirty = false,
    decided_until = now(),
    next_fire_at = CASE
        WHEN job_id %% 40 = 0 OR job_id %% 50 = 0 THEN NULL
        ELSE now() + make_interval(secs => job_id * 7919 %% 86400 - 30)
    END
"""

NODES_SQL = """
INSERT INTO scheduler_app_node (
    name, host, pid, queues, threads, state, started_at, heartbeat_at, last_tick_at, finished_at, release
)
SELECT
    'web-' || n %% 8, 'host-' || n %% 8, 1000 + n, '{}', 10, CASE WHEN n > 56 THEN 'active' ELSE 'stopped' END,
    now() - interval '1 day' * (8 - n / 8.0), now(), now(),
    CASE WHEN n <= 56 THEN now() - interval '1 day' * (7 - n / 8.0) END, '2026.' || n / 8
FROM generate_series(1, 64) AS n
"""

EXECUTIONS_SQL = """
INSERT INTO scheduler_app_execution (
    job_id, revision_id, spec, trigger, scheduled_for, run_after, queue, priority, status, reason, token, attempt, node_id,
    created_at, claimed_at, started_at, finished_at, result, error, traceback, requested_by, release
)
SELECT
    job.id, revision.id,
    CASE WHEN made.chance[2] < 0.01 THEN jsonb_build_object('arguments', jsonb_build_object('customer', made.n %% 1000)) END,
    made.trigger, made.at, made.at, job.queue, 0, made.status,
    CASE made.status WHEN 'failed' THEN 'raised' WHEN 'lost' THEN 'node_died' ELSE '' END,
    1, CASE WHEN made.status IN ('ready', 'blocked') THEN 0 ELSE 1 END,
    CASE WHEN made.status NOT IN ('ready', 'blocked') THEN node.id END,
    made.at, made.at,
    CASE WHEN made.status NOT IN ('ready', 'blocked') THEN made.at + interval '40 ms' END,
    CASE WHEN made.status NOT IN ('ready', 'blocked', 'running') THEN made.at + interval '40 ms' + made.took END,
    CASE made.status WHEN 'succeeded' THEN jsonb_build_object('rows', made.n) END,
    CASE WHEN made.status IN ('failed', 'lost') THEN 'ConnectionError: host ' || made.n %% 40 || ' refused order ' || made.n
        ELSE '' END,
    CASE WHEN made.status = 'failed' THEN E'Traceback (most recent call last):\\n  File "/srv/shop/tasks.py", line 12, in send\\n'
        || repeat(E'  File "/usr/lib/python3.11/http/client.py", line 99, in request\\n    self.send()\\n', 12) ELSE '' END,
    CASE WHEN made.trigger = 'manual' THEN 'ana' ELSE '' END, '2026.7'
FROM (
    SELECT
        n, chance,
        -- Most fall on few jobs.
        1 + floor(%(jobs)s * power(chance[1], 3))::bigint AS place,
        now() - interval '7 days' * (1 - n::float8 / %(executions)s) AS at,
        interval '1 second' * (0.05 + 20 * power(chance[3], 6)) AS took,
        CASE
            WHEN n > %(executions)s - 20 THEN 'running'
            WHEN n > %(executions)s - 400 THEN (ARRAY['ready', 'blocked'])[1 + n %% 2]
            WHEN chance[4] < 0.015 THEN 'failed'
            WHEN chance[4] < 0.018 THEN 'cancelled'
            WHEN chance[4] < 0.019 THEN 'lost'
            ELSE 'succeeded'
        END AS status,
        CASE WHEN chance[5] < 0.02 THEN 'manual' WHEN chance[5] < 0.021 THEN 'api' ELSE 'schedule' END AS trigger
    FROM (
        SELECT n, ARRAY[random(), random(), random(), random(), random()] AS chance
        FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS n
    ) AS drawn
) AS made
JOIN scheduler_app_job AS job ON job.id = made.place
JOIN scheduler_app_jobrevision AS revision ON revision.job_id = job.id AND revision.version = job.version
JOIN scheduler_app_node AS node ON node.id = 1 + (made.n * 56 / %(executions)s) / 8 * 8 + made.n %% 8
"""

GAPS_SQL = """
INSERT INTO scheduler_app_gap (job_id, first_at, last_at, count, reason)
SELECT
    1 + n %% %(jobs)s, now() - interval '7 days' * (n::float8 / %(gaps)s),
    now() - interval '7 days' * (n::float8 / %(gaps)s), 1 + n %% 4,
    (ARRAY['overlap', 'missed', 'coalesced', 'paused', 'calendar', 'skipped'])[1 + n %% 6]
FROM generate_series(1, %(gaps)s) AS n
"""

LOGS_SQL = """
INSERT INTO scheduler_app_logchunk (execution_id, attempt, token, seq, text)
SELECT id, 1, 1, 0, repeat(E'2026-11-25 12:00:00 INFO \\x1b[32mok\\x1b[0m order 4711 was sent\\n', 20)
FROM scheduler_app_execution
WHERE id %% 40 = 0
"""

HUGE_LOG_SQL = """
INSERT INTO scheduler_app_logchunk (execution_id, attempt, token, seq, text)
SELECT %(execution)s, 1, 1, n, repeat(E'\\x1b[31mERROR\\x1b[0m <script>alert(1)</script> line of a long log\\n', 1080)
FROM generate_series(1, %(chunks)s) AS n
"""

BATCH = 250_000


def fill(cursor: Any, *, jobs: int, executions: int) -> None:
    """Fill empty tables."""
    cursor.execute(JOBS_SQL, {"jobs": jobs})
    cursor.execute(PAUSE_SQL, {})
    cursor.execute(PLANS_SQL, {})
    cursor.execute(NODES_SQL, {})
    for begin in range(1, executions + 1, BATCH):
        cursor.execute(
            EXECUTIONS_SQL,
            {
                "jobs": jobs,
                "executions": executions,
                "from": begin,
                "to": min(begin + BATCH - 1, executions),
            },
        )
    cursor.execute(GAPS_SQL, {"jobs": jobs, "gaps": max(executions // 40, 10)})
    cursor.execute(LOGS_SQL, {})
    cursor.execute(
        "SELECT id FROM scheduler_app_execution WHERE status = 'failed' ORDER BY scheduled_for DESC LIMIT 1"
    )
    [execution] = cursor.fetchone()
    cursor.execute(HUGE_LOG_SQL, {"execution": execution, "chunks": HUGE_LOG_CHUNKS})
