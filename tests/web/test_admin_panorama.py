"""Timeline, agenda and heat map: what they show, to whom, and what they cost."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler_app.admin import panorama
from scheduler_app.models import Execution, Gap, Job, JobPlan, Status, Trigger, database_now
from scheduler_app.rules.timetable import Timetable

from .admin_support import VIEWER, Browser, Page, make_execution, make_job

pytestmark = pytest.mark.django_db

TIMELINE = "/admin/scheduler_app/timeline/"
AGENDA = "/admin/scheduler_app/agenda/"
HEAT = "/admin/scheduler_app/heat/"
PAGES = (TIMELINE, AGENDA, HEAT)
MOST = 12


def planned(minutes: float = 5, **fields):
    fields.setdefault("schedule", "* * * * *")
    job = make_job(**fields)
    now = database_now()
    JobPlan.objects.filter(pk=job.pk).update(
        next_fire_at=now + timedelta(minutes=minutes), decided_until=now, dirty=False
    )
    return job


def ran(job, minutes_ago: float, **fields):
    at = database_now() - timedelta(minutes=minutes_ago)
    return make_execution(
        job, scheduled_for=at, started_at=at, finished_at=at + timedelta(seconds=30), **fields
    )


def titles(page: Page, key: str) -> list[str]:
    """What stands under the pointer at the marks of a kind."""
    html = page.html
    return [
        part.partition("<title>")[2].partition("</title>")[0]
        for part in html.split(f'class="sch-mark-{key}"')[1:]
    ]


def names(page: Page) -> set[str]:
    return {name for name in page.links if name.startswith("job ")}


# --- Timeline ---------------------------------------------------------------------------------


def test_past_and_future_lie_on_one_axis() -> None:
    job = planned(name="job letters", schedule="0 * * * *")
    execution = ran(job, 10)
    failed = ran(job, 20, status=Status.FAILED)
    now = database_now()
    Gap.objects.create(
        job=job,
        first_at=now - timedelta(minutes=31),
        last_at=now - timedelta(minutes=30),
        count=2,
        reason="overlap",
    )

    page = Browser(*VIEWER).open(f"{TIMELINE}?span=6h")

    assert [title[-9:] for title in titles(page, "succeeded")] == ["succeeded"]
    assert [title[-6:] for title in titles(page, "failed")] == ["failed"]
    assert "2 fire times left out: the one before still ran" in titles(page, "gap")[0]
    assert {title[-7:] for title in titles(page, "planned")} == {"to come"}
    for one in (execution, failed):
        assert f"/admin/scheduler_app/execution/{one.pk}/change/" in page.addresses
    [label] = [
        attrs["aria-label"]
        for tag, attrs in page.elements
        if tag == "svg" and attrs.get("aria-label", "").startswith("job letters")
    ]
    assert "1 succeeded, 1 failed, 2 left out" in label
    # The same for those who read a table.
    assert "job letters 1 succeeded, 1 failed, 2 left out" in page.main


def test_a_job_of_every_second_is_told_bin_by_bin_and_ahead_as_a_band() -> None:
    job = planned(schedule="* * * * * *", minutes=0)
    now = database_now()
    for number in range(200):
        make_execution(job, scheduled_for=now - timedelta(seconds=number + 1))

    page = Browser(*VIEWER).open(f"{TIMELINE}?span=1h")

    past = titles(page, "succeeded")
    assert len(past) in (5, 6), "200 s of bins of 40 s"
    counts = [re.search(r": (\d+) succeeded", title) for title in past]
    assert sum(int(count[1]) if count else 1 for count in counts) == 200
    [future] = titles(page, "planned-band")
    assert "fire times to come" in future


def drawn(page: Page, key: str) -> list[tuple[float, float]]:
    """From where to where the marks of a kind are drawn, percent of the axis; a single one without length is a point."""
    found = []
    for part in page.html.split(f'<g class="sch-mark-{key}"')[1:]:
        part = part.partition("</g>")[0]
        if line := re.search(r'<line x1="(\S+)%" x2="(\S+)%" y1="16"', part):
            found.append((float(line[1]), float(line[2])))
        elif rect := re.search(r'<rect x="(\S+)%" width="(\S+)%"', part):
            found.append((float(rect[1]), float(rect[1]) + float(rect[2])))
        elif point := re.search(r'<svg x="(\S+)%"', part):
            found.append((float(point[1]), float(point[1])))
    return found


def waits(page: Page) -> list[tuple[float, float]]:
    """From where to where waiting is drawn."""
    found = re.findall(
        r'<line x1="(\S+)%" x2="(\S+)%" y1="12" y2="12" class="sch-mark-wait"', page.html
    )
    return [(float(since), float(until)) for since, until in found]


def timeline_from(start: datetime, span: str = "10m") -> str:
    """The address of a timeline that begins at this moment, however late it is opened."""
    _, length, _ = panorama.SPANS[span]
    middle = (start + length / 2).astimezone(UTC)
    return f"{TIMELINE}?span={span}&at={middle:%Y-%m-%dT%H:%M:%S.%f}"


def test_waiting_for_a_node_is_not_drawn_as_running() -> None:
    job = make_job()
    at = database_now() - timedelta(minutes=5)
    started = at + timedelta(seconds=60)
    make_execution(job, scheduled_for=at, started_at=started, finished_at=started)

    page = Browser(*VIEWER).open(timeline_from(at - timedelta(minutes=1)))

    [(since, until)] = drawn(page, "succeeded")
    assert since == until
    [(waited_since, waited_until)] = waits(page)
    assert waited_until - waited_since == pytest.approx(10, abs=0.1), "60 s of 10 minutes"
    assert waited_until == pytest.approx(since, abs=0.02)
    assert "began 1 min later, succeeded" in titles(page, "succeeded")[0]


def test_a_run_by_hand_between_others_bridges_no_outage() -> None:
    job = make_job()
    start = database_now() - timedelta(minutes=10)
    for seconds in range(0, 600, 5):
        if not 300 < seconds < 340:
            ran_at(job, start + timedelta(seconds=seconds + 1))
    ran_at(job, start + timedelta(seconds=500.5), trigger=Trigger.MANUAL)

    page = Browser(*VIEWER).open(timeline_from(start))

    marks = drawn(page, "succeeded")
    assert len(marks) <= panorama.MARKS_APART
    for since, until in marks:
        assert until <= 301 / 6 + 0.02 or since >= 341 / 6 - 0.02, "nothing lies in the outage"


def ran_at(job: Job, moment: datetime, **fields) -> Execution:
    return make_execution(
        job, scheduled_for=moment, started_at=moment, finished_at=moment, **fields
    )


def test_one_missing_run_is_a_hole_and_a_long_one_keeps_its_length() -> None:
    job = make_job()
    start = database_now() - timedelta(hours=1)
    for minute in range(1, 59):
        at = start + timedelta(minutes=minute)
        if minute == 20:
            make_execution(
                job, scheduled_for=at, started_at=at, finished_at=at + timedelta(seconds=50)
            )
        elif minute != 40:
            ran_at(job, at)

    page = Browser(*VIEWER).open(timeline_from(start, "1h"))

    edges = [
        (round(since * 0.6), round(until * 0.6, 1)) for since, until in drawn(page, "succeeded")
    ]
    assert edges == [(1, 19), (20, 20.8), (21, 39), (41, 58)]


def test_a_hole_within_a_bin_is_bridged_by_nothing() -> None:
    job = make_job()
    start = database_now() - timedelta(days=7)
    at = start + 50 * timedelta(days=7) / panorama.BINS
    for minutes in range(0, 60, 5):
        if not 15 < minutes < 45:
            ran_at(job, at + timedelta(minutes=minutes + 1))
    hole = at + timedelta(minutes=21), at + timedelta(minutes=41)
    Gap.objects.create(job=job, first_at=hole[0], last_at=hole[1], count=5, reason="missed")

    page = Browser(*VIEWER).open(timeline_from(start, "1w"))

    [(hole_since, _)] = drawn(page, "gap")
    [before, after] = drawn(page, "succeeded")
    assert before[1] <= hole_since + 0.02 and after[0] >= hole_since + 0.18


def test_what_ran_late_lies_where_it_ran() -> None:
    job = make_job()
    start = database_now() - timedelta(minutes=10)
    began = start + timedelta(minutes=5, seconds=2)
    for seconds in range(60):
        make_execution(
            job,
            scheduled_for=start + timedelta(minutes=3, seconds=seconds),
            started_at=began,
            finished_at=began,
        )

    page = Browser(*VIEWER).open(timeline_from(start))

    [(since, until)] = drawn(page, "succeeded")
    assert (since, until) == (pytest.approx(50.3, abs=0.1), pytest.approx(50.6, abs=0.1))
    [(waited_since, _)] = waits(page)
    assert waited_since == pytest.approx(30, abs=0.1)


def test_several_together_lead_to_the_list_of_them() -> None:
    job = make_job(name="job letters")
    other = make_execution(job, scheduled_for=database_now() - timedelta(minutes=7))
    at = (database_now() - timedelta(minutes=3)).replace(microsecond=0)
    start = at - timedelta(minutes=10, seconds=5)
    three = [
        make_execution(job, scheduled_for=moment, started_at=moment, finished_at=moment)
        for moment in (at + timedelta(milliseconds=number) for number in (0, 400, 900))
    ]
    browser = Browser(*VIEWER, "view_execution")
    page = browser.open(timeline_from(start, "1h"))

    link = unescape(
        re.findall(r'<a href="(\S+)" tabindex="-1"><g class="sch-mark-succeeded">', page.html)[1]
    )
    listed = browser.open(link)

    assert browser.status == 200
    assert sum(f"/admin/scheduler_app/execution/{one.pk}/" in listed.html for one in three) == 3
    assert f"/admin/scheduler_app/execution/{other.pk}/" not in listed.html


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"job a", "job b", "job c"}),
        ("tag=db", {"job a"}),
        ("queue=mail", {"job b"}),
        ("state=failed", {"job c"}),
        ("state=gaps", {"job b"}),
        ("state=running", set()),
        ("tag=db&queue=mail", set()),
        ("span=1w&tag=db", {"job a"}),
    ],
)
def test_it_can_be_filtered(query: str, expected: set[str]) -> None:
    ran(make_job(name="job a", tags=["db"]), 5)
    ran(job := make_job(name="job b", queue="mail"), 5)
    ran(make_job(name="job c"), 5, status=Status.LOST)
    at = database_now() - timedelta(minutes=3)
    Gap.objects.create(job=job, first_at=at, last_at=at, count=1, reason="missed")

    assert names(Browser(*VIEWER).open(f"{TIMELINE}?{query}")) == expected


def test_more_tags_than_a_choice_holds_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panorama, "CHOICES_SHOWN", 2)
    for tag in ("a", "b", "c"):
        ran(make_job(name=f"job {tag}", tags=[tag]), 5)
    browser = Browser(*VIEWER)

    page = browser.open(TIMELINE)

    assert any(tag == "input" and attrs.get("name") == "tag" for tag, attrs in page.elements)
    assert any(tag == "select" and attrs.get("name") == "queue" for tag, attrs in page.elements)
    assert names(browser.open(f"{TIMELINE}?tag=c")) == {"job c"}


def test_one_can_go_earlier_and_come_back() -> None:
    ran(make_job(name="job old"), 90)
    browser = Browser(*VIEWER)
    page = browser.open(f"{TIMELINE}?span=1h")
    assert names(page) == set()
    assert "Nothing happened and nothing is planned here" in page.main

    page = browser.open(TIMELINE + page.links["‹ Earlier"])
    page = browser.open(TIMELINE + page.links["‹ Earlier"])
    assert names(page) == {"job old"}
    assert not any(attrs.get("class") == "sch-now" for _, attrs in page.elements)
    page = browser.open(TIMELINE + page.links["Now"])
    assert names(page) == set()


def test_more_jobs_than_fit_have_pages() -> None:
    for number in range(panorama.ROWS + 1):
        ran(make_job(name=f"job {number:02}"), 5)
    browser = Browser(*VIEWER)

    page = browser.open(TIMELINE)
    assert len(names(page)) == panorama.ROWS
    page = browser.open(TIMELINE + page.links["More jobs"])
    assert names(page) == {f"job {panorama.ROWS:02}"}
    assert "Previous jobs" in page.links


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    "query",
    [
        "span=5y&at=never&page=-1&state=x",
        "at=0001-01-01T00:00:00",
        "at=9999-12-31T23:59:59%2B00:00",
        "page=999999999999999999999",
        "page=%D9%A3",
        "tag=%00&queue=%00",
        "tag=%3Cscript%3E&queue=%3Cb%3E",
        "days=0",
    ],
)
def test_whatever_stands_in_the_address_the_page_opens(path: str, query: str) -> None:
    browser = Browser(*VIEWER)
    page = browser.open(f"{path}?{query}")

    assert browser.status == 200
    assert page.refused == []
    assert "<script>" not in page.html.replace("<script src", "")


# --- Agenda -----------------------------------------------------------------------------------


def test_the_agenda_tells_what_comes_when_and_what_is_held() -> None:
    planned(name="job nightly", schedule="@every 20h", minutes=60)
    skipped = planned(name="job skipped", schedule="@every 20h", minutes=60)
    moment = Timetable.of(skipped.spec()).next_after(database_now())
    planned(name="job ticks", schedule="* * * * * *")
    JobPlan.objects.filter(pk=skipped.pk).update(skip_at=moment, skip_by="ann")

    page = Browser(*VIEWER).open(AGENDA)

    assert {"job nightly", "job skipped", "job ticks"} <= page.links.keys()
    assert "job skipped to be skipped" in page.main
    assert "job ticks Every second" in page.main and "86,400" in page.main
    assert any(attrs.get("data-countdown") for _, attrs in page.elements)


def test_the_agenda_tells_no_interval_that_a_job_of_business_hours_has_not() -> None:
    planned(name="job parcels", schedule="*/10 7-20 * * *")

    page = Browser(*VIEWER).open(AGENDA)

    assert "job parcels Every 10 minutes from 07:00 to 20:59" in page.main
    assert "17 min" not in page.main


def test_an_empty_agenda_says_what_to_do() -> None:
    page = Browser(*VIEWER).open(AGENDA)
    assert "No job has one to 24 fire times in the next 24 hours. Look at the jobs" in page.main
    page = Browser(*VIEWER, name="bo").open(f"{AGENDA}?tag=db")
    assert "Leave the filters out" in page.main


# --- Heat map ---------------------------------------------------------------------------------


def test_the_heat_map_shows_crowded_minutes_and_leads_to_them() -> None:
    for number in range(3):
        planned(name=f"job {number}", schedule="15 4 * * *")
    browser = Browser(*VIEWER)

    page = browser.open(HEAT)

    assert "04:15:00 UTC 3 fire times" in page.main
    assert names(page) == {"job 0", "job 1", "job 2"}
    assert page.html.count("04:15: 3 fire times in this minute") == 7
    assert browser.open(f"{HEAT}?days=1").html.count("in this minute") == 1
    link = next(link for link in page.addresses if "span=10m" in link)
    browser.open(link)
    assert browser.status == 200


def test_today_is_told_minute_by_minute_in_rows_of_hours() -> None:
    for minute in (15, 16):
        planned(schedule=f"{minute} 4 * * *")

    page = Browser(*VIEWER).open(f"{HEAT}?days=1")

    assert [page.html.count(f"04:{minute}: 1 fire time in this minute") for minute in (15, 16)] == [
        1,
        1,
    ]
    assert page.html.count("sch-heat-row") == 24 and "minute by minute" in page.main


def test_a_map_without_collisions_says_so() -> None:
    planned(name="job ticks", schedule="* * * * *")
    page = Browser(*VIEWER).open(HEAT)
    assert "No two jobs share a minute" in page.main
    assert "1 job, 1.0 fire times a minute" in page.main


# --- Rights and cost --------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_the_pages_take_the_right_to_see_jobs(path: str) -> None:
    stranger = Browser("view_node")
    page = stranger.open(path)
    assert stranger.status == 403
    page = stranger.open("/admin/")
    assert {"Timeline", "Agenda", "Heat map", "Jobs", "Executions"}.isdisjoint(page.links)
    assert "Nodes" in page.links


@pytest.mark.parametrize("path", [*PAGES, f"{TIMELINE}?span=1w"])
def test_a_page_costs_the_same_with_five_jobs_and_with_fifty(path: str) -> None:
    def fill(count: int) -> None:
        for number in range(count):
            job = planned(schedule=f"{number % 60} */{number % 9 + 1} * * *")
            for minutes in (3, 6, 30):
                ran(job, minutes, status=Status.FAILED if minutes == 6 else Status.SUCCEEDED)

    def cost() -> int:
        browser.open(path)
        with CaptureQueriesContext(connection) as captured:
            browser.open(path)
        return len(captured)

    browser = Browser(*VIEWER)
    fill(5)
    few = cost()
    fill(45)

    assert cost() == few <= MOST


def test_a_page_of_busy_jobs_stays_small() -> None:
    now = database_now()
    for _ in range(panorama.ROWS):
        job = planned(schedule="* * * * * *", minutes=0)
        for number in range(80):
            status = Status.FAILED if number % 7 == 0 else Status.SUCCEEDED
            make_execution(job, scheduled_for=now - timedelta(seconds=number * 31), status=status)

    html = Browser(*VIEWER).open(f"{TIMELINE}?span=1h").html

    assert len(html.encode()) < 150_000
