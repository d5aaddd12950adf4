"""Was every promise kept? Believes only what jobs wrote themselves, what was done to the system, and plain SQL.

Each finding is of a kind that has a name. A drill without one is not a proof that nothing is wrong, so the checker
itself is tested with lies, each of which it must name.
"""

from __future__ import annotations

from dataclasses import dataclass

from .conduct import Conduct
from .ends import Ends
from .evidence import Evidence
from .figures import Figures, measure
from .findings import KINDS, Finding, Findings
from .scene import Scene
from .verdicts import Verdicts

__all__ = ["KINDS", "Finding", "Report", "check"]


@dataclass(slots=True)
class Report:
    """Findings and figures."""

    findings: list[Finding]
    figures: Figures

    def count(self, *kinds: str) -> int:
        """How many findings are of these kinds."""
        return sum(finding.kind in kinds for finding in self.findings)


def check(evidence: Evidence) -> Report:
    """Judge the evidence."""
    scene = Scene(evidence)
    findings = Findings(scene.jobs)
    figures = Figures(runs=len(evidence.runs))
    verdicts = Verdicts(scene, findings)
    for job in evidence.jobs:
        verdicts.check(job)
    figures.gaps = verdicts.gap_counts
    conduct = Conduct(scene, findings, figures)
    conduct.check_runs()
    conduct.check_changes()
    ends = Ends(scene, findings, figures)
    ends.check_rows()
    ends.check_processes()
    measure(figures, scene)
    return Report(findings.in_order(), figures)
