"""What pauses held back: the fire times that a resume may run after all, each of them held by one pause only.

As nodes see it: by the definitions of that time, and where several pauses covered a fire time, by the one that
began first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import psycopg
from django.db.models import F, Q

from scheduler_app.models import (
    Job,
    JobPlan,
    JobRevision,
    Pause,
    PauseScope,
    database_now,
)
from scheduler_app.rules import firing as rules
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import TICK, Timetable

from . import backfilling
from .backfilling import ANSWERED, run_fire_times
from .firing import pauses_of
from .specs import spec_of
from .timeline import read_pauses
from .transactions import CannotDo, psycopg_beneath

ANSWERED_SQL = """
SELECT held.job_id, answer.scheduled_for
FROM unnest(%(job_ids)s::bigint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    AS held (job_id, start, stop)
CROSS JOIN LATERAL (   -- one look into the index of the job's newest for each: joined as a whole, all history is read
    SELECT scheduled_for
    FROM scheduler_app_execution
    WHERE job_id = held.job_id
      AND scheduled_for > held.start
      AND scheduled_for <= held.stop
      AND status = ANY(%(answered)s)
    ORDER BY scheduled_for
    OFFSET 0
) AS answer
"""


class _Stretch(NamedTuple):
    """The fire times of a timetable in (start, end]."""

    timetable: Timetable
    start: datetime
    end: datetime

    def has(self, moment: datetime) -> bool:
        """Whether this is one of them."""
        return (
            self.start < moment <= self.end and self.timetable.next_after(moment - TICK) == moment
        )


@dataclass(slots=True)
class Held:
    """The fire times of a job that a pause held back and nothing else has answered."""

    job: Job
    stretches: list[_Stretch]
    """In the order of time."""
    answered: set[datetime] = field(default_factory=set)
    """Those in the stretches that ran meanwhile, as somebody asked for it, or are about to, or were to be skipped."""
    room: int | None = None
    """How many the job's maximum number of runs leaves; None: it has none."""

    @property
    def count(self) -> int:
        """How many they are; found without looking at each."""
        found = sum(stretch.timetable.count(*stretch[1:]) for stretch in self.stretches)
        found -= len(self.answered)
        return found if self.room is None else min(found, self.room)

    def moments(self, *, last_only: bool) -> list[datetime]:
        """All of them, oldest first, or the last one."""
        if self.room is not None and self.room <= 0:
            return []
        return list(islice(self._backwards(), 1) if last_only else islice(self._all(), self.room))

    def _all(self) -> Iterator[datetime]:
        for timetable, start, end in self.stretches:
            yield from (m for m in timetable.between(start, end) if m not in self.answered)

    def _backwards(self) -> Iterator[datetime]:
        for timetable, start, end in reversed(self.stretches):
            before = end + TICK
            while (found := timetable.previous_before(before)) is not None and found > start:
                if found not in self.answered:
                    yield found
                before = found


def held_by_own_pauses(jobs: Sequence[Job], until: Mapping[int, datetime] | datetime) -> list[Held]:
    """Of each of these jobs, what its own pause has held back up to a moment, or to that of the job."""
    paused = {
        job.pk: (job.paused_at, until if isinstance(until, datetime) else until[job.pk])
        for job in jobs
        if job.paused_at is not None and job.enabled
    }
    if not paused:
        return []
    latest = max(end for _, end in paused.values())
    # One that is over left out what had a pause of its own: see `jobs_covered`.
    others = [row for row in read_pauses() if row[3] is None or row[3] > latest]

    def own(spec: JobSpec) -> tuple[list[rules.Suspension], list[rules.Suspension]]:
        return rules.own_pause(spec), pauses_of(spec, others)

    # A fire time at the very moment of the pause was decided by the definition before it.
    return _held([job for job in jobs if job.pk in paused], paused, own)


def held_by_scope(pause: Pause, *, now: datetime | None = None) -> list[Held]:
    """Of each job that a pause of a queue, a tag or everything covers, what it held back: up to its end, or to `now`."""
    jobs = jobs_covered(pause)
    end = (pause.ended_at or database_now()) - TICK if now is None else now
    # A fire time at the very moment of such a pause is held by it, one at its end is not.
    span = {job.pk: (max(pause.paused_at - TICK, job.created_at), end) for job in jobs}
    key = (pause.scope, pause.value, pause.paused_at)
    rows = read_pauses() if jobs else []
    this = [row for row in rows if row[:3] == key]
    others = [row for row in rows if row[:3] != key]

    def own(spec: JobSpec) -> tuple[list[rules.Suspension], list[rules.Suspension]]:
        return pauses_of(spec, this), [*rules.own_pause(spec), *pauses_of(spec, others)]

    return _held(jobs, span, own)


def jobs_covered(pause: Pause) -> list[Job]:
    """The jobs that a pause of a queue, a tag or everything covers, as they are now.

    Those with a pause of their own stay paused, and are made up for, if at all, when that ends.
    """
    jobs = Job.objects.filter(enabled=True, paused_at=None).select_related("calendar")
    if pause.scope == PauseScope.QUEUE:
        jobs = jobs.filter(queue=pause.value)
    elif pause.scope == PauseScope.TAG:
        jobs = jobs.filter(tags__contains=[pause.value])
    return list(jobs)


def missed_while_paused(jobs: Sequence[Job], *, now: datetime) -> int:
    """How many fire times these jobs have missed so far by pauses of their own; closed days left out."""
    return sum(held.count for held in held_by_own_pauses(jobs, now))


def missed_by_pause(pause: Pause, *, now: datetime) -> tuple[int, int]:
    """How many fire times a pause of a queue, a tag or everything has held back so far, and of how many jobs."""
    counts = [held.count for held in held_by_scope(pause, now=now)]
    return sum(counts), sum(1 for count in counts if count)


def refuse_too_many(helds: Sequence[Held]) -> None:
    """Raises CannotDo when own pauses held back more of one of these jobs, or of all together, than can be run."""
    most = backfilling.MOST_FIRE_TIMES
    for held in helds:
        if held.count > most:
            raise CannotDo(
                f"{held.job.name} missed {held.count:,} fire times while it was paused; "
                f"at most {most:,} can be run. Run the last, or none."
            )
    missed = sum(held.count for held in helds)
    if missed > most:
        raise CannotDo(
            f"These {len(helds):,} jobs missed {missed:,} fire times while they were paused; at most "
            f"{most:,} can be run at once. Resume fewer of them, run the last of each, or none."
        )


def refuse_too_many_by(pause: Pause, helds: Sequence[Held]) -> None:
    """Raises CannotDo when a pause of a queue, a tag or everything held back more than can be run."""
    missed = sum(held.count for held in helds)
    if missed > backfilling.MOST_FIRE_TIMES:
        raise CannotDo(
            f"{missed:,} fire times were missed during the pause of {pause}; "
            f"at most {backfilling.MOST_FIRE_TIMES:,} can be run. Run the last of each job, or none."
        )


def run_held(
    connection: psycopg.Connection[Any], helds: Sequence[Held], *, by: str, last_only: bool
) -> None:
    """Run what was held back of these jobs, whose plans the caller's transaction has locked and decided up to now.

    They count for the job's maximum number of runs, as they would have if nobody had paused it.
    """
    wanted = [(held, held.moments(last_only=last_only)) for held in helds]
    for held, moments in wanted:
        if moments and held.room is not None:
            JobPlan.objects.filter(pk=held.job.pk).update(runs=F("runs") + len(moments), dirty=True)
    run_fire_times(connection, [(held.job, moments) for held, moments in wanted if moments], by=by)


_Told = Callable[[JobSpec], tuple[list[rules.Suspension], list[rules.Suspension]]]
"""The suspensions of a definition that are asked about, and the others, which may have held a fire time before."""


def _held(
    jobs: Sequence[Job], span: Mapping[int, tuple[datetime, datetime]], told: _Told
) -> list[Held]:
    """`span` is the time of each job that is looked at, as (start, end]."""
    definitions = _definitions(jobs, span)
    helds = [Held(job, list(_stretches(definitions[job.pk], *span[job.pk], told))) for job in jobs]
    _leave_out_answered(helds)
    _look_at_plans(helds)
    return helds


def _stretches(
    definitions: Sequence[tuple[datetime, JobSpec | None]],
    start: datetime,
    end: datetime,
    told: _Told,
) -> Iterator[_Stretch]:
    for number, (edited_at, spec) in enumerate(definitions):
        # An edit takes effect after its moment.
        since = max(start, edited_at)
        until = min(end, definitions[number + 1][0]) if number + 1 < len(definitions) else end
        if spec is None or not spec.is_in_force or since >= until:
            continue
        try:
            timetable = Timetable.of(spec)
            asked, others = told(spec)
            for piece in rules.cut(since, until, [*asked, *others]):
                if piece.suspension in asked:
                    for stretch in rules.open_stretches(spec, piece.start, piece.end):
                        yield _Stretch(timetable, *stretch)
        except Invalid:
            # A definition that cannot be read has no fire times.
            continue


def _definitions(
    jobs: Sequence[Job], span: Mapping[int, tuple[datetime, datetime]]
) -> dict[int, list[tuple[datetime, JobSpec | None]]]:
    """By job, the definitions that were in force in its span, with the moments from which on they were."""
    found: dict[int, list[tuple[datetime, JobSpec | None]]] = {
        job.pk: [(job.updated_at, job.spec())] for job in jobs if job.updated_at <= span[job.pk][0]
    }
    edited = [job.pk for job in jobs if job.pk not in found]
    if edited:
        since = min(span[job_id][0] for job_id in edited)
        revisions = JobRevision.objects.filter(job__in=edited)
        earlier = revisions.filter(created_at__lte=since).order_by("job_id", "-version")
        later = revisions.filter(created_at__gt=since).order_by("version")
        for revision in [*earlier.distinct("job_id"), *later]:
            found.setdefault(revision.job_id, []).append((revision.created_at, spec_of(revision)))
    return {job.pk: found.get(job.pk, []) for job in jobs}


def _leave_out_answered(helds: Sequence[Held]) -> None:
    rows = [(held.job.pk, *stretch[1:]) for held in helds for stretch in held.stretches]
    if not rows:
        return
    job_ids, starts, ends = map(list, zip(*rows, strict=True))
    by_job = {held.job.pk: held for held in helds}
    found = psycopg_beneath().execute(
        ANSWERED_SQL,
        {"job_ids": job_ids, "starts": starts, "ends": ends, "answered": list(map(str, ANSWERED))},
    )
    for job_id, moment in found:
        held = by_job[job_id]
        if any(stretch.has(moment) for stretch in held.stretches):
            held.answered.add(moment)


def _look_at_plans(helds: Sequence[Held]) -> None:
    """What somebody wants skipped is not made up for, nor more than the maximum number of runs leaves."""
    by_job = {held.job.pk: held for held in helds}
    limited = [job_id for job_id, held in by_job.items() if held.job.max_runs is not None]
    plans = JobPlan.objects.filter(pk__in=by_job).filter(
        Q(pk__in=limited) | Q(skip_at__isnull=False)
    )
    for job_id, runs, skip_at in plans.values_list("pk", "runs", "skip_at"):
        held = by_job[job_id]
        if held.job.max_runs is not None:
            held.room = max(0, held.job.max_runs - runs)
        if skip_at is not None and any(stretch.has(skip_at) for stretch in held.stretches):
            held.answered.add(skip_at)
