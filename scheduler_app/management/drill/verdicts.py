"""Has every fire time one verdict, and a lawful one?"""

from __future__ import annotations

from collections import Counter, defaultdict
from math import ceil

from .evidence import GapRow, PlannedJob, Row
from .findings import Findings, Where, shown
from .scene import SLACK_S, Scene


class Verdicts:
    """The fire times of all jobs."""

    def __init__(self, scene: Scene, findings: Findings) -> None:
        self.scene = scene
        self.evidence = scene.evidence
        self.findings = findings
        self.gap_counts: Counter[str] = Counter()
        """Fire times in gaps, by reason."""

    def check(self, job: PlannedJob) -> None:
        """One verdict for each, and a lawful one."""
        must, may = self.scene.expected(job)
        executions: dict[float, list[Row]] = defaultdict(list)
        for row in self.scene.rows_of(job.id):
            if row.trigger == "schedule":
                executions[row.fire_time].append(row)
        gaps: dict[int, list[GapRow]] = defaultdict(list)
        for gap in self.evidence.gaps:
            if gap.job == job.id:
                self.gap_counts[gap.reason] += gap.count
                for moment in self._covered(gap, must, may):
                    gaps[moment].append(gap)
        for moment in sorted(must):
            if not executions[moment] and not gaps[moment]:
                self.findings.add(
                    "missing", Where(moment, job.id), f"no verdict for {shown(moment)}"
                )
        for fire_time, rows in sorted(executions.items()):
            if rows:
                is_known = fire_time in must or fire_time in may
                self._check_executions(
                    job, fire_time, rows, is_known, bool(gaps.get(int(fire_time)))
                )
        for moment, covering in sorted(gaps.items()):
            if len(covering) > 1:
                self.findings.add(
                    "gap_overlap", Where(moment, job.id), f"{shown(moment)} lies in two gaps"
                )
            for gap in covering:
                if problem := self._unlawful(job, gap.reason, moment):
                    self.findings.add(
                        "unlawful_gap",
                        Where(moment, job.id),
                        f"{shown(moment)} is a gap with the reason {gap.reason}, but {problem}",
                    )

    def _check_executions(
        self, job: PlannedJob, fire_time: float, rows: list[Row], is_known: bool, in_gap: bool
    ) -> None:
        where, when = Where(fire_time, job.id), shown(fire_time)
        if not is_known:
            self.findings.add("unexpected", where, f"fired for {when}")
        if len(rows) > 1:
            ids = ", ".join(str(row.id) for row in rows)
            self.findings.add("doubled", where, f"{when} has the executions {ids}")
        if in_gap:
            self.findings.add("gap_overlap", where, f"{when} has an execution and lies in a gap")
        due = self.scene.due(fire_time)
        if any(pause.done_from < due < pause.asked_to for pause in self.scene.pauses(job.id)):
            self.findings.add("paused", where, f"fired for {when}")

    def _covered(self, gap: GapRow, must: set[int], may: set[int]) -> list[int]:
        inside = range(ceil(gap.first), int(gap.last) + 1)
        certain = [moment for moment in inside if moment in must]
        possible = [moment for moment in inside if moment in may]
        if not len(certain) <= gap.count <= len(certain) + len(possible):
            self.findings.add(
                "gap_count",
                Where(gap.first, gap.job),
                f"the gap from {shown(gap.first)} to {shown(gap.last)} counts {gap.count} fire times, "
                f"and there are {len(certain)}",
            )
        return certain

    def _unlawful(self, job: PlannedJob, reason: str, moment: int) -> str:
        """What speaks against this reason; empty when it is lawful."""
        due = self.scene.due(moment)
        if reason in ("overlap", "retrying"):
            if job.overlap == "allow":
                return "the job may overlap"
            # In an outage a change becomes visible long after the journal has stamped it.
            if self.scene.lived_at(job.id, moment) or self.scene.in_outage(due):
                return ""
            return "nothing of the job was live"
        if reason == "paused":
            covers = (
                pause.asked_from - SLACK_S <= due <= pause.done_to + SLACK_S
                for pause in self.scene.pauses(job.id)
            )
            return "" if any(covers) else "nobody had paused it"
        if reason in ("missed", "coalesced", "limit"):
            if self.scene.jumped_over(moment):
                return ""
            until = due + self.evidence.misfire_after
            if not self.scene.somebody_able(due, until):
                return ""
            # Nodes were starved as long as the machine stood still.
            if self.scene.stalled_s(due, until) > self.evidence.misfire_after / 2:
                return ""
            return "a node was able to fire it"
        return "nothing in this drill gives that reason"
