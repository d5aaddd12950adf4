"""Was every promise kept? Believes only what jobs wrote themselves, what was done to the system, and plain SQL.

Each finding is of a kind that has a name; the figures count them. A run with no finding is not a proof that nothing
is wrong, so the checker itself is tested with lies, each of which it must name.
"""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, inf
from typing import NamedTuple

from .evidence import Change, Evidence, GapRow, PlannedJob, Row
from .figures import Figures, exit_name, measure
from .ledger import Life
from .scene import FINAL, RESCUE_REASONS, SLACK_S, Scene
from .sidelog import Run

EARLY_S = 0.05
KEPT_S = 10.0
"""An outcome of a node that is well is recorded within this, however busy the machine."""
KINDS = {
    "missing": "a fire time has neither an execution nor a gap",
    "doubled": "a fire time has two executions, or an execution ran twice without a reason",
    "gap_overlap": "a fire time lies in a gap and has another verdict too",
    "gap_count": "a gap counts other fire times than it covers",
    "unlawful_gap": "the reason of a gap is not what happened",
    "unexpected": "something fired that no schedule asked for",
    "early": "a run began before its fire time",
    "paused": "something fired or began while it was paused",
    "stale_overwrite": "an outcome was written by a run that was no longer its execution's, or over a final one",
    "lost_outcome": "a run ended in a process that lived on, and its outcome is nowhere",
    "untrue_end": "the database says that something ended in a way in which no run did",
    "stuck": "an execution or a node is not over although everything is at rest",
    "unordered_exit": "a process ended that nobody had told to",
    "slow_rescue": "what a dead node held waited longer than the lease and three seconds",
}


class Where(NamedTuple):
    """A fire time of a job."""

    at: float
    job: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise that was broken once."""

    kind: str
    text: str
    at: float = 0.0
    """On the cluster's clock, in seconds since 1970."""
    job: int = 0


@dataclass(slots=True)
class Report:
    """Findings and figures."""

    findings: list[Finding]
    figures: Figures

    def count(self, *kinds: str) -> int:
        return sum(finding.kind in kinds for finding in self.findings)


def check(evidence: Evidence) -> Report:
    """Judge the evidence."""
    checker = _Checker(Scene(evidence))
    for job in evidence.jobs:
        checker.check_fire_times(job)
    checker.check_runs()
    checker.check_changes()
    checker.check_rows()
    checker.check_processes()
    measure(checker.figures, checker.scene)
    return Report(sorted(checker.findings, key=lambda finding: finding.at), checker.figures)


class _Checker:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.evidence = scene.evidence
        self.findings: list[Finding] = []
        self.figures = Figures(runs=len(scene.evidence.runs))

    def find(self, kind: str, where: Where, text: str) -> None:
        assert kind in KINDS
        if where.job in self.scene.jobs:
            text = f"{self.scene.jobs[where.job].name}: {text}"
        self.findings.append(Finding(kind, text, where.at, where.job))

    # --- Verdicts ---

    def check_fire_times(self, job: PlannedJob) -> None:
        """One verdict for each, and a lawful one."""
        must, may = self.scene.expected(job)
        executions: dict[float, list[Row]] = defaultdict(list)
        for row in self.scene.rows_of(job.id):
            if row.trigger == "schedule":
                executions[row.fire_time].append(row)
        gaps: dict[int, list[GapRow]] = defaultdict(list)
        for gap in self.evidence.gaps:
            if gap.job == job.id:
                self.figures.gaps[gap.reason] += gap.count
                for moment in self._covered(gap, must, may):
                    gaps[moment].append(gap)
        for moment in sorted(must):
            if not executions[moment] and not gaps[moment]:
                self.find("missing", Where(moment, job.id), f"no verdict for {shown(moment)}")
        for fire_time, rows in sorted(executions.items()):
            if not rows:
                continue
            if fire_time not in must and fire_time not in may:
                self.find("unexpected", Where(fire_time, job.id), f"fired for {shown(fire_time)}")
            if len(rows) > 1:
                ids = ", ".join(str(row.id) for row in rows)
                self.find(
                    "doubled",
                    Where(fire_time, job.id),
                    f"{shown(fire_time)} has the executions {ids}",
                )
            if gaps.get(int(fire_time)):
                self.find(
                    "gap_overlap",
                    Where(fire_time, job.id),
                    f"{shown(fire_time)} has an execution and lies in a gap",
                )
            due = self.scene.due(fire_time)
            if any(pause.done_from < due < pause.asked_to for pause in self.scene.pauses(job.id)):
                self.find("paused", Where(fire_time, job.id), f"fired for {shown(fire_time)}")
        for moment, covering in sorted(gaps.items()):
            if len(covering) > 1:
                self.find("gap_overlap", Where(moment, job.id), f"{shown(moment)} lies in two gaps")
            for gap in covering:
                if problem := self._unlawful(job, gap.reason, moment):
                    self.find(
                        "unlawful_gap",
                        Where(moment, job.id),
                        f"{shown(moment)} is a gap with the reason {gap.reason}, but {problem}",
                    )

    def _covered(self, gap: GapRow, must: set[int], may: set[int]) -> list[int]:
        inside = range(ceil(gap.first), int(gap.last) + 1)
        certain = [moment for moment in inside if moment in must]
        possible = [moment for moment in inside if moment in may]
        if not len(certain) <= gap.count <= len(certain) + len(possible):
            self.find(
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
            return "" if self.scene.lived_at(job.id, moment) else "nothing of the job was live"
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

    # --- Runs ---

    def check_runs(self) -> None:
        """Each belongs to one claim that stood, began in time, and left its outcome."""
        begun: Counter[tuple[int, int]] = Counter()
        for run in self.evidence.runs:
            row = self.scene.rows.get(run.execution)
            where = Where(run.fire_time, row.job if row else 0)
            due = self.scene.due(run.fire_time)
            if row and row.trigger == "schedule" and run.began < due - EARLY_S:
                self.find("early", where, f"began {due - run.began:.3f} s before its time")
            claim = self.scene.claims_of_runs[run.key]
            if row is None or claim is None:
                self.find("doubled", where, f"execution {run.execution} ran unasked")
                continue
            begun[run.execution, claim.token] += 1
            if begun[run.execution, claim.token] > 1:
                self.find("doubled", where, f"execution {run.execution} ran twice in one claim")
            end = self.scene.end_of(claim)
            if end is not None and end.at < run.began - SLACK_S:
                self.find(
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
                self.find(
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
                self.find(
                    "lost_outcome",
                    where,
                    f"execution {run.execution} {run.how}, and its outcome was not recorded",
                )
            return
        if end.token != end.old_token:
            if run.ended > end.at:
                self.figures.fenced += 1
            elif end.reason not in RESCUE_REASONS and run.ended < end.at - 0.5:
                self.find(
                    "lost_outcome",
                    where,
                    f"execution {run.execution} {run.how}, and was handed back all the same",
                )
        elif run.key not in end.outcome and end.status != "cancelled":
            job = self.scene.jobs.get(row.job)
            if job is None or (job.keyed and not job.may_fail):
                self.find(
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
                        self.find(
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
                self.find(
                    "doubled", Where(at, job_id), f"execution {execution} was tried too often"
                )

    def _check_author(self, change: Change, job_id: int, at: float) -> None:
        """An outcome carries the key of its run, whose claim must be the one that it ends."""
        if change.token != change.old_token:
            return
        author = self.scene.run_in(change.outcome)
        claim = self.scene.claims_of_runs[author.key] if author else None
        if author and (claim is None or claim.token != change.old_token):
            self.find(
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
                self.find(
                    "doubled",
                    Where(at, job_id),
                    f"execution {change.execution} was handed back by a node that nobody told to stop",
                )
        elif runs and runs[0].began < change.at - SLACK_S:
            self.find(
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
                self.find(
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
            self.find(
                "slow_rescue",
                Where(at, job_id),
                f"execution {change.execution} waited {took:.1f} s for another node",
            )

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

    # --- Ends ---

    def check_rows(self) -> None:
        """Everything is over, in a way in which it ran."""
        for execution in self.evidence.acknowledged:
            if execution not in self.scene.rows:
                self.find(
                    "missing", Where(0.0), f"execution {execution} was acknowledged and is gone"
                )
        for row in self.evidence.rows:
            job = self.scene.jobs.get(row.job)
            where = Where(row.fire_time, row.job)
            if row.status not in FINAL:
                held = any(pause.asked_to == inf for pause in self.scene.pauses(row.job))
                if not (row.status == "blocked" and held):
                    self.find("stuck", where, f"execution {row.id} is {row.status} {row.reason}")
                continue
            if job is None or job.may_fail:
                continue
            final = self.scene.changes[row.id][-1:] if row.id in self.scene.changes else []
            author = self.scene.run_in(final[0].outcome) if final else None
            expected = {"succeeded": "returned", "failed": "raised"}.get(row.status)
            if row.status == "cancelled":
                if not self._may_be_cancelled(job, row):
                    self.find("untrue_end", where, f"execution {row.id} was cancelled by nobody")
            elif (row.status == "lost" and not job.at_most_once) or (
                row.status != "lost" and (row.status == "failed") != job.raises
            ):
                self.find(
                    "untrue_end", where, f"execution {row.id} ended as {row.status} {row.reason}"
                )
            elif row.status == "lost":
                continue  # which rescues are lawful is asked of the changes
            elif job.writes and not self._was_run(row, job, author, expected):
                self.find("untrue_end", where, f"execution {row.id} is {row.status} and no run was")

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
                self.find(
                    "unordered_exit",
                    Where(life.ended),
                    f"{life.node} (pid {life.pid}) ended with {exit_name(life.code)}",
                )
            node = states.get(life.pid)
            if life.code == 0 and node is not None and node.state not in ("stopped", "dead"):
                self.find(
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


def shown(moment: float) -> str:
    """A moment of the cluster's clock for people."""
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"
