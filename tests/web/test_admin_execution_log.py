"""The log on the page of an execution: bounded, page by page, followed while it runs, in colours that cannot harm."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import F

from scheduler_app.admin.execution_log import LOG_SHOWN, PIECES_SHOWN, place_of, shown_log
from scheduler_app.models import Execution, LogChunk, Status

from .admin_support import EXECUTIONS, VIEWER, Browser, make_execution, make_job, make_node

pytestmark = pytest.mark.django_db


def make_running() -> Execution:
    return make_execution(make_job(), status=Status.RUNNING, node=make_node())


def write(execution: Execution, text: str, *, attempt: int = 1, token: int = 1) -> None:
    seq = LogChunk.objects.filter(execution=execution).count()
    LogChunk.objects.create(execution=execution, attempt=attempt, token=token, seq=seq, text=text)


def more(browser: Browser, execution: Execution, **given: str) -> dict[str, Any]:
    response = browser.client.get(f"{EXECUTIONS}{execution.pk}/log/more/", given)
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize("line", ["a line of a log\n", "no end of a line"])
def test_page_after_page_shows_all_of_it_once(line: str) -> None:
    execution = make_execution(make_job())
    # As the engine writes: pieces as they come, and at the end one that is larger than a page.
    texts = ["begin\n", line * 3000, line * 12_000, "end\n"]
    for text in texts:
        write(execution, text)

    pages, before, offset = [], None, 0
    for _ in range(20):
        log = shown_log(execution.pk, before, offset)
        shown = "".join(part.text for part in log.attempts)
        assert len(shown) <= LOG_SHOWN
        pages.append(shown)
        if not log.is_cut:
            break
        before, offset = place_of(log.begins)

    assert "".join(reversed(pages)) == "".join(texts)


def test_the_part_before_is_a_link() -> None:
    execution = make_execution(make_job())
    write(execution, "the beginning\n")
    write(execution, "x\n" * LOG_SHOWN)
    browser = Browser(*VIEWER)
    page = browser.open(f"{EXECUTIONS}{execution.pk}/change/")

    for _ in range(3):
        assert "the beginning" not in page.main
        page = browser.open(f"{EXECUTIONS}{execution.pk}/change/{page.links['The part before']}")
        if "The part before" not in page.links:
            break

    assert "the beginning" in page.main
    assert (
        "x\nx\nx" in browser.open(f"{EXECUTIONS}{execution.pk}/change/{page.links['The end']}").html
    )


def test_colours_become_classes_and_everything_else_text() -> None:
    execution = make_execution(make_job())
    write(execution, "\x1b[1;31mERROR\x1b[0m <b>\x1b]0;title\x07\x1b[2J\u202eevil\n")

    page = Browser(*VIEWER).open(f"{EXECUTIONS}{execution.pk}/change/")

    assert (
        '<span class="sch-ansi-bold sch-ansi-red">ERROR</span> &lt;b&gt;⟦U+202E⟧evil' in page.html
    )
    assert page.refused == []


def test_a_log_that_is_nothing_but_colours_makes_a_bounded_page() -> None:
    execution = make_execution(make_job())
    write(execution, "\x1b[31ma\x1b[32mb" * PIECES_SHOWN)

    page = Browser(*VIEWER).open(f"{EXECUTIONS}{execution.pk}/change/")

    assert page.html.count('<span class="sch-ansi') == PIECES_SHOWN
    assert len(page.html) < 150_000


def test_what_was_added_is_given_piece_by_piece() -> None:
    execution, browser = make_running(), Browser(*VIEWER)
    write(execution, "one \x1b[32mtwo")
    first = more(browser, execution, after="0.0.0")
    assert first["pieces"] == [["", "one "], ["green", "two"]]
    assert not first["is_over"]

    nothing = more(browser, execution, after=first["after"], style=first["style"])
    assert nothing == {
        "pieces": [],
        "style": "green",
        "after": first["after"],
        "is_more": False,
        "is_over": False,
    }
    write(execution, " three password=hunter2 <i>")
    then = more(browser, execution, after=first["after"], style=first["style"])
    assert then["pieces"] == [["green", " three password=******** <i>"]]


def test_a_secret_that_the_end_of_a_long_log_cuts_in_two_is_masked() -> None:
    execution = make_running()
    write(execution, "https://u:SEKRETPASS9@host/\n" + "x\n" * ((LOG_SHOWN - 16) // 2))

    pieces = more(Browser(*VIEWER), execution, after="0.0.0")["pieces"]

    assert pieces[0][1].startswith(":********@host/\nx\n")


def test_a_secret_in_two_pieces_is_masked_in_the_whole_log() -> None:
    execution = make_execution(make_job())
    for text in ("https://u:SEKRET", "PASS9@host/\n"):
        write(execution, text)

    response = Browser(*VIEWER).client.get(f"{EXECUTIONS}{execution.pk}/log/")

    shown = b"".join(response.streaming_content).decode()
    assert shown == "--- attempt 1 ---\nhttps://u:********@host/\n"


def test_following_is_over_with_the_execution_or_the_attempt() -> None:
    execution, browser = make_running(), Browser(*VIEWER)
    write(execution, "one")
    after = more(browser, execution, after="0.0.0")["after"]
    write(execution, "two", attempt=2, token=2)
    next_attempt = more(browser, execution, after=after)
    assert (next_attempt["pieces"], next_attempt["is_over"]) == ([], True)

    LogChunk.objects.filter(attempt=2).update(attempt=1)
    Execution.objects.update(status=Status.SUCCEEDED, finished_at=F("scheduled_for"))
    rest = more(browser, execution, after=after)
    assert (rest["pieces"], rest["is_over"]) == ([["", "two"]], False)
    assert more(browser, execution, after=rest["after"])["is_over"]


@pytest.mark.parametrize(
    "given",
    [
        {"after": "x"},
        {"after": "1.2"},
        {"after": "9" * 40 + ".1.1"},
        {"after": "-1.0.0"},
        {"style": "<script> red"},
        {"style": "x" * 5000},
    ],
)
def test_nothing_that_is_asked_is_an_error(given: dict[str, str]) -> None:
    execution, browser = make_running(), Browser(*VIEWER)
    write(execution, "one")
    assert set(more(browser, execution, **given)["style"].split()) <= {"red"}


def test_a_log_is_for_those_who_may_see_executions() -> None:
    execution, stranger = make_running(), Browser("view_job")
    for name in ("log/", "log/more/"):
        stranger.open(f"{EXECUTIONS}{execution.pk}/{name}")
        assert stranger.status == 403
    viewer = Browser(*VIEWER, name="ben")
    viewer.open(f"{EXECUTIONS}{execution.pk + 1}/log/more/")
    assert viewer.status == 404
