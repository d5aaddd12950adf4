"""What would become of a job's fire times? Answered by the rules that nodes decide with, and nothing is run.

The simulated node is never late and every execution succeeds after the same time, so nothing is missed or retried.
At the start nothing of the job runs. An execution still counts at the very moment at which it ends, since no real
one begins early; what waits begins at that moment.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import nsmallest

from .firing import RUN, WAIT, Live, Suspension, answer, cut, next_open
from .schedules import CronSchedule, IntervalSchedule, Schedule
from .spec import JobSpec
from .timetable import TICK, Timetable
from .zones import load_zone, utc

RAN = "ran"
QUEUED = "queued"
"""Ran too, but had to wait for the one before."""
CANCELLED = "cancelled"
"""Began, and was cancelled by one that came later."""
EXECUTED = (RAN, QUEUED, CANCELLED)

_MICROSECOND = timedelta(microseconds=1)
_PATIENCE = 64
"""So many fire times in a row are walked through before they are counted without looking."""


@dataclass(slots=True)
class Answer:
    """What consecutive fire times of a job come to. Moments are Unix seconds, as fire times are."""

    first: int
    last: int
    count: int
    verdict: str
    """RAN, QUEUED, CANCELLED, or the reason of the gap."""
    who: str = ""
    detail: str = ""


def simulate(
    spec: JobSpec,
    start: datetime,
    end: datetime,
    *,
    duration_s: float = 0.0,
    suspensions: Sequence[Suspension] = (),
    runs: int = 0,
) -> Iterator[Answer]:
    """The answers to all fire times in (start, end], in their order, found on the way.

    `runs` counts towards `max_runs`. What it costs grows with the number of executions that may meet another, not
    with the number of fire times. Raises InvalidSchedule when the definition cannot be read.
    """
    if not spec.is_in_force:
        return
    timetable = Timetable.of(spec)
    job = _Job(spec, timetable, timedelta(seconds=duration_s) // _MICROSECOND, suspensions, runs)
    alone = spec.limit is None or _none_meet(timetable, start, end, duration_s)
    for piece in cut(start, end, suspensions):
        if job.is_over:
            return
        count = timetable.count(piece.start, piece.end)
        if not count:
            continue
        if piece.suspension is None and not (alone and job.has_left(count)):
            yield from job.step(_floor(piece.start), _floor(piece.end))
            continue
        first, last = (
            timetable.next_after(piece.start),
            timetable.previous_before(piece.end + TICK),
        )
        assert first is not None and last is not None  # because count said so
        why = piece.suspension
        if why is None:
            job.runs += count
            yield Answer(_floor(first), _floor(last), count, RAN)
        else:
            yield Answer(_floor(first), _floor(last), count, why.reason, why.who, why.detail)


def runs_before(
    spec: JobSpec,
    since: datetime,
    until: datetime,
    *,
    duration_s: float,
    suspensions: Sequence[Suspension],
    runs: int,
) -> int:
    """How many runs count towards `max_runs` at `until`, if there were `runs` at `since`."""
    if spec.max_runs is None or until <= since:
        return runs
    lead = simulate(spec, since, until, duration_s=duration_s, suspensions=suspensions, runs=runs)
    return runs + sum(found.count for found in lead if found.verdict in EXECUTED)


class Course:
    """The answers to one job's fire times, taken stretch by stretch, so that those of many jobs come in order."""

    def __init__(
        self,
        spec: JobSpec,
        start: datetime,
        end: datetime,
        *,
        duration_s: float = 0.0,
        suspensions: Sequence[Suspension] = (),
        runs: int = 0,
    ) -> None:
        """As `simulate`."""
        self.counts: Counter[str] = Counter()
        """Fire times by verdict, of the answers that were reached."""
        self._timetable = Timetable.of(spec)
        self.most = self._timetable.count(start, end) if spec.enabled else 0
        """How many fire times there are at most."""
        self._answers = simulate(
            spec, start, end, duration_s=duration_s, suspensions=suspensions, runs=runs
        )
        self._answer: Answer | None = None
        self._next()

    def take(self, after: int, until: int) -> Iterator[tuple[Answer, Iterable[int]]]:
        """The answers that reach into (after, until], each with its fire times there; `after` is the last `until`."""
        while (found := self._answer) is not None and found.first <= until:
            if found.count == 1:
                yield found, (found.first,)
            else:
                start, end = max(found.first - 1, after), min(found.last, until)
                yield found, self._timetable.between_ts(start, end)
            if found.last > until:
                return
            self._next()

    def _next(self) -> None:
        self._answer = next(self._answers, None)
        if self._answer is not None:
            self.counts[self._answer.verdict] += self._answer.count


class Busiest:
    """The moments at which most executions are due together, at least two; of equals the earliest."""

    def __init__(self, size_s: int, *, most: int = 10) -> None:
        """`size_s` is how many seconds together make one moment."""
        self._size_s = size_s
        self._most = most
        self.found: list[tuple[int, int]] = []
        """Unix second at which the moment begins, and how many are due then; most first."""

    def add(self, moments: Sequence[int]) -> None:
        """Look at more executions; all that fall into one moment come together."""
        size = self._size_s
        times = Counter(moments if size == 1 else [ts - ts % size for ts in moments])
        enough = self.found[-1][1] + 1 if len(self.found) == self._most else 2
        more = [(ts, count) for ts, count in times.items() if count >= enough]
        self.found = nsmallest(
            self._most, [*self.found, *more], key=lambda found: (-found[1], found[0])
        )


@dataclass(slots=True)
class _Job:
    """What lives of one job while time goes on; moments in here are microseconds."""

    spec: JobSpec
    timetable: Timetable
    duration: int
    suspensions: Sequence[Suspension]
    runs: int
    running: deque[int] = field(default_factory=deque)
    """When each of those that run ends, ascending."""
    waiting: int = 0

    @property
    def is_over(self) -> bool:
        return not self.has_left(1)

    def has_left(self, count: int) -> bool:
        """Whether that many more may run."""
        return self.spec.max_runs is None or self.runs + count <= self.spec.max_runs

    def step(self, after: int, until: int) -> Iterator[Answer]:
        """The answers to the fire times in (after, until], which no suspension covers."""
        spec, running, endless = self.spec, self.running, self.spec.max_runs is None
        moments = self.timetable.between_ts(after, until)
        moment = next(moments, None)
        while moment is not None and (endless or not self.is_over):
            if running and running[0] < moment * 1_000_000:
                self._end_before(moment * 1_000_000)
            what = answer(spec, Live(len(running), 0, 0, self.waiting))
            if what in (RUN, WAIT):
                yield Answer(moment, moment, 1, self._begin(moment, what))
                moment = next(moments, None)
                continue
            # The same until one of those that live ends.
            stay = min(running[0] // 1_000_000, until)
            first = last = moment
            count = 0
            while moment is not None and moment <= stay:
                last, count = moment, count + 1
                if count == _PATIENCE:
                    count += self.timetable.count(utc(last), utc(stay))
                    last = _floor(self.timetable.previous_before(utc(stay) + TICK) or utc(last))
                    moments = self.timetable.between_ts(stay, until)
                moment = next(moments, None)
            yield Answer(first, last, count, what)

    def _begin(self, moment: int, what: str) -> str:
        """An execution, now or later; returns its verdict."""
        self.runs += 1
        now = moment * 1_000_000
        if what == RUN:
            self.running.append(now + self.duration)
        elif self.spec.on_overlap == "cancel_running":
            self.running.clear()
            self.running.append(now + self.duration)
        else:
            self.waiting += 1
            return QUEUED
        if self.spec.on_overlap == "cancel_running" and self._is_cancelled(moment):
            return CANCELLED
        return RAN

    def _end_before(self, moment: int) -> None:
        """End what ends before `moment`; what waits takes the places."""
        while self.running and self.running[0] < moment:
            end = self.running.popleft()
            if self.waiting:
                self.waiting -= 1
                self.running.append(end + self.duration)

    def _is_cancelled(self, moment: int) -> bool:
        """Whether the one that began just now is cancelled before its end, by one that finds no room."""
        running, end = deque(self.running), self.running[-1]
        after = utc(moment)
        runs = self.runs
        while self.spec.max_runs is None or runs < self.spec.max_runs:
            following = next_open(self.timetable, after, self.suspensions)
            if following is None or (now := _floor(following) * 1_000_000) > end:
                return False
            while running[0] < now:
                running.popleft()
            if len(running) >= (self.spec.limit or 1):
                return True
            running.append(now + self.duration)
            runs += 1
            after = following
        return False


def _none_meet(timetable: Timetable, start: datetime, end: datetime, duration_s: float) -> bool:
    """Whether an execution is surely over before the next fire time, all the way from `start` to `end`."""
    if duration_s <= 0:
        return True
    schedule = timetable.schedule
    if _shortest_s(schedule) <= duration_s:
        return False
    long = timedelta(seconds=duration_s)
    # Where a clock changes, and where a calendar moves a run to, two may come closer than anywhere else.
    shift = timetable.shift
    places = [moment for moment in timetable.moved if start - long <= moment <= end + long]
    if isinstance(schedule, CronSchedule):
        changes = load_zone(schedule.timezone).starts
        low, high = _floor(start - shift - long), _floor(end - shift + long)
        places += [utc(change) + shift for change in changes if low <= change <= high]
    return all(_is_apart(timetable, place, long) for place in places)


def _is_apart(timetable: Timetable, place: datetime, duration: timedelta) -> bool:
    """Whether the fire times about a place, one before and two from it on, are further apart than that."""
    before = timetable.previous_before(place)
    first = timetable.next_after(place - TICK)
    second = None if first is None else timetable.next_after(first)
    return not (
        (before is not None and first is not None and first - before <= duration)
        or (first is not None and second is not None and second - first <= duration)
    )


def _shortest_s(schedule: Schedule) -> float:
    """What no two fire times are closer than while no clock changes."""
    if isinstance(schedule, IntervalSchedule):
        return schedule.every_s
    if not isinstance(schedule, CronSchedule):
        return float("inf")
    plan = schedule.plan
    for values, turn, size_s in (
        (plan.seconds, 60, 1),
        (plan.minutes, 60, 60),
        (plan.hours, 24, 3600),
    ):
        if len(values) > 1:
            following = (*values[1:], values[0] + turn)
            return min(b - a for a, b in zip(values, following, strict=True)) * size_s
    return 86400


def _floor(moment: datetime) -> int:
    return (moment - utc(0)) // timedelta(seconds=1)
