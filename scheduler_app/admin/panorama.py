"""Timeline, agenda and heat map: what happened and what lies ahead across jobs, on pages of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median_low
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone as django_timezone

from scheduler_app.access import visible
from scheduler_app.lifecycle import panorama
from scheduler_app.lifecycle.panorama import Activity, Ahead, Appointment, Happened, Minute, Missing
from scheduler_app.models import GapReason, Job

from . import charts, queries
from .display import clock, count_text, duration, printable, zone_of
from .job_filters import CHOICES_SHOWN

SPANS: dict[str, tuple[str, timedelta, timedelta]] = {
    "10m": ("10 minutes", timedelta(minutes=10), timedelta(minutes=1)),
    "1h": ("1 hour", timedelta(hours=1), timedelta(minutes=10)),
    "6h": ("6 hours", timedelta(hours=6), timedelta(hours=1)),
    "1d": ("1 day", timedelta(days=1), timedelta(hours=4)),
    "1w": ("1 week", timedelta(days=7), timedelta(days=1)),
}
"""How long the axis is, and the distance of its marks."""
STATES = {"": "All", "failed": "With failures", "running": "Running", "gaps": "With gaps"}
PAST_SHARE = 0.7
"""Of the axis, while it follows the moment."""
ROWS = 15
BINS = 90
"""Into how many places the axis is divided; executions of one job that ran in the same place are one mark."""
SEEN = 0.15
"""Percent of the axis; a wait that is shorter is not drawn."""
MARKS_AHEAD = 24
MARKS_APART = 24
"""A row with more marks joins those that follow each other as regularly as the others do: each has a link and words."""
HOLE = 1.5
"""Times the usual distance: what is further apart is not joined, so that one missing run shows."""
LONGEST_AWAY = timedelta(days=366)
OFTEN = 24
APPOINTMENTS = 150
FREQUENT_SHOWN = 100
FINENESS = {7: (1440, 30), 1: (60, 1)}
"""By the days that the heat map shows: minutes of a row, and of a cell of it."""
MINUTES_NAMED = 12


@dataclass(frozen=True, slots=True)
class Filters:
    """What the three pages leave in; each is a part of their addresses."""

    tag: str = ""
    queue: str = ""
    state: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Filters:
        given = {name: request.GET.get(name, "").replace("\x00", "") for name in ("tag", "queue")}
        state = request.GET.get("state", "")
        return cls(**given, state=state if state in STATES else "")

    def jobs(self) -> QuerySet[Job]:
        """The jobs that they leave in, by name."""
        jobs: QuerySet[Job] = visible.jobs()
        if self.tag:
            jobs = jobs.filter(tags__contains=[self.tag])
        if self.queue:
            jobs = jobs.filter(queue=self.queue)
        return jobs

    def query(self, **changes: Any) -> str:
        """The same page with something else: `?tag=db&span=1h`."""
        values = {"tag": self.tag, "queue": self.queue, "state": self.state, **changes}
        return "?" + urlencode({name: value for name, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class MarkOnRow:
    """Something on a job's row; places and widths are percent of the axis."""

    key: str
    x: float
    width: float
    title: str
    href: str = ""
    is_point: bool = False
    is_several: bool = False
    waited: float = 0
    """How wide the wait before `x` is drawn."""

    @property
    def end(self) -> float:
        """Where it ends."""
        return self.x + self.width

    @property
    def wait_x(self) -> float:
        """Where the wait before it begins."""
        return self.x - self.waited


@dataclass(slots=True)
class Row:
    """One job on the axis, and the same in words."""

    job: Job
    marks: list[MarkOnRow] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    last: Happened | None = None
    next_at: datetime | None = None
    held: str = ""
    problem: str = ""
    is_capped: bool = False
    href: str = ""
    """The list of its executions in this time."""

    @property
    def summary(self) -> str:
        """`12 succeeded, 1 failed`."""
        return ", ".join(f"{count:,} {word}" for word, count in self.counts.items() if count)


def menus(filters: Filters) -> list[tuple[str, str, list[str], bool]]:
    """What the filters offer: name, choice, values, and whether there are more, so that another is typed."""
    queues, tags = queries.queues_and_tags(limit=CHOICES_SHOWN + 1)
    return [
        (name, chosen, values[:CHOICES_SHOWN], len(values) > CHOICES_SHOWN)
        for name, chosen, values in (("tag", filters.tag, tags), ("queue", filters.queue, queues))
    ]


# --- Timeline ---------------------------------------------------------------------------------


def timeline_context(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """Everything that the timeline shows."""
    filters = Filters.of(request)
    span = request.GET.get("span", "")
    if span not in SPANS:
        span = "1h"
    label, length, step = SPANS[span]
    asked = _moment(request.GET.get("at", ""), now)
    start = (asked - length / 2) if asked else now - length * PAST_SHARE
    axis = charts.TimeAxis(start, start + length)
    activity = panorama.active_jobs(axis.start, axis.end)
    wanted = [job_id for job_id, found in activity.items() if _fits(found, filters.state)]
    page = _page(request)
    jobs = list(
        filters.jobs()
        .filter(pk__in=wanted)
        .only("name", "timezone", "queue", "tags")
        .order_by("name", "id")[(page - 1) * ROWS : page * ROWS + 1]
    )
    rows = _rows(jobs[:ROWS], axis, now)
    centre = axis.start + length / 2
    at = "" if asked is None else centre.isoformat()
    return {
        "filters": filters,
        "menus": menus(filters),
        "axis": axis,
        "rows": rows,
        "ticks": _ticks(axis, step, length),
        "now_at": axis.percent(now) if axis.start <= now <= axis.end else None,
        "span": span,
        "span_label": label,
        "spans": [(filters.query(span=key, at=at), words, key == span) for key, (words, *_) in SPANS.items()],
        "states": [
            (Filters(filters.tag, filters.queue, key).query(span=span, at=at), words, key == filters.state)
            for key, words in STATES.items()
        ],
        "earlier": filters.query(span=span, at=(centre - length / 2).isoformat()),
        "later": filters.query(span=span, at=(centre + length / 2).isoformat()),
        "follow": filters.query(span=span) if asked else "",
        "at": at,
        "page": page,
        "previous": filters.query(span=span, at=at, page=page - 1) if page > 1 else "",
        "next": filters.query(span=span, at=at, page=page + 1) if len(jobs) > ROWS else "",
        "is_filtered": bool(filters.tag or filters.queue or filters.state),
    }  # fmt: skip


def _fits(found: Activity, state: str) -> bool:
    return (
        (not state)
        or (state == "failed" and found.failed)
        or (state == "running" and found.running)
        or (state == "gaps" and found.gap)
    )


def _rows(jobs: Sequence[Job], axis: charts.TimeAxis, now: datetime) -> list[Row]:
    ids = [job.pk for job in jobs]
    happened = panorama.happened(ids, axis.start, axis.end, bins=BINS)
    missing = panorama.missing(ids, axis.start, axis.end)
    ahead: dict[int, Ahead] = {}
    if ids and axis.end > now:
        ahead = {one.job_id: one for one in panorama.ahead(Job.objects.filter(pk__in=ids))}
    rows = []
    for job in jobs:
        row = Row(job)
        gaps = missing.get(job.pk, ())
        _add_happened(row, happened.get(job.pk, ()), gaps, axis, now)
        for gap in gaps:
            _add_gap(row, gap, axis)
        if job.pk in ahead:
            _add_ahead(row, ahead[job.pk], axis, now)
        rows.append(row)
    return rows


def _add_gap(row: Row, gap: Missing, axis: charts.TimeAxis) -> None:
    reason = GapReason(gap.reason).label if gap.reason in GapReason.values else gap.reason
    words = f"{count_text(gap.count, 'fire time')} left out: {printable(reason)}"
    row.marks.append(
        MarkOnRow(
            "gap",
            axis.percent(gap.first_at),
            # A single one has no length, and must be seen.
            max(0.3, _width(axis, gap.first_at, gap.last_at)),
            f"{_from_to(gap.first_at, gap.last_at)}, {words}"
            if gap.count > 1
            else f"{_clock(gap.first_at)}, {words}",
        )
    )
    row.counts["left out"] = row.counts.get("left out", 0) + gap.count


def _add_happened(
    row: Row,
    found: Sequence[Happened],
    gaps: Sequence[Missing],
    axis: charts.TimeAxis,
    now: datetime,
) -> None:
    row.is_capped = sum(one.count for one in found) >= panorama.EXECUTIONS_OF_JOB
    for one in found if len(found) <= MARKS_APART else _joined(found, axis):
        row.marks += (
            [_mark(one, axis, now)] if one.count == 1 else _several(row.job, one, gaps, axis)
        )
    if row.is_capped:
        row.marks.append(
            MarkOnRow(
                "unseen",
                0,
                axis.percent(min(one.first_at for one in found)),
                f"older than the newest {panorama.EXECUTIONS_OF_JOB:,}: zoom in to see them",
            )
        )
    succeeded = sum(
        one.count - one.failed - one.running - one.waiting - one.cancelled for one in found
    )
    row.counts = {
        "succeeded": succeeded,
        "failed": sum(one.failed for one in found),
        "running": sum(one.running for one in found),
        "waiting": sum(one.waiting for one in found),
        "cancelled": sum(one.cancelled for one in found),
        **row.counts,
    }
    row.last = max(found, key=lambda one: one.last_at, default=None)
    if row.last:
        row.href = _executions(row.job, min(one.first_at for one in found), row.last.last_at)


def _joined(found: Sequence[Happened], axis: charts.TimeAxis) -> Iterator[Happened]:
    """Brief successes that ran one after the other at their usual distance, as if they were in one place."""
    holes = [after.ran_from - one.ran_to for one, after in pairwise(found)]
    within = [(one.ran_to - one.ran_from) / (one.count - 1) for one in found if one.count > 1]
    longest = HOLE * median_low(within or holes)
    last = found[0]
    for one, hole in zip(found[1:], holes, strict=True):
        if hole <= longest and _is_brief_success(last, axis) and _is_brief_success(one, axis):
            last = replace(
                one,
                count=last.count + one.count,
                first_at=min(last.first_at, one.first_at),
                last_at=max(last.last_at, one.last_at),
                ran_from=last.ran_from,
            )
        else:
            yield last
            last = one
    yield last


def _is_brief_success(one: Happened, axis: charts.TimeAxis) -> bool:
    over_at = one.finished_at or one.ran_from
    is_brief = one.count > 1 or _width(axis, one.first_at, over_at) < SEEN
    return is_brief and _key(one) == "succeeded"


def _key(one: Happened) -> str:
    for key in ("failed", "running", "waiting", "cancelled"):
        if getattr(one, key):
            return key
    return "succeeded"


def _mark(one: Happened, axis: charts.TimeAxis, now: datetime) -> MarkOnRow:
    """One execution: how long it waited, and from its start on how long it ran."""
    key = _key(one)
    over_at = one.finished_at or (now if key in ("running", "waiting") else one.ran_from)
    began_at = one.started_at or over_at
    waited = _width(axis, one.first_at, began_at)
    late = f"began {duration(began_at - one.first_at)} later, " if one.started_at else ""
    return MarkOnRow(
        key,
        axis.percent(began_at),
        _width(axis, began_at, over_at),
        f"{_clock(one.first_at)} {late if waited >= SEEN else ''}{one.status}",
        reverse("admin:scheduler_app_execution_change", args=[one.execution_id]),
        is_point=True,
        waited=waited if waited >= SEEN else 0,
    )


def _several(
    job: Job, one: Happened, gaps: Sequence[Missing], axis: charts.TimeAxis
) -> Iterator[MarkOnRow]:
    """Several that ran in one place: a band from the first start to the last, which is no duration, less the gaps."""
    parts = ", ".join(
        f"{count:,} {word}"
        for word, count in (
            ("succeeded", one.count - one.failed - one.running - one.waiting - one.cancelled),
            ("failed or lost", one.failed),
            ("running", one.running),
            ("waiting", one.waiting),
            ("cancelled", one.cancelled),
        )
        if count
    )
    key = _key(one)
    waited = _width(axis, one.first_at, one.ran_from)
    stretches = list(_between(one.ran_from, one.ran_to, gaps))
    # Those of one moment must be seen, and no gap hidden by it.
    least = 0.3 if len(stretches) == 1 else 0
    for since, until in stretches:
        is_first = since == one.ran_from
        yield MarkOnRow(
            key,
            axis.percent(since),
            max(least, _width(axis, since, until)),
            f"{_from_to(one.first_at, one.last_at)}: {parts}",
            _executions(job, one.first_at, one.last_at),
            is_point=is_first and key != "succeeded",
            is_several=True,
            waited=waited if is_first and waited >= SEEN else 0,
        )


def _between(
    since: datetime, until: datetime, gaps: Sequence[Missing]
) -> Iterator[tuple[datetime, datetime]]:
    """What is left of a stretch without the gaps in it."""
    for gap in gaps:
        if since <= gap.first_at < gap.last_at <= until:
            yield since, gap.first_at
            since = gap.last_at
    yield since, until


def _executions(job: Job, first_at: datetime, last_at: datetime) -> str:
    """The list of the job's executions with fire times from one to the other."""
    query = {
        "job": job.pk,
        "since": f"{first_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
        "until": f"{last_at.astimezone(UTC) + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}",
    }
    return f"{reverse('admin:scheduler_app_execution_changelist')}?{urlencode(query, safe=':')}"


def _add_ahead(row: Row, ahead: Ahead, axis: charts.TimeAxis, now: datetime) -> None:
    row.problem = ahead.problem
    since = max(now, axis.start)
    if ahead.next_at is None or ahead.problem or not ahead.spec.enabled:
        return
    row.next_at = ahead.next_at
    if held := ahead.held(ahead.next_at):
        row.held = _held_words(held.reason)
    count = ahead.count(since, axis.end)
    if not count:
        return
    row.counts["to come"] = count
    if count <= MARKS_AHEAD:
        for moment in ahead.between(since, axis.end):
            found = ahead.held(moment)
            row.marks.append(
                MarkOnRow(
                    "held" if found else "planned",
                    axis.percent(moment),
                    0,
                    f"{_clock(moment)} {_held_words(found.reason) if found else 'to come'}",
                    is_point=True,
                )
            )
        return
    first = next(ahead.between(since, axis.end))
    row.marks.append(
        MarkOnRow(
            "held-band" if ahead.held(first) else "planned-band",
            axis.percent(first),
            _width(axis, first, axis.end),
            f"{count_text(count, 'fire time')} to come from {_clock(first)}"
            + (f", {row.held}" if row.held else ""),
        )
    )


def _held_words(reason: str) -> str:
    words = {
        "paused": "held by a pause",
        "skipped": "to be skipped",
        "calendar": "closed by its calendar",
    }
    return words.get(reason, reason)  # fmt: skip


def _width(axis: charts.TimeAxis, since: datetime, until: datetime) -> float:
    return round(max(0.0, axis.percent(until) - axis.percent(since)), 2)


def _ticks(axis: charts.TimeAxis, step: timedelta, length: timedelta) -> list[charts.Mark]:
    """Marks at round times of the site's zone."""
    shift = django_timezone.localtime(axis.start).utcoffset() or timedelta(0)
    return [
        charts.Mark(axis.percent(moment), _tick_label(moment, length))
        for moment in charts.whole_steps(axis, step, shift)
    ]


def _tick_label(moment: datetime, length: timedelta) -> str:
    local = django_timezone.localtime(moment)
    return f"{local:%a %d}" if length > timedelta(days=2) else f"{local:%H:%M}"


def _clock(moment: datetime) -> str:
    return clock(moment, zone_of(django_timezone.get_current_timezone_name()))


def _from_to(first_at: datetime, last_at: datetime) -> str:
    """`2026-11-20 10:00:00 to 10:04:00 UTC`."""
    first, last = _clock(first_at), _clock(last_at)
    (day, begins, zone), (last_day, ends, last_zone) = first.split(" ", 2), last.split(" ", 2)
    if (day, zone) != (last_day, last_zone):
        return f"{first} to {last}"
    return f"{day} {begins} to {ends} {zone}"


def _moment(text: str, now: datetime) -> datetime | None:
    """The moment in an address; None when there is none, it cannot be read, or nobody can have meant it."""
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found if abs(found - now) < LONGEST_AWAY else None


def _page(request: HttpRequest) -> int:
    text = request.GET.get("page", "")
    return (
        min(1000, max(1, int(text))) if text.isascii() and text.isdigit() and len(text) < 6 else 1
    )


# --- Agenda -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frequent:
    """A job that fires all day long."""

    ahead: Ahead
    count: int
    held: str

    @property
    def sentence(self) -> str:
        """Its schedule in words; a day over the number of its fire times is no interval of it."""
        return self.ahead.timetable.schedule.describe() if self.ahead.timetable else ""


def agenda_context(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """The fire times of the next 24 hours, and the jobs that have too many to list them."""
    filters = Filters.of(request)
    end = now + timedelta(days=1)
    planned = panorama.ahead(panorama.plannable(filters.jobs()).filter(plan__next_fire_at__lte=end))
    listed, frequent = panorama.agenda(planned, now, end, often=OFTEN, limit=APPOINTMENTS + 1)
    return {
        "filters": filters,
        "menus": menus(filters),
        "appointments": [(one, _held(one)) for one in listed[:APPOINTMENTS]],
        "has_more": len(listed) > APPOINTMENTS,
        "frequent": [
            Frequent(
                ahead,
                count,
                _held_words(held.reason) if (held := ahead.held(ahead.next_at or now)) else "",
            )
            for ahead, count in frequent[:FREQUENT_SHOWN]
        ],
        "more_frequent": max(0, len(frequent) - FREQUENT_SHOWN),
        "is_filtered": bool(filters.tag or filters.queue),
    }


def _held(one: Appointment) -> str:
    return _held_words(one.held.reason) if one.held else ""


# --- Heat map ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """A minute, or the fullest minute of a while."""

    x: float
    level: int
    title: str
    query: str


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the map, a day or an hour."""

    label: str
    cells: Sequence[Cell]
    total: int


def heat_context(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """How many fire times lie in the same minute, for the days ahead."""
    filters = Filters.of(request)
    days = 1 if request.GET.get("days") == "1" else 7
    start = django_timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    start = start.astimezone(UTC)
    planned = panorama.ahead(panorama.plannable(filters.jobs()))
    found = panorama.crowds(planned, start, days * 1440)
    top = max(found.counts, default=0)
    length, cell = FINENESS[days]
    now_line, now_at = divmod((now - start) / timedelta(minutes=1), length)
    return {
        "filters": filters,
        "menus": menus(filters),
        "lines": [
            _line(found, first, days, top, filters) for first in range(0, days * 1440, length)
        ],
        "cell_width": round(cell * 100 / length, 2),
        "marks": [
            charts.Mark(round(part * 100 / 24, 2), f"{part:02}:00") for part in range(0, 24, 3)
        ]
        if days > 1
        else [charts.Mark(round(part * 100 / 60, 2), f":{part:02}") for part in range(0, 60, 10)],
        "now_line": int(now_line),
        "now_at": round(now_at / length * 100, 2),
        "is_fine": days == 1,
        "crowded": [_crowded(minute, filters) for minute in found.crowded(MINUTES_NAMED)],
        "steady": found.steady[:FREQUENT_SHOWN],
        "steady_count": len(found.steady),
        "steady_per_minute": found.steady_per_minute,
        "left_out": found.left_out,
        "top": top,
        "legend": _legend(top),
        "lengths": [
            (filters.query(), "7 days", days == 7),
            (filters.query(days=1), "Today", days == 1),
        ],
        "is_filtered": bool(filters.tag or filters.queue),
    }


LEVELS = 5


def _level(count: int, top: int) -> int:
    return 0 if not count else max(1, -(-count * LEVELS // top))


def _legend(top: int) -> list[tuple[int, str]]:
    """The levels with the counts they stand for, of those that there are."""
    found: dict[int, list[int]] = {}
    for level in range(1, LEVELS + 1):
        low, high = (level - 1) * top // LEVELS + 1, level * top // LEVELS
        if low <= high:
            found[level] = [low, high]
    return [
        (level, f"{low}" if low == high else f"{low}–{high}")
        for level, (low, high) in found.items()
    ]


def _line(found: panorama.Crowds, first: int, days: int, top: int, filters: Filters) -> Line:
    length, per_cell = FINENESS[days]
    cells = []
    for begin in range(first, first + length, per_cell):
        fullest = max(range(begin, begin + per_cell), key=lambda index: found.counts[index])
        count = found.counts[fullest]
        if not count:
            continue
        minute = found.minute(fullest)
        cells.append(
            Cell(
                x=round((begin - first) * 100 / length, 2),
                level=_level(count, top),
                title=f"{_hour(minute.at)}: {count_text(count, 'fire time')} in this minute",
                query=filters.query(span="10m", at=minute.at.isoformat()),
            )
        )
    start = django_timezone.localtime(found.start + timedelta(minutes=first))
    label = f"{start:%a %d %b}" if days > 1 else f"{start:%H:%M}"
    return Line(label, cells, sum(found.counts[first : first + length]))


@dataclass(frozen=True, slots=True)
class Crowded:
    """A full minute, who is in it, and the timeline around it."""

    minute: Minute
    label: str
    query: str
    more: int


def _crowded(minute: Minute, filters: Filters) -> Crowded:
    return Crowded(
        minute,
        _clock(minute.at),
        filters.query(span="10m", at=minute.at.isoformat()),
        max(0, minute.count - len(minute.jobs)),
    )


def _hour(moment: datetime) -> str:
    return f"{django_timezone.localtime(moment):%H:%M}"
