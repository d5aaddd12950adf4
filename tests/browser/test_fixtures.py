"""The browser of the tests itself: it is logged in, obeys its options, and its trap springs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from jobscheduler.middleware import POLICY

from .support import PATIENCE_MS, OpenPage, Trap


def wait_for(question: Callable[[], bool], page: Page, trap: Trap) -> None:
    """Until what the browser reports in its own time has arrived."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not question():
        assert time.monotonic() < deadline, trap.found
        page.wait_for_timeout(20)


def test_an_administrator_is_logged_in_and_the_pages_are_served_under_the_policy(page: Page):
    response = page.goto("/admin/")

    expect(page.locator("#user-tools")).to_contain_text("ana")
    assert response is not None
    assert response.headers["content-security-policy"] == POLICY
    assert get_user_model().objects.get().username == "ana"


@pytest.mark.parametrize(
    ("options", "question", "answer"),
    [
        ({"dark": True}, "matchMedia('(prefers-color-scheme: dark)').matches", True),
        ({}, "matchMedia('(prefers-color-scheme: dark)').matches", False),
        ({"narrow": True}, "innerWidth", 390),
        ({"reduced_motion": "reduce"}, "matchMedia('(prefers-reduced-motion)').matches", True),
    ],
)
def test_contexts_obey_their_options(open_page: OpenPage, options, question, answer):
    assert open_page("/admin/login/", **options).evaluate(question) == answer


def test_without_javascript_scripts_do_not_run(open_page: OpenPage):
    page = open_page(javascript=False)

    page.set_content("<p>as sent</p><script>document.body.textContent = 'changed'</script>")

    expect(page.locator("p")).to_have_text("as sent")


@pytest.mark.parametrize(
    ("script", "caught"),
    [
        ("document.body.setAttribute('style', 'color: red')", "security policy: style-src"),
        ("console.error('oh no')", "console: oh no"),
        ("setTimeout(() => { throw new Error('broken') })", "page error: broken"),
        ("setTimeout(() => alert('hello'))", "dialog: hello"),
        ("fetch('http://203.0.113.1/')", "security policy: connect-src: http://203.0.113.1/"),
    ],
)
def test_the_trap_springs(open_page: OpenPage, trap: Trap, script, caught):
    page = open_page("/admin/")

    page.evaluate(f"() => {{ {script} }}")

    wait_for(lambda: any(caught in problem for problem in trap.problems), page, trap)
    trap.found.clear()


def test_the_trap_springs_for_an_inline_script_of_the_page_itself(
    open_page: OpenPage, trap: Trap, live_server: LiveServer
):
    page = open_page()
    page.route(
        f"{live_server.url}/inline",
        lambda route: route.fulfill(
            body="<body onload='1'><p style='color: red'>x</p><script>1</script>",
            headers={"Content-Type": "text/html", "Content-Security-Policy": POLICY},
        ),
    )

    page.goto("/inline")

    def violations() -> list[str]:
        return [text for text in trap.problems if text.startswith("violation")]

    wait_for(lambda: len(violations()) == 3, page, trap)
    trap.found.clear()


def test_the_trap_springs_for_a_request_to_another_host(
    open_page: OpenPage, trap: Trap, live_server: LiveServer
):
    page = open_page()
    page.route(
        f"{live_server.url}/elsewhere",
        lambda route: route.fulfill(
            body="<img src='http://127.0.0.1:9/'>", content_type="text/html"
        ),
    )

    page.goto("/elsewhere")

    wait_for(lambda: "request to another host: http://127.0.0.1:9/" in trap.problems, page, trap)
    trap.found.clear()


def test_what_a_test_provokes_can_be_forgiven(open_page: OpenPage, trap: Trap):
    trap.forgive("status of 404")

    page = open_page("/admin/nowhere/")

    wait_for(lambda: bool(trap.found), page, trap)
    assert trap.problems == []
