"""Simulated weeks in which people do whatever they like: every fire time has exactly one verdict. Proves I1, I4, I22 to I28.

What is owed comes from the test's own diary of definitions and a slow reference, not from the product's schedules.
`WEEKS_SEEDS=200 pytest tests/lifecycle/test_weeks.py` looks for longer.
"""

from __future__ import annotations

import json
import os
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection as django_connection

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo, SpecCache
from scheduler_app.models import Backfill, Calendar, Execution, Gap, Job, Pause
from scheduler_app.rules.spec import JobSpec
from tests.rules.reference_calendars import Demand, demand

from .support import (
    MISFIRE_AFTER_S,
    ClusterClock,
    Connection,
    claim,
    failure,
    finish,
    make_job,
    make_node,
    outcome,
    plan_of,
    together,
    turn,
)

# Between them, these see every reason that a gap can have.
SEEDS = range(int(os.environ["WEEKS_SEEDS"])) if "WEEKS_SEEDS" in os.environ else (0, 9, 13, 15)
STEPS = 150

# Three weeks across the spring of New York, Berlin, Santiago and Lord Howe, or across their autumn.
BEGINNINGS = [datetime(2030, 3, 20, 7, 13, tzinfo=UTC), datetime(2030, 10, 16, 7, 13, tzinfo=UTC)]
WEEKS = timedelta(days=40)

SCHEDULES = [
    *["*/30 * * * *"] * 4,
    *["17 * * * *"] * 2,
    "30 2 * * *",
    "30 1,13 * * *",
    "0 9 * * MON-FRI",
    "15 23 * * SAT,SUN",
    "0 0 * * *",
    "@every 5h",
    "@manual",
    "99 * * * *",  # past the validation
]
ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"]
QUEUES, TAGS = ["reports", "mail"], ["nightly", "slow"]
WAITS = [
    *[timedelta(seconds=40), timedelta(minutes=11), timedelta(minutes=47), timedelta(hours=1)] * 3,
    *[timedelta(hours=3), timedelta(hours=8), timedelta(hours=8), timedelta(hours=20)] * 2,
    timedelta(days=3),
]


@dataclass
class Page:
    """One definition in the diary of a job, in force after `since`."""

    since: datetime
    spec: JobSpec


@dataclass
class Diary:
    """What was done to one job, as the test did it."""

    job: Job
    pages: list[Page]
    skips: set[datetime] = field(default_factory=set)

    @property
    def now(self) -> JobSpec:
        return self.pages[-1].spec

    def note(self, moment: datetime, **changes: object) -> None:
        self.pages.append(Page(moment, replace(self.now, **changes)))

    def in_force(self, moment: datetime) -> JobSpec:
        """The definition that governs a fire time: one at the moment of an edit belongs to the one before."""
        place = bisect_left([page.since for page in self.pages], moment)
        return self.pages[max(place - 1, 0)].spec


@dataclass
class ScopePause:
    scope: str
    value: str
    since: datetime
    until: datetime | None
    row: int

    def covers(self, spec: JobSpec) -> bool:
        return (
            self.scope == "all"
            or (self.scope == "queue" and self.value == spec.queue)
            or (self.scope == "tag" and self.value in spec.tags)
        )


class World:
    """Jobs, people and nodes, and the test's own book of all that was done."""

    def __init__(self, seed: int, connection: Connection, clock: ClusterClock) -> None:
        self.chance = random.Random(seed)
        self.connection, self.clock = connection, clock
        self.begin = self.chance.choice(BEGINNINGS)
        clock.set(self.begin)
        self.calendars = [
            Calendar.objects.create(name=f"calendar {number}", days=self.some_days())
            for number in range(2)
        ]
        self.diaries = [self.new_job(f"week {seed} {number}") for number in range(7)]
        self.scope_pauses: list[ScopePause] = []
        self.looks: list[datetime] = []
        self.node = make_node(connection)
        self.demands: dict[JobSpec, Demand] = {}

    # --- What can be chosen -----------------------------------------------------------------

    def some_days(self) -> str:
        lines = []
        for _ in range(self.chance.choice([0, 1, 2, 4])):
            first = self.begin.date() + timedelta(days=self.chance.randint(-3, 35))
            last = first + timedelta(days=self.chance.choice([0, 0, 1, 4]))
            lines.append(f"{first} - {last}" if last > first else f"{first}")
        return "\n".join(lines)

    def some_timing(self) -> dict[str, object]:
        chance = self.chance
        timing: dict[str, object] = {
            "schedule": chance.choice(SCHEDULES),
            "timezone": chance.choice(ZONES),
            "start_at": None,
            "end_at": None,
            "jitter_s": chance.choice([0, 0, 1800]),
        }
        if chance.random() < 0.15:
            timing["start_at"] = self.clock() + timedelta(days=chance.uniform(0, 9))
        if chance.random() < 0.15:
            timing["end_at"] = self.clock() + timedelta(days=chance.uniform(10, 30))
        return timing

    def some_policies(self) -> dict[str, object]:
        chance = self.chance
        return {
            "on_overlap": chance.choice(
                ["skip", "queue_one", "queue_all", "cancel_running", "allow", "allow"]
            ),
            "on_misfire": chance.choice(["latest", "skip", "all"]),
            "misfire_grace_s": chance.choice([None, None, 7200]),
            "max_running": chance.choice([None, None, 2]),
            "max_attempts": chance.choice([1, 3]),
            "queue": chance.choice(QUEUES),
            "tags": chance.sample(TAGS, chance.randint(0, 2)),
        }

    def some_calendar(self) -> dict[str, object]:
        chance = self.chance
        return {
            "calendar": chance.choice([None, *self.calendars]),
            "calendar_mode": chance.choice(["avoid", "avoid", "follow"]),
            "on_closed": chance.choice(["run", "skip", "shift"]),
        }

    def new_job(self, name: str) -> Diary:
        fields = {**self.some_timing(), **self.some_policies(), **self.some_calendar()}
        fields["max_runs"] = self.chance.choice([None] * 5 + [20])
        job = make_job(name=name, **fields)
        return Diary(job, [Page(self.clock(), self.spec_of(name, fields))])

    def spec_of(self, name: str, values: dict[str, object]) -> JobSpec:
        # Without the dictionary of arguments, so that definitions can be told apart by a hash.
        return replace(JobSpec(name=name, arguments=None), **self.without_calendar(values))

    def without_calendar(self, values: dict[str, object]) -> dict[str, object]:
        """A calendar as the name and the days that it has now."""
        values = dict(values)
        if "calendar" in values:
            calendar = values.pop("calendar")
            values["calendar_name"] = calendar.name if calendar else ""
            values["calendar_days"] = self.days_of(calendar) if calendar else ()
        if "tags" in values:
            values["tags"] = tuple(values["tags"])
        return values

    @staticmethod
    def days_of(calendar: Calendar) -> tuple[tuple[str, str], ...]:
        return tuple(
            (line.split(" - ")[0], line.split(" - ")[-1]) for line in calendar.days.splitlines()
        )

    # --- What people do ---------------------------------------------------------------------

    def edit(self, diary: Diary) -> None:
        if diary.now.deleted_at is not None:
            return
        part = self.chance.choice([self.some_timing, self.some_policies, self.some_calendar])
        changes = part()
        if self.chance.random() < 0.2:
            changes = {"enabled": not diary.now.enabled}
        how = self.chance.choice(["save", "update", "SQL"])
        if how == "save":
            job = Job.objects.get(pk=diary.job.pk)
            for name, value in changes.items():
                setattr(job, name, value)
            lifecycle.save_job(job, by="ann")
        elif how == "update" or "calendar" in changes:
            Job.objects.filter(pk=diary.job.pk).update(**changes)
        else:
            columns = ", ".join(f"{name} = %s" for name in changes)
            with django_connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE scheduler_app_job SET {columns} WHERE id = %s",
                    [*changes.values(), diary.job.pk],
                )
        diary.note(self.clock(), **self.without_calendar(changes))

    def edit_calendar(self, _: Diary) -> None:
        calendar = self.chance.choice(self.calendars)
        calendar.days = self.some_days()
        if self.chance.random() < 0.5:
            calendar.save()
        else:
            with django_connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE scheduler_app_calendar SET ranges = %s WHERE id = %s",
                    [json.dumps(self.days_of(calendar)), calendar.pk],
                )
        for diary in self.diaries:
            if diary.now.calendar_name == calendar.name:
                diary.note(self.clock(), calendar_days=self.days_of(calendar))

    def pause(self, diary: Diary) -> None:
        until = None
        if self.chance.random() < 0.4:
            until = self.clock() + timedelta(hours=self.chance.uniform(0.1, 90))
        if lifecycle.pause([diary.job.pk], by="ann", until=until):
            diary.note(self.clock(), paused_at=self.clock(), paused_until=until)

    def resume(self, diary: Diary) -> None:
        run = self.chance.choice(["none", "last", "all"])
        try:
            resumed = lifecycle.resume([diary.job.pk], by="ann", run=run)
        except CannotDo:  # a schedule that cannot be read has nothing to run
            resumed = lifecycle.resume([diary.job.pk], by="ann")
        if resumed:
            diary.note(self.clock(), paused_at=None, paused_until=None)

    def pause_scope(self, _: Diary) -> None:
        scope, value = self.chance.choice(
            [("all", ""), *(("queue", q) for q in QUEUES), *(("tag", t) for t in TAGS)]
        )
        until = None
        if self.chance.random() < 0.4:
            until = self.clock() + timedelta(hours=self.chance.uniform(0.1, 60))
        try:
            row = lifecycle.pause_scope(scope, value, by="ann", until=until).pk
        except CannotDo:
            return
        self.scope_pauses.append(ScopePause(scope, value, self.clock(), until, row))

    def resume_scopes(self, _: Diary) -> None:
        for pause in self.scope_pauses:
            if lifecycle.resume_scope(pause.row, by="ann"):
                pause.until = min(filter(None, [pause.until, self.clock()]))

    def skip(self, diary: Diary) -> None:
        try:
            diary.skips.add(lifecycle.skip_next(diary.job.pk, by="ann"))
        except CannotDo:
            return

    def unskip(self, diary: Diary) -> None:
        skip_at = plan_of(diary.job).skip_at
        if lifecycle.unskip_next(diary.job.pk, by="ana"):
            diary.skips.discard(skip_at)

    def backfill(self, diary: Diary) -> None:
        only_missing = self.chance.random() < 0.6
        answered = set(
            diary.job.executions.filter(
                status__in=["ready", "blocked", "running", "succeeded"]
            ).values_list("scheduled_for", flat=True)
        )
        since = self.clock() - timedelta(days=self.chance.uniform(0, 4))
        try:
            record = lifecycle.backfill(
                diary.job.pk,
                since,
                self.clock(),
                by="ann",
                only_missing=only_missing,
                max_running=self.chance.choice([1, 3]),
            )
        except CannotDo:
            return
        if only_missing:
            created = Execution.objects.filter(backfill=record.pk)
            assert answered.isdisjoint(created.values_list("scheduled_for", flat=True))

    def delete(self, diary: Diary) -> None:
        if self.chance.random() < 0.3 and lifecycle.delete_jobs([diary.job.pk], by="ann"):
            diary.note(self.clock(), deleted_at=self.clock())

    # --- What nodes do ----------------------------------------------------------------------

    def run(self, _: Diary) -> None:
        outcomes = []
        for claimed in claim(self.connection, self.node, limit=self.chance.choice([1, 5, 200])):
            promotes = self.chance.random() < 0.7  # otherwise its node says nothing of it
            if self.chance.random() < 0.3 and claimed.attempt < claimed.spec.max_attempts:
                outcomes.append(failure(claimed, retry_s=900, promotes=promotes))
            else:
                status = self.chance.choice(["succeeded", "succeeded", "failed"])
                outcomes.append(outcome(claimed, status, promotes=promotes))
        finish(self.connection, *outcomes)

    def look(self) -> None:
        """One or several nodes take a turn, with the rest of what they do every second."""
        if self.chance.random() < 0.2:
            together(*[turn] * 3)
        turn(self.connection)
        self.looks.append(self.clock())
        if self.chance.random() < 0.7:
            lifecycle.resume_expired(self.connection)
            self.note_expired()
            lifecycle.promote_blocked(self.connection, SpecCache())

    def note_expired(self) -> None:
        for diary in self.diaries:
            until = diary.now.paused_until
            if until is not None and until <= self.clock() and diary.now.deleted_at is None:
                diary.note(self.clock(), paused_at=None, paused_until=None)

    def live(self) -> None:
        deeds: list[Callable[[Diary], None]] = [
            *[self.edit] * 4,
            *[self.edit_calendar] * 2,
            *[self.pause] * 2,
            *[self.resume] * 4,
            self.pause_scope,
            *[self.resume_scopes] * 4,
            *[self.skip] * 2,
            self.unskip,
            self.backfill,
            self.delete,
            *[self.run] * 5,
        ]
        for _ in range(STEPS):
            if self.clock() > self.begin + WEEKS - timedelta(days=5):
                break
            self.clock.set(self.clock() + self.chance.choice(WAITS))
            if self.chance.random() < 0.3:
                self.wait_for_a_fire_time()
            for _ in range(self.chance.choice([0, 1, 1, 2])):
                self.chance.choice(deeds)(self.chance.choice(self.diaries))
            if self.chance.random() < 0.75:
                self.look()
        for diary in self.diaries:  # so that all is decided up to now, and not only what is due
            Job.including_deleted.filter(pk=diary.job.pk).update(priority=9)
        for _ in range(2):
            self.look()

    def wait_for_a_fire_time(self) -> None:
        """On to a full half hour: that a deed and a fire time meet in one microsecond happens here."""
        past = timedelta(minutes=self.clock().minute % 30, seconds=self.clock().second)
        self.clock.set(self.clock() - past + timedelta(minutes=30))

    # --- What is owed -----------------------------------------------------------------------

    def demand_of(self, spec: JobSpec) -> Demand:
        bare = replace(spec, paused_at=None, paused_until=None)
        if bare not in self.demands:
            self.demands[bare] = demand(bare, self.begin - timedelta(days=1), self.begin + WEEKS)
        return self.demands[bare]

    def owed(self, diary: Diary) -> list[datetime]:
        """Each fire time that a definition in force asked for, up to now."""
        found = []
        ends = [*(page.since for page in diary.pages[1:]), self.clock()]
        for page, end in zip(diary.pages, ends, strict=True):
            spec = page.spec
            if not spec.enabled or spec.deleted_at or spec.schedule.startswith("99"):
                continue
            fire_times = self.demand_of(spec).fire_times
            found += fire_times[
                bisect_right(fire_times, page.since) : bisect_right(fire_times, end)
            ]
        return found


def verdicts(job: Job, owed: list[datetime]) -> list[tuple[datetime, str]]:
    """Every fire time that has a verdict, gaps taken apart; fails where a gap's count is not what is owed in it."""
    found = [
        (run.scheduled_for, "run")
        for run in job.executions.filter(trigger="schedule").defer("spec")
    ]
    for gap in Gap.objects.filter(job_id=job.pk):
        covered = owed[bisect_left(owed, gap.first_at) : bisect_right(owed, gap.last_at)]
        assert len(covered) == gap.count, (job.name, gap.reason, gap.first_at, gap.last_at)
        assert (covered[0], covered[-1]) == (gap.first_at, gap.last_at), (job.name, gap)
        found += [(moment, gap.reason) for moment in covered]
    return sorted(found)


def check_reason(world: World, diary: Diary, moment: datetime, verdict: str) -> None:
    """Whether the diary knows why; at the very moment of a deed both answers are right."""
    spec = diary.in_force(moment)
    page_since = {page.since for page in diary.pages}
    scope_edges = {edge for pause in world.scope_pauses for edge in (pause.since, pause.until)}
    if moment in page_since or moment in scope_edges:
        return
    own_pause = spec.paused_at is not None and (
        spec.paused_until is None or moment < spec.paused_until
    )
    scope_pause = any(
        pause.since <= moment and (pause.until is None or moment < pause.until)
        for pause in world.scope_pauses
        if pause.covers(spec)
    )
    closed = world.demand_of(spec).is_closed(moment)
    skipped = moment in diary.skips
    about = (diary.job.name, moment, verdict)
    if verdict == "paused":
        assert own_pause or scope_pause, about
    elif verdict == "calendar":
        assert closed, about
    elif verdict == "skipped":
        assert skipped, about
    else:
        assert not (own_pause or scope_pause or closed or skipped), about
    if verdict in ("missed", "coalesced", "limit"):
        soon_enough = timedelta(seconds=MISFIRE_AFTER_S)
        place = bisect_left(world.looks, moment)
        late = place == len(world.looks) or world.looks[place] - moment >= soon_enough
        assert late, about
    if verdict in ("overlap", "retrying"):
        assert spec.limit is not None, about


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_in_weeks_every_fire_time_has_exactly_one_verdict(seed, connection, clock):
    world = World(seed, connection, clock)

    world.live()

    seen: Counter[str] = Counter()
    for diary in world.diaries:
        owed = world.owed(diary)
        found = verdicts(diary.job, owed)
        assert plan_of(diary.job).decided_until == clock()
        limit = diary.now.max_runs
        ran = [moment for moment, verdict in found if verdict == "run"]
        if limit is not None and len(ran) >= limit:
            # Over: nothing is owed after the last run.
            assert len(ran) == limit
            owed = [moment for moment in owed if moment <= ran[-1]]
        # Nothing missing, nothing twice, nothing that nobody asked for.
        assert [moment for moment, _ in found] == owed, diary.job.name
        for moment, verdict in found:
            check_reason(world, diary, moment, verdict)
        seen.update(verdict for _, verdict in found)
        check_next_fire_time(world, diary, ran)
    check_backfills()
    assert sum(seen.values()) > 200, seen
    assert len(seen) >= 4, seen


def check_next_fire_time(world: World, diary: Diary, ran: list[datetime]) -> None:
    """What the plan waits for is what the reference finds first."""
    spec, now = diary.now, world.clock()
    is_over = spec.max_runs is not None and len(ran) >= spec.max_runs
    coming = []
    if spec.enabled and not spec.deleted_at and not spec.schedule.startswith("99") and not is_over:
        asked = world.demand_of(spec)
        paused_until = spec.paused_until or now
        coming = [
            moment
            for moment in asked.fire_times
            if moment > now
            and not asked.is_closed(moment)
            and moment not in diary.skips
            and (spec.paused_at is None or (spec.paused_until and moment >= paused_until))
        ]
    planned = plan_of(diary.job).next_fire_at
    if coming:
        assert planned == coming[0], diary.job.name
    else:
        assert planned is None or planned > world.begin + WEEKS, diary.job.name


def check_backfills() -> None:
    """A backfill has as many executions as it says, each fire time once."""
    for record in Backfill.objects.all():
        moments = Execution.objects.filter(backfill=record.pk).values_list(
            "scheduled_for", flat=True
        )
        assert len(set(moments)) == len(moments) == record.count
    assert Pause.objects.filter(ended_at=None).count() <= 5
