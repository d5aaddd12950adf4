"""Calendars as operators without JavaScript use them: listed, shown as months, edited, and kept while jobs use them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from scheduler_app import lifecycle
from scheduler_app.admin.calendars import months_of
from scheduler_app.models import AuditEntry, Calendar, Job, database_now
from scheduler_app.rules.calendars import FIRST_DAY, LAST_DAY

from .admin_support import JOBS, Browser, make_job

pytestmark = pytest.mark.django_db

CALENDARS = "/admin/scheduler_app/calendar/"
EDITOR = ("view_calendar", "add_calendar", "change_calendar", "delete_calendar", "view_job")
EVIL = "<script>alert(1)</script>\u202e\x1b[31m"


@pytest.fixture
def editor() -> Browser:
    return Browser(*EDITOR)


def tomorrow() -> date:
    return (database_now() + timedelta(days=1)).date()


def test_a_calendar_is_added_after_a_look_at_its_days(editor: Browser) -> None:
    editor.open(f"{CALENDARS}add/")

    page = editor.press("Show the days", days=f"{tomorrow()}  # a remark")
    assert f"{tomorrow():%B %Y} 1 listed" in page.main
    assert f"Next: {tomorrow():%a %Y-%m-%d}" in page.main
    assert not Calendar.objects.exists()
    editor.press("Save", name="holidays")

    calendar = Calendar.objects.get()
    assert calendar.ranges == [[str(tomorrow()), str(tomorrow())]]
    assert str(tomorrow()) in editor.page.main
    assert AuditEntry.objects.get().verb == "calendar.create"


def test_lines_that_cannot_be_read_are_named(editor: Browser) -> None:
    editor.open(f"{CALENDARS}add/")

    editor.press("Save", name="holidays", days="2030-12-25\nsoon")

    assert "Line 2: 'soon' is not a day" in editor.errors["days"][0]
    assert not Calendar.objects.exists()


def test_an_edit_plans_the_jobs_anew_in_the_name_of_its_author(editor: Browser) -> None:
    calendar = lifecycle.save_calendar(Calendar(name="holidays", days="2030-12-25"), by="ben")
    job = make_job(name="nightly", schedule="@daily", calendar=calendar, on_closed="shift")

    page = editor.open(f"{CALENDARS}{calendar.pk}/change/")
    assert "nightly" in page.links and "run once on the next open day" in page.main
    editor.press("Save", days="2030-12-24 - 2030-12-26")

    revision = job.revisions.order_by("-version").first()
    assert revision is not None and revision.created_by == "ana"
    assert revision.spec["calendar_days"] == [["2030-12-24", "2030-12-26"]]


def test_an_edit_of_an_older_version_is_refused(editor: Browser) -> None:
    calendar = lifecycle.save_calendar(Calendar(name="holidays", days="2030-12-25"), by="ben")
    editor.open(f"{CALENDARS}{calendar.pk}/change/")
    calendar.days = "2030-12-26"
    lifecycle.save_calendar(calendar, by="ben")

    editor.press("Save", days="2030-01-01")

    assert "Somebody saved this calendar" in editor.errors["__all__"][0]
    calendar.refresh_from_db()
    assert calendar.days == "2030-12-26"


def test_a_calendar_in_use_is_not_deleted_and_its_jobs_are_named(editor: Browser) -> None:
    calendar = Calendar.objects.create(name="holidays", days="2030-12-25")
    make_job(name="nightly", schedule="@daily", calendar=calendar)

    page = editor.open(f"{CALENDARS}{calendar.pk}/delete/")
    assert "is in use" in page.main and "nightly" in page.links
    editor.post(f"{CALENDARS}{calendar.pk}/delete/", post="yes")
    assert "is used by nightly" in editor.open(f"{CALENDARS}{calendar.pk}/delete/").main
    assert Calendar.objects.exists()

    Job.objects.update(calendar=None)
    editor.open(f"{CALENDARS}{calendar.pk}/delete/")
    page = editor.press("Delete")
    assert "Deleted the calendar holidays." in page.main
    assert not Calendar.objects.exists()


def test_calendars_need_their_rights() -> None:
    calendar = Calendar.objects.create(name="holidays", days="2030-12-25")
    viewer = Browser("view_calendar")

    page = viewer.open(f"{CALENDARS}{calendar.pk}/change/")
    assert "holidays" in page.main and "Save" not in [button.text for button in page.buttons]
    assert viewer.post(f"{CALENDARS}{calendar.pk}/delete/").status_code == 403
    assert viewer.post(f"{CALENDARS}add/", name="x").status_code == 403
    assert viewer.client.get(f"{CALENDARS}9999/delete/").status_code == 403


def test_a_hostile_calendar_is_harmless(editor: Browser) -> None:
    calendar = Calendar.objects.create(
        name=EVIL, description=EVIL * 9, days=f"{FIRST_DAY} - {LAST_DAY} # {EVIL}"
    )
    job = make_job(schedule="@daily", calendar=calendar, on_closed="run")
    for path in (
        CALENDARS,
        f"{CALENDARS}{calendar.pk}/change/",
        f"{CALENDARS}{calendar.pk}/delete/",
        f"{JOBS}{job.pk}/",
    ):
        page = editor.open(path)
        assert editor.status == 200, path
        assert page.refused == [] and "<script>alert" not in page.html


def test_a_month_marks_its_listed_days_however_long_a_range_is() -> None:
    ranges = [(date(2030, 1, 30), date(2030, 2, 2)), (date(2030, 2, 2), date(2090, 1, 1))]

    january, february = months_of(ranges, date(2030, 1, 15), 2)

    assert (january.name, january.listed, february.listed) == ("January 2030", 2, 28)
    days = [day for week in january.weeks for day in week]
    assert [day.number for day in days if day.is_listed] == [30, 31]
    assert [day.number for day in days if day.is_today] == [15]
    assert january.weeks[0][0].number == 0  # 2030-01-01 is a Tuesday
