"""What the tests of the admin are told with: people with rights, and a browser that presses buttons without JavaScript."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.http import HttpResponseBase
from django.test import Client

from scheduler_app.models import AuditEntry, Source

from .api_support import make_execution, make_job, make_node

__all__ = ["Browser", "Page", "log_of", "make_execution", "make_job", "make_node"]

JOBS = "/admin/scheduler_app/job/"
EXECUTIONS = "/admin/scheduler_app/execution/"
NODES = "/admin/scheduler_app/node/"
PAUSES = "/admin/scheduler_app/pause/"
GAPS = "/admin/scheduler_app/gap/"

VIEWER = ("view_job", "view_execution", "view_node", "view_gap", "view_pause")
USE = ("use_task", "use_http", "use_management", "use_shell")
OPERATOR = (*VIEWER, *USE, "run_job", "pause_job", "add_pause", "change_pause")
AUTHOR = (*VIEWER, *USE, "add_job", "change_job", "delete_job")

VOID = frozenset(["br", "hr", "img", "input", "link", "meta", "use", "path", "circle", "rect"])


@dataclass
class Form:
    """A form with what a browser would send of it."""

    method: str
    action: str
    values: list[tuple[str, str]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Button:
    """A button, or an input that submits."""

    text: str
    form: str
    action: str | None
    value: tuple[str, str] | None
    title: str


class Page(HTMLParser):
    """A page as read: its text, links, forms and buttons, and what a strict content policy would refuse."""

    def __init__(self, address: str, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.address = address
        self.html = html
        self.links: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.forms: dict[str, Form] = {}
        self.buttons: list[Button] = []
        self.refused: list[str] = []
        self._texts: list[str] = []
        self._stack: list[str] = []
        self._form = ""
        self._button: Button | None = None
        self._link: tuple[str, list[str]] | None = None
        self._select: str | None = None
        self._textarea: list[str] | None = None
        self._chosen: list[str] = []
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        """What people read, with single blanks."""
        return " ".join(" ".join(self._texts).split())

    @property
    def main(self) -> str:
        """As `text`, from the content on."""
        return self.text.partition("Log out")[2]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        self._refuse(tag, given)
        if tag not in VOID:
            self._stack.append(tag)
        name = given.get("name", "")
        if tag == "form":
            self._form = given.get("id") or f"form {len(self.forms)}"
            self.forms[self._form] = Form(given.get("method", "get"), given.get("action", ""))
        elif tag == "a" and "href" in given:
            self._link = (given["href"], [])
        elif tag == "input":
            kind = given.get("type", "text")
            if kind == "submit":
                self.buttons.append(
                    Button(given.get("value", ""), self._form, None, _pair(given), "")
                )
            elif kind not in ("checkbox", "radio") or "checked" in given:
                self._add(name, given.get("value", "on" if kind == "checkbox" else ""))
        elif tag == "button":
            self._button = Button(
                "",
                given.get("form", self._form),
                given.get("formaction"),
                _pair(given),
                given.get("title", ""),
            )
        elif tag == "select":
            self._select, self._chosen = name, []
        elif tag == "option" and self._select is not None:
            # Without a choice, browsers send the first.
            if "selected" in given or not self._chosen:
                self._chosen = [given.get("value", "")]
        elif tag == "textarea":
            self._textarea = [name]

    def handle_endtag(self, tag: str) -> None:
        if tag in self._stack:
            while self._stack.pop() != tag:
                pass
        if tag == "form":
            self._form = ""
        elif tag == "a" and self._link:
            self.links.setdefault(" ".join("".join(self._link[1]).split()), self._link[0])
            self._link = None
        elif tag == "button" and self._button:
            self._button.text = " ".join(self._button.text.split())
            self.buttons.append(self._button)
            self._button = None
        elif tag == "select" and self._select is not None:
            for value in self._chosen:
                self._add(self._select, value)
            self._select = None
        elif tag == "textarea" and self._textarea:
            name, *texts = self._textarea
            self._add(name, "".join(texts).removeprefix("\n"))
            self._textarea = None

    def handle_data(self, data: str) -> None:
        if self._stack and self._stack[-1] in ("script", "style"):
            if data.strip():
                self.refused.append(f"inline <{self._stack[-1]}>")
            return
        self._texts.append(data)
        if self._link:
            self._link[1].append(data)
        if self._button:
            self._button.text += data
        if self._textarea:
            self._textarea.append(data)

    @property
    def addresses(self) -> set[str]:
        """Where the page's links lead."""
        return {attrs["href"] for tag, attrs in self.elements if tag == "a" and "href" in attrs}

    @property
    def own_buttons(self) -> list[Button]:
        """Those of the page, without those of the admin's frame."""
        return [button for button in self.buttons if button.form not in ("", "logout-form")]

    def form_of(self, name: str) -> Form:
        """The form that has a field of this name."""
        return next(form for form in self.forms.values() if name in dict(form.values))

    def _refuse(self, tag: str, given: dict[str, str]) -> None:
        for name, value in given.items():
            if name == "style" or name.startswith("on"):
                self.refused.append(f'<{tag} {name}="{value}">')
            leads = name in ("src", "href", "action", "formaction") and value
            if leads and not value.startswith(("/", "?", "#")):
                self.refused.append(f'<{tag} {name}="{value}">')

    def _add(self, name: str, value: str) -> None:
        if name and self._form:
            self.forms[self._form].values.append((name, value))


def _pair(given: dict[str, str]) -> tuple[str, str] | None:
    return (given["name"], given.get("value", "")) if given.get("name") else None


class Browser:
    """Somebody with these permissions at a browser without JavaScript, which sends CSRF tokens as forms have them.

    `errors` are those of the form on the page, by field.
    """

    def __init__(self, *permissions: str, superuser: bool = False, name: str = "ana") -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.user = get_user_model().objects.create_user(
            name, password="pass word 1", is_staff=True, is_superuser=superuser
        )
        self.user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        self.client.force_login(self.user)
        self.page = Page("", "")
        self.status = 0
        self.errors: dict[str, list[str]] = {}

    @classmethod
    def of(cls, user: Any) -> Browser:
        """Somebody whom there is already."""
        browser = cls.__new__(cls)
        browser.client, browser.user = Client(enforce_csrf_checks=True), user
        browser.client.force_login(user)
        browser.page, browser.status, browser.errors = Page("", ""), 0, {}
        return browser

    def open(self, address: str) -> Page:
        """Go to an address; follows redirects."""
        return self._arrive(address, self.client.get(address, follow=True))

    def press(self, text: str, *, title: str = "", **changes: Any) -> Page:
        """Press the button that reads `text`, after changing fields of its form."""
        button = next(
            button
            for button in self.page.buttons
            if button.text == text and (not title or button.title == title)
        )
        form = self.page.forms[button.form]
        values = [pair for pair in form.values if pair[0] not in changes]
        for name, value in changes.items():
            values += [(name, item) for item in (value if isinstance(value, list) else [value])]
        if button.value:
            values.append(button.value)
        address = urljoin(self.page.address, button.action or form.action or self.page.address)
        data: dict[str, list[str]] = {}
        for name, value in values:
            data.setdefault(name, []).append(str(value))
        assert form.method == "post"
        return self._arrive(address, self.client.post(address, data, follow=True))

    def post(self, address: str, **data: Any) -> HttpResponseBase:
        """Send a form that no page offered, with a valid token."""
        self.open("/admin/password_change/")
        token = dict(self.page.forms["logout-form"].values)["csrfmiddlewaretoken"]
        return self.client.post(address, {"csrfmiddlewaretoken": token, **data})

    def choose(self, action: str, *objects: Model, **changes: Any) -> Page:
        """Run a list's action on these rows."""
        go = next(button.text for button in self.page.buttons if button.value == ("index", "0"))
        ids = [str(one.pk) for one in objects]
        return self.press(go, action=action, _selected_action=ids, **changes)

    def _arrive(self, address: str, response: Any) -> Page:
        if response.redirect_chain:
            address = urljoin(address, response.redirect_chain[-1][0])
        self.status = response.status_code
        self.page = Page(address, response.content.decode())
        context = response.context or {}
        form = getattr(context.get("adminform"), "form", None) or context.get("form")
        self.errors = {} if form is None else dict(form.errors)
        return self.page


def log_of(one: Model) -> list[str]:
    """What the audit trail says was done to it, oldest first."""
    entries = AuditEntry.objects.filter(
        object_kind=one._meta.model_name, object_id=str(one.pk), source=Source.ADMIN
    )
    return [
        f"{entry.who}: {entry.verb}" + (f": {entry.reason}" if entry.reason else "")
        for entry in entries.order_by("pk")
    ]
