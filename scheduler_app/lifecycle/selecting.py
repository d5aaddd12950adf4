"""Which executions: one value that lists, the API and bulk operations all mean the same by.

Some conditions an index finds; the others can only be tried, row by row. What is tried is always bounded: `horizon`
says how far back a number of rows reaches, so that no question costs more on a table of many millions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from math import isfinite
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime

from scheduler_app.access.ownership import NOBODY, View
from scheduler_app.models import Execution, Job, JobRevision, Status, Trigger
from scheduler_app.models.execution import LIVE, UNSUCCESSFUL
from scheduler_app.rules.masking import is_secret_key
from scheduler_app.rules.problems import Invalid, Problem

NEWEST_FIRST = ("-scheduled_for", "-id")
OLDEST_FIRST = ("scheduled_for", "id")
TRIED = 20_000
"""Rows that one question looks at for conditions without an index."""
LONGEST_TEXT = 200
MOST_ARGUMENTS = 5

Key = tuple[datetime, int]
"""The place of an execution in the order in which people read: its fire time and id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Executions by what they are; every condition that is given must hold. Empty: all."""

    ids: tuple[int, ...] | None = None
    """Of executions; None for any, () for none."""
    statuses: tuple[str, ...] = ()
    jobs: tuple[int, ...] | None = None
    """Ids; None for any job, () for none."""
    job_names: tuple[str, ...] = ()
    """Parts of the job's name, in any case; it has all of them."""
    queues: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    nodes: tuple[int, ...] = ()
    since: datetime | None = None
    """The fire time, inclusive."""
    until: datetime | None = None
    """The fire time, exclusive."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Path and value as people type them: ("customer", "42"), ("address.city", "Ulm"). The value is meant as JSON or as
    text, whichever is there."""
    error: str = ""
    """Within the error line, in any case."""
    view: View | None = None
    """Of jobs that somebody with this view sees; None for everybody's."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Selection:
        """What `to_json` gave; raises Invalid with a problem for each thing that cannot be meant."""
        return _Reader(values).read()

    def to_json(self) -> dict[str, Any]:
        """Only what is given, in JSON's types."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            # None of them is another answer than any.
            if value is not None and (value not in ((), "") or field.name in ("ids", "jobs")):
                found[field.name] = _plain(value)
        return found

    def find(self) -> QuerySet[Execution]:
        """All of them, in no order."""
        return self.tried(self.indexed(Execution.objects.all()))

    @property
    def is_tried(self) -> bool:
        """Whether there is a condition that no index helps with."""
        return bool(
            self.job_names
            or self.queues
            or self.triggers
            or self.nodes
            or self.arguments
            or self.error
            or Status.SUCCEEDED in self.statuses
            # Of several jobs no index gives the newest.
            or len(self.jobs or ()) > 1
        )

    def indexed(self, executions: QuerySet[Execution]) -> QuerySet[Execution]:
        """Those that the conditions with an index let through."""
        if self.view is not None:
            executions = executions.filter(job__in=self.view.jobs.values("pk"))
        if self.ids is not None:
            executions = executions.filter(pk__in=self.ids)
        if self.jobs is not None and len(self.jobs) < 2:
            executions = executions.filter(job_id__in=self.jobs)
        if self.since is not None:
            executions = executions.filter(scheduled_for__gte=self.since)
        if self.until is not None:
            executions = executions.filter(scheduled_for__lt=self.until)
        for indexed in (LIVE, UNSUCCESSFUL):
            if self.statuses and set(self.statuses) <= set(indexed):
                # The condition of the index as well, so that it is used.
                executions = executions.filter(status__in=indexed)
        if len(self.statuses) == 1:
            # Equal to one, so that an index that begins with it gives the order.
            return executions.filter(status=self.statuses[0])
        return executions.filter(status__in=self.statuses) if self.statuses else executions

    def tried(self, executions: QuerySet[Execution]) -> QuerySet[Execution]:
        """Those of them that all other conditions let through."""
        if len(self.jobs or ()) > 1:
            executions = executions.filter(job_id__in=self.jobs or ())
        if self.job_names:
            jobs = Job.including_deleted.all()
            for part in self.job_names:
                jobs = jobs.filter(name__icontains=part)
            executions = executions.filter(job_id__in=jobs.values("pk"))
        if self.queues:
            executions = executions.filter(queue__in=self.queues)
        if self.triggers:
            executions = executions.filter(trigger__in=self.triggers)
        if self.nodes:
            executions = executions.filter(node_id__in=self.nodes)
        if self.error:
            executions = executions.filter(error__icontains=self.error)
        for path, value in self.arguments:
            executions = executions.filter(_has_argument(path, value))
        return executions


@dataclass(slots=True)
class Page:
    """Some executions, newest first, and where it goes on."""

    rows: list[Execution]
    older: Key | None = None
    """Begin after this to see the next; None at the end."""
    newer: Key | None = None
    bound: Key | None = None
    """No further than here was looked, because that many rows had been tried."""
    is_full: bool = False


def find_page(
    executions: QuerySet[Execution],
    selection: Selection,
    *,
    size: int,
    before: Key | None = None,
    after: Key | None = None,
) -> Page:
    """So many of the selection: the newest, those older than `before`, or the next newer than `after`."""
    candidates = selection.indexed(executions)
    if before is not None:
        candidates = older(candidates, before)
    elif after is not None:
        candidates = newer(candidates, after)
    forwards = after is not None and before is None
    bound = None
    if selection.is_tried:
        bound = horizon(candidates, TRIED, newest_first=not forwards)
        if bound is not None:
            candidates = (up_to if forwards else back_to)(candidates, bound)
    order = OLDEST_FIRST if forwards else NEWEST_FIRST
    rows = list(selection.tried(candidates).order_by(*order)[: size + 1])
    is_full, rows = len(rows) > size, rows[:size]
    beyond = (rows[-1].scheduled_for, rows[-1].pk) if is_full else bound
    page = Page(rows, bound=bound, is_full=is_full)
    if forwards:
        rows.reverse()
        page.newer = beyond
        page.older = (rows[-1].scheduled_for, rows[-1].pk) if rows else after
    else:
        page.older = beyond
        if before is not None:
            page.newer = (rows[0].scheduled_for, rows[0].pk) if rows else before
    return page


def count(
    selection: Selection, executions: QuerySet[Execution], *, cap: int, bound: Key | None
) -> tuple[int, bool]:
    """How many there are back to the bound, up to a cap, and whether there may be more."""
    candidates = selection.indexed(executions)
    if bound is not None:
        candidates = back_to(candidates, bound)
    # Sliced, so the order stays: an index that gives it is read no further than the cap.
    found = selection.tried(candidates).order_by(*NEWEST_FIRST).values("pk")[: cap + 1].count()
    return min(found, cap), bound is not None or found > cap


def horizon(executions: QuerySet[Execution], rows: int, *, newest_first: bool = True) -> Key | None:
    """The last of so many rows in this order; None when there are fewer."""
    found: Key | None = (
        executions.order_by(*(NEWEST_FIRST if newest_first else OLDEST_FIRST))
        .values_list("scheduled_for", "pk")[rows - 1 : rows]
        .first()
    )
    return found


def older(executions: QuerySet[Execution], key: Key) -> QuerySet[Execution]:
    """Those that come after `key`, newest first."""
    # The first condition alone is a range of the index; "or" between the two would not be.
    return executions.filter(scheduled_for__lte=key[0]).exclude(
        scheduled_for=key[0], pk__gte=key[1]
    )


def newer(executions: QuerySet[Execution], key: Key) -> QuerySet[Execution]:
    """Those that come before `key`, newest first."""
    return executions.filter(scheduled_for__gte=key[0]).exclude(
        scheduled_for=key[0], pk__lte=key[1]
    )


def back_to(executions: QuerySet[Execution], key: Key) -> QuerySet[Execution]:
    """Those that come before `key`, newest first, and the one that it is of."""
    return executions.filter(scheduled_for__gte=key[0]).exclude(scheduled_for=key[0], pk__lt=key[1])


def up_to(executions: QuerySet[Execution], key: Key) -> QuerySet[Execution]:
    """Those that come after `key`, newest first, and the one that it is of."""
    return executions.filter(scheduled_for__lte=key[0]).exclude(scheduled_for=key[0], pk__gt=key[1])


def _has_argument(path: str, value: str) -> Q:
    """Given for the execution itself, or by the definition that it runs. What is masked can be looked for in neither."""
    if any(is_secret_key(name) for name in path.split(".")):
        return Q(pk__in=())
    wanted = Q()
    defined = Q()
    for meant in _meanings(value):
        for name in reversed(path.split(".")):
            meant = {name: meant}
        wanted |= Q(spec__contains={"arguments": meant})
        defined |= Q(spec__contains={"arguments": meant})
    revisions = JobRevision.objects.filter(defined).values("pk")
    has_own = Q(spec__isnull=False, spec__has_key="arguments")
    return wanted | (Q(revision_id__in=revisions) & ~has_own)


def _meanings(value: str) -> list[Any]:
    """`42` is a number or the text of it, `"42"` only the text."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        return [value[1:-1]]
    try:
        meant = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    is_whole = isinstance(meant, int | None)
    return [meant, value] if is_whole or (isinstance(meant, float) and isfinite(meant)) else [value]


def _plain(value: Any) -> Any:
    if isinstance(value, View):
        return value.to_json()
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


class _Reader:
    """Takes a selection apart that came from outside, and collects what is wrong with it."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._problems: list[Problem] = []

    def read(self) -> Selection:
        known = [field.name for field in fields(Selection)]
        for name in self._values:
            if name not in known:
                self._refuse(str(name)[:50], f"is not known; known are {', '.join(known)}")
        since, until = self._moment("since"), self._moment("until")
        if since and until and since >= until:
            self._refuse("until", "must come after since")
        selection = Selection(
            ids=self._ids("ids") if self._values.get("ids") is not None else None,
            statuses=self._words("statuses", Status.values),
            jobs=self._ids("jobs") if self._values.get("jobs") is not None else None,
            job_names=self._words("job_names"),
            queues=self._words("queues"),
            triggers=self._words("triggers", Trigger.values),
            nodes=self._ids("nodes"),
            since=since,
            until=until,
            arguments=self._arguments(),
            error=self._text("error", self._values.get("error", "")),
            view=self._view(),
        )
        if self._problems:
            raise Invalid(self._problems)
        return selection

    def _refuse(self, name: str, sentence: str) -> None:
        self._problems.append(Problem(name, f"{name} {sentence}."))

    def _list(self, name: str) -> list[Any]:
        value = self._values.get(name) or []
        if not isinstance(value, list | tuple):
            self._refuse(name, "must be a list")
            return []
        return list(value)

    def _words(self, name: str, allowed: Iterable[str] | None = None) -> tuple[str, ...]:
        found = tuple(self._text(name, item) for item in self._list(name))
        if allowed is not None and set(found) - set(allowed):
            self._refuse(name, f"must be of {', '.join(allowed)}")
            return ()
        return found

    def _ids(self, name: str) -> tuple[int, ...]:
        found = self._list(name)
        if any(type(item) is not int or not 0 <= item < 2**63 for item in found):
            self._refuse(name, "must be ids")
            return ()
        return tuple(found)

    def _text(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or "\0" in value or len(value) > LONGEST_TEXT:
            self._refuse(name, f"must be a text of at most {LONGEST_TEXT} characters")
            return ""
        return value

    def _moment(self, name: str) -> datetime | None:
        value = self._values.get(name)
        if value is None or isinstance(value, datetime):
            return value
        try:
            found = parse_datetime(value)
        except (TypeError, ValueError):
            found = None
        if found is None or found.tzinfo is None:
            self._refuse(name, "must be a moment with its offset, as 2030-01-31T09:00:00Z")
            return None
        return found

    def _view(self) -> View | None:
        value = self._values.get("view")
        try:
            return None if value is None else View.from_json(value)
        except ValueError as error:
            self._refuse("view", f"cannot be read: {error}")
            return NOBODY

    def _arguments(self) -> tuple[tuple[str, str], ...]:
        found = self._list("arguments")
        if len(found) > MOST_ARGUMENTS:
            self._refuse("arguments", f"may be {MOST_ARGUMENTS} at most")
            return ()
        pairs = []
        for item in found:
            if not isinstance(item, list | tuple) or len(item) != 2:
                self._refuse("arguments", 'must be pairs, as ["customer", "42"]')
                return ()
            pairs.append((self._text("arguments", item[0]), self._text("arguments", item[1])))
        return tuple(pairs)
