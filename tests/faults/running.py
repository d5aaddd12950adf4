"""Run one fault from beginning to end, judge it, and say in one line what it came to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from scheduler_app.management.drill.checker import Report, check
from scheduler_app.management.drill.evidence import Evidence
from scheduler_app.management.drill.proxy import Address

from .cluster import Cluster, Stage
from .faults import Fault
from .picture import draw
from .pooler import Pooler


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a fault."""

    fault: Fault
    seed: int
    seconds: float
    took_s: float
    report: Report
    problems: list[str]
    """What must not be, one sentence each; empty when every promise was kept."""
    notes: list[str]
    picture: Path | None = None

    @property
    def line(self) -> str:
        """The figures."""
        count, figures = self.report.count, self.report.figures
        exits = " ".join(f"{name}×{number}" for name, number in sorted(figures.exits.items()))
        return (
            f"{self.fault.name:<4} {'FAIL' if self.problems else 'ok':<4} seed={self.seed} t={self.seconds:g} "
            f"runs={figures.runs} missing={count('missing')} doubled={count('doubled', 'gap_overlap')} "
            f"stale={count('stale_overwrite')} lost={count('lost_outcome', 'untrue_end')} "
            f"paused={count('paused')} stuck={count('stuck')} unordered_exits={count('unordered_exit')} "
            f"other={count('unlawful_gap', 'gap_count', 'unexpected', 'early', 'slow_rescue')} "
            f"reruns={figures.reruns} fenced={figures.fenced} rescue_max={figures.rescue_max_s:.1f} "
            f"recovery={figures.recovery_s:.1f} late_p99={figures.late_p99_s:.2f} "
            f"late_max={figures.late_max_s:.2f} silence={figures.silence_s:.1f} "
            f"machine_stall={figures.machine_stall_s:.2f} exits: {exits}"
        )

    @property
    def story(self) -> str:
        """The line, and what went wrong below it."""
        lines = [self.line, *(f"  {problem}" for problem in self.problems)]
        lines += [f"  ({note})" for note in self.notes]
        if self.picture:
            lines.append(f"  picture: {self.picture}")
        return "\n".join(lines)


def run(cluster: Cluster, fault: Fault, *, seconds: float, seed: int, patience_s: float) -> Result:
    """The whole course. `patience_s` is what a busy machine may add to bounds in seconds, never to counts."""
    if not fault.pooled:
        return _run(cluster, fault, seconds=seconds, seed=seed, patience_s=patience_s)
    with Pooler(cluster) as pooler:
        return _run(
            cluster,
            fault,
            seconds=seconds,
            seed=seed,
            patience_s=patience_s,
            target=pooler.address,
        )


def _run(
    cluster: Cluster,
    fault: Fault,
    *,
    seconds: float,
    seed: int,
    patience_s: float,
    target: Address | None = None,
) -> Result:
    began = time.monotonic()
    stage = Stage(
        cluster,
        nodes=fault.nodes,
        seed=seed,
        more_jobs=fault.more_jobs,
        only_more=fault.only_more,
        settings=fault.settings,
        target=target,
    )
    failed = True
    try:
        fault.before(stage)
        stage.begin()
        fault.inject(stage, seconds)
        evidence = stage.finish()
        evidence.patience = patience_s
        report = check(evidence)
        problems = judge(fault, evidence, report, patience_s) + stage.problems
        problems += fault.after(stage, evidence)
        failed = bool(problems)
        picture = None
        notes = [text for _, text in stage.ledger.notes]
        if failed:
            picture = stage.directory / f"{fault.name}.svg"
            picture.write_text(draw(evidence, report, title=f"{fault.name}: {fault.title}"))
        return Result(
            fault, seed, seconds, time.monotonic() - began, report, problems, notes, picture
        )
    finally:
        stage.drop(keep=failed)


def judge(fault: Fault, evidence: Evidence, report: Report, patience_s: float) -> list[str]:
    """Everything that must not be."""
    problems = [f"{finding.kind}: {finding.text}" for finding in report.findings]
    problems += fault.expect(evidence, report)
    for name, limit in fault.seconds.items():
        value = getattr(report.figures, name)
        if value > limit + patience_s:
            problems.append(f"{name} is {value:.2f}, and may be {limit:g} (+ {patience_s:g})")
    return problems
