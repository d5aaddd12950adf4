"""What changed from one definition of a job to the next, field by field, with secrets masked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.utils.text import capfirst

from scheduler_app.models import Job, JobRevision
from scheduler_app.rules.masking import masked, masked_text

from .display import printable

LONGEST = 300
"""Characters of a value in a list of changes."""
_COPIES = ("calendar_name", "calendar_days")
"""They follow from `calendar_id`."""
_PAUSE = ("paused_at", "paused_by", "paused_until", "pause_reason")


@dataclass(frozen=True, slots=True)
class Change:
    """One field of two definitions that differ; texts as people read them."""

    field: str
    label: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Edit:
    """A revision and what it changed; `summary` stands for changes that have a name of their own."""

    revision: JobRevision
    summary: str
    changes: list[Change]


def edits(revisions: Sequence[JobRevision], limit: int) -> list[Edit]:
    """The newest `limit` of `revisions`, newest first, each compared with the one before it."""
    found = []
    for index, revision in enumerate(revisions[:limit]):
        if index + 1 < len(revisions):
            found.append(_edit(revision, revisions[index + 1].spec))
        else:
            # Older ones may have been pruned.
            found.append(Edit(revision, "Created" if revision.version == 1 else "", []))
    return found


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of the columns whose values differ."""
    return [name for name in new if old.get(name) != new[name]]


def changes(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> list[Change]:
    """The named fields of two definitions, before and after."""
    return [
        Change(name, label_of(name), shown(name, old.get(name)), shown(name, new.get(name)))
        for name in names
    ]


def label_of(name: str) -> str:
    """What people read for a column of the job."""
    try:
        label = str(getattr(Job._meta.get_field(name), "verbose_name", name))
    except FieldDoesNotExist:
        label = name
    return str(capfirst(label))


def shown(name: str, value: Any) -> str:
    """A value of a definition on one line, safe to show."""
    if value in (None, "", [], {}):
        return "empty"
    if name == "arguments":
        text = json.dumps(masked(value), ensure_ascii=False)
    elif isinstance(value, list):
        text = ", ".join(str(item) for item in value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = masked_text(str(value))
    text = printable(text)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _edit(revision: JobRevision, old: Mapping[str, Any]) -> Edit:
    new = revision.spec
    names = changed_fields(old, new)
    summary = ""
    if new.get("deleted_at") and not old.get("deleted_at"):
        summary = "Deleted"
    elif new.get("paused_at") and not old.get("paused_at"):
        reason = new.get("pause_reason")
        summary = f"Paused: {printable(reason)}" if reason else "Paused"
    elif old.get("paused_at") and not new.get("paused_at"):
        summary = "Resumed"
    rest = [name for name in names if name not in (*_PAUSE, *_COPIES) and name != "deleted_at"]
    return Edit(revision, summary, changes(old, new, rest))
