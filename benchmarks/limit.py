"""What PostgreSQL itself can do: pgbench claims and finishes rows of the scheduler's own table, and nothing else."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.cluster import Cluster
from benchmarks.contenders import SCHEDULER
from benchmarks.workloads import Figures, GaveUp, stage

FILL_SQL = """
INSERT INTO scheduler_app_execution (trigger, spec, scheduled_for, run_after, queue, priority, status)
SELECT 'task', '{"target": "x"}', scheduler_now(), scheduler_now(), 'default', 0, 'ready'
FROM generate_series(1, %s)
"""

SCRIPT = """
WITH next_up AS MATERIALIZED (
    SELECT id FROM scheduler_app_execution
    WHERE status = 'ready' AND run_after <= scheduler_now()
    ORDER BY priority DESC, run_after, id
    LIMIT {batch}
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE scheduler_app_execution AS execution
    SET status = 'running', node_id = 1, token = token + 1, attempt = attempt + 1, claimed_at = scheduler_now()
    FROM next_up WHERE execution.id = next_up.id
    RETURNING execution.id
)
SELECT array_agg(id) AS ids FROM claimed \\gset
UPDATE scheduler_app_execution AS execution
SET status = outcome.status, started_at = scheduler_now(), finished_at = scheduler_now(), result = 'null'
FROM (SELECT id, 'succeeded' AS status, 'running' AS expected FROM unnest(:ids::bigint[]) AS id) AS outcome
WHERE execution.id = outcome.id AND execution.status = outcome.expected;
"""

SETTINGS = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off"
    " -c enable_hashjoin=off -c enable_mergejoin=off -c enable_sort=off -c jit=off"
)
"""The planner settings of the engine's own connections."""


def limit(cluster: Cluster, *, count: int, batch: int, connections: int) -> Figures:
    """Rows claimed and finished a second, `batch` a transaction."""
    with stage(SCHEDULER, cluster) as on, tempfile.TemporaryDirectory() as directory:
        with cluster.connect() as connection:
            connection.execute(FILL_SQL, [count])  # type: ignore[arg-type]
            connection.execute("CHECKPOINT")
        script = Path(directory) / "script.sql"
        script.write_text(SCRIPT.format(batch=batch))
        before = cluster.cost()
        turns = count // batch // connections
        done = subprocess.run(
            [
                *(cluster.binaries / "pgbench", "--no-vacuum", "--protocol=prepared"),
                *("--client", str(connections), "--jobs", str(connections)),
                *("--transactions", str(turns), "--file", script, "--username", "postgres"),
                *("--host", cluster.socket_directory, cluster.database),
            ],
            env={"PGOPTIONS": SETTINGS},
            capture_output=True,
            text=True,
        )
        cost = cluster.cost() - before
        speed = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode != 0 or speed is None:
            raise GaveUp(f"pgbench: {done.stderr.strip()[-300:]}")
        finished = cluster.number(on.contender.finished)
    return {
        "per_s": float(speed[1]) * batch,
        "rows_left": count - finished,
        "postgres_cpu_ms_per_1000": cost.postgres_cpu_s * 1e6 / max(finished, 1),
    }
