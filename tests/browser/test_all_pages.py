"""Every page that links lead to: under the strict policy, on a phone and on the widest screen, light and dark."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urljoin, urlsplit

from django.test import Client
from playwright.sync_api import Page

from scheduler_app import lifecycle
from scheduler_app.models import Gap, JobPlan, LogChunk, Status, database_now
from tests.web.admin_support import Page as ReadPage
from tests.web.admin_support import make_execution, make_job, make_node

from .support import NARROW, WIDE, OpenPage, Visitors, scrolls_sideways

WIDEST = {"width": 2560, "height": 1300}
LONG = "A_name_without_a_blank_" * 8
# The stock pages of users and groups are Django's to get right.
LEFT_OUT = re.compile(r"/(logout|jsi18n|log|auth)/")
MOST = 60
"""Pages of different kinds; a guard against an endless walk."""


def fill() -> None:
    """Of everything a little, with names and errors that are too long for their place."""
    now = database_now()
    node = make_node(name="node-" + LONG[:80], release="2026.11.3", queues=["default", "reports"])
    jobs = [
        make_job(
            name=name, schedule="*/5 * * * *", tags=["reports", LONG[:50]], description="text " * 60
        )
        for name in ("Nightly report", LONG)
    ]
    JobPlan.objects.update(next_fire_at=now + timedelta(minutes=2), dirty=False)
    for number, status in enumerate(Status):
        for job in jobs:
            at = now - timedelta(minutes=3 * number + 1)
            execution = make_execution(
                job,
                status=status,
                node=node,
                scheduled_for=at,
                started_at=None if status in (Status.READY, Status.BLOCKED) else at,
                error="" if status == Status.SUCCEEDED else f"ValueError: {LONG * 3}",
                traceback=f'  File "/srv/{LONG}.py", line 1, in {LONG}\n' * 3,
                result={"text": LONG, "rows": list(range(50))},
                attempt=1,
            )
            LogChunk.objects.create(execution=execution, attempt=1, seq=0, text=f"{LONG}\n" * 20)
    Gap.objects.create(
        job=jobs[1], first_at=now - timedelta(hours=1), last_at=now, count=12, reason="overlap"
    )
    lifecycle.pause([jobs[0].pk], by="ana", reason=f"supplier down {LONG}")
    lifecycle.pause_scope("queue", "mail", by="ana", reason="moving")


def kind_of(address: str) -> str:
    """Equal for pages that differ in the row alone."""
    return re.sub(r"\d+|[0-9a-f]{12}", "N", address)


def all_pages(client: Client) -> list[str]:
    """One address of each kind, as links lead to it from the front page."""
    found: dict[str, str] = {kind_of("/admin/"): "/admin/"}
    to_read = ["/admin/"]
    while to_read:
        address = to_read.pop()
        response = client.get(address, follow=True)
        assert response.status_code == 200, address
        if "text/html" not in response["Content-Type"]:
            del found[kind_of(urlsplit(address).path)]
            continue
        for link in ReadPage(address, response.content.decode()).addresses:
            there = urlsplit(urljoin(address, link))
            if there.path.startswith("/admin/") and not LEFT_OUT.search(there.path):
                kind = kind_of(there.path)
                if kind not in found:
                    # With its query: some pages need one.
                    found[kind] = there._replace(fragment="").geturl()
                    to_read.append(found[kind])
    assert len(found) <= MOST, sorted(found)
    return sorted(found.values())


def visit(page: Page, address: str) -> list[str]:
    """What is wrong with the page at three widths; the fixtures' trap finds the rest."""
    problems = []
    page.goto(address, wait_until="load")
    for size in (NARROW, WIDE, WIDEST):
        page.set_viewport_size(size)
        if scrolls_sideways(page):
            problems.append(f"{address} scrolls sideways at {size['width']} px")
    if page.locator("h1").count() == 0:
        problems.append(f"{address} has no heading")
    return problems


def test_every_page_fits_every_screen_and_breaks_no_policy(open_page: OpenPage, visitors: Visitors):
    fill()
    page = open_page(dark=True)
    client = Client()
    client.cookies["sessionid"] = page.context.cookies()[0]["value"]

    addresses = all_pages(client)
    problems = [problem for address in addresses for problem in visit(page, address)]

    for expected in (
        "timeline/",
        "agenda/",
        "heat/",
        "failures/",
        "job/",
        "execution/",
        "execution/bulk/",
        "node/",
    ):
        assert any(f"/scheduler_app/{expected}" in address for address in addresses), expected
    assert not problems, "\n".join(problems)
