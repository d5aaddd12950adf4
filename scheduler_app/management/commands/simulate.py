"""`manage.py simulate`: what would run when, without running anything."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

from scheduler_app.lifecycle.forecasting import Forecast, forecast
from scheduler_app.management.arguments import (
    MOMENT_FORMS,
    find_jobs,
    quoted,
    read_moment,
    read_seconds,
)
from scheduler_app.management.output import until_nobody_reads
from scheduler_app.models import Job, database_now
from scheduler_app.rules.simulating import CANCELLED, EXECUTED, QUEUED, RAN, Answer, Busiest
from scheduler_app.rules.storable import one_line
from scheduler_app.rules.timetable import TICK
from scheduler_app.rules.zones import Zone, load_zone, utc

AT_ONCE = 200_000
"""About so many fire times are held in memory at a time."""
MOST_COMPARED = 20_000_000
"""Up to so many fire times the busiest moments are looked for."""
STEPS = 100
"""In so many steps the progress bar moves at least."""

# An entry is a whole number, since millions are sorted: the fire time, the place of the job, the number of the kind.
_NUMBER_BITS = 32
_NUMBER = (1 << _NUMBER_BITS) - 1
_LOW_BITS = _NUMBER_BITS + 24

VERDICTS = (RAN, QUEUED, CANCELLED, "overlap", "paused", "calendar", "skipped")


class Command(BaseCommand):
    help = (
        "Print every fire time of the jobs in a period and what would become of it, without running anything. "
        "Jobs, pauses and calendars are taken as they are now; every execution succeeds, at once and after the "
        "same time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from",
            dest="start",
            metavar="T",
            required=True,
            help=f"the period begins here; moments are written as {MOMENT_FORMS}, in UTC unless said otherwise",
        )
        parser.add_argument(
            "--to", dest="end", metavar="T", required=True, help="and ends before here"
        )
        parser.add_argument(
            "--job",
            action="append",
            dest="names",
            metavar="NAME",
            help="only this job; may be given several times",
        )
        parser.add_argument(
            "--duration",
            metavar="SECONDS",
            help="how long an execution takes (default: what is usual for its job, 0 for a new one)",
        )
        parser.add_argument(
            "--summary",
            action="store_true",
            help="only count, by job and verdict, and name the busiest moments",
        )
        parser.add_argument("--json", action="store_true", help="as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        now = database_now()
        start = read_moment("--from", options["start"], zone="UTC", now=now)
        end = read_moment("--to", options["end"], zone="UTC", now=now)
        if start >= end:
            raise CommandError(
                f"--to: {quoted(options['end'])} must come after --from, {quoted(options['start'])}."
            )
        duration_s = None
        if options["duration"] is not None:
            duration_s = read_seconds("--duration", options["duration"])
        jobs: Any = Job.objects.select_related("calendar", "plan").order_by("name")
        if options["names"]:
            jobs = jobs.filter(pk__in=[job.pk for job in find_jobs(options["names"])])
        # Fire times are whole seconds, so nothing lies between a tick before the second and the second.
        forecasts = forecast(jobs, start - TICK, end - TICK, duration_s=duration_s)
        simulation = Simulation(
            forecasts, start, end, lists=not options["summary"], compares=options["summary"]
        )
        progress = Progress(self.stderr)
        try:
            with until_nobody_reads():
                write = self._write_json if options["json"] else self._write_text
                write(simulation, simulation.run(progress))
        except KeyboardInterrupt:
            raise CommandError("Stopped.", returncode=130) from None
        finally:
            progress.clear()
        for found in forecasts:
            if found.problem:
                self.stderr.write(one_line(f"{found.name} is left out: {found.problem}", 1000))
        if not simulation.total:
            self.stderr.write("There are no fire times in this period.")

    def _write_text(self, simulation: Simulation, stretches: Iterator[list[int]]) -> None:
        lines = Lines(simulation, _text_line)
        for stretch in stretches:
            self.stdout.write("".join(lines.of(stretch)), ending="")
        if not simulation.lists:
            for line in summary_lines(simulation):
                self.stdout.write(line)

    def _write_json(self, simulation: Simulation, stretches: Iterator[list[int]]) -> None:
        head = {"from": _iso(simulation.start), "to": _iso(simulation.end)}
        self.stdout.write(json.dumps(head)[:-1], ending="")
        if simulation.lists:
            self.stdout.write(', "verdicts": [', ending="")
        lines, joint = Lines(simulation, _json_line), "\n"
        for stretch in stretches:
            if texts := lines.of(stretch):
                self.stdout.write(joint + ",\n".join(texts), ending="")
                joint = ",\n"
        if simulation.lists:
            self.stdout.write("\n]", ending="")
        self.stdout.write(", " + json.dumps(summary_json(simulation), indent=2)[1:].lstrip())


class Simulation:
    """The courses of all jobs, side by side from stretch to stretch of the period."""

    def __init__(
        self,
        forecasts: Sequence[Forecast],
        start: datetime,
        end: datetime,
        *,
        lists: bool,
        compares: bool,
    ) -> None:
        """`lists`: each fire time is wanted. `compares`: the busiest moments are."""
        self.start = start
        self.end = end
        self.forecasts = forecasts
        self.lists = lists
        most = sum(found.course.most for found in forecasts if found.course)
        self.compares = compares and most <= MOST_COMPARED
        self.seconds, self.minutes = Busiest(1), Busiest(60)
        self.kinds: list[tuple[Forecast, Answer]] = []
        """What is the same for many fire times: the job, the verdict and why."""
        steps = max(1, -(-most // AT_ONCE)) if lists or self.compares else STEPS
        # In whole minutes, so that the executions of a minute are counted together.
        self._step_s = 60 * math.ceil((end - start).total_seconds() / steps / 60)

    @property
    def total(self) -> int:
        """How many fire times were reached."""
        return sum(sum(found.course.counts.values()) for found in self.forecasts if found.course)

    def run(self, progress: Progress) -> Iterator[list[int]]:
        """The fire times of each stretch in their order, as numbers for `Lines`; none where none are wanted."""
        after, last = _floor(self.start - TICK), _floor(self.end - TICK)
        numbers: dict[tuple[int, str, str, str], int] = {}
        while after < last:
            until = min(last, (after // 60) * 60 + self._step_s + 59)
            entries: list[int] = []
            executed: list[int] = []
            for place, found in enumerate(self.forecasts):
                if found.course is None:
                    continue
                for answer, moments in found.course.take(after, until):
                    if self.lists:
                        key = (place, answer.verdict, answer.who, answer.detail)
                        number = numbers.setdefault(key, len(numbers))
                        if number == len(self.kinds):
                            self.kinds.append((found, answer))
                        low = place << _NUMBER_BITS | number
                        entries += [ts << _LOW_BITS | low for ts in moments]
                    elif self.compares and answer.verdict in EXECUTED:
                        executed += moments
                progress.show(
                    (
                        after
                        - _floor(self.start)
                        + (until - after) * (place + 1) / len(self.forecasts)
                    )
                    / (last - _floor(self.start) + 1)
                )
            if self.compares:
                self.seconds.add(executed)
                self.minutes.add(executed)
            entries.sort()
            yield entries
            after = until


class Lines:
    """Writes fire times, each in its job's zone."""

    def __init__(
        self, simulation: Simulation, line: Callable[[Forecast, Answer], tuple[str, str]]
    ) -> None:
        """`line` says what stands before and after the moment."""
        self._kinds = simulation.kinds
        self._line = line
        self._known: list[tuple[str, str, Zone]] = []
        self._offsets: dict[int, str] = {}

    def of(self, entries: Sequence[int]) -> list[str]:
        """A text for each; they are ascending."""
        if not entries:
            return []
        for found, answer in self._kinds[len(self._known) :]:
            self._known.append((*self._line(found, answer), load_zone(found.timezone)))
        first, last = entries[0] >> _LOW_BITS, entries[-1] >> _LOW_BITS
        steady = [self._steady(*known, first, last) for known in self._known]
        minutes = _Minutes()
        texts = []
        for entry in entries:
            before, offset, after = steady[entry & _NUMBER] or self._at(entry)
            minute, second = divmod((entry >> _LOW_BITS) + offset, 60)
            texts.append(f"{before}{minutes[minute]}{_SECONDS[second]}{after}")
        return texts

    def _steady(
        self, before: str, after: str, zone: Zone, first: int, last: int
    ) -> tuple[str, int, str] | None:
        """The parts of all lines of a kind, unless the clock changes meanwhile."""
        if zone.segment(first) != zone.segment(last):
            return None
        offset = zone.offset_at(first)
        return before, offset, self._offset(offset) + after

    def _at(self, entry: int) -> tuple[str, int, str]:
        before, after, zone = self._known[entry & _NUMBER]
        offset = zone.offset_at(entry >> _LOW_BITS)
        return before, offset, self._offset(offset) + after

    def _offset(self, offset: int) -> str:
        """`+02:00`"""
        if offset not in self._offsets:
            zone = timezone(timedelta(seconds=offset))
            self._offsets[offset] = utc(0).astimezone(zone).isoformat()[19:]
        return self._offsets[offset]


class _Minutes(dict[int, str]):
    """How whole minutes since 1970 are written."""

    def __missing__(self, minute: int) -> str:
        self[minute] = text = f"{utc(minute * 60):%Y-%m-%dT%H:%M}"
        return text


_SECONDS = [f":{second:02d}" for second in range(60)]


def _text_line(found: Forecast, answer: Answer) -> tuple[str, str]:
    by = f"by {answer.who}" if answer.who else ""
    why = ", ".join(filter(None, (by, answer.detail)))
    text = f"{found.name} ({why})" if why else found.name
    return "", f"  {answer.verdict:<9}  {one_line(text)}\n"


def _json_line(found: Forecast, answer: Answer) -> tuple[str, str]:
    values = {"job": found.name, "verdict": answer.verdict}
    if answer.who:
        values["by"] = answer.who
    if answer.detail:
        values["detail"] = answer.detail
    return '{"at": "', f'", {json.dumps(values)[1:]}'


def summary_lines(simulation: Simulation) -> Iterator[str]:
    """The counts as a table, then the busiest moments."""
    totals = _totals(simulation)
    verdicts = [verdict for verdict in VERDICTS if totals[verdict]]
    rows = [["job", "takes", "fire times", *verdicts]]
    for found in simulation.forecasts:
        if found.course is not None:
            rows.append(
                [
                    one_line(found.name, 60),
                    _seconds(found.duration_s),
                    *_counts(found.course.counts, verdicts),
                ]
            )
    rows.append(["all", "", *_counts(totals, verdicts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        shown = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield f"{name:<{widths[0]}}  {'  '.join(shown)}"
    yield ""
    if not simulation.compares:
        yield (
            f"The busiest moments are looked for in up to {MOST_COMPARED:,} fire times; "
            "choose a shorter period or fewer jobs."
        )
    elif not simulation.minutes.found:
        yield "No two executions are due in the same minute."
    else:
        for name, busiest in (("second", simulation.seconds), ("minute", simulation.minutes)):
            yield (
                f"Executions due in the same {name}, the most:"
                if busiest.found
                else f"No two executions are due in the same {name}."
            )
            for ts, count in busiest.found:
                yield f"  {_iso(utc(ts))}  {count:,}"


def summary_json(simulation: Simulation) -> dict[str, Any]:
    """The same as plain values."""
    jobs: list[dict[str, Any]] = []
    for found in simulation.forecasts:
        if found.course is None:
            jobs.append({"job": found.name, "problem": found.problem})
        else:
            jobs.append(
                {
                    "job": found.name,
                    "duration_s": found.duration_s,
                    "fire_times": sum(found.course.counts.values()),
                    "counts": dict(found.course.counts),
                }
            )
    answer: dict[str, Any] = {
        "jobs": jobs,
        "fire_times": simulation.total,
        "counts": dict(_totals(simulation)),
    }
    if simulation.compares:
        answer["busiest"] = {
            name: [{"at": _iso(utc(ts)), "count": count} for ts, count in busiest.found]
            for name, busiest in (("seconds", simulation.seconds), ("minutes", simulation.minutes))
        }
    return answer


def _totals(simulation: Simulation) -> Counter[str]:
    return sum((found.course.counts for found in simulation.forecasts if found.course), Counter())


def _counts(counts: Counter[str], verdicts: Sequence[str]) -> list[str]:
    return [f"{sum(counts.values()):,}", *(f"{counts[verdict]:,}" for verdict in verdicts)]


def _seconds(duration_s: float) -> str:
    return f"{duration_s:,.3f}".rstrip("0").rstrip(".") + " s"


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _floor(moment: datetime) -> int:
    return (moment - utc(0)) // timedelta(seconds=1)


class Progress:
    """A bar on standard error, if that is a terminal."""

    WIDTH = 40

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream
        self._shows = stream.isatty()
        self._next = 0.0
        self._drawn = False

    def show(self, share: float) -> None:
        """Draw how much is done, ten times a second at most."""
        if not self._shows or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.1
        bar = "#" * round(share * self.WIDTH)
        self._draw(f"\r[{bar:.<{self.WIDTH}}] {share:4.0%}")
        self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            self._draw("\r" + " " * (self.WIDTH + 8) + "\r")
            self._drawn = False

    def _draw(self, text: str) -> None:
        self._stream.write(text, style_func=str, ending="")
        self._stream.flush()
