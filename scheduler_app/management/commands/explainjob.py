"""`manage.py explainjob`: why a job ran, or did not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_app.lifecycle.timeline import (
    PLANNED,
    Verdict,
    explain,
    following_verdicts,
    standing,
    timeline,
)
from scheduler_app.management.arguments import (
    MOMENT_FORMS,
    find_deleted_job,
    find_jobs,
    quoted,
    read_moment,
)
from scheduler_app.management.output import until_nobody_reads
from scheduler_app.models import Job, database_now
from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.storable import one_line
from scheduler_app.rules.timetable import Timetable
from scheduler_app.rules.zones import zone_names

DEFAULT_STRETCH = timedelta(hours=1)
NEXT_SHOWN = 5
MOST_LINES = 1_000_000


class Command(BaseCommand):
    help = (
        "Why did a job run, or not? Says what became of each of its fire times: ran, failed, or the reason "
        "why not. Without options: how the job stands, its last hour and its next fire times."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the job's name")
        parser.add_argument(
            "--at",
            metavar="T",
            help=f"explain this moment alone. Moments are written as {MOMENT_FORMS}; "
            "without an offset they are read in the job's zone",
        )
        parser.add_argument(
            "--since", metavar="T", help="what became of the fire times from here on"
        )
        parser.add_argument("--until", metavar="T", help="up to here (default: now)")
        parser.add_argument(
            "--limit",
            type=int,
            default=500,
            help="at most so many lines, the newest (default: 500)",
        )
        parser.add_argument(
            "--deleted", action="store_true", help="the job of this name that was deleted last"
        )
        parser.add_argument("--json", action="store_true", help="as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        name, at = options["name"], options["at"]
        since, until = options["since"], options["until"]
        if at is not None and (since is not None or until is not None):
            raise CommandError("--at explains one moment; leave out --since and --until.")
        if not 1 <= options["limit"] <= MOST_LINES:
            raise CommandError(f"--limit must be from 1 to {MOST_LINES:,}, got {options['limit']}.")
        job = find_deleted_job(name) if options["deleted"] else find_jobs([name])[0]
        now = database_now()

        def moment(option: str, text: str) -> datetime:
            zone = job.timezone if job.timezone in zone_names() else "UTC"
            return read_moment(option, text, zone=zone, now=now)

        if at is not None:
            with until_nobody_reads():
                self._explain(job, moment("--at", at), as_json=options["json"])
            return
        end = now if until is None else moment("--until", until)
        start = end - DEFAULT_STRETCH if since is None else moment("--since", since)
        if start > end:
            raise CommandError(
                f"--since: {quoted(since)} comes after "
                + ("now; give --until as well." if until is None else f"--until, {quoted(until)}.")
            )
        is_overview = since is None and until is None
        with until_nobody_reads():
            self._tell(job, start, end, now, options["limit"], is_overview, as_json=options["json"])

    def _explain(self, job: Job, at: datetime, *, as_json: bool) -> None:
        sentence = explain(job, at)
        if as_json:
            self._write_json({"job": _named(job), "at": _iso(at), "sentence": sentence})
        else:
            self._write(sentence)

    def _tell(
        self,
        job: Job,
        start: datetime,
        end: datetime,
        now: datetime,
        limit: int,
        is_overview: bool,
        *,
        as_json: bool,
    ) -> None:
        found = timeline(job, start, end, limit=limit + 1)
        # Of what happened the newest, of what is still to come the first; all of it oldest first.
        past = [verdict for verdict in found if verdict.what != PLANNED]
        ahead = [verdict for verdict in reversed(found) if verdict.what == PLANNED]
        complete = len(past) <= limit and len(ahead) <= limit
        verdicts = sorted([*past[:limit], *ahead[:limit]], key=lambda verdict: verdict.first_at)
        following = following_verdicts(job, limit=NEXT_SHOWN)
        if as_json:
            self._write_json(
                {
                    "job": _named(job),
                    "state": standing(job),
                    "since": _iso(start),
                    "until": _iso(end),
                    "complete": complete,
                    "verdicts": [_shown(verdict) for verdict in verdicts],
                    "next": [_shown(verdict) for verdict in following],
                }
            )
            return
        if is_overview:
            self._write(standing(job))
            self._write(_described(job))
        if not complete:
            self._write(f"Only {limit:,} are shown; give a higher --limit, or ask for less.")
        if is_overview:
            self._write("The last hour:" if verdicts else "Nothing was due in the last hour.")
        elif not verdicts:
            self._write("Nothing was due in this time.")
        indent = "  " if is_overview else ""
        for verdict in verdicts:
            self._write(verdict.sentence, indent)
        if is_overview and following:
            self._write("Next:")
            for verdict in following:
                self._write(verdict.sentence, indent)

    def _write(self, sentence: str, indent: str = "") -> None:
        """One line for each sentence, whatever control characters names and errors bring along."""
        if sentence:
            self.stdout.write(indent + one_line(sentence, 2000))

    def _write_json(self, value: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _described(job: Job) -> str:
    try:
        return f"{Timetable.of(job.spec()).schedule.describe()}."
    except Invalid:
        return ""


def _named(job: Job) -> dict[str, Any]:
    return {"id": job.pk, "name": job.name}


def _shown(verdict: Verdict) -> dict[str, Any]:
    return {
        "first_at": _iso(verdict.first_at),
        "last_at": _iso(verdict.last_at),
        "count": verdict.count,
        "what": verdict.what,
        "sentence": verdict.sentence,
        "execution": verdict.execution_id,
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
