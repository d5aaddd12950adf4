"""What `manage.py jobs` does: each action calls the verbs that admin and API call, and tells what came of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, OutputWrapper
from django.db import transaction
from django.db.models import QuerySet

from scheduler_app import lifecycle
from scheduler_app.admin.display import relative
from scheduler_app.admin.state import standing_pauses, state_of
from scheduler_app.api.job_serializers import attach_last_executions
from scheduler_app.conf import get_config
from scheduler_app.lifecycle.definitions import definition_of
from scheduler_app.lifecycle.timeline import standing
from scheduler_app.models import Execution, Job, LogChunk, Status, database_now
from scheduler_app.rules.masking import masked_lines, masked_text

from .arguments import find_jobs, quoted, read_moment
from .definitions import (
    LARGEST,
    as_json,
    as_yaml,
    candidate,
    read_definitions,
    read_json,
)
from .importing import Plan, apply_plan, check_prune, make_plan
from .tables import line, safe, table, terminal_width

OK = 0
CHANGES_WAIT = 3
"""Exit code of an import that shows changes and does not apply them."""
NOT_SUCCEEDED = 4
"""Exit code when an execution that was waited for ended otherwise."""
LOOK_S = 0.5
RECENT = 5


class Actions:
    """One invocation: where it writes, in whose name it acts."""

    def __init__(self, stdout: OutputWrapper, *, by: str, as_json: bool) -> None:
        self._stdout = stdout
        self._by = by
        self._as_json = as_json

    # --- Looking ---

    def list(self, options: dict[str, Any]) -> int:
        """The jobs that match, by name."""
        jobs = Job.objects.select_related("plan").order_by("name")
        for option, lookup in (
            ("queue", "queue"),
            ("kind", "kind"),
            ("search", "name__icontains"),
        ):
            if options[option]:
                jobs = jobs.filter(**{lookup: _storable(f"--{option}", options[option])})
        if options["tag"]:
            jobs = jobs.filter(tags__contains=[_storable("--tag", options["tag"])])
        if options["paused"]:
            jobs = jobs.filter(paused_at__isnull=False)
        limit = options["limit"]
        if not 1 <= limit <= 100_000:
            raise CommandError(f"--limit must be from 1 to 100,000, got {limit}.")
        found = list(jobs[: limit + 1])
        shown, more = found[:limit], len(found) > limit
        attach_last_executions(shown)
        now, pauses = database_now(), list(standing_pauses())
        states = [state_of(job, getattr(job, "plan", None), pauses, now) for job in shown]
        if self._as_json:
            rows = [
                _summary(job) | {"state": state.key}
                for job, state in zip(shown, states, strict=True)
            ]
            return self._tell({"jobs": rows, "complete": not more})
        lines = table(
            ("NAME", "STATE", "SCHEDULE", "NEXT", "LAST"),
            [
                (
                    job.name,
                    state.label,
                    f"{job.schedule} {job.timezone}" if job.timezone != "UTC" else job.schedule,
                    _when(_next_fire_at(job), now),
                    _last(job, now),
                )
                for job, state in zip(shown, states, strict=True)
            ],
            terminal_width(),
        )
        self._say(*(lines if shown else ["There is no such job."]))
        if more:
            self._say(f"There are more than {limit}; give --limit or a filter.")
        return OK

    def show(self, options: dict[str, Any]) -> int:
        """One job: its definition, how it stands, and its last executions."""
        [job] = find_jobs([options["name"]])
        attach_last_executions([job])
        recent = job.executions.order_by("-scheduled_for", "-id")[:RECENT]
        definition = definition_of(job)
        if self._as_json:
            rows = [_execution(execution) for execution in recent]
            return self._tell(
                _summary(job)
                | {"definition": definition, "standing": standing(job), "executions": rows}
            )
        self._say(standing(job))
        self._say("")
        heads = ("FIELD", "VALUE")
        values = [(name, _shown(value)) for name, value in definition.items()]
        self._say(*table(heads, values, terminal_width()))
        if recent:
            now = database_now()
            rows_ = [
                (
                    execution.pk,
                    execution.status,
                    _when(execution.scheduled_for, now),
                    execution.trigger,
                    execution.attempt,
                    masked_text(execution.error),
                )
                for execution in recent
            ]
            heads_ = ("EXECUTION", "STATUS", "FOR", "TRIGGER", "ATTEMPT", "ERROR")
            self._say("", *table(heads_, rows_, terminal_width()))
        return OK

    def log(self, options: dict[str, Any]) -> int:
        """What an execution printed; followed until it has ended, if asked."""
        execution = _find_execution(options["execution"])
        chunks = LogChunk.objects.filter(execution=execution)
        if options["attempt"] is not None:
            chunks = chunks.filter(attempt=options["attempt"])
        if self._as_json and not options["follow"]:
            text = "".join(chunks.values_list("text", flat=True))
            return self._tell(_execution(execution) | {"log": masked_text(text)})
        for text in masked_lines(_texts(execution, chunks, follow=options["follow"])):
            if self._as_json:
                self._stdout.write(json.dumps({"log": text}))
            else:
                self._stdout.write(safe(text), ending="")
            self._stdout.flush()
        if not options["follow"]:
            return OK
        if self._as_json:
            self._stdout.write(json.dumps(_execution(execution)))
        else:
            self._say(_ended(execution))
        return _code_of(execution)

    # --- Changing ---

    def create(self, options: dict[str, Any]) -> int:
        """A new job from options."""
        definition: dict[str, Any] = {
            name: options[name]
            for name in ("name", "schedule", "timezone", "kind", "target", "queue", "description")
            if options[name] is not None
        }
        if options["arguments"] is not None:
            definition["arguments"] = read_json(options["arguments"], "--arguments")
        if options["tag"]:
            definition["tags"] = options["tag"]
        for assignment in options["set"]:
            name, separator, text = assignment.partition("=")
            if not separator:
                raise CommandError(
                    f"--set: {quoted(assignment)} must be FIELD=VALUE, such as max_attempts=3."
                )
            if name in definition:
                raise CommandError(f"--set: {quoted(name)} is given already; give it once.")
            definition[name] = _value(text)
        job = lifecycle.save_job(candidate(definition, None), by=self._by)
        if self._as_json:
            return self._tell({"id": job.pk, "definition": definition_of(job)})
        self._say(f"Created {job.name}. {standing(job)}")
        return OK

    def pause(self, options: dict[str, Any]) -> int:
        """No fire time becomes an execution until they are resumed."""
        jobs = find_jobs(options["names"])
        until = options["until"]
        if until is not None:
            until = read_moment("--until", until, zone="UTC", now=database_now())
        paused = lifecycle.pause(
            [job.pk for job in jobs], by=self._by, reason=options["reason"], until=until
        )
        return self._tell_of(jobs, paused, "Paused", "is paused already")

    def resume(self, options: dict[str, Any]) -> int:
        """They fire again."""
        jobs = find_jobs(options["names"])
        resumed = lifecycle.resume([job.pk for job in jobs], by=self._by, run=options["run"])
        return self._tell_of(jobs, resumed, "Resumed", "is not paused")

    def run(self, options: dict[str, Any]) -> int:
        """One execution of each, now."""
        jobs = find_jobs(options["names"])
        arguments = options["arguments"]
        if arguments is not None:
            arguments = read_json(arguments, "--arguments")
        executions = lifecycle.run_now([job.pk for job in jobs], by=self._by, arguments=arguments)
        executions.sort(key=lambda execution: execution.pk)
        if options["wait"]:
            return self._wait_for(executions)
        if self._as_json:
            return self._tell({"executions": [_execution(each) for each in executions]})
        for execution in executions:
            name = execution.job.name if execution.job else ""
            self._say(f"Execution {execution.pk} of {name} is {execution.status}.")
        return OK

    def retry(self, options: dict[str, Any]) -> int:
        """Try failed, lost or cancelled executions again."""
        executions = [_find_execution(text) for text in options["executions"]]
        retried = lifecycle.retry([execution.pk for execution in executions], by=self._by)
        refused = [execution for execution in executions if execution.pk not in retried]
        if self._as_json:
            self._tell({"retried": sorted(retried), "refused": [each.pk for each in refused]})
        else:
            self._say(*(f"Execution {pk} is tried again." for pk in sorted(retried)))
        if refused:
            sentences = " ".join(f"Execution {each.pk} is {each.status}." for each in refused)
            raise CommandError(
                f"{sentences} Only what failed, was lost or cancelled can be tried again."
            )
        return OK

    def export(self, options: dict[str, Any]) -> int:
        """Write definitions to a file."""
        if options["names"]:
            jobs = find_jobs(options["names"])
        else:
            chosen = Job.objects.select_related("calendar").order_by("name")
            if options["tag"]:
                chosen = chosen.filter(tags__contains=[_storable("--tag", options["tag"])])
            jobs = list(chosen)
        output = options["output"]
        wants_json = self._as_json or (output or "").endswith(".json")
        text = (as_json if wants_json else as_yaml)(definition_of(job) for job in jobs)
        if output is None:
            # Both formats escape what would steer a terminal.
            self._stdout.write(text, ending="")
            return OK
        try:
            Path(output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}.") from None
        self._say(f"Wrote {len(jobs)} jobs to {output}.")
        return OK

    def import_(self, options: dict[str, Any]) -> int:
        """Bring jobs into line with a file; shows what it would do, unless told to do it."""
        definitions = read_definitions(*_content(options["file"]))
        if options["tag"] and not options["prune"]:
            raise CommandError("--tag says which jobs --prune may delete; give --prune as well.")
        tag = _storable("--tag", options["tag"]) if options["tag"] else ""
        apply = options["apply"]
        with transaction.atomic(using=get_config().database):
            plan = make_plan(definitions, prune=options["prune"], tag=tag, lock=apply)
            check_prune(plan, definitions, options["at_most"])
            if apply:
                apply_plan(plan, by=self._by)
        if self._as_json:
            self._tell(_plan(plan) | {"applied": apply})
        else:
            self._say(*_plan_lines(plan))
            done = "Done." if apply else "Nothing was done; --apply does it."
            self._say(f"{plan.summary}." + ("" if plan.is_empty else f" {done}"))
        return OK if apply or plan.is_empty else CHANGES_WAIT

    # --- Telling ---

    def _wait_for(self, executions: Sequence[Execution]) -> int:
        for execution in executions:
            while execution.is_live:
                time.sleep(LOOK_S)
                execution.refresh_from_db()
        if self._as_json:
            self._tell({"executions": [_execution(each) for each in executions]})
        else:
            self._say(*map(_ended, executions))
        return max(map(_code_of, executions))

    def _tell_of(self, jobs: Sequence[Job], done: Iterable[int], word: str, otherwise: str) -> int:
        changed = set(done)
        names = [job.name for job in jobs if job.pk in changed]
        others = [job.name for job in jobs if job.pk not in changed]
        if self._as_json:
            return self._tell({word.lower(): names, "unchanged": others})
        self._say(
            *(f"{word} {name}." for name in names), *(f"{name} {otherwise}." for name in others)
        )
        return OK

    def _say(self, *lines: str) -> None:
        for text in lines:
            self._stdout.write(safe(text).replace("\n", " "))

    def _tell(self, value: dict[str, Any]) -> int:
        # ASCII alone, so no escape sequence of a name or a log reaches the terminal.
        self._stdout.write(json.dumps(value, indent=2))
        return OK


def _find_execution(text: str) -> Execution:
    """By number, or the newest of the job with this name. Raises CommandError."""
    if text.isascii() and text.isdigit():
        found = Execution.objects.select_related("job").filter(pk=int(text[:18])).first()
        if found is None:
            raise CommandError(f"There is no execution {text[:18]}; it may have been pruned.")
        return found
    [job] = find_jobs([text])
    newest = job.executions.select_related("job").order_by("-scheduled_for", "-id").first()
    if newest is None:
        raise CommandError(f"{quoted(job.name)} has no execution yet.")
    return newest


def _texts(execution: Execution, chunks: QuerySet[LogChunk], *, follow: bool) -> Iterator[str]:
    """What is in its log, and, if that is waited for, what comes until it has ended."""
    told: set[tuple[int, int, int]] = set()
    while True:
        is_live = execution.is_live
        for chunk in chunks.iterator():
            place = (chunk.attempt, chunk.token, chunk.seq)
            if place not in told:
                told.add(place)
                yield chunk.text
        # Looked at before the last chunks were read, so that none is missed.
        if not follow or not is_live:
            return
        time.sleep(LOOK_S)
        execution.refresh_from_db()


def _content(file: str) -> tuple[bytes, str]:
    """What is in a file, `-` for standard input, and how to call it."""
    if file == "-":
        return sys.stdin.buffer.read(LARGEST + 1), "standard input"
    try:
        with Path(file).open("rb") as opened:
            return opened.read(LARGEST + 1), file
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None


def _storable(option: str, text: str) -> str:
    if "\x00" in text or len(text) > 200:
        raise CommandError(f"{option}: {quoted(text)} cannot be the name of anything.")
    return text


def _value(text: str) -> Any:
    """`3`, `true`, `null` and `["a"]` are JSON; everything else is text."""
    try:
        return read_json(text, "The value")
    except CommandError:
        return text


def _summary(job: Job) -> dict[str, Any]:
    last: Execution | None = job.last_execution  # type: ignore[attr-defined]
    return {
        "id": job.pk,
        "name": job.name,
        "paused": job.paused_at is not None,
        "schedule": job.schedule,
        "timezone": job.timezone,
        "queue": job.queue,
        "next_fire_at": _iso(_next_fire_at(job)),
        "last_execution": None if last is None else _execution(last),
    }


def _execution(execution: Execution) -> dict[str, Any]:
    return {
        "id": execution.pk,
        "job_id": execution.job_id,
        "status": execution.status,
        "reason": execution.reason,
        "trigger": execution.trigger,
        "scheduled_for": _iso(execution.scheduled_for),
        "started_at": _iso(execution.started_at),
        "finished_at": _iso(execution.finished_at),
        "error": masked_text(execution.error),
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "create": [{"name": each.job.name, "fields": each.fields} for each in plan.create],
        "change": [{"name": each.job.name, "fields": each.fields} for each in plan.change],
        "delete": [job.name for job in plan.delete],
        "unchanged": plan.unchanged,
    }


def _plan_lines(plan: Plan) -> Iterable[str]:
    for change in plan.create:
        yield f"+ {line(change.job.name)}"
        for name, values in change.fields.items():
            yield f"    {line(name)}: {line(_shown(values['new']))}"
    for change in plan.change:
        yield f"~ {line(change.job.name)}"
        for name, values in change.fields.items():
            old, new = line(_shown(values["old"])), line(_shown(values["new"]))
            yield f"    {line(name)}: {old} → {new}"
    for job in plan.delete:
        yield f"- {line(job.name)}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _next_fire_at(job: Job) -> datetime | None:
    plan = getattr(job, "plan", None)
    return plan.next_fire_at if plan else None


def _when(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else relative(moment, now)


def _last(job: Job, now: datetime) -> str:
    last: Execution | None = job.last_execution  # type: ignore[attr-defined]
    return "" if last is None else f"{last.status} {relative(last.scheduled_for, now)}"


def _ended(execution: Execution) -> str:
    error = f": {masked_text(execution.error)}" if execution.error else "."
    reason = f" ({execution.reason})" if execution.reason else ""
    return f"Execution {execution.pk} {execution.status}{reason}{error}"


def _code_of(execution: Execution) -> int:
    return OK if execution.status == Status.SUCCEEDED else NOT_SUCCEEDED


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
