"""The audit trail as pages show it: who did what, and each field before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from scheduler_app.access import visible
from scheduler_app.models import AuditEntry

from .history import Change, label_of, shown

PAGES = {
    "job": "admin:scheduler_app_job_detail",
    "execution": "admin:scheduler_app_execution_change",
    "node": "admin:scheduler_app_node_change",
}
"""Objects that have a page of their own."""


@dataclass(slots=True)
class Deed:
    """An entry with its changes in words. `url` leads to its object, which may be gone."""

    entry: AuditEntry
    changes: list[Change]
    url: str


def deeds(entries: Iterable[AuditEntry]) -> list[Deed]:
    """The entries as pages show them."""
    return [Deed(entry, _changes(entry), _url(entry)) for entry in entries]


def trail_of(kind: str, object_id: str) -> QuerySet[AuditEntry]:
    """What was done to one object, newest first; to a job also what was done to its executions."""
    if kind == "job":
        return visible.audit_entries().filter(job_id=int(object_id))
    return visible.audit_entries().filter(object_kind=kind, object_id=object_id)


def _changes(entry: AuditEntry) -> list[Change]:
    found = []
    for name, change in entry.changes.items():
        label = name if "." in name else label_of(name)
        values = change if isinstance(change, dict) else {}
        found.append(
            Change(name, label, _told(name, values.get("old")), _told(name, values.get("new")))
        )
    return found


def _told(name: str, value: Any) -> str:
    return shown("arguments" if isinstance(value, dict) else name, value)


def _url(entry: AuditEntry) -> str:
    page = PAGES.get(entry.object_kind)
    return reverse(page, args=[entry.object_id]) if page and entry.object_id.isdigit() else ""
