"""The strip of the last fire times: executions, gaps and what is not decided, each with a shape of its own."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler_app.admin.strip import CELLS, FATES, last_fates, legend_html, strip_html, summary
from scheduler_app.models import Gap, Job, JobPlan, Status, database_now

from .admin_support import JOBS, OPERATOR, Browser, make_execution, make_job, make_node

pytestmark = pytest.mark.django_db


def fates_of(job: Job) -> list[str]:
    job = Job.objects.select_related("plan").get(pk=job.pk)
    return [cell.fate for cell in last_fates([job], database_now())[job.pk]]


def test_every_fate_is_in_its_place() -> None:
    job, now = make_job(schedule="@every 1h"), database_now()
    statuses = (
        *(Status.SUCCEEDED, Status.FAILED, Status.LOST, Status.CANCELLED),
        *(Status.RUNNING, Status.READY),
    )
    for hours, status in zip((9, 8, 7, 6, 2, 1), statuses, strict=True):
        make_execution(
            job, status=status, scheduled_for=now - timedelta(hours=hours), node=make_node()
        )
    for hours, reason in ((5, "overlap"), (4, "missed")):
        at = now - timedelta(hours=hours)
        Gap.objects.create(job=job, first_at=at, last_at=at, count=1, reason=reason)
    # What people ran by hand is no fire time.
    make_execution(job, trigger="manual", scheduled_for=now - timedelta(hours=3))
    JobPlan.objects.filter(job=job).update(next_fire_at=now - timedelta(minutes=1))

    assert fates_of(job) == [
        *("succeeded", "failed", "lost", "cancelled", "skipped", "missed"),
        *("running", "waiting", "overdue"),
    ]


def test_a_gap_is_as_many_cells_as_it_has_fire_times() -> None:
    job, now = make_job(schedule="@every 1h"), database_now()
    make_execution(job, scheduled_for=now - timedelta(hours=9))
    Gap.objects.create(
        job=job, first_at=now - timedelta(hours=8), last_at=now, count=8, reason="paused", who="ana"
    )
    cells = last_fates([job], now)[job.pk]

    assert summary(cells) == "Last 9 fire times: 1 succeeded, 8 skipped"
    Gap.objects.update(count=10**9)
    assert summary(last_fates([job], now)[job.pk]) == f"Last {CELLS} fire times: {CELLS} skipped"


def test_what_runs_by_hand_only_shows_its_executions() -> None:
    job = make_job(schedule="@manual")
    make_execution(job, trigger="manual", status=Status.FAILED)
    assert fates_of(job) == ["failed"]
    assert summary([]) == ""
    assert "No fire time yet" in strip_html([])


def test_no_two_fates_have_the_same_shape() -> None:
    shapes = re.findall(r'class="sch-fate-(\w+)" d="([^"]+)"', legend_html())
    assert [fate for fate, _ in shapes] == list(FATES)
    assert len({shape for _, shape in shapes}) == len(FATES)


def test_the_list_draws_all_strips_from_one_statement() -> None:
    now = database_now()
    for number in range(20):
        job = make_job(schedule="@every 1h", name=f"job {number:02}")
        for hours in range(3):
            make_execution(job, scheduled_for=now - timedelta(hours=hours, seconds=number))
    browser = Browser(*OPERATOR)

    with CaptureQueriesContext(connection) as captured:
        page = browser.open(JOBS)

    assert page.main.count("Last 3 fire times: 3 succeeded") == 20
    strips = [one["sql"] for one in captured.captured_queries if "CROSS JOIN LATERAL" in one["sql"]]
    assert len(strips) == 1
    assert page.refused == []


def test_who_may_not_see_executions_sees_no_strip() -> None:
    make_execution(make_job(schedule="@every 1h"))
    page = Browser("view_job").open(JOBS)
    assert "fire times: 1 succeeded" not in page.main


def test_jobs_are_found_by_their_zone() -> None:
    make_job(name="here")
    make_job(name="there", timezone="Asia/Tokyo")
    page = Browser(*OPERATOR).open(f"{JOBS}?zone=Asia/Tokyo")
    assert "there" in page.links and "here" not in page.links
