"""Failures that are the same failure have one fingerprint, and others do not."""

from __future__ import annotations

import pytest

from scheduler_app.rules.fingerprints import (
    Frame,
    fingerprint,
    frames_of,
    last_own_place,
    normalised,
)

TRACEBACK = """Traceback (most recent call last):
  File "/srv/releases/41/shop/tasks.py", line 12, in sync_stock
    fetch(page)
  File "/srv/releases/41/shop/remote.py", line 40, in fetch
    requests.get(url)
  File "/srv/venv/lib/python3.11/site-packages/requests/api.py", line 73, in get
    return request("get", url)
  File "/usr/lib/python3.11/socket.py", line 851, in create_connection
    raise exceptions[0]
  File "<string>", line 1, in connect
ConnectionError: no answer
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ConnectionError: 10.0.0.1:80 refused", "ConnectionError: 192.168.7.13:8080 refused"),
        ("KeyError: 'order 17'", "KeyError: 'order 9182'"),
        ("LookupError: 1b4e28ba-2fa1-11d2-883f-0016d3cca427", "LookupError: " + "0" * 8 + "-aaaa" * 3 + "-" + "b" * 12),
        ("TypeError: <object at 0x7f00aa>", "TypeError: <object at 0x1>"),
        ("ValueError: commit 9fceb02d0ae5", "ValueError: commit 1a410efbd13591"),
        ("ValueError: 2026-11-25T17:30:01.123 is late", "ValueError: 2027-01-01 is late"),
        ("ValueError: first\nand more 1", "ValueError: first\nsomething else"),
        ("ValueError:  two  blanks", "ValueError: two blanks"),
        ("ValueError: " + "x" * 500 + "a", "ValueError: " + "x" * 500 + "b"),
    ],
)  # fmt: skip
def test_what_differs_by_chance_does_not_count(one, other):
    assert normalised(one) == normalised(other)
    assert fingerprint(one, "f in a.py") == fingerprint(other, "f in a.py")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("KeyError: 'name'", "KeyError: 'price'"),
        ("ValueError: no", "TypeError: no"),
        ("ValueError: facade", "ValueError: decade"),
        ("", "x"),
    ],
)
def test_what_differs_on_purpose_counts(one, other):
    assert fingerprint(one, "") != fingerprint(other, "")


def test_the_same_error_at_another_place_is_another_failure():
    assert fingerprint("KeyError: 1", "f in a.py") != fingerprint("KeyError: 1", "g in a.py")


def test_the_place_is_the_innermost_of_the_own_code():
    assert last_own_place(TRACEBACK) == "fetch in remote.py"
    assert [frame.is_own for frame in frames_of(TRACEBACK)] == [True, True, False, False, False]


def test_a_new_release_in_another_folder_and_a_moved_line_are_the_same_place():
    moved = TRACEBACK.replace("/41/", "/42/").replace("line 40", "line 44")

    assert last_own_place(moved) == last_own_place(TRACEBACK)


@pytest.mark.parametrize("text", ["", "no frames here", '  File "', '  File "", line 1'])
def test_a_text_without_frames_has_no_place(text):
    assert last_own_place(text) == ""


def test_frames_of_other_systems_and_without_a_function_are_read():
    [windows, bare] = frames_of('  File "C:\\app\\jobs.py", line 3, in run\n  File "x.py", line 7')

    assert windows.place == "run in jobs.py"
    assert bare == Frame("x.py", 7, "")
    assert bare.place == "x.py"


def test_hostile_texts_cost_little():
    normalised("1" * 1_000_000)
    normalised("a1" * 500_000)
    last_own_place('  File "' + "a" * 100_000)
    assert fingerprint("\ud800", "\x00")
