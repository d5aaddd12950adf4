"""Definitions of jobs as files: how `jobs export` writes several, and how `jobs import` reads and checks them.

YAML or JSON: `{"jobs": [{"name": …, "schedule": …, …}]}`, with the fields of the API, checked as the API checks them. What
is left out has its default.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from django.core.management.base import CommandError
from rest_framework.exceptions import ParseError

from scheduler_app.api.errors import Refused
from scheduler_app.api.job_serializers import JobSerializer
from scheduler_app.api.parsers import strict_loads
from scheduler_app.lifecycle import definitions
from scheduler_app.lifecycle.definitions import WRITABLE, plain, values_of
from scheduler_app.models import Job
from scheduler_app.models.job import Provenance
from scheduler_app.rules.problems import Problem

from .arguments import quoted
from .tables import line

LARGEST = 5 * 1024 * 1024
"""Bytes of a file."""
MOST_JOBS = 10_000
TARGET_FIELDS = {"kind", "target", "arguments"}


def as_yaml(found: Iterable[dict[str, Any]]) -> str:
    """A file that `read_definitions` reads."""
    return definitions.as_yaml({"jobs": list(found)})


def as_json(found: Iterable[dict[str, Any]]) -> str:
    """The same in JSON, in ASCII."""
    return json.dumps({"jobs": list(found)}, indent=2) + "\n"


def read_definitions(content: bytes, source: str) -> list[dict[str, Any]]:
    """The definitions in a file, by name unique. Raises CommandError."""
    if len(content) > LARGEST:
        raise CommandError(f"{source} is larger than {LARGEST // 1024 // 1024} MiB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(f"{source} is not UTF-8 text.") from None
    try:
        read = read_json if source.endswith(".json") else _read_yaml
        value = read(text, source)
    except RecursionError:
        raise CommandError(f"{source} is nested too deeply.") from None
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise CommandError(f"{source} cannot be read: {_why(error)}") from None
    found = value.get("jobs") if isinstance(value, dict) and value.keys() == {"jobs"} else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise CommandError(f'{source} must be an object with a list of jobs: {{"jobs": [{{…}}]}}.')
    if len(found) > MOST_JOBS:
        raise CommandError(f"{source} has {len(found):,} jobs; at most {MOST_JOBS:,} are read.")
    names: set[str] = set()
    for number, definition in enumerate(found, 1):
        name = definition.get("name")
        if not isinstance(name, str) or not name:
            raise CommandError(f"{source}: job {number} has no name, which must be a text.")
        if name in names:
            raise CommandError(f"{source}: there are two jobs {quoted(name)}.")
        names.add(name)
    return found


def candidate(definition: dict[str, Any], stored: Job | None) -> Job:
    """The job as the definition wants it, checked, not saved. Raises CommandError with all that is wrong.

    What stays as it is stored was allowed by settings that a command need not know, or at another time.
    """
    before = None if stored is None else values_of(stored)
    serializer = JobSerializer(stored, data=definition, context={})
    others = [name for name in definition if name in serializer.fields and name not in WRITABLE]
    if others:
        raise CommandError(
            f"The job {quoted(str(definition.get('name')))}: {', '.join(others)} cannot be chosen."
        )
    try:
        serializer.is_valid(raise_exception=True)
    except Refused as error:
        problems: Sequence[Problem] = error.problems
        if before is not None and hasattr(serializer, "candidate"):
            problems = _of_changes(problems, before, values_of(serializer.candidate))
        if problems:
            sentences = "".join(
                f"\n  {line(each.field)}: {line(each.message)}" for each in problems
            )
            raise CommandError(
                f"The job {quoted(str(definition.get('name')))}:{sentences}"
            ) from None
    job: Job = serializer.candidate
    if stored is None:
        job.provenance = Provenance.CODE
    return job


def _of_changes(
    problems: Sequence[Problem], before: dict[str, Any], after: dict[str, Any]
) -> list[Problem]:
    """Those of the target, if that changes, and those of all the rest, if anything of it does."""
    changed = {name for name in WRITABLE if before[name] != after[name]}
    of_target, of_the_rest = changed & TARGET_FIELDS, changed - TARGET_FIELDS
    return [
        problem
        for problem in problems
        if (of_target if problem.field.partition(".")[0] in TARGET_FIELDS else of_the_rest)
    ]


def read_json(text: str, source: str) -> Any:
    """The value of a JSON text, read as strictly as the API does. Raises CommandError."""
    try:
        return strict_loads(text, source)
    except ParseError as error:
        raise CommandError(str(error.detail)) from None


def _read_yaml(text: str, source: str) -> Any:
    """Only what JSON could say as well: no anchors, which could grow without end, and no key twice."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    seen: set[int] = set()

    def check(node: yaml.Node) -> None:
        if id(node) in seen:
            raise ValueError(f"anchors and aliases are not read, as in line {_line(node)}.")
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if len(keys) < len(node.value):
                twice = [key for key, number in keys.items() if number > 1]
                what = f"the key {twice[0]!r:.100} is there twice" if twice else "keys are texts"
                raise ValueError(f"{what}, from line {_line(node)}.")
            for _, value in node.value:
                check(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                check(value)

    if node is not None:
        check(node)
    # Once more as JSON, with all that is refused there.
    return read_json(json.dumps(plain(yaml.safe_load(text))), source)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _why(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error)
    problem = getattr(error, "problem", "") or "it is no YAML"
    hint = " A schedule that begins with * must be in quotes." if "alias" in str(error) else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}.{hint}"
