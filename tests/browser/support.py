"""A real browser on the test database: people who are logged in, and a trap for all that a page must never do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE = {"width": 1360, "height": 900}
NARROW = {"width": 390, "height": 844}
PATIENCE_MS = 30_000
"""How long a page may take to show what should be there within a moment, on a machine that is busy."""

# Runs before the page's own scripts, and outside of its policy.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
    window.reportViolation(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""


def find_browser() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@dataclass
class Trap:
    """What went wrong in the pages of one test; `forgive` names what the test provokes on purpose."""

    address: str
    found: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)

    def forgive(self, part: str) -> None:
        """Messages that contain this text are expected: a page that is refused logs `status of 403`."""
        self.forgiven.append(part)

    @property
    def problems(self) -> list[str]:
        """All that nobody forgave."""
        return [text for text in self.found if not any(part in text for part in self.forgiven)]

    def watch(self, context: BrowserContext) -> None:
        """Look at every page that the context opens."""
        context.expose_function("reportViolation", self._violation)
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.found.append(f"page error: {error.error}"))
        context.on("dialog", self._dialog)
        context.on("request", self._request)

    def _violation(self, text: str) -> None:
        self.found.append(f"violation of the content security policy: {text}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.found.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _dialog(self, dialog: Dialog) -> None:
        self.found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        there = urlsplit(request.url)
        if there.scheme in ("http", "https") and there.netloc != urlsplit(self.address).netloc:
            self.found.append(f"request to another host: {request.url}")


class Visitors:
    """Opens pages for people; `open()` gives the page of an administrator at a desk."""

    def __init__(self, browser: Browser, address: str, trap: Trap) -> None:
        self.browser = browser
        self.address = address
        self.trap = trap
        self.contexts: list[BrowserContext] = []

    def open(
        self,
        address: str = "",
        *,
        permissions: tuple[str, ...] | None = None,
        name: str = "ana",
        dark: bool = False,
        narrow: bool = False,
        javascript: bool = True,
        **options: Any,
    ) -> Page:
        """A page at `address`, logged in: with all rights, or with just these permissions.

        The same name twice is the same person. More options are those of Playwright's `new_context`.
        """
        options.setdefault("viewport", NARROW if narrow else WIDE)
        context = self.browser.new_context(
            base_url=self.address,
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
            **options,
        )
        self.contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        self.trap.watch(context)
        context.add_cookies([self._cookie_of(name, permissions)])
        page = context.new_page()
        if address:
            page.goto(address)
        return page

    def close(self) -> None:
        """Close all pages, and with them what they still ask the server."""
        for context in self.contexts:
            context.close()

    def _cookie_of(self, name: str, permissions: tuple[str, ...] | None) -> Any:
        users = get_user_model().objects
        user = users.filter(username=name).first() or users.create_user(
            name, is_staff=True, is_superuser=permissions is None
        )
        if permissions is not None:
            user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        return {"name": cookie.key, "value": cookie.value, "url": self.address}


OpenPage = Callable[..., Page]


def scrolls_sideways(page: Page) -> bool:
    """Whether the page as a whole is wider than the window."""
    wider: bool = page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return wider
