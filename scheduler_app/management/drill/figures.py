"""How well was it kept? The numbers of a drill, beside what the checker found."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from .scene import RESCUE_REASONS, Scene


@dataclass(slots=True)
class Figures:
    """What a fault came to, in numbers."""

    runs: int = 0
    reruns: int = 0
    """Runs that began because a claim before them came to nothing: rescues and hand-backs."""
    fenced: int = 0
    """Runs that ended after their execution had been given to others."""
    rescues: int = 0
    rescue_max_s: float = 0.0
    """From a node's last sign of life to the next claim of what it held."""
    recovery_s: float = 0.0
    """From the end of an outage to the next run."""
    late_p99_s: float = 0.0
    late_max_s: float = 0.0
    """From due to begun, while some node was able and less what the machine itself stood still."""
    silence_s: float = 0.0
    """The longest time between two runs of a job of every second while some node was able all along."""
    machine_stall_s: float = 0.0
    exits: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)


def measure(figures: Figures, scene: Scene) -> None:
    """Lateness, silence and recovery; all less what the machine itself stood still."""
    late = sorted(_lateness(scene))
    if late:
        figures.late_p99_s = late[min(len(late) - 1, int(len(late) * 0.99))]
        figures.late_max_s = late[-1]
    figures.machine_stall_s = max(
        (until - since for since, until in scene.evidence.stalls), default=0.0
    )
    figures.recovery_s = max(_recoveries(scene), default=0.0)
    figures.silence_s = max(_silences(scene), default=0.0)


def _recoveries(scene: Scene) -> Iterator[float]:
    begins = sorted(run.began for run in scene.evidence.runs)
    for band in scene.ledger.bands:
        if band.unable and not band.node and band.ended < inf:
            after = next((moment for moment in begins if moment >= band.ended), None)
            if after is not None:
                yield after - band.ended - scene.stalled_s(band.ended, after)


def _silences(scene: Scene) -> Iterator[float]:
    for job in scene.evidence.jobs:
        undisturbed = len(job.definitions) <= 2 and not scene.pauses(job.id)
        if undisturbed and (job.overlap, job.definitions[0].schedule) == ("allow", "* * * * * *"):
            begins = sorted(
                run.began for row in scene.rows_of(job.id) for run in scene.runs.get(row.id, [])
            )
            for earlier, later in pairwise(begins):
                if scene.somebody_able(earlier, later):
                    yield later - earlier - scene.stalled_s(earlier, later)


def _lateness(scene: Scene) -> Iterator[float]:
    """Of the first run of each execution that did not have to wait for its job's limit."""
    for row in scene.evidence.rows:
        runs = scene.runs.get(row.id)
        if not runs or row.trigger != "schedule" or row.job not in scene.jobs:
            continue
        if any(
            # What waited for a limit, or died with its first node, has other figures.
            change.status == "blocked" or change.reason in RESCUE_REASONS
            for change in scene.changes[row.id]
        ):
            continue
        due, began = scene.due(row.fire_time), runs[0].began
        if scene.somebody_able(due - 1.0, max(due + 1.0, began)):
            yield max(0.0, began - due - scene.stalled_s(due, began))


def exit_name(code: int) -> str:
    """`exit 0`, `SIGKILL`."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
