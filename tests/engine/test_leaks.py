"""A node that has run for long holds no more than one that has just started. Proves I32 and the figure of F17."""

from __future__ import annotations

import os
from pathlib import Path

from django.db import connection

from scheduler_app import lifecycle
from scheduler_app.models import Execution

from .conftest import NodeProcess, wait_for

EXECUTIONS = int(os.environ.get("LEAK_EXECUTIONS", "300"))
TIMEOUTS = int(os.environ.get("LEAK_TIMEOUTS", "10"))
IN_PROCESSES = int(os.environ.get("LEAK_PROCESSES", "10"))
MEMORY_MIB = 20


def held(node: NodeProcess) -> dict[str, int]:
    """Threads, open files, child processes and backends of a node."""
    base = f"/proc/{node.process.pid}"
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
              -- Pruning comes and goes.
              AND application_name <> 'scheduler upkeep'
            """
        )
        [backends] = cursor.fetchone()
    threads = os.listdir(f"{base}/task")
    children = [Path(f"{base}/task/{thread}/children").read_text().split() for thread in threads]
    return {
        "threads": len(threads),
        "files": len(os.listdir(f"{base}/fd")),
        "children": sum(map(len, children)),
        "backends": backends,
    }


def memory_mib(node: NodeProcess) -> float:
    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def test_threads_files_backends_and_memory_are_flat(start_node, make_job, tmp_path):
    jobs = {
        "thread": make_job("ask_search_path", on_overlap="allow", name="thread"),
        "process": make_job("echo", on_overlap="allow", isolation="process", name="process"),
        "timeout": make_job(
            "note_slowly",
            {"path": str(tmp_path / "a"), "seconds": 600},
            on_overlap="allow",
            timeout_s=0.2,
            name="timeout",
        ),
        "printing": make_job(
            "print_much", {"lines": 50, "text": "x" * 100}, on_overlap="allow", name="printing"
        ),
    }
    node = start_node("--threads", "5")

    def run(**counts: int) -> None:
        for name, count in counts.items():
            for _ in range(count):
                lifecycle.run_now([jobs[name].pk], by="tester")
        wait_for(lambda: not Execution.objects.live().exists(), what="the end", within_s=900)
        wait_for(lambda: node.row.busy == 0, what="an idle node")

    run(thread=20, process=2, timeout=2, printing=50)
    before, memory = held(node), memory_mib(node)

    run(thread=EXECUTIONS, process=IN_PROCESSES, timeout=TIMEOUTS, printing=EXECUTIONS)

    # What has just ended may still be on its way out.
    wait_for(
        lambda: all(now <= before[what] for what, now in held(node).items()),
        what=f"no more than {before}",
    )
    grown = memory_mib(node) - memory
    print(f"before {before}, after {held(node)}, memory {memory:.1f} MiB, grown by {grown:.1f} MiB")
    assert grown < MEMORY_MIB
