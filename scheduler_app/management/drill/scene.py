"""The evidence, put in order: what was due when, who was able to act, which run belongs to which claim."""

from __future__ import annotations

import signal
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf

from .evidence import Change, Evidence, PlannedJob, Row
from .fire_times import fire_times
from .ledger import Life
from .sidelog import Run

SLACK_S = 0.1
"""Between a moment that one process writes down and the same moment as another sees it."""
STARTING_S = 2.0
"""After its row is there, a node gets this long before it counts as able."""

RESCUE_REASONS = ("rescued", "node_died")
FINAL = ("succeeded", "failed", "cancelled", "lost")


@dataclass(frozen=True, slots=True)
class Window:
    """A pause, from both sides: it may count from `asked_*` on and must count from `done_*` on."""

    asked_from: float
    done_from: float
    asked_to: float
    done_to: float


def moments_of(job: PlannedJob, schedule: str, since: float, until: float) -> Iterable[int]:
    """The fire times that this definition of the job names in [since, until]."""
    if job.moments is not None:
        return job.moments(since, until)
    return fire_times(schedule, since, until)


class Scene:
    """Answers questions about the evidence; judges nothing."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.ledger = evidence.ledger
        self.jobs = {job.id: job for job in evidence.jobs}
        self.pids = {node.id: node.pid for node in evidence.nodes}
        self.names = {node.id: node.name for node in evidence.nodes}
        self.changes: dict[int, list[Change]] = defaultdict(list)
        for change in evidence.changes:
            self.changes[change.execution].append(change)
        self.runs: dict[int, list[Run]] = defaultdict(list)
        for run in evidence.runs:
            self.runs[run.execution].append(run)
        self.runs_by_key = {run.key: run for run in evidence.runs}
        self.rows = {row.id: row for row in evidence.rows}

    # --- The clock ---

    @cached_property
    def _segments(self) -> list[tuple[float, float, float]]:
        """Real time from, real time to, offset of the cluster's clock."""
        steps = sorted(self.evidence.clock, key=lambda step: step.at)
        starts = [-inf, *(step.at for step in steps)]
        offsets = [0.0, *(step.offset for step in steps)]
        return list(zip(starts, [*starts[1:], inf], offsets, strict=True))

    def latest_shown(self, at: float) -> float:
        """The latest time that the cluster's clock had shown by then."""
        return max(min(at, end) + offset for start, end, offset in self._segments if start <= at)

    def due(self, fire_time: float) -> float:
        """The first real moment at which the cluster's clock showed it, or a later time."""
        for start, end, offset in self._segments:
            if fire_time < end + offset:
                return max(start, fire_time - offset)
        return inf

    def jumped_over(self, fire_time: float) -> bool:
        """Whether the clock leapt past it by so much that it counts as missed at once."""
        return any(
            earlier[1] + earlier[2] - SLACK_S < fire_time
            and fire_time + self.evidence.misfire_after < later[0] + later[2] + 2.0
            and later[2] > earlier[2]
            for earlier, later in zip(self._segments, self._segments[1:], strict=False)
        )

    # --- Fire times ---

    def expected(self, job: PlannedJob) -> tuple[set[int], set[int]]:
        """The fire times that must have a verdict, and those that may have one, as an edit was under way."""
        must: set[int] = set()
        may: set[int] = set()
        before: str | None = None
        for number, definition in enumerate(job.definitions):
            last = number + 1 == len(job.definitions)
            until = self.evidence.ended if last else job.definitions[number + 1].asked
            under_way = (
                self.latest_shown(definition.asked) - 1,
                self.latest_shown(min(definition.done, self.evidence.ended)) + 1,
            )
            for schedule in (before, definition.schedule):
                if schedule is not None:
                    may.update(moments_of(job, schedule, *under_way))
            if definition.schedule is not None and definition.done < until:
                since = self.latest_shown(definition.done)
                must.update(moments_of(job, definition.schedule, since, self.latest_shown(until)))
            before = definition.schedule
        if job.max_runs is not None:
            # Which of them come first depends on an edit that was under way.
            return set(), must | may
        return must, may - must

    # --- Who was able ---

    def life_of(self, pid: int) -> Life | None:
        """The process life; the kernel uses a pid again only after a long time."""
        return next((life for life in reversed(self.ledger.lives) if life.pid == pid), None)

    @cached_property
    def _able(self) -> dict[int, list[tuple[float, float]]]:
        """By node: the stretches in which it was able to act."""
        found: dict[int, list[tuple[float, float]]] = {}
        for node in self.evidence.nodes:
            life = self.life_of(node.pid)
            if life is None:
                continue
            pieces = [
                (
                    max(life.began, self.due(node.began)) + STARTING_S,
                    min([life.ended, *self._told_to_stop(node.pid)]),
                )
            ]
            for band in self.ledger.bands:
                if band.unable and band.node in ("", node.name):
                    pieces = [
                        piece
                        for since, until in pieces
                        for piece in (
                            (since, min(until, band.began)),
                            (max(since, band.ended + STARTING_S), until),
                        )
                    ]
            found[node.id] = [(since, until) for since, until in pieces if since < until]
        return found

    def _told_to_stop(self, pid: int) -> Iterator[float]:
        for sent in self.ledger.signals:
            if sent.pid == pid and sent.number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
                yield sent.at

    def somebody_able(self, since: float, until: float) -> bool:
        """Whether one and the same node was able all the time from `since` to `until`."""
        return any(self.was_able(node_id, since, until) for node_id in self._able)

    def was_able(self, node_id: int, since: float, until: float) -> bool:
        """Whether this node was able all the time from `since` to `until`."""
        return any(begin <= since and until <= end for begin, end in self._able.get(node_id, []))

    def in_outage(self, at: float) -> bool:
        """Whether no node was able to do anything at that moment, or a moment before."""
        return any(
            band.unable and not band.node and band.began <= at <= band.ended + STARTING_S
            for band in self.ledger.bands
        )

    def stalled_s(self, since: float, until: float) -> float:
        """For how long the machine itself stood still in between."""
        return sum(
            max(0.0, min(until, end) - max(since, begin)) for begin, end in self.evidence.stalls
        )

    def unable_since(self, node_id: int, at: float) -> float | None:
        """Since when the node had been cut off or dead at that moment, it alone; None when it was well."""
        name, life = self.names.get(node_id, ""), self.life_of(self.pids.get(node_id, 0))
        moments = [
            band.began
            for band in self.ledger.bands
            # A node comes back with a delay; a band that just ended still explains.
            if band.unable and band.node == name and band.began <= at <= band.ended + STARTING_S + 1
        ]
        if life is not None and life.ended <= at:
            moments.append(life.ended)
        return min(moments, default=None)

    # --- Claims and runs ---

    @cached_property
    def claims(self) -> dict[int, list[Change]]:
        """By execution: the changes by which a node took it."""
        return {
            execution: [
                change
                for change in changes
                if change.status == "running" and change.token != change.old_token
            ]
            for execution, changes in self.changes.items()
        }

    def claim_of(self, run: Run) -> Change | None:
        """The claim that this run belongs to: the latest before it, by its own process."""
        fitting = [
            claim
            for claim in self.claims.get(run.execution, [])
            if claim.at <= run.began + SLACK_S
            and (not run.pids or self.pids.get(claim.node) in run.pids)
        ]
        return fitting[-1] if fitting else None

    def end_of(self, claim: Change) -> Change | None:
        """The change that ended this claim."""
        return next(
            (
                change
                for change in self.changes[claim.execution]
                if change.old_status == "running" and change.old_token == claim.token
            ),
            None,
        )

    @cached_property
    def claims_of_runs(self) -> dict[str, Change | None]:
        """By key of the run."""
        return {run.key: self.claim_of(run) for run in self.evidence.runs}

    def run_in(self, outcome: str) -> Run | None:
        """The run whose key an outcome carries."""
        for word in outcome.replace('"', " ").split():
            if word in self.runs_by_key:
                return self.runs_by_key[word]
        return None

    def finished_at(self, execution: int) -> float:
        """When its final outcome was recorded; infinity when none was."""
        changes = self.changes.get(execution, [])
        final = [change.at for change in changes if change.status in FINAL]
        return final[-1] if final and changes[-1].status in FINAL else inf

    def created_at(self, execution: int) -> float:
        changes = self.changes.get(execution, [])
        return changes[0].at if changes else inf

    @cached_property
    def _rows_of_jobs(self) -> dict[int, list[Row]]:
        rows: dict[int, list[Row]] = defaultdict(list)
        for row in sorted(self.evidence.rows, key=lambda row: row.fire_time):
            rows[row.job].append(row)
        return rows

    def rows_of(self, job_id: int) -> list[Row]:
        """A job's executions in the order of their fire times."""
        return self._rows_of_jobs.get(job_id, [])

    def lived_at(self, job_id: int, fire_time: float) -> bool:
        """Whether another execution of the job was unfinished when this fire time was due."""
        rows = self.rows_of(job_id)
        due = self.due(fire_time)
        earlier = rows[: bisect_left([row.fire_time for row in rows], fire_time)]
        others = [row for row in rows if row.trigger != "schedule"]
        return any(self.finished_at(row.id) >= due - SLACK_S for row in (*earlier, *others))

    # --- Orders ---

    def pauses(self, job_id: int) -> list[Window]:
        """The pauses that covered a job, as far as they are known to have been asked for."""
        windows = []
        for target in (job_id, 0):
            orders = sorted(
                (
                    order
                    for order in self.ledger.orders
                    if order.target == target and order.kind in ("pause", "resume")
                ),
                key=lambda order: order.asked,
            )
            for number, order in enumerate(orders):
                if order.kind == "pause":
                    # Of a resume without an answer nobody knows whether it was done.
                    ends = [other for other in orders[number + 1 :] if other.kind == "resume"]
                    asked_to = ends[0].asked if ends else inf
                    done_to = next((end.done for end in ends if end.done < inf), inf)
                    windows.append(Window(order.asked, order.done, asked_to, done_to))
        return windows

    def ordered(self, kind: str, target: int, until: float) -> bool:
        """Whether this was asked for before that moment."""
        return any(
            order.kind == kind and order.target in (target, 0) and order.asked <= until
            for order in self.ledger.orders
        )
