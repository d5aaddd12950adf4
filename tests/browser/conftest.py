"""One Chromium for all tests of this package; pages of it for people who are logged in.

Without an installed Chromium the tests are skipped, and fail where `CI` is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db import connection, connections
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer
from pytest_django.plugin import DjangoDbBlocker

from .support import BROWSERS, PATIENCE_MS, OpenPage, Trap, Visitors, find_browser

EMPTIED = ("scheduler_app", "admin", "sessions")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The browser, started once; every test has contexts of its own in it."""
    path = find_browser()
    if path is None:
        reason = f"no browser is installed: none of {', '.join(BROWSERS)} is on PATH (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    expect.set_options(timeout=PATIENCE_MS)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop of its own running in this thread, which Django takes for a coroutine that
        # would block. None does: tests call the ORM between two calls of the browser. The loop, and with it this
        # permission, ends with the package, so that tests elsewhere see neither.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(
            executable_path=path,
            # The pages are our own; in containers there is no sandbox to be had.
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database, its tables emptied afterwards: a tenth of the time of Django's flush."""
    with django_db_blocker.unblock():
        yield
        tables = [
            model._meta.db_table
            for label in EMPTIED
            for model in apps.get_app_config(label).get_models()
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE auth_user, {', '.join(tables)} CASCADE")
        connections.close_all()


@pytest.fixture
def trap(live_server: LiveServer) -> Iterator[Trap]:
    """Fails the test for a violation of the policy, an error in the console or a script, a dialog, a strange host."""
    trap = Trap(live_server.url)
    yield trap
    assert not trap.problems, "\n".join(trap.problems)


@pytest.fixture
def visitors(
    browser: Browser, live_server: LiveServer, transactional_db: None, trap: Trap
) -> Iterator[Visitors]:
    """Where pages come from."""
    visitors = Visitors(browser, live_server.url, trap)
    yield visitors
    visitors.close()


@pytest.fixture
def open_page(visitors: Visitors) -> OpenPage:
    """`open_page(address, permissions=…, dark=…, narrow=…, javascript=…)`: see `Visitors.open`."""
    return visitors.open


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """An administrator's page at a desk, in light colours."""
    return open_page()
