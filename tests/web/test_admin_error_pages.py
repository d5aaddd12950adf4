"""What is not there, cannot be meant or is not allowed is said on a page that leads on, with DEBUG on as well."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.template.loader import get_template
from django.test import Client, RequestFactory
from django.views.defaults import bad_request, server_error

from .admin_support import EXECUTIONS, JOBS, OPERATOR, Browser

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (
            f"{EXECUTIONS}987654321/change/",
            404,
            "There is no such execution; it may have been pruned.",
        ),
        (f"{JOBS}987654321/", 404, "There is no such job; it may have been deleted."),
        ("/admin/scheduler_app/failures/0123456789ab/", 404, "No failure of the last day"),
        (f"{EXECUTIONS}bulk/?verb=delete", 400, "verb must be cancel or retry"),
        ("/admin/scheduler_app/timeline/", 403, "You have no right to do this."),
    ],
)
def test_a_page_that_cannot_be_shown_says_why_and_leads_on(
    path: str, status: int, words: str, debug: bool, settings: Any
) -> None:
    settings.DEBUG = debug
    browser = Browser(*(OPERATOR if status != 403 else ("view_job",)))

    page = browser.open(path)

    assert browser.status == status
    assert words in page.text and "Traceback" not in page.text
    assert not page.refused
    assert page.links["To the front page"] == "/admin/" and page.links["Jobs"] == JOBS


@pytest.mark.parametrize("path", ["/nowhere", "/admin/nowhere/"])
def test_an_address_that_leads_nowhere_has_a_page(path: str) -> None:
    browser = Browser(*OPERATOR)

    page = browser.open(path)

    assert browser.status == 404
    assert "This address leads to no page." in page.text
    assert not page.refused


def test_strangers_are_told_no_more(client: Client) -> None:
    page = client.get("/nowhere")

    assert page.status_code == 404
    assert "Jobs" not in page.content.decode()


def test_a_request_of_which_nothing_may_be_believed_has_a_page(
    client: Client, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["example.org"]

    page = client.get("/admin/", headers={"host": "evil.example"})

    assert page.status_code == 400
    assert "No page sends such a request." in page.content.decode()
    assert bad_request(RequestFactory().get("/"), Exception("canary")).status_code == 400


def test_the_page_of_an_error_needs_nothing_that_could_be_broken() -> None:
    template = Path(django_settings.BASE_DIR) / "templates" / "500.html"

    assert not re.search(r"[{][{%]|<style|<script|style=", template.read_text())
    page = server_error(RequestFactory().get("/"))
    assert page.status_code == 500
    assert "Something went wrong" in page.content.decode()
    assert get_template("500.html")
