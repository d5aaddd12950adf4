"""Logs over the API: whole, by range, by their end, and followed while they grow."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from django.db import connection

from scheduler_app.api import logs
from scheduler_app.models import Execution, LogChunk, Status

from .api_support import API, ApiClient, client_of, errors_of, make_execution, make_job, statements

CHUNKS = [(1, "one\n"), (1, "zwölf, ☃\n"), (2, "two"), (2, "\n\nlast\n")]
WHOLE = "one\nzwölf, ☃\n\n--- attempt 2 ---\ntwo\n\nlast\n"
BYTES = WHOLE.encode()


@pytest.fixture
def operator(db: None) -> ApiClient:
    return client_of("operator")


def write(execution: Execution, chunks: list[tuple[int, str]], first: int = 0) -> None:
    for seq, (attempt, text) in enumerate(chunks, start=first):
        LogChunk.objects.create(execution=execution, attempt=attempt, seq=seq, text=text)


@pytest.fixture
def logged(db: None) -> str:
    execution = make_execution(make_job())
    write(execution, CHUNKS)
    return f"{API}/executions/{execution.pk}/log"


def bytes_of(response: Any) -> bytes:
    found = b"".join(response.streaming_content)
    assert int(response["Content-Length"]) == len(found)
    return found


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, len(BYTES)),
        ("bytes=0-3", 0, 4),
        ("bytes=6-11", 6, 12),  # In the middle of a character, as HTTP has it.
        ("bytes=10-40", 10, 41),
        ("bytes=40-99999", 40, len(BYTES)),
        ("bytes=-5", len(BYTES) - 5, len(BYTES)),
        ("bytes=-99999", 0, len(BYTES)),
    ],
)
def test_a_range_of_bytes_is_served_as_http_says(
    operator: ApiClient, logged: str, asked: str, start: int, end: int
) -> None:
    response = operator.get(logged, HTTP_RANGE=asked)

    assert response.status_code == 206
    assert bytes_of(response) == BYTES[start:end]
    assert response["Content-Range"] == f"bytes {start}-{end - 1}/{len(BYTES)}"


@pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=-0", "bytes=5-4"])
def test_a_range_beyond_the_text_is_refused(operator: ApiClient, logged: str, asked: str) -> None:
    response = operator.get(logged, HTTP_RANGE=asked)

    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{len(BYTES)}"
    assert response.json()["code"] == "range_not_satisfiable"


@pytest.mark.parametrize("asked", ["", "lines=1-2", "bytes=0-1,4-5", "bytes=-", "bytes=x-y"])
def test_other_ranges_get_the_whole(operator: ApiClient, logged: str, asked: str) -> None:
    response = operator.get(logged, HTTP_RANGE=asked)

    assert (response.status_code, bytes_of(response)) == (200, BYTES)
    assert response["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("lines", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10_000])
@pytest.mark.parametrize("ending", ["\n", ""])
def test_a_tail_has_so_many_lines(operator: ApiClient, lines: int, ending: str) -> None:
    execution = make_execution(make_job())
    chunks = [*CHUNKS[:-1], (2, CHUNKS[-1][1].rstrip("\n") + ending)]
    write(execution, chunks)
    whole = WHOLE.rstrip("\n") + ending

    response = operator.get(f"{API}/executions/{execution.pk}/log?tail={lines}")

    assert bytes_of(response).decode() == "".join(whole.splitlines(keepends=True)[-lines:])


def test_a_tail_of_a_long_log_reads_its_end_alone(operator: ApiClient) -> None:
    execution = make_execution(make_job())
    write(execution, [(1, f"line {number}\n") for number in range(200)])

    with statements() as sent:
        response = operator.get(f"{API}/executions/{execution.pk}/log?tail=3")
        assert bytes_of(response) == b"line 197\nline 198\nline 199\n"

    # The execution, its status, the sizes, sixteen chunks for the tail and those that are sent.
    assert len(sent) == 5, sent


def test_random_cuts_put_together_are_the_text(operator: ApiClient) -> None:
    numbers = random.Random(7)
    execution = make_execution(make_job())
    text = "".join(numbers.choice("aß☃𝄞\n") for _ in range(2000))
    cuts = sorted(numbers.sample(range(2000), 60))
    write(execution, [(1, text[a:b]) for a, b in zip([0, *cuts], [*cuts, 2000], strict=True)])
    path, found, offset = f"{API}/executions/{execution.pk}/log", b"", 0
    whole = text.encode()

    while offset < len(whole):
        size = numbers.randint(1, 700)
        got = bytes_of(operator.get(path, HTTP_RANGE=f"bytes={offset}-{offset + size - 1}"))
        found, offset = found + got, offset + len(got)

    assert found == whole


# --- Following --------------------------------------------------------------------------------


def test_a_finished_log_says_that_it_is_complete(operator: ApiClient, logged: str) -> None:
    as_json = operator.get(logged, HTTP_ACCEPT="application/json").json()

    assert as_json == {
        "text": WHOLE,
        "offset": 0,
        "next_offset": len(BYTES),
        "complete": True,
        "next": None,
    }
    assert "Link" not in operator.get(logged)


def test_an_unfinished_log_says_where_it_goes_on(operator: ApiClient) -> None:
    execution = make_execution(make_job(), status=Status.RUNNING)
    path = f"{API}/executions/{execution.pk}/log"
    write(execution, CHUNKS[:2])

    first = operator.get(path, HTTP_ACCEPT="application/json").json()
    write(execution, CHUNKS[2:], first=2)
    second = operator.get(first["next"], HTTP_ACCEPT="application/json").json()

    assert (first["complete"], second["complete"]) == (False, False)
    assert first["text"] + second["text"] == WHOLE
    assert operator.get(path)["Link"].startswith(f"<http://testserver{path}?offset={len(BYTES)}&")


def test_a_long_log_comes_as_json_in_whole_characters(
    operator: ApiClient, monkeypatch: Any
) -> None:
    monkeypatch.setattr(logs, "MAX_JSON_BYTES", 10)
    execution = make_execution(make_job())
    write(execution, [(1, "☃" * 8), (1, "x")])
    url, found = f"{API}/executions/{execution.pk}/log", ""

    while url:
        part = operator.get(url, HTTP_ACCEPT="application/json").json()
        found, url = found + part["text"], part["next"]

    assert found == "☃" * 8 + "x"


@pytest.mark.django_db(transaction=True)
def test_who_waits_hears_of_more_as_soon_as_it_is_there() -> None:
    execution = make_execution(make_job(), status=Status.RUNNING)
    client = client_of("operator")
    path = f"{API}/executions/{execution.pk}/log?offset=0&wait=20"
    found: list[Any] = []

    def follow() -> None:
        found.append(client.get(path, HTTP_ACCEPT="application/json").json())
        connection.close()

    thread = threading.Thread(target=follow)
    thread.start()
    write(execution, [(1, "at last\n")])
    thread.join(timeout=60)

    assert [part["text"] for part in found] == ["at last\n"]


def test_who_waits_for_what_is_over_does_not_wait(operator: ApiClient, logged: str) -> None:
    path = f"{logged}?offset=99999&wait=20"

    answer = operator.get(path, HTTP_ACCEPT="application/json").json()

    assert (answer["text"], answer["complete"], answer["offset"]) == ("", True, len(BYTES))


def test_no_more_than_a_few_threads_wait(operator: ApiClient, monkeypatch: Any) -> None:
    monkeypatch.setattr(logs.time, "sleep", pytest.fail)
    monkeypatch.setattr(logs, "_waiting", threading.BoundedSemaphore(1))
    execution = make_execution(make_job(), status=Status.RUNNING)

    with logs._waiting:
        response = operator.get(
            f"{API}/executions/{execution.pk}/log?offset=0&wait=20", HTTP_ACCEPT="application/json"
        )

    assert (response.json()["text"], response.json()["complete"]) == ("", False)


def test_behind_a_pooler_nobody_waits_in_a_transaction(
    operator: ApiClient, monkeypatch: Any, settings: Any
) -> None:
    monkeypatch.setattr(logs.time, "sleep", pytest.fail)
    settings.SCHEDULER = {**settings.SCHEDULER, "pooled": True}
    execution = make_execution(make_job(), status=Status.RUNNING)

    answer = operator.get(
        f"{API}/executions/{execution.pk}/log?offset=0&wait=20", HTTP_ACCEPT="application/json"
    ).json()

    assert (answer["text"], answer["complete"]) == ("", False)
    assert answer["next"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("offset=-1", "offset"),
        ("tail=0", "tail"),
        ("tail=1&offset=1", "tail"),
        ("wait=21", "wait"),
        ("follow=1", "follow"),
        ("attempt=x", "attempt"),
    ],
)
def test_what_is_no_part_of_a_log_is_refused(
    operator: ApiClient, logged: str, query: str, field: str
) -> None:
    assert field in errors_of(operator.get(f"{logged}?{query}"))
