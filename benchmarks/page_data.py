"""A week of a busy installation, made by the database itself: thousands of jobs, millions of executions, gaps, logs.

Believable in what decides the cost of a page: a few jobs run all the time and most seldom, one in fifty executions did not
succeed, some live, nodes come and go, errors repeat, some logs are huge.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connections

from scheduler_app.conf import get_config
from scheduler_app.models import Job, Node, NodeState, database_now

NODES = 64
SCHEDULES = ("*/5 * * * *", "@hourly", "30 2 * * *", "@every 90s", "0 9 * * mon-fri", "@manual")
HUGE_LOG_CHUNKS = 160
"""Of 64 KiB: ten megabytes."""

PLANS_SQL = """
UPDATE scheduler_app_jobplan
SET dirty = false,
    decided_until = now(),
    next_fire_at = CASE
        WHEN job_id %% 40 = 0 OR job_id %% 50 = 0 THEN NULL
        ELSE now() + make_interval(secs => job_id * 7919 %% 86400 - 30)
    END
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
        %(first_job)s + floor(%(jobs)s * power(chance[1], 3))::bigint AS place,
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
JOIN scheduler_app_node AS node
  ON node.id = %(first_node)s + (made.n * 56 / %(executions)s) / 8 * 8 + made.n %% 8
"""

GAPS_SQL = """
INSERT INTO scheduler_app_gap (job_id, first_at, last_at, count, reason)
SELECT
    %(first_job)s + n %% %(jobs)s, now() - interval '7 days' * (n::float8 / %(gaps)s),
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
SELECT failed.id, 1, 1, n, repeat(E'\\x1b[31mERROR\\x1b[0m <script>alert(1)</script> line of a long log\\n', 1080)
FROM (
    SELECT id FROM scheduler_app_execution WHERE status = 'failed' ORDER BY scheduled_for DESC LIMIT 1
) AS failed
CROSS JOIN generate_series(1, %(chunks)s) AS n
"""

BATCH = 250_000


def fill(*, jobs: int, executions: int) -> None:
    """Fill empty tables."""
    now = database_now()
    first_job = Job.objects.bulk_create(_job(number, now) for number in range(jobs))[0].pk
    first_node = Node.objects.bulk_create(_node(number, now) for number in range(NODES))[0].pk
    known = {
        "jobs": jobs,
        "executions": executions,
        "first_job": first_job,
        "first_node": first_node,
        "gaps": max(executions // 40, 10),
        "chunks": HUGE_LOG_CHUNKS,
    }
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(PLANS_SQL, known)
        for begin in range(1, executions + 1, BATCH):
            end = min(begin + BATCH - 1, executions)
            cursor.execute(EXECUTIONS_SQL, known | {"from": begin, "to": end})
        cursor.execute(GAPS_SQL, known)
        cursor.execute(LOGS_SQL, known)
        cursor.execute(HUGE_LOG_SQL, known)
        cursor.execute("ANALYZE")


def _job(number: int, now: datetime) -> Job:
    is_paused = number % 40 == 0
    return Job(
        name=f"{('import', 'export', 'mail', 'report', 'sync')[number % 5]} of shop {number}",
        description="Made for measuring pages.",
        tags=[f"team {number % 12}", ("nightly", "hourly", "customer")[number % 3]],
        schedule=SCHEDULES[number % len(SCHEDULES)],
        timezone=("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo")[number % 4],
        target="jobscheduler.tasks.tick",
        arguments={"customer": number % 1000, "shop": f"shop {number}"},
        queue=("default", "default", "mail", "reports")[number % 4],
        max_attempts=3,
        enabled=number % 50 != 1,
        paused_at=now - timedelta(hours=1) if is_paused else None,
        paused_by="ana" if is_paused else "",
        pause_reason="maintenance" if is_paused else "",
    )


def _node(number: int, now: datetime) -> Node:
    """Eight at a time for a day each; the last eight live."""
    day, lives = number // 8, number >= NODES - 8
    return Node(
        name=f"web-{number % 8}",
        host=f"host-{number % 8}",
        pid=1000 + number,
        threads=10,
        release=f"2026.{day}",
        state=NodeState.ACTIVE if lives else NodeState.STOPPED,
        started_at=now - timedelta(days=8 - day),
        heartbeat_at=now,
        last_tick_at=now,
        finished_at=None if lives else now - timedelta(days=7 - day),
    )
