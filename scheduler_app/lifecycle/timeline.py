"""What became of each fire time of a job, and why: read from executions, gaps and the plan, told in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connections
from django.db.models import Q

from scheduler_app.conf import get_config
from scheduler_app.models import (
    Execution,
    Gap,
    GapReason,
    Job,
    JobPlan,
    JobRevision,
    Node,
    NodeState,
    Pause,
    PauseScope,
    Status,
    Trigger,
    database_now,
)
from scheduler_app.rules import firing as rules
from scheduler_app.rules.masking import masked_text
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.spec import JobSpec
from scheduler_app.rules.timetable import TICK, Timetable
from scheduler_app.rules.zones import END_OF_TIME, utc, zone_names

from .firing import PAUSES_SQL, pauses_of
from .specs import spec_of

UNDECIDED = "undecided"
PLANNED = "planned"

OVERDUE_AFTER = timedelta(seconds=2)
"""A fire time that is past by less is being fired this moment."""

_REASONS = {
    "job_deleted": "the job was deleted",
    "overlap": "the next one took its place",
    "drained": "its node stopped",
    "node_died": "its node died",
}
_ASKED = {
    Trigger.MANUAL: "run now",
    Trigger.API: "run now",
    Trigger.BACKFILL: "backfill",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One fire time, or a run of them, and what became of it."""

    first_at: datetime
    last_at: datetime
    count: int
    what: str
    """The status of the execution, the reason of the gap, PLANNED or UNDECIDED."""
    sentence: str
    execution_id: int | None = None


def timeline(job: Job, since: datetime, until: datetime, *, limit: int = 500) -> list[Verdict]:
    """What happened in [since, until] and what is still to come, newest first.

    Executions that somebody asked for are among it, since others wait for them. Of what is decided the newest
    `limit` entries, of what is still to come the first.
    """
    return Look.at(job).timeline(since, until, limit=limit)


def following_verdicts(job: Job, *, limit: int) -> list[Verdict]:
    """The next fire times, and those among them that will not run, oldest first; a pause is told of elsewhere."""
    return Look.at(job).following(limit=limit)


def explain(job: Job, at: datetime) -> str:
    """Why the job did or did not run at a moment, in a sentence or two."""
    return Look.at(job).explain(at)


def standing(job: Job) -> str:
    """How the job stands now, in a sentence or two."""
    look = Look.at(job)
    return " ".join([look.state(), *(look.trouble() if job.deleted_at is None else ())])


def suspensions_of(
    spec: JobSpec, plan: JobPlan | None, pauses: Sequence[tuple[Any, ...]]
) -> list[rules.Suspension]:
    """When the job's fire times become no execution, as nodes see it; `pauses` as from `read_pauses`.

    Raises Invalid when the definition cannot be read.
    """
    found = [*rules.own_pause(spec), *rules.own_closures(spec), *pauses_of(spec, pauses)]
    if plan is not None and plan.skip_at is not None:
        found.append(
            rules.Suspension(plan.skip_at, plan.skip_at + TICK, plan.skip_by, reason="skipped")
        )
    return found


def read_pauses() -> list[tuple[Any, ...]]:
    """The pauses of queues, tags and everything, those that are over as well."""
    with connections[get_config().database].cursor() as cursor:
        cursor.execute(PAUSES_SQL)
        return list(cursor.fetchall())


@dataclass(frozen=True)
class Look:
    """One look at a job: what all sentences about it are made from. The answers of one look agree with each other."""

    job: Job
    zone: ZoneInfo
    now: datetime

    @classmethod
    def at(cls, job: Job, *, now: datetime | None = None) -> Look:
        # Written past the validation, the zone may be anything; the plan says so then.
        zone = ZoneInfo(job.timezone if job.timezone in zone_names() else "UTC")
        return cls(job, zone, now or database_now())

    @cached_property
    def plan(self) -> JobPlan | None:
        return JobPlan.objects.select_related("revision").filter(pk=self.job.pk).first()

    @cached_property
    def pauses(self) -> Sequence[tuple[Any, ...]]:
        return read_pauses()

    @cached_property
    def undecided_revisions(self) -> list[JobRevision]:
        """The definitions that decide about what is not decided yet."""
        if self.plan is None:
            return []
        later = self.job.revisions.filter(version__gte=self.plan.revision.version)
        return list(later.order_by("version"))

    def clock(self, moment: datetime) -> str:
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M:%S %Z}"

    def timeline(self, since: datetime, until: datetime, *, limit: int) -> list[Verdict]:
        """As the function of this name."""
        executions = (
            self.job.executions.filter(scheduled_for__range=(since, until))
            .select_related("node")
            .for_lists()
            .order_by("-scheduled_for", "-id")[:limit]
        )
        gaps = self.job.gaps.filter(last_at__gte=since, first_at__lte=until)
        return [
            *sorted(self.to_come(since, until, limit), key=_moment_of, reverse=True),
            *self.decided(executions, gaps.order_by("-first_at")[:limit])[:limit],
        ]

    def following(self, *, limit: int) -> list[Verdict]:
        """As `following_verdicts`."""
        ahead = sorted(
            self.to_come(self.now, utc(END_OF_TIME) - timedelta(seconds=1), limit), key=_moment_of
        )
        told = (PLANNED, GapReason.CALENDAR, GapReason.SKIPPED)
        return [verdict for verdict in ahead if verdict.what in told]

    def explain(self, at: datetime) -> str:
        """As the function of this name."""
        executions = list(
            self.job.executions.filter(scheduled_for=at)
            .select_related("node")
            .for_lists()
            .order_by("id")
        )
        sentences = [self.of_execution(execution).sentence for execution in executions]
        gap = self.job.gaps.filter(first_at__lte=at, last_at__gte=at).order_by("-first_at").first()
        if gap is not None and _is_fire_time(self.spec_at(at), at):
            sentences.insert(0, self.of_gap(gap, at).sentence + self.in_its_way(gap, at))
        if any(execution.status == Status.READY for execution in executions):
            sentences += [*self.standing_pauses(), *self.trouble()]
        if not sentences:
            sentences = self.silence(at)
        return " ".join(sentences)

    # --- What was decided ---------------------------------------------------------------------

    def decided(self, executions: Iterable[Execution], gaps: Iterable[Gap]) -> list[Verdict]:
        """The verdicts that these rows of the job are, newest first; asks the database for nothing."""
        found = [self.of_execution(execution) for execution in executions]
        found += [self.of_gap(gap) for gap in gaps]
        return sorted(found, key=_moment_of, reverse=True)

    def of_execution(self, execution: Execution) -> Verdict:
        asked = _ASKED.get(Trigger(execution.trigger), "")
        if asked and execution.requested_by:
            asked += f", asked for by {execution.requested_by}"
        when = self.clock(execution.scheduled_for) + (f" ({asked})" if asked else "")
        return Verdict(
            execution.scheduled_for,
            execution.scheduled_for,
            1,
            execution.status,
            f"{when} {self._fate(execution)}.",
            execution.pk,
        )

    def _fate(self, execution: Execution) -> str:
        node = execution.node.name if execution.node else "a node"
        drift = f", {_seconds(execution.drift)} late" if execution.drift is not None else ""
        attempts = f" at attempt {execution.attempt}" if execution.attempt > 1 else ""
        reason = _REASONS.get(execution.reason, execution.reason.replace("_", " "))
        match execution.status:
            case Status.SUCCEEDED:
                return f"ran on {node}{drift}, and succeeded{attempts}"
            case Status.FAILED if execution.started_at is None:
                return f"failed{attempts}: {_ended(masked_text(execution.error) or reason)}"
            case Status.FAILED:
                return f"ran on {node}{drift}, and failed{attempts}: {_ended(masked_text(execution.error) or reason)}"
            case Status.CANCELLED:
                by = execution.cancelled_by
                # What the scheduler cancels names itself in both.
                by = f" by {by}" if by and by != execution.reason else ""
                return f"was cancelled{by}" + (f" ({reason})" if reason else "")
            case Status.LOST:
                return f"was lost with its node {node}, and the job may run once at most"
            case Status.RUNNING if execution.cancel_requested_at is not None:
                return f"runs on {node} now, and was asked to stop"
            case Status.RUNNING:
                return f"runs on {node} now"
            case Status.BLOCKED if execution.reason == "paused":
                return "waits for the end of the job's pause"
            case Status.BLOCKED:
                return "waits for the job's limit of runs side by side"
            case _ if execution.attempt and execution.run_after > self.now:
                return (
                    f"waits until {self.clock(execution.run_after)} for attempt "
                    f"{execution.attempt + 1}: {_ended(masked_text(execution.error) or reason)}"
                )
            case _:
                return "waits for a free thread"

    def of_gap(self, gap: Gap, at: datetime | None = None) -> Verdict:
        """The gap as a whole, or what it says of one of its fire times."""
        why = gap_in_words(gap.reason, gap.who, gap.detail)
        first, last = self.clock(gap.first_at), self.clock(gap.last_at)
        if gap.count == 1:
            sentence = f"{first} did not run: {why}."
        elif at is None:
            sentence = f"{gap.count:,} fire times from {first} to {last} did not run: {why}."
        else:
            sentence = (
                f"{self.clock(at)} did not run: {why}. It is one of {gap.count:,} fire times, "
                f"from {first} to {last}."
            )
        return Verdict(gap.first_at, gap.last_at, gap.count, gap.reason, sentence)

    def in_its_way(self, gap: Gap, at: datetime) -> str:
        """Which execution it was that a fire time met, as a sentence."""
        if gap.reason not in (GapReason.OVERLAP, GapReason.RETRYING):
            return ""
        met = (
            self.job.executions.filter(
                Q(finished_at=None) | Q(finished_at__gte=at),
                scheduled_for__lt=at,
                created_at__lte=at,
            )
            .order_by("-scheduled_for")
            .values_list("scheduled_for", "finished_at")
            .first()
        )
        if met is None:
            return ""
        scheduled_for, finished_at = met
        ended = f"ended at {self.clock(finished_at)}" if finished_at else "is not over"
        return f" It met that of {self.clock(scheduled_for)}, which {ended}."

    # --- What was not -------------------------------------------------------------------------

    def spec_at(self, at: datetime) -> JobSpec | None:
        """The definition that decides about a moment; None when there was none or it cannot be read."""
        # An edit takes effect after its moment.
        revision = self.job.revisions.filter(created_at__lt=at).order_by("-version").first()
        return None if revision is None else spec_of(revision)

    def to_come(self, since: datetime, until: datetime, limit: int) -> Iterator[Verdict]:
        """What has no verdict in [since, until]: due or held back, as runs of fire times; ahead, `limit` of them."""
        planned = 0
        for timetable, start, end, held in self._undecided(until):
            start = max(start, since - TICK)
            if held is not None:
                why = gap_in_words(held.reason, held.who, held.detail)
                yield from self._together(
                    timetable, start, end, held.reason, "does not run", "do not run", why
                )
                continue
            why = "no node has looked yet"
            yield from self._together(
                timetable, start, min(end, self.now), UNDECIDED, "is due", "are due", why
            )
            ahead = timetable.between(max(start, self.now), end)
            for moment in islice(ahead, limit - planned):
                planned += 1
                yield Verdict(moment, moment, 1, PLANNED, f"{self.clock(moment)} is still to come.")
            if planned >= limit:
                return

    def _together(
        self,
        timetable: Timetable,
        start: datetime,
        end: datetime,
        what: str,
        one: str,
        many: str,
        why: str,
    ) -> Iterator[Verdict]:
        """The fire times in (start, end] as one, if there are any."""
        count = timetable.count(start, end) if start < end else 0
        first, last = timetable.next_after(start), timetable.previous_before(end + TICK)
        if not count or first is None or last is None:
            return
        sentence = (
            f"{self.clock(first)} {one}: {why}."
            if count == 1
            else f"{count:,} fire times from {self.clock(first)} to {self.clock(last)} {many}: {why}."
        )
        yield Verdict(first, last, count, what, sentence)

    def _undecided(
        self, until: datetime
    ) -> Iterator[tuple[Timetable, datetime, datetime, rules.Suspension | None]]:
        """The time from what is decided to `until` in pieces as (start, end], up to the last run that may be."""
        plan = self.plan
        if plan is None:
            return
        runs = plan.runs
        for spec, begin, stop in self._definitions(plan, until):
            if not spec.is_in_force:
                continue
            try:
                timetable = Timetable.of(spec)
                suspensions = suspensions_of(spec, plan, self.pauses)
            except Invalid:
                continue
            for start, end, held in rules.cut(begin, stop, suspensions):
                left = None if spec.max_runs is None else spec.max_runs - runs
                if left is not None and left <= 0:
                    # It is over: what comes after its last run is no fire time, paused or not.
                    break
                if held is None and left is not None:
                    count = timetable.count(start, end)
                    if count > left:
                        end = next(islice(timetable.between(start, end), left - 1, None))
                    runs += min(count, left)
                yield timetable, start, end, held

    def _definitions(
        self, plan: JobPlan, until: datetime
    ) -> Iterator[tuple[JobSpec, datetime, datetime]]:
        """The definitions that decide about what is not decided, each with its time as (start, end]."""
        start, spec = plan.decided_until, None
        for revision in self.undecided_revisions:
            end = min(max(start, revision.created_at), until)
            if spec is not None and start < end:
                yield spec, start, end
                start = end
            spec = spec_of(revision)
        if spec is not None and start < until:
            yield spec, start, until

    def silence(self, at: datetime) -> list[str]:
        """No execution and no gap: before the job, no fire time, not decided, or not kept."""
        job, when = self.job, self.clock(at)
        if at <= job.created_at:
            return [
                f"{job.name} did not exist at {when}: it was created at {self.clock(job.created_at)}."
            ]
        if job.deleted_at is not None and at > job.deleted_at:
            return [f"{job.name} was deleted at {self.clock(job.deleted_at)}."]
        if to_come := list(self.to_come(at, at, 1)):
            is_due = to_come[0].what == UNDECIDED
            return [to_come[0].sentence, *(self.trouble() if is_due else ())]
        was = "was" if at <= self.now else "is"
        spec = self.spec_at(at)
        try:
            timetable = None if spec is None else Timetable.of(spec)
        except Invalid:
            timetable = None
        if spec is None or timetable is None:
            problem = self.plan.problem if self.plan else ""
            return [
                f"The definition of {job.name} at {when} cannot be read. {_ended(problem)}".strip()
            ]
        if not spec.enabled:
            return [f"{job.name} {was} disabled at {when}, so it has no fire times."]
        if timetable.next_after(at - TICK) == at:
            return [self._unrecorded(spec, at)]
        return [self._no_fire_time(spec, timetable, at)]

    def _unrecorded(self, spec: JobSpec, at: datetime) -> str:
        """Why nothing is known of a fire time."""
        text = (
            f"{self.clock(at)} {'was' if at <= self.now else 'is'} a fire time of {self.job.name}, "
        )
        days = get_config().retention_days
        if at < self.now - timedelta(days=days):
            return text + f"but records are kept for {days:g} days only."
        if spec.max_runs is not None and self.plan and self.plan.runs >= spec.max_runs:
            return text + f"but the job is over after {spec.max_runs:,} runs."
        if spec.max_runs is not None and at > self.now:
            return text + f"but the job will be over by then, after {spec.max_runs:,} runs."
        return (
            text + "but nothing is recorded for it: it was not decided, or its record was removed."
        )

    def _no_fire_time(self, spec: JobSpec, timetable: Timetable, at: datetime) -> str:
        """When it does fire around a moment."""
        how = timetable.schedule.describe()
        if timetable.shift:
            how += f", {_seconds(timetable.shift)} later by its jitter"
        if spec.start_at is not None and at < spec.start_at:
            how += f", not before {self.clock(spec.start_at)}"
        if spec.end_at is not None and at > spec.end_at:
            how += f", not after {self.clock(spec.end_at)}"
        around = []
        if (before := timetable.previous_before(at)) is not None and before > self.job.created_at:
            around.append(f"the one before is {self.clock(before)}")
        if (after := timetable.next_after(at)) is not None:
            around.append(f"the next one is {self.clock(after)}")
        text = "; ".join(around) or "it has none"
        return f"{self.clock(at)} is no fire time of {self.job.name} ({how}): {text}."

    # --- How it stands ------------------------------------------------------------------------

    def state(self) -> str:
        job, plan = self.job, self.plan
        if job.deleted_at is not None:
            return f"{job.name} was deleted at {self.clock(job.deleted_at)}."
        if plan is not None and plan.problem:
            return f"{job.name} cannot be planned: {_ended(plan.problem)}."
        if not job.enabled:
            return f"{job.name} is disabled: it has no fire times, and only runs by hand."
        if job.paused_at is not None and (job.paused_until is None or job.paused_until > self.now):
            return self._paused(
                "is paused", job.paused_at, job.paused_until, job.paused_by, job.pause_reason
            )
        if pauses := self.standing_pauses():
            return pauses[0]
        if plan is None or plan.dirty:
            return f"{job.name} was saved, and no node has planned it yet."
        if plan.next_fire_at is None:
            by_hand = job.schedule.strip().lower() == "@manual"
            return f"{job.name} " + (
                "only runs when somebody asks for it."
                if by_hand
                else "is over: it has no fire time left."
            )
        if plan.next_fire_at < self.now - OVERDUE_AFTER:
            return f"{job.name} has been due since {self.clock(plan.next_fire_at)}, and no node has fired it."
        return f"{job.name} is enabled and fires next at {self.clock(plan.next_fire_at)}."

    def _paused(
        self, text: str, since: datetime, until: datetime | None, who: str, reason: str
    ) -> str:
        text = f"{self.job.name} {text} since {self.clock(since)}"
        text += f", until {self.clock(until)}" if until else ""
        text += f", by {who}" if who else ""
        return text + (f" ({reason})." if reason else ".")

    def standing_pauses(self) -> list[str]:
        """The pauses of queues, tags and everything that hold the job now, a sentence each, the oldest first."""
        covering = Q(scope=PauseScope.ALL) | Q(scope=PauseScope.QUEUE, value=self.job.queue)
        covering |= Q(scope=PauseScope.TAG, value__in=self.job.tags)
        pauses = Pause.objects.filter(
            covering, Q(paused_until=None) | Q(paused_until__gt=self.now), ended_at=None
        )
        return [
            self._paused(
                f"is paused with {pause}",
                pause.paused_at,
                pause.paused_until,
                pause.paused_by,
                pause.reason,
            )
            for pause in pauses.order_by("paused_at")
        ]

    def trouble(self) -> list[str]:
        """What is wrong with the nodes, as far as it concerns the job."""
        queues = [
            node.queues
            for node in Node.objects.filter(state=NodeState.ACTIVE)
            if self.now - node.heartbeat_at < node.lease
        ]
        if not queues:
            return ["No node is running: start one with manage.py runscheduler."]
        if all(taken and self.job.queue not in taken for taken in queues):
            return [f"No running node takes the queue {self.job.queue}."]
        return []


def _is_fire_time(spec: JobSpec | None, at: datetime) -> bool:
    if spec is None or not spec.is_in_force:
        return False
    try:
        return Timetable.of(spec).next_after(at - TICK) == at
    except Invalid:
        return False


def _moment_of(verdict: Verdict) -> datetime:
    return verdict.first_at


def gap_in_words(reason: str, who: str, detail: str) -> str:
    """A gap's reason as people read it: `paused by ana (inventory)`."""
    text = str(GapReason(reason).label) if reason in GapReason.values else reason
    if who:
        text += f" by {who}"
    return f"{text} ({detail})" if detail else text


def _ended(text: str) -> str:
    """Without the full stop that the sentence around it brings."""
    return text.rstrip().removesuffix(".")


def _seconds(duration: timedelta | None) -> str:
    seconds = duration.total_seconds() if duration else 0.0
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
