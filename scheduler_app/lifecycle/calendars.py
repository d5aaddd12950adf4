"""Calendars as people write and remove them. An edit of one is an edit of the jobs that use it."""

from __future__ import annotations

from typing import Any

from scheduler_app.access import visible
from scheduler_app.access.ownership import require_all_of
from scheduler_app.models import Calendar, Job, Verb, acting_as
from scheduler_app.models.job import JobQuerySet
from scheduler_app.rules.differences import differences

from . import notices
from .auditing import Subject, record
from .transactions import CannotDo, transaction_on_psycopg

NAMES_SHOWN = 10
MOST_COUNTED = 1000


def save_calendar(calendar: Calendar, *, by: str) -> Calendar:
    """Store a calendar that was created or edited, after its `full_clean()`; the history of its jobs names the author."""
    with acting_as(by):
        is_new = calendar._state.adding
        before = None if is_new else Calendar.objects.select_for_update().get(pk=calendar.pk)
        if before is not None and _followed(before) != _followed(calendar):
            require_all_of(_users(calendar.pk), "Another name, or other days, of this calendar")
        calendar.save()
        changes = differences(_told(before), _told(calendar))
        if changes:
            verb = Verb.CALENDAR_CREATE if is_new else Verb.CALENDAR_EDIT
            record(verb, [_as_subject(calendar, changes)], by=by)
        with transaction_on_psycopg() as connection:
            notices.notify(connection, notices.PLAN)
    return calendar


def delete_calendar(calendar_id: int, *, by: str) -> bool:
    """Remove a calendar; False when there is none. Raises CannotDo, with their names, while jobs use it."""
    with acting_as(by):
        # Who gives a job this calendar at the moment waits for the end of this, and then finds none.
        calendar = Calendar.objects.select_for_update().filter(pk=calendar_id).first()
        if calendar is None:
            return False
        require_all_of(_users(calendar_id), "To delete this calendar")
        users = jobs_using(calendar_id)
        if users:
            raise CannotDo(
                f"The calendar {calendar.name} is used by {_listed(users)}; give them another one, or none, first."
            )
        # Deleted jobs keep their history, which holds the days that it was made with.
        Job.including_deleted.filter(calendar=calendar_id).update(calendar=None)
        record(
            Verb.CALENDAR_DELETE, [_as_subject(calendar, differences(_told(calendar), {}))], by=by
        )
        calendar.delete()
    return True


def _followed(calendar: Calendar) -> tuple[str, str]:
    """What jobs follow it by: definitions name their calendar, and a name that is free is anybody's to take."""
    return calendar.name, calendar.days


def _as_subject(calendar: Calendar, changes: dict[str, Any]) -> Subject:
    return Subject("calendar", calendar.pk, calendar.name, changes=changes)


def _told(calendar: Calendar | None) -> dict[str, Any]:
    if calendar is None:
        return {}
    return {name: getattr(calendar, name) for name in ("name", "description", "days")}


def jobs_using(calendar_id: int) -> list[str]:
    """The names of the jobs that use it, of those that the caller sees; the first thousand."""
    found = visible.jobs().filter(calendar=calendar_id).order_by("name")
    return list(found.values_list("name", flat=True)[:MOST_COUNTED])


def _users(calendar_id: int) -> JobQuerySet:
    users: JobQuerySet = Job.objects.filter(calendar=calendar_id)
    return users


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown} and {more} other job{'s' if more > 1 else ''}" if more > 0 else shown
