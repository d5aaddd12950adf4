"""A job whose every field, log, error and result is hostile: all pages open and nothing of it becomes markup (S17)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler_app import lifecycle
from scheduler_app.models import (
    Execution,
    Gap,
    Job,
    JobPlan,
    LogChunk,
    Node,
    Pause,
    Status,
    database_now,
)

from .admin_support import (
    EXECUTIONS,
    GAPS,
    JOBS,
    NODES,
    PAUSES,
    Browser,
    Page,
    make_execution,
    make_job,
    make_node,
)

pytestmark = pytest.mark.django_db

EVIL = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>'\"--> \u202e\x1b[31m {{ 7*7 }} {% now %}"
)
LONG = EVIL + "x" * 3000


@pytest.fixture
def boss() -> Browser:
    return Browser(superuser=True, name="boss")


def make_everything_hostile() -> tuple[Job, Execution, Node, Pause]:
    now = database_now()
    job = make_job(
        name=EVIL, description=LONG * 3, tags=[EVIL[:50], "</textarea>"], queue=EVIL[:50]
    )
    job.description = f"</dd>{EVIL}"
    lifecycle.save_job(job, by=EVIL)
    lifecycle.pause([job.pk], by=EVIL[:150], reason=(EVIL * 9)[:500])
    # Past all validation, as somebody who can write the table could.
    Job.objects.filter(pk=job.pk).update(
        target=LONG[:2000],
        schedule=EVIL[:200],
        timezone=EVIL[:64],
        kind=EVIL[:20],
        arguments={EVIL: [LONG, {EVIL: EVIL}]},
    )
    JobPlan.objects.filter(job=job).update(problem=(EVIL * 9)[:500])
    job.refresh_from_db()
    node = make_node(
        name=EVIL[:100], release=EVIL[:100], queues=[EVIL[:50]], state_reason=EVIL, state="dead"
    )
    execution = make_execution(
        job,
        status=Status.FAILED,
        reason=EVIL[:40],
        error=LONG,
        traceback=LONG,
        node=node,
        release=EVIL[:100],
        requested_by=EVIL[:150],
        queue=EVIL[:50],
        result={EVIL: LONG},
        spec={"arguments": [LONG], "kind": EVIL, "target": LONG},
        failures=[
            {"attempt": EVIL, "reason": EVIL, "error": LONG, "traceback": LONG, "node": EVIL}
        ],
        scheduled_for=now - timedelta(minutes=1),
    )
    LogChunk.objects.create(execution=execution, attempt=1, seq=0, text=LONG + "\n" + "y" * 300_000)
    Gap.objects.create(
        job=job, first_at=now, last_at=now, count=1, reason="paused", who=EVIL[:150], detail=EVIL
    )
    pause = lifecycle.pause_scope("tag", EVIL[:50], by=EVIL[:150], reason=EVIL)
    return job, execution, node, pause


def assert_harmless(page: Page) -> None:
    """No markup and no script; where nothing is edited, no power over the order of letters either."""
    assert page.refused == []
    assert "<script>alert" not in page.html and "<img src=x" not in page.html
    edits = "<textarea" in page.html or "history" in page.address or "delete" in page.address
    if not edits and "/pause/" not in page.address:
        assert "\x1b" not in page.html and "\u202e" not in page.html
    # The count of a true script tag is that of a page without hostile data.
    assert all("src" in attrs for tag, attrs in page.elements if tag == "script")


def test_s17_all_pages_open_and_nothing_becomes_markup(boss: Browser) -> None:
    job, execution, node, pause = make_everything_hostile()
    for path in (
        "/admin/",
        "/admin/scheduler_app/",
        JOBS,
        f"{JOBS}?state=paused",
        f"{JOBS}?tag=%3Cscript%3E",
        f"{JOBS}{job.pk}/",
        f"{JOBS}{job.pk}/change/",
        f"{JOBS}{job.pk}/pause/",
        f"{JOBS}{job.pk}/resume/",
        f"{JOBS}{job.pk}/backfill/",
        f"{JOBS}{job.pk}/timeline/",
        f"{JOBS}{job.pk}/timeline/?at=2030-01-01&before=%3Cscript%3E",
        f"{JOBS}{job.pk}/timeline/?at=%00%3Cscript%3E&before=2030-99-99T00:00:00Z",
        f"{JOBS}{job.pk}/run/",
        f"{JOBS}{job.pk}/run/?execution={execution.pk}",
        f"{JOBS}{job.pk}/delete/",
        f"{JOBS}{job.pk}/history/",
        EXECUTIONS,
        f"{EXECUTIONS}?job={job.pk}",
        f"{EXECUTIONS}?q=%3Cscript%3E&p=%3Cscript%3E",
        f"{EXECUTIONS}{execution.pk}/change/",
        NODES,
        f"{NODES}{node.pk}/change/",
        PAUSES,
        f"{PAUSES}add/?scope=%3Cscript%3E&value=%3Cscript%3Ealert(1)%3C/script%3E",
        f"{PAUSES}{pause.pk}/change/",
        f"{PAUSES}{pause.pk}/history/",
        GAPS,
    ):
        page = boss.open(path)
        assert boss.status == 200, path
        assert_harmless(page)


def test_verbs_and_their_messages_are_harmless_too(boss: Browser) -> None:
    job, execution, _, _ = make_everything_hostile()

    boss.open(JOBS)
    assert_harmless(boss.choose("pause_selected", job))
    assert_harmless(boss.open(f"{JOBS}{job.pk}/resume/"))
    assert_harmless(boss.press("Resume"))
    boss.open(f"{JOBS}{job.pk}/")
    assert_harmless(boss.press("Run now"))
    boss.open(f"{EXECUTIONS}{execution.pk}/change/")
    assert_harmless(boss.press("Retry"))
    boss.open(f"{JOBS}{job.pk}/change/")
    assert_harmless(boss.press("Save", name=EVIL + "2", schedule=EVIL, timezone=EVIL))
    assert_harmless(boss.press("Preview the schedule", schedule=LONG))
    assert_harmless(boss.open("/admin/"))


def test_a_huge_log_makes_a_bounded_page(boss: Browser) -> None:
    execution = make_execution(make_job())
    for seq in range(10):
        LogChunk.objects.create(
            execution=execution, attempt=1, seq=seq, text=("<b>" * 100 + "\n") * 3500
        )

    page = boss.open(f"{EXECUTIONS}{execution.pk}/change/")

    assert boss.status == 200
    assert len(page.html) < 2_000_000


@pytest.mark.parametrize(
    "query",
    [
        "?o=1%27;--",
        "?o=99",
        "?p=-1",
        "?p=9999999",
        "?status=%00",
        "?q=%00",
        "?node=%27",
        "?job=%00",
    ],
)
def test_s23_no_query_string_is_an_error(boss: Browser, query: str) -> None:
    make_execution(make_job())
    for path in (JOBS, EXECUTIONS, NODES, GAPS, PAUSES):
        boss.open(path + query)
        assert boss.status == 200


def test_an_unknown_lookup_is_refused(boss: Browser) -> None:
    for path in (JOBS, EXECUTIONS):
        boss.open(f"{path}?owner__password__startswith=a")
        assert boss.status in (200, 400)
        assert "e=1" in boss.page.address or boss.status == 400


@pytest.mark.parametrize("wrong", ["7/pages", "x", "99999999999999999999"])
def test_an_address_of_no_job_is_404_for_who_may_only_look(wrong: str) -> None:
    viewer = Browser("view_job", name="vera")
    viewer.open(f"{JOBS}{wrong}/change/")
    assert viewer.status == 404
