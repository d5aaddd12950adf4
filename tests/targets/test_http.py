"""HTTP targets over real sockets: what is sent, what is kept, and servers of every temper (S11, I25, I30)."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable

import pytest
from django.test import override_settings

from scheduler_app.rules.problems import Invalid
from scheduler_app.rules.storable import json_bytes, storable_json
from scheduler_app.targets.base import InvalidTarget, Stopped, TargetFailed
from scheduler_app.targets.guarded_http import Client
from scheduler_app.targets.http import HttpTarget

from .conftest import stop_soon
from .server import bomb

# The answers' sizes are exact, the times are not: servers here wait for minutes, timeouts are tenths of seconds.
LONG_S = 20.0


@pytest.fixture(autouse=True)
def loopback_allowed():
    with override_settings(SCHEDULER={"http_allowed_hosts": ("127.0.0.1", "::1", "localhost")}):
        yield


@pytest.fixture
def target():
    client = Client()
    yield HttpTarget(client)
    client.close()


@pytest.fixture
def call(target, server, make_execution) -> Callable:
    """Run one request to the server."""

    def run(path: str = "/ok", arguments: dict | None = None, **values):
        return target.run(make_execution(server.url(path), arguments, **values))

    return run


def failure(call: Callable, *args, **values) -> TargetFailed:
    with pytest.raises(TargetFailed) as raised:
        call(*args, **values)
    return raised.value


# --- What is sent


def test_the_request_tells_the_execution_the_attempt_and_the_fire_time(call, server):
    call("/ok?x=1", attempt=3)

    [request] = server.requests
    assert (request.method, request.path) == ("GET", "/ok?x=1")
    assert request.headers["idempotency-key"] == "4711"
    assert request.headers["x-attempt"] == "3"
    assert request.headers["x-scheduled-for"] == "2030-01-01T12:00:00.250000Z"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["user-agent"] == "jobscheduler"
    assert request.headers["accept-encoding"] == "identity"


def test_the_users_headers_win_in_any_case(call, server):
    call(arguments={"headers": {"USER-AGENT": "mine", "idempotency-key": "k", "X-Other": "ü"}})

    headers = server.requests[0].headers
    assert headers["user-agent"] == "mine"
    assert headers["idempotency-key"] == "k"
    assert headers["x-other"] == "ü"


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ("text ü", "text ü".encode(), "text/plain; charset=utf-8"),
        ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'.encode(), "application/json"),
        (["a"], b'["a"]', "application/json"),
        (0, b"0", "application/json"),
        (False, b"false", "application/json"),
        ("", b"", "text/plain; charset=utf-8"),
    ],
)
def test_a_body_is_sent_as_text_or_as_json(call, server, body, sent, content_type):
    call(arguments={"method": "post", "body": body})

    [request] = server.requests
    assert (request.method, request.body) == ("POST", sent)
    assert request.headers["content-type"] == content_type
    assert request.headers["content-length"] == str(len(sent))


def test_without_a_body_none_is_sent(call, server):
    call(arguments={"method": "POST", "body": None})

    [request] = server.requests
    assert request.headers["content-length"] == "0"
    assert "content-type" not in request.headers


def test_s09_no_proxy_of_the_environment_is_used(call, server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert call()["status"] == 200


# --- What is kept


def test_the_result_keeps_status_timing_headers_and_body(call, server):
    result = call()

    assert result["status"] == 200
    assert result["reason"] == "OK"
    assert result["url"] == server.url("/ok")
    assert result["method"] == "GET"
    assert result["address"] == "127.0.0.1"
    assert 0 <= result["duration_ms"] < LONG_S * 1000
    assert '"method": "GET"' in result["body"]
    assert result["body_truncated"] is False
    assert result["body_bytes"] == len(result["body"])
    assert result["headers"]["content-type"] == "application/json"
    assert "set-cookie" not in result["headers"]


def test_the_result_keeps_no_secret_of_the_url(call, server):
    assert call("/ok?token=canary&n=1")["url"] == server.url("/ok?token=********&n=1")
    assert server.requests[0].path == "/ok?token=canary&n=1"


def test_a_body_in_another_charset_is_decoded(call):
    assert call("/latin")["body"] == "grüße"


def test_a_charset_that_is_none_is_read_as_utf8(call):
    assert call("/odd_charset")["body"] == "a\ufffdb\ufffd"


def test_a_chunked_body_is_put_together(call):
    assert call("/chunks")["body"] == "Wikipedia "


def test_a_body_without_a_length_ends_with_the_connection(call):
    assert call("/until_close")["body"] == "all of it"


def test_a_head_request_has_no_body(call):
    result = call(arguments={"method": "HEAD"})

    assert (result["status"], result["body"], result["body_bytes"]) == (200, "", 0)


def test_s11_of_a_large_body_the_start_is_kept(call):
    result = call("/large")

    assert result["body_truncated"] is True
    assert result["body_bytes"] == 100_000
    assert set(result["body"]) == {"ä", "ö"}
    assert 60_000 < len(result["body"].encode()) <= 65_536


@pytest.mark.parametrize("path", ["/large", "/quotes", "/endless_body"])
def test_every_result_can_be_stored_as_it_is(call, path):
    result = call(path)

    assert json_bytes(result) <= 65_536
    assert storable_json(result) == result


def test_s11_reading_stops_after_a_mebibyte(call):
    result = call("/endless_body")

    assert result["body_truncated"] is True
    assert 1024 * 1024 <= result["body_bytes"] < 1024 * 1024 + 65_536 + 1


def test_s11_endless_chunk_extensions_end_the_reading_too(call):
    result = call("/endless_chunks", timeout_s=LONG_S)

    assert result["body_truncated"] is True
    assert 0 < result["body_bytes"] < 1000


def test_s11_a_gzip_bomb_is_not_inflated(call):
    assert len(bomb()) > 200_000
    call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    result = call("/gzip_bomb")

    assert (result["body"], result["body_truncated"]) == ("", True)
    assert result["body_bytes"] == len(bomb())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


# --- How it is judged


def test_another_status_than_expected_fails_with_the_exchange_kept(call):
    error = failure(call, "/status/503")

    assert error.reason == "unexpected_status"
    assert not error.permanent
    assert str(error) == "127.0.0.1 answered 503 Whatever; expected 200-299."
    assert (error.result["status"], error.result["body"]) == (503, "no luck")


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        (503, "503", "200"),
        ("404", "404", "200"),
        ("400-499", "418", "200"),
        ([200, 404], "404", "201"),
        (["200-299", 304], "304", "404"),
    ],
)
def test_the_expected_status_can_be_chosen(call, expected, good, bad):
    assert call(f"/status/{good}", {"expected_status": expected})["status"] == int(good)
    assert failure(call, f"/status/{bad}", {"expected_status": expected}).result["status"] == int(
        bad
    )


def test_s09_a_redirect_is_not_followed_and_says_where_it_leads(call, server):
    error = failure(call, "/redirect")

    assert error.reason == "unexpected_status"
    assert f"leads to {server.url('/ok?redirected')}" in str(error)
    assert len(server.requests) == 1


def test_a_strange_reason_does_not_reach_the_error_line(call):
    assert str(failure(call, "/strange_reason")).startswith("127.0.0.1 answered 500 \\x1b[31mred")


# --- Servers of every temper


@pytest.mark.parametrize(
    "path", ["/hang", "/hang_in_headers", "/hang_in_body", "/trickle", "/trickle_headers"]
)
def test_s11_the_timeout_covers_the_whole_answer(call, path):
    began = time.monotonic()

    error = failure(call, path, timeout_s=0.5)

    assert error.reason == "timed_out"
    assert "Timed out after 0.5 s" in str(error)
    assert 0.4 < time.monotonic() - began < LONG_S


def test_what_came_before_the_timeout_is_kept(call):
    error = failure(call, "/hang_in_body", timeout_s=2)

    assert error.result["status"] == 200
    assert error.result["body"] == "the start"
    assert error.result["body_truncated"] is True


@pytest.mark.parametrize("path", ["/endless_headers", "/endless_line", "/endless_interim_answers"])
def test_s11_endless_headers_are_cut_off(call, path):
    error = failure(call, path, timeout_s=LONG_S)

    assert error.reason == "bad_answer"


@pytest.mark.parametrize(
    ("path", "reason", "words"),
    [
        ("/close", "connection_lost", "closed the connection without an answer"),
        ("/reset", "connection_lost", "closed the connection"),
        ("/short", "connection_lost", "in the middle of its answer"),
        ("/garbage", "bad_answer", "did not answer in HTTP"),
    ],
)
def test_a_server_without_manners_fails_the_attempt_in_plain_words(call, path, reason, words):
    error = failure(call, path)

    assert error.reason == reason
    assert words in str(error)
    assert not error.permanent


def test_what_came_before_the_connection_was_lost_is_kept(call):
    assert failure(call, "/short").result["body"] == "the start"


def test_a_refused_connection_says_so(target, make_execution, server):
    server.stop()

    with pytest.raises(TargetFailed) as raised:
        target.run(make_execution(server.url()))

    assert raised.value.reason == "connection_refused"
    assert f"127.0.0.1 port {server.port}" in str(raised.value)
    assert raised.value.result["url"] == server.url()


def test_an_answer_to_an_upload_that_was_refused_is_seen(call):
    error = failure(call, "/refuse_upload", {"method": "POST", "body": "x" * 60_000})

    assert error.result["status"] == 413


def test_an_interim_answer_does_not_shift_the_next_one(call):
    assert failure(call, "/early_hints").result["status"] == 103
    assert call("/latin")["body"] == "grüße"


# --- Being asked to stop


@pytest.mark.parametrize("path", ["/hang", "/hang_in_body", "/trickle", "/trickle_headers"])
def test_a_request_that_is_asked_to_stop_ends_at_once(target, server, make_execution, path):
    execution = make_execution(server.url(path), timeout_s=60)
    thread = stop_soon(execution, when=lambda: server.requests)
    began = time.monotonic()

    with pytest.raises(Stopped):
        target.run(execution)

    assert time.monotonic() - began < LONG_S
    thread.join()


def test_a_request_that_was_stopped_before_it_began_is_not_sent(target, server, make_execution):
    execution = make_execution(server.url())
    execution.stop()

    with pytest.raises(Stopped):
        target.run(execution)

    assert server.requests == []


def test_a_stop_after_the_end_does_not_touch_the_connections_next_request(
    target, server, make_execution
):
    first = make_execution(server.url())
    target.run(first)
    first.stop()

    assert target.run(make_execution(server.url()))["status"] == 200
    assert server.connections == 1


# --- Connections


def test_requests_one_after_another_share_a_connection(call, server):
    for _ in range(5):
        call()

    assert server.connections == 1


def test_after_a_body_that_was_not_read_to_its_end_the_connection_is_closed(call, server):
    call("/endless_body")
    call()

    assert server.connections == 2


def test_a_connection_that_the_server_closed_is_not_used_again(call, server):
    assert call("/close_afterwards")["body"] == "good bye"
    assert call()["status"] == 200

    assert server.connections == 2


def test_a_get_on_a_connection_that_just_died_is_sent_again_on_a_new_one(call, server):
    assert call("/close_when_reused")["body"] == "1"
    assert call("/close_when_reused")["body"] == "2"


def test_a_post_is_never_sent_twice(call, server):
    post = {"method": "POST", "body": "pay"}
    call("/close_when_reused", post)

    error = failure(call, "/close_when_reused", post)

    assert error.reason == "connection_lost"
    assert len(server.requests) == 2


def test_many_threads_get_their_own_answers(target, server, make_execution):
    wrong: list[str] = []

    def work(thread: int) -> None:
        for number in range(20):
            path = f"/ok?{thread}-{number}"
            body = target.run(make_execution(server.url(path)))["body"]
            if f'"path": "{path}"' not in body:
                wrong.append(path)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert wrong == []
    assert len(server.requests) == 320
    assert server.connections <= 16


# --- TLS


def test_tls_is_verified_and_the_connection_reused(tls_server, trusting_tls, make_execution):
    target = HttpTarget(Client(tls=trusting_tls))

    for _ in range(3):
        assert target.run(make_execution(tls_server.url()))["status"] == 200

    assert tls_server.connections == 1


def test_an_unknown_authority_is_refused(tls_server, target, make_execution):
    with pytest.raises(TargetFailed) as raised:
        target.run(make_execution(tls_server.url()))

    assert raised.value.reason == "tls_failed"
    assert "certificate of 127.0.0.1 was not accepted" in str(raised.value)
    assert tls_server.requests == []


def test_a_certificate_for_another_name_is_refused(tls_server, trusting_tls, make_execution):
    target = HttpTarget(Client(tls=trusting_tls))

    with pytest.raises(TargetFailed) as raised:
        target.run(make_execution(tls_server.url().replace("127.0.0.1", "localhost")))

    assert raised.value.reason == "tls_failed"
    assert "localhost" in str(raised.value)


def test_tls_to_a_server_that_speaks_none_says_so(server, trusting_tls, make_execution):
    target = HttpTarget(Client(tls=trusting_tls))

    with pytest.raises(TargetFailed) as raised:
        target.run(make_execution(server.url().replace("http:", "https:"), timeout_s=5))

    assert raised.value.reason in ("tls_failed", "connection_lost", "timed_out")


@pytest.mark.parametrize("path", ["/hang", "/trickle", "/trickle_headers"])
def test_the_timeout_covers_the_whole_answer_over_tls(
    tls_server, trusting_tls, make_execution, path
):
    target = HttpTarget(Client(tls=trusting_tls))

    with pytest.raises(TargetFailed) as raised:
        target.run(make_execution(tls_server.url(path), timeout_s=1))

    assert raised.value.reason == "timed_out"


def test_a_stop_ends_a_wait_over_tls(tls_server, trusting_tls, make_execution):
    target = HttpTarget(Client(tls=trusting_tls))
    execution = make_execution(tls_server.url("/hang"))
    thread = stop_soon(execution, when=lambda: tls_server.requests)

    with pytest.raises(Stopped):
        target.run(execution)

    thread.join()


class SilentListener:
    """Takes connections and never says a word, so a TLS handshake never ends."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.sock.getsockname()[1]}/"

    def __enter__(self) -> SilentListener:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def test_a_handshake_that_never_ends_meets_the_timeout(trusting_tls, make_execution):
    target = HttpTarget(Client(tls=trusting_tls))

    with SilentListener() as listener, pytest.raises(TargetFailed) as raised:
        target.run(make_execution(listener.url, timeout_s=0.5))

    assert raised.value.reason == "timed_out"
    assert "negotiating TLS" in str(raised.value)


def test_a_handshake_that_never_ends_meets_the_connect_timeout(trusting_tls, make_execution):
    target = HttpTarget(Client(tls=trusting_tls))

    with SilentListener() as listener, pytest.raises(TargetFailed) as raised:
        target.run(make_execution(listener.url, {"connect_timeout_s": 0.3}))

    assert raised.value.reason == "connect_timed_out"
    assert "within 0.3 s" in str(raised.value)


def test_a_stop_ends_a_handshake(trusting_tls, make_execution):
    target = HttpTarget(Client(tls=trusting_tls))

    with SilentListener() as listener:
        execution = make_execution(listener.url)
        timer = threading.Timer(0.3, execution.stop)
        timer.start()
        with pytest.raises(Stopped):
            target.run(execution)
        timer.join()


# --- What is refused before anything is sent


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ([], "arguments", "must be a JSON object"),
        ({"metod": "GET"}, "arguments", "Did you mean 'method'?"),
        ({"method": "FLUSHALL"}, "arguments.method", "must be one of GET"),
        ({"method": "GET / HTTP/1.1\r\nX:"}, "arguments.method", "must be one of GET"),
        ({"method": 5}, "arguments.method", "must be one of GET"),
        ({"headers": "X: y"}, "arguments.headers", "must be a JSON object"),
        ({"headers": {"X": "a\r\nY: b"}}, "arguments.headers", "on one line"),
        ({"headers": {"X": "a\x00b"}}, "arguments.headers", "no control characters"),
        ({"headers": {"X": "\u20ac"}}, "arguments.headers", "Latin-1"),
        ({"headers": {"X\r\nY": "b"}}, "arguments.headers", "is not a header name"),
        ({"headers": {"X": 5}}, "arguments.headers", "must be text"),
        ({"headers": {"X": "a", "x": "b"}}, "arguments.headers", "given twice"),
        ({"headers": {"X": "a" * 9000}}, "arguments.headers", "longer than 8,190"),
        ({"headers": {f"X-{n}": "a" for n in range(101)}}, "arguments.headers", "at most 100"),
        ({"headers": {"Host": "other"}}, "arguments.headers", "cannot be chosen"),
        ({"headers": {"content-length": "5"}}, "arguments.headers", "cannot be chosen"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "arguments.headers", "cannot be chosen"),
        ({"headers": {"Connection": "close"}}, "arguments.headers", "cannot be chosen"),
        ({"headers": {"Proxy-Authorization": "x"}}, "arguments.headers", "cannot be chosen"),
        ({"expected_status": "2xx"}, "arguments.expected_status", "such as '200-299'"),
        ({"expected_status": True}, "arguments.expected_status", "got True"),
        ({"expected_status": 99}, "arguments.expected_status", "got 99"),
        ({"expected_status": "299-200"}, "arguments.expected_status", "got '299-200'"),
        ({"expected_status": []}, "arguments.expected_status", "got []"),
        ({"expected_status": {"a": 1}}, "arguments.expected_status", "got {'a': 1}"),
        ({"connect_timeout_s": 0}, "arguments.connect_timeout_s", "0.1 to 300"),
        ({"connect_timeout_s": "5"}, "arguments.connect_timeout_s", "0.1 to 300"),
        ({"connect_timeout_s": True}, "arguments.connect_timeout_s", "0.1 to 300"),
    ],
)
def test_s11_arguments_that_cannot_work_are_refused_with_the_reason(
    target, arguments, field, words
):
    [problem] = target.problems("https://api.example.com/", arguments)

    assert problem.field == field
    assert words in problem.message


def test_all_problems_are_told_at_once(target):
    problems = target.problems("ftp://x", {"method": "X", "headers": {"a b": "c"}, "bad": 1})

    assert {problem.field for problem in problems} == {
        "target",
        "arguments",
        "arguments.method",
        "arguments.headers",
    }


def test_a_secret_in_a_header_is_not_repeated_in_the_problem(target):
    [problem] = target.problems("https://a.example/", {"headers": {"Authorization": "s3cret\n"}})

    assert "s3cret" not in repr(problem)


def test_a_good_target_has_no_problems(target):
    arguments = {
        "method": "PUT",
        "headers": {"Authorization": "Bearer x"},
        "body": {"a": 1},
        "expected_status": [200, "202-204"],
        "connect_timeout_s": 2.5,
    }
    assert target.problems("https://api.example.com:8443/a?b=c", arguments) == []


def test_arguments_that_became_invalid_are_refused_again_before_running(call):
    with pytest.raises(InvalidTarget) as raised:
        call(arguments={"method": "FLUSHALL"})

    assert isinstance(raised.value, Invalid)
