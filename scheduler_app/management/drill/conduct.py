"""Was everything that nodes did to executions theirs to do?"""

from __future__ import annotations

import signal
from collections import Counter
from math import inf

from .evidence import Change, Row
from .figures import Figures
from .findings import Findings, Where
from .scene import FINAL, RESCUE_REASONS, SLACK_S, STARTING_S, Scene
from .sidelog import Run

EARLY_S = 0.05
KEPT_S = 10.0
"""An outcome of a node that is well is recorded within this, however busy the machine."""


class Conduct:
    """Runs, as the jobs wrote them down, and changes, as the journal did."""

    def __init__(self, scene: Scene, findings: Findings, figures: Figures) -> None:
        self.scene = scene
        self.evidence = scene.evidence
        self.findings = findings
        self.figures = figures

    def check_runs(self) -> None:
        """Each belongs to one claim that stood, began in time, and left its outcome."""
        begun: Counter[tuple[int, int]] = Counter()
        for run in self.evidence.runs:
            row = self.scene.rows.get(run.execution)
            where = Where(run.fire_time, row.job if row else 0)
            due = self.scene.due(run.fire_time)
            if row and row.trigger == "schedule" and run.began < due - EARLY_S:
                self.findings.add("early", where, f"began {due - run.began:.3f} s before its time")
            claim = self.scene.claims_of_runs[run.key]
            if row is None or claim is None:
                self.findings.add("doubled", where, f"execution {run.execution} ran unasked")
                continue
            begun[run.execution, claim.token] += 1
            if begun[run.execution, claim.token] > 1:
                self.findings.add(
                    "doubled", where, f"execution {run.execution} ran twice in one claim"
                )
            end = self.scene.end_of(claim)
            if end is not None and end.at < run.began - SLACK_S:
                self.findings.add(
                    "doubled",
                    where,
                    f"execution {run.execution} began {run.began - end.at:.1f} s after its claim had ended "
                    f"as {end.status} {end.reason}",
                )
            self._check_pause(run, claim, row)
            self._check_outcome(run, claim, end, row)

    def _check_pause(self, run: Run, claim: Change, row: Row) -> None:
        if row.trigger != "schedule":
            return
        for pause in self.scene.pauses(row.job):
            if pause.done_from + SLACK_S < claim.at < pause.asked_to:
                self.findings.add(
                    "paused",
                    Where(run.fire_time, row.job),
                    f"execution {run.execution} began while paused",
                )

    def _check_outcome(self, run: Run, claim: Change, end: Change | None, row: Row) -> None:
        if run.ended is None or run.how == "stopped":
            return
        where = Where(run.fire_time, row.job)
        if end is None or end.at > run.ended + KEPT_S:
            able = self.scene.was_able(claim.node, run.ended, run.ended + KEPT_S)
            if able or (end is None and self._ended_in_order(claim)):
                self.findings.add(
                    "lost_outcome",
                    where,
                    f"execution {run.execution} {run.how}, and its outcome was not recorded",
                )
            return
        if end.token != end.old_token:
            if run.ended > end.at:
                self.figures.fenced += 1
            elif end.reason not in RESCUE_REASONS and run.ended < end.at - 0.5:
                self.findings.add(
                    "lost_outcome",
                    where,
                    f"execution {run.execution} {run.how}, and was handed back all the same",
                )
        elif run.key not in end.outcome and end.status != "cancelled":
            job = self.scene.jobs.get(row.job)
            if job is None or (job.keyed and not job.may_fail):
                self.findings.add(
                    "lost_outcome",
                    where,
                    f"execution {run.execution} {run.how}, and ended as {end.status} {end.reason}",
                )

    def _ended_in_order(self, claim: Change) -> bool:
        """Whether the process of a run had all the time that it wanted to write its outcome down."""
        life = self.scene.life_of(self.scene.pids.get(claim.node, 0))
        return life is not None and life.code == 0

    # --- Changes ---

    def check_changes(self) -> None:
        """Every change of an execution was somebody's to make."""
        for execution, changes in self.scene.changes.items():
            row = self.scene.rows.get(execution)
            job_id = row.job if row else 0
            at = row.fire_time if row else 0.0
            retries = 0
            for change in changes:
                if change.old_status in FINAL:
                    if not self.scene.ordered("retry", execution, change.at):
                        self.findings.add(
                            "stale_overwrite",
                            Where(at, job_id),
                            f"execution {execution} was {change.old_status} and became {change.status}",
                        )
                elif change.old_status == "running":
                    self._check_author(change, job_id, at)
                    if change.token == change.old_token:
                        retries += change.status in ("ready", "blocked")
                    else:
                        self._check_taking_away(change, job_id, at)
            job = self.scene.jobs.get(job_id)
            if job is not None and retries >= max(job.max_attempts, 1):
                self.findings.add(
                    "doubled", Where(at, job_id), f"execution {execution} was tried too often"
                )

    def _check_author(self, change: Change, job_id: int, at: float) -> None:
        """An outcome carries the key of its run, whose claim must be the one that it ends."""
        if change.token != change.old_token:
            return
        author = self.scene.run_in(change.outcome)
        claim = self.scene.claims_of_runs[author.key] if author else None
        if author and (claim is None or claim.token != change.old_token):
            self.findings.add(
                "stale_overwrite",
                Where(at, job_id),
                f"execution {change.execution} got the outcome of an earlier run",
            )

    def _check_taking_away(self, change: Change, job_id: int, at: float) -> None:
        """A claim was ended without an outcome: by a rescue, or handed back."""
        runs = [
            run
            for run in self.scene.runs.get(change.execution, [])
            if (claim := self.scene.claims_of_runs[run.key]) is not None
            and claim.token == change.old_token
        ]
        if change.status in ("ready", "blocked"):
            self.figures.reruns += len(runs) > 0
        if change.reason in RESCUE_REASONS or change.reason == "poisoned":
            self._check_rescue(change, job_id, at)
        elif runs and change.reason == "drained":
            if not any(
                sent.pid == self.scene.pids.get(change.old_node)
                and sent.number in (signal.SIGTERM, signal.SIGINT)
                and sent.at <= change.at
                for sent in self.scene.ledger.signals
            ):
                self.findings.add(
                    "doubled",
                    Where(at, job_id),
                    f"execution {change.execution} was handed back by a node that nobody told to stop",
                )
        elif runs and change.reason == "fenced":
            # A node that reached no database stops what it runs, and gives it back when it reaches it again.
            if not any(
                band.began <= change.at <= band.ended + STARTING_S + self.evidence.lease
                for band in self.scene.ledger.bands
            ):
                self.findings.add(
                    "doubled",
                    Where(at, job_id),
                    f"execution {change.execution} was given up by a node that nothing cut off",
                )
        elif runs and runs[0].began < change.at - SLACK_S:
            self.findings.add(
                "doubled",
                Where(at, job_id),
                f"execution {change.execution} was handed back although it ran ({change.reason or 'no reason'})",
            )

    def _check_rescue(self, change: Change, job_id: int, at: float) -> None:
        job = self.scene.jobs.get(job_id)
        since = self.scene.unable_since(change.old_node, change.at)
        self.figures.rescues += 1
        if since is None or (
            # The last heartbeat may lie a fifth of the lease before the trouble.
            change.at - since < 0.8 * self.evidence.lease - 1.0
        ):
            starved = self.scene.stalled_s(change.at - self.evidence.lease, change.at)
            if starved < self.evidence.lease / 3 and not (job and job.may_fail):
                self.findings.add(
                    "doubled",
                    Where(at, job_id),
                    f"execution {change.execution} was taken from the node "
                    f"{self.scene.names.get(change.old_node, '?')}, which was well",
                )
            return
        if change.status != "ready":
            return
        again = next(
            (
                claim.at
                for claim in self.scene.claims[change.execution]
                if claim.token > change.old_token
            ),
            inf,
        )
        took = min(again, self.evidence.ended) - since
        limit = self.evidence.lease + 3.0
        helped = self.scene.somebody_able(since, since + limit)
        took -= self.scene.stalled_s(since, since + took)
        if helped:
            self.figures.rescue_max_s = max(self.figures.rescue_max_s, took)
        if helped and took > limit + self.evidence.patience:
            self.findings.add(
                "slow_rescue",
                Where(at, job_id),
                f"execution {change.execution} waited {took:.1f} s for another node",
            )
