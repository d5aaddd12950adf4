"""`manage.py simulate`: what would run when, without running anything."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
            start,
            end,
            forecasts,
            Progress(self.stderr),
            lists=not options["summary"],
            looks_for_busiest=options["summary"] or options["json"],
        )
        try:
            with until_nobody_reads():
                write = self._write_json if options["json"] else self._write_text
                write(simulation)
        except KeyboardInterrupt:
            raise CommandError("Stopped.", returncode=130) from None
        finally:
            simulation.progress.clear()
        for found in forecasts:
            if found.problem:
                self.stderr.write(one_line(f"{found.name} is left out: {found.problem}", 1000))
        if not any(simulation.totals.values()):
            self.stderr.write("There are no fire times in this period.")

    def _write_text(self, simulation: Simulation) -> None:
        lines = Lines(*("", "  {verdict:<9}  {name}{why}\n"))
        for stretch in simulation.run():
            if simulation.lists:
                self.stdout.write("".join(lines.of(stretch)), ending="")
        if not simulation.lists:
            for line in summary_lines(simulation):
                self.stdout.write(line)

    def _write_json(self, simulation: Simulation) -> None:
        head = {"from": _iso(simulation.start), "to": _iso(simulation.end)}
        self.stdout.write(json.dumps(head)[:-1], ending=",\n")
        if simulation.lists:
            self.stdout.write('"verdicts": [', ending="")
        lines, comma = Lines('{{"at": "', '", "job": {name_json}, "verdict": "{verdict}"{why_json}}}'), "\n"
        for stretch in simulation.run():
            if texts := lines.of(stretch) if simulation.lists else ():
                self.stdout.write(comma + ",\n".join(texts), ending="")
                comma = ",\n"
        if simulation.lists:
            self.stdout.write("\n],")
        self.stdout.write(json.dumps(summary_json(simulation), indent=2)[2:])


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
