"""The front page renews itself while somebody looks at it, and works where no script runs."""

from __future__ import annotations

from datetime import timedelta

from playwright.sync_api import Page, Route, expect

from scheduler_app.models import Node, Status, database_now
from tests.web.admin_support import make_execution, make_job, make_node

from .support import OpenPage, Trap


def fail(name: str) -> None:
    make_execution(
        make_job(name=name),
        status=Status.FAILED,
        error=f"{name} went wrong",
        scheduled_for=database_now() - timedelta(minutes=1),
    )


def test_it_renews_itself_without_a_reload(page: Page):
    page.clock.install()
    page.goto("/admin/")
    expect(page.locator("#sch-part-errors")).to_contain_text("No failure in 24 hours")

    page.evaluate("window.isTheSamePage = true")
    fail("imports")
    make_node(name="fresh node")
    page.clock.fast_forward(6000)

    expect(page.locator("#sch-part-errors")).to_contain_text("imports went wrong")
    expect(page.locator("#sch-part-nodes")).to_contain_text("fresh node")
    assert page.evaluate("window.isTheSamePage")


def test_the_warning_comes_and_goes_with_the_scheduler(page: Page):
    node = make_node()
    page.clock.install()
    page.goto("/admin/")
    head, alarm = page.locator("#sch-part-head"), page.get_by_role("alert")
    expect(head).to_contain_text("At work")
    expect(alarm).to_have_count(0)

    Node.objects.filter(pk=node.pk).update(last_tick_at=database_now() - timedelta(minutes=5))
    page.clock.fast_forward(6000)
    expect(alarm).to_contain_text(
        "Nothing fires: no node is at work. The last completed turn was 5 min"
    )
    expect(head).to_contain_text("Nothing fires")

    Node.objects.filter(pk=node.pk).update(last_tick_at=database_now())
    page.clock.fast_forward(6000)
    expect(head).to_contain_text("At work")
    expect(alarm).to_have_count(0)
    expect(page.locator(".sch-banner")).to_have_count(0)


def test_the_warning_is_announced_once_and_stays_up_to_date(page: Page):
    make_node(last_tick_at=database_now() - timedelta(minutes=5))
    page.clock.install()
    page.goto("/admin/")
    expect(page.get_by_role("alert")).to_contain_text("5 min")

    Node.objects.update(last_tick_at=database_now() - timedelta(hours=2))
    page.clock.fast_forward(6000)

    expect(page.locator(".sch-banner")).to_contain_text("2 h ago")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_what_somebody_is_at_stays(page: Page):
    fail("imports")
    page.clock.install()
    page.goto("/admin/")
    page.locator("#sch-part-errors a").first.focus()
    page.locator("#sch-table-hour summary").click()
    page.locator("#sch-part-errors a").first.focus()

    fail("exports")
    page.clock.fast_forward(6000)

    expect(page.locator("#sch-part-counts")).to_contain_text("2 Failed")
    expect(page.locator("#sch-part-errors")).not_to_contain_text("exports")
    expect(page.locator("#sch-table-hour table")).to_be_visible()


def test_it_asks_nothing_while_the_tab_is_hidden_or_stopped(page: Page):
    page.clock.install()
    page.goto("/admin/")
    asked: list[str] = []
    page.on("request", lambda request: "/live/" in request.url and asked.append(request.url))

    page.get_by_role("button", name="Stop updating").click()
    # The installed clock goes on: it may have asked before the click.
    asked.clear()
    page.clock.fast_forward(60_000)
    assert asked == []

    with page.expect_response("**/live/"):
        page.get_by_role("button", name="Update again").click()
    expect(page.get_by_role("button", name="Stop updating")).to_be_visible()

    page.evaluate(
        "Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    asked.clear()
    page.clock.fast_forward(60_000)
    assert asked == []

    with page.expect_request("**/live/"):
        page.evaluate(
            "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))"
        )


def test_a_server_that_does_not_answer_is_said_and_asked_again(page: Page, trap: Trap):
    trap.forgive("status of 503")
    page.clock.install()
    page.goto("/admin/")

    def refuse(route: Route) -> None:
        route.fulfill(status=503)

    page.route("**/live/", refuse)
    page.clock.fast_forward(6000)
    expect(page.get_by_role("status")).to_contain_text("does not answer")
    page.unroute("**/live/", refuse)
    page.clock.fast_forward(31_000)
    expect(page.get_by_role("status")).to_be_empty()


def test_without_javascript_it_shows_how_things_stand(open_page: OpenPage):
    fail("imports")

    page = open_page("/admin/", javascript=False)

    expect(page.locator("#sch-part-errors")).to_contain_text("imports went wrong")
    expect(page.get_by_role("button", name="Stop updating")).to_have_count(0)
    page.get_by_role("link", name="imports went wrong").click()
    page.get_by_role("link", name="Retry it").click()
    page.get_by_role("button", name="Retry 1 execution").click()
    expect(page.locator("#content-main")).to_contain_text("Retried")
