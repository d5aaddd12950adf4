"""What became of each fire time of a job, and why: read from executions, gaps and the plan, told in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from scheduler_app.models import (
    Execution,
    Gap,
    GapReason,
    Job,
    JobPlan,
    Status,
    Trigger,
    database_now,
)
from scheduler_app.rules import firing as rules
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.timetable import TICK, Timetable

ANSWERS = (Trigger.SCHEDULE, Trigger.BACKFILL)
"""Executions that answer a fire time; the others were asked for by themselves."""

SOON = "undecided"
PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One fire time, or a run of them, and what became of it."""

    first_at: datetime
    last_at: datetime
    count: int
    what: str
    """The status of the execution, the reason of the gap, `planned` or `undecided`."""
    sentence: str
    execution_id: int | None = None


def timeline(job: Job, since: datetime, until: datetime, *, limit: int = 500) -> list[Verdict]:
    """The verdicts in [since, until], newest first, and what is still to come; `limit` of each kind at most."""
    zone = ZoneInfo(job.timezone)
    executions = (
        job.executions.filter(trigger__in=ANSWERS, scheduled_for__range=(since, until))
        .select_related("node")
        .for_lists()
        .order_by("-scheduled_for", "-id")[:limit]
    )
    gaps = job.gaps.filter(last_at__gte=since, first_at__lte=until).order_by("-first_at")[:limit]
    found = [_of_execution(execution, zone) for execution in executions]
    found += [_of_gap(gap, zone) for gap in gaps]
    found += _to_come(job, since, until, zone, limit)
    return sorted(found, key=lambda verdict: verdict.first_at, reverse=True)


def explain(job: Job, at: datetime) -> str:
    """Why the job did or did not run at a moment, in a sentence or two."""
    zone = ZoneInfo(job.timezone)
    answers = list(
        job.executions.filter(trigger__in=ANSWERS, scheduled_for=at)
        .select_related("node")
        .for_lists()
        .order_by("id")
    )
    gap = job.gaps.filter(first_at__lte=at, last_at__gte=at).order_by("-first_at").first()
    sentences = [_of_execution(execution, zone).sentence for execution in answers]
    if gap is not None and _is_fire_time(job, at):
        sentences.insert(0, _of_gap(gap, zone).sentence)
    if sentences:
        return " ".join(sentences)
    return _explain_silence(job, at, zone)


def _explain_silence(job: Job, at: datetime, zone: ZoneInfo) -> str:
    """No execution and no gap: before the job, after now, or no fire time at all."""
    when = _moment(at, zone)
    plan = JobPlan.objects.filter(pk=job.pk).first()
    if plan is not None and plan.problem:
        return f"{job.name} cannot be planned: {plan.problem}"
    if at < job.created_at:
        return f"{job.name} did not exist at {when}: it was created at {_moment(job.created_at, zone)}."
    if job.deleted_at is not None and at > job.deleted_at:
        return f"{job.name} was deleted at {_moment(job.deleted_at, zone)}."
    to_come = _to_come(job, at, at, zone, 1)
    if to_come:
        return to_come[0].sentence
    revision = job.revisions.filter(created_at__lte=at).order_by("-version").first()
    if revision is not None and not revision.spec.get("enabled", True):
        return f"{job.name} was disabled at {when}, so it had no fire times."
    if _is_fire_time(job, at):
        return (
            f"{when} is a fire time of {job.name} now, but nothing is recorded for it: the schedule was another "
            "one then, or its record has been pruned."
        )
    around = []
    timetable = Timetable.of(job.spec())
    if (before := timetable.previous_before(at)) is not None:
        around.append(f"the one before is {_moment(before, zone)}")
    if (after := timetable.next_after(at)) is not None:
        around.append(f"the next one is {_moment(after, zone)}")
    text = "; ".join(around) or "it has none"
    return f"{when} is no fire time of {job.name} ({timetable.schedule.describe()}): {text}."


def _is_fire_time(job: Job, at: datetime) -> bool:
    try:
        return Timetable.of(job.spec()).next_after(at - TICK) == at
    except Invalid:
        return False


def _to_come(
    job: Job, since: datetime, until: datetime, zone: ZoneInfo, limit: int
) -> list[Verdict]:
    """Fire times that have no verdict yet: due a moment ago, ahead, or held back by a pause that goes on."""
    plan = JobPlan.objects.filter(pk=job.pk).first()
    if plan is None or not job.enabled or job.deleted_at is not None or until <= plan.decided_until:
        return []
    spec = job.spec()
    try:
        timetable = Timetable.of(spec)
    except Invalid:
        return []
    start = max(since - TICK, plan.decided_until)
    now = database_now()
    suspensions = [*rules.own_pause(spec), *rules.own_closures(spec)]
    if plan.skip_at is not None:
        suspensions.append(
            rules.Suspension(plan.skip_at, plan.skip_at + TICK, plan.skip_by, reason="skipped")
        )
    found = []
    for moment in islice(timetable.between(start, until), limit):
        covering = next(
            (s for s in suspensions if s.since <= moment and (s.until is None or moment < s.until)),
            None,
        )
        when = _moment(moment, zone)
        if covering is not None:
            what = covering.reason
            sentence = f"{when} {'will be' if moment > now else 'is'} {_why(what, covering.who, covering.detail)}."
        elif moment > now:
            what, sentence = PLANNED, f"{when} is still to come."
        else:
            what, sentence = SOON, f"{when} is due and not decided yet: no node has looked at it."
        found.append(Verdict(moment, moment, 1, what, sentence))
    return found


def _of_execution(execution: Execution, zone: ZoneInfo) -> Verdict:
    when = _moment(execution.scheduled_for, zone)
    node = execution.node.name if execution.node else "a node"
    how = (
        "" if execution.trigger == Trigger.SCHEDULE else f" (asked for by {execution.requested_by})"
    )
    drift = f", {_seconds(execution.drift)} late" if execution.drift is not None else ""
    attempts = f" at attempt {execution.attempt}" if execution.attempt > 1 else ""
    match execution.status:
        case Status.SUCCEEDED:
            text = f"ran on {node}{drift}, and succeeded{attempts}"
        case Status.FAILED:
            text = (
                f"ran on {node}{drift}, and failed{attempts}: {execution.error or execution.reason}"
            )
        case Status.CANCELLED:
            by = f" by {execution.cancelled_by}" if execution.cancelled_by else ""
            text = f"was cancelled{by}" + (f" ({execution.reason})" if execution.reason else "")
        case Status.LOST:
            text = f"was lost with its node {node}, and the job may run once at most"
        case Status.RUNNING:
            text = f"runs on {node} now"
        case Status.BLOCKED if execution.reason == "paused":
            text = "waits for the end of the job's pause"
        case Status.BLOCKED:
            text = "waits for the job's limit of runs side by side"
        case _ if execution.attempt:
            text = (
                f"waits for attempt {execution.attempt + 1}: {execution.error or execution.reason}"
            )
        case _:
            text = "waits for a free thread"
    return Verdict(
        execution.scheduled_for,
        execution.scheduled_for,
        1,
        execution.status,
        f"{when}{how} {text}.",
        execution.pk,
    )


def _of_gap(gap: Gap, zone: ZoneInfo) -> Verdict:
    first, last = _moment(gap.first_at, zone), _moment(gap.last_at, zone)
    if gap.count == 1:
        sentence = f"{first} did not run: {_why(gap.reason, gap.who, gap.detail)}."
    else:
        sentence = (
            f"{gap.count:,} fire times from {first} to {last} did not run: "
            f"{_why(gap.reason, gap.who, gap.detail)}."
        )
    return Verdict(gap.first_at, gap.last_at, gap.count, gap.reason, sentence)


def _why(reason: str, who: str, detail: str) -> str:
    text = str(GapReason(reason).label) if reason in GapReason.values else reason
    if who:
        text += f" by {who}"
    return f"{text} ({detail})" if detail else text


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S %Z}"


def _seconds(duration: timedelta | None) -> str:
    seconds = duration.total_seconds() if duration else 0.0
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
