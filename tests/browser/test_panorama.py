"""Timeline, agenda and heat map in a real browser: nothing that they tell is cut off."""

from __future__ import annotations

from datetime import timedelta

from scheduler_app import lifecycle
from scheduler_app.models import JobPlan, database_now
from tests.web.admin_support import make_job

from .support import OpenPage

CUT_OFF = """
() => [...document.querySelectorAll(".sch-scroll")]
    .filter((one) => one.getClientRects().length && one.scrollWidth > one.clientWidth + 1).length
"""


def test_the_agenda_shows_its_countdowns_without_scrolling(open_page: OpenPage) -> None:
    for name, schedule in (
        ("Parcel tracking of all carriers", "*/10 7-20 * * *"),
        ("Heartbeat", "*/10 * * * * *"),
    ):
        make_job(
            name=name, schedule=schedule, timezone="America/Argentina/Buenos_Aires", queue="shop"
        )
    lifecycle.pause_scope("queue", "shop", by="ana", reason="moving")
    JobPlan.objects.update(next_fire_at=database_now() + timedelta(minutes=2), dirty=False)

    for narrow in (False, True):
        page = open_page("/admin/scheduler_app/agenda/", narrow=narrow)
        assert page.locator(".sch-all-day [data-countdown]").count() == 2
        assert page.evaluate(CUT_OFF) == 0
