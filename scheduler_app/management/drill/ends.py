"""Is everything over, and did everything that ended end as it should?"""

from __future__ import annotations

import signal
from math import inf

from .evidence import PlannedJob, Row
from .figures import Figures, exit_name
from .findings import Findings, Where
from .ledger import Life
from .scene import FINAL, Scene
from .sidelog import Run


class Ends:
    """Executions, and the processes of nodes."""

    def __init__(self, scene: Scene, findings: Findings, figures: Figures) -> None:
        self.scene = scene
        self.evidence = scene.evidence
        self.findings = findings
        self.figures = figures

    def check_rows(self) -> None:
        """Everything is over, in a way in which it ran."""
        for execution in self.evidence.acknowledged:
            if execution not in self.scene.rows:
                self.findings.add(
                    "missing", Where(0.0), f"execution {execution} was acknowledged and is gone"
                )
        for row in self.evidence.rows:
            job = self.scene.jobs.get(row.job)
            where = Where(row.fire_time, row.job)
            if row.status not in FINAL:
                held = any(pause.asked_to == inf for pause in self.scene.pauses(row.job))
                if not (row.status == "blocked" and held):
                    self.findings.add(
                        "stuck", where, f"execution {row.id} is {row.status} {row.reason}"
                    )
                continue
            if job is None or job.may_fail:
                continue
            final = self.scene.changes[row.id][-1:] if row.id in self.scene.changes else []
            author = self.scene.run_in(final[0].outcome) if final else None
            expected = {"succeeded": "returned", "failed": "raised"}.get(row.status)
            if row.status == "cancelled":
                if not self._may_be_cancelled(job, row):
                    self.findings.add(
                        "untrue_end", where, f"execution {row.id} was cancelled by nobody"
                    )
            elif (row.status == "lost" and not job.at_most_once) or (
                row.status != "lost" and (row.status == "failed") != job.raises
            ):
                self.findings.add(
                    "untrue_end", where, f"execution {row.id} ended as {row.status} {row.reason}"
                )
            elif row.status == "lost":
                continue  # which rescues are lawful is asked of the changes
            elif job.writes and not self._was_run(row, job, author, expected):
                self.findings.add(
                    "untrue_end", where, f"execution {row.id} is {row.status} and no run was"
                )

    def _was_run(self, row: Row, job: PlannedJob, author: Run | None, expected: str | None) -> bool:
        if job.keyed:
            return author is not None and author.how == expected
        return any(run.how == expected for run in self.scene.runs.get(row.id, []))

    def _may_be_cancelled(self, job: PlannedJob, row: Row) -> bool:
        at = self.scene.finished_at(row.id)
        is_over = job.definitions[-1].schedule is None and job.definitions[-1].asked <= at
        return is_over or self.scene.ordered("cancel", row.id, at)

    def check_processes(self) -> None:
        """Whoever ended had a reason, and a node that ended well said so."""
        states = {node.pid: node for node in self.evidence.nodes}
        for life in self.scene.ledger.lives:
            if life.code is None:
                continue
            self.figures.exits[exit_name(life.code)] += 1
            if not self._was_ordered(life, registered=life.pid in states):
                self.findings.add(
                    "unordered_exit",
                    Where(life.ended),
                    f"{life.node} (pid {life.pid}) ended with {exit_name(life.code)}",
                )
            node = states.get(life.pid)
            if life.code == 0 and node is not None and node.state not in ("stopped", "dead"):
                self.findings.add(
                    "stuck",
                    Where(life.ended),
                    f"the node {life.node} ended well and its row says {node.state}",
                )

    def _was_ordered(self, life: Life, *, registered: bool) -> bool:
        assert life.code is not None
        sent = {
            each.number
            for each in self.scene.ledger.signals
            if each.pid == life.pid and each.at <= life.ended
        }
        asked = bool(sent & {signal.SIGTERM, signal.SIGINT})
        if life.code == 0:
            return asked
        if life.code == 75:
            return any(
                band.unable
                and band.node in ("", life.node)
                and band.began < life.ended
                and band.ended > life.began
                for band in self.scene.ledger.bands
            )
        if self._was_brought_down(life):
            return True
        if life.code < 0:
            # Before it runs, a node has no handler yet.
            return -life.code in sent and (-life.code == signal.SIGKILL or not registered)
        return False

    def _was_brought_down(self, life: Life) -> bool:
        """Whether a job that does such things was running in it."""
        return any(
            run.ended is None and life.pid in run.pids and self._kills(run)
            for run in self.evidence.runs
        )

    def _kills(self, run: Run) -> bool:
        row = self.scene.rows.get(run.execution)
        job = self.scene.jobs.get(row.job) if row else None
        return job is not None and job.kills
