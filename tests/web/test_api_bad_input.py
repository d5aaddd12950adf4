"""Whatever is sent, the answer is a problem in words and never a 500; nothing of it is stored."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from rest_framework.exceptions import ParseError

from scheduler_app.api.parsers import MAX_BODY_BYTES, MAX_DEPTH, strict_loads
from scheduler_app.models import Execution, Job, Status

from .api_support import API, ApiClient, client_of, errors_of, make_execution, make_job

pytestmark = pytest.mark.django_db

GOOD = {"name": "a", "target": "tests.testapp.tasks.add", "arguments": {"a": 1}}
HTTP = {"kind": "http", "target": "https://example.com/", "arguments": {}}


@pytest.fixture
def admin() -> ApiClient:
    return client_of("admin")


# --- Jobs that cannot work --------------------------------------------------------------------

REFUSED = [
    # Schedules (and the whole of it: what is wrong, what is allowed).
    ({"schedule": "61 * * * *"}, "schedule", "61 is not allowed (0-59)"),
    ({"schedule": "a b c d e"}, "schedule", ""),
    ({"schedule": "* * *"}, "schedule", ""),
    ({"schedule": ""}, "schedule", ""),
    ({"schedule": "0 0 30 2 *"}, "schedule", "never runs: February has no day 30"),
    ({"schedule": "@at 2001-01-01T00:00:00Z"}, "schedule", "there is no fire time from now"),
    ({"schedule": "@every 0s"}, "schedule", ""),
    ({"schedule": "*" * 201}, "schedule", "200"),
    ({"schedule": "@hourly", "end_at": "2001-01-01T00:00:00Z"}, "schedule", "no fire time"),
    ({"schedule": 5}, "schedule", "must be a text"),
    # Zones.
    ({"timezone": "Mars/Base"}, "timezone", "is not a known time zone"),
    ({"timezone": "europe/paris"}, "timezone", "did you mean Europe/Paris?"),
    ({"timezone": "../../etc/passwd"}, "timezone", ""),
    ({"timezone": "localtime"}, "timezone", ""),
    # Moments (S30).
    ({"start_at": "9999-12-31T23:59:59Z"}, "start_at", "outside of 1970 to 2100"),
    ({"end_at": "2101-01-01T00:00:00Z"}, "end_at", "outside of 1970 to 2100"),
    ({"anchor_at": "1969-12-31T23:59:59Z"}, "anchor_at", "outside of 1970 to 2100"),
    ({"start_at": "0001-01-01T00:00:00+14:00"}, "start_at", "outside of 1970 to 2100"),
    ({"start_at": "2030-01-01T00:00:00"}, "start_at", "has no time zone"),
    ({"start_at": "tomorrow"}, "start_at", "ISO 8601"),
    ({"start_at": "2030-02-30T00:00:00Z"}, "start_at", "ISO 8601"),
    ({"start_at": 1893456000}, "start_at", "must be a moment as text"),
    (
        {"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"},
        "end_at",
        "must come after the start",
    ),
    # Targets and their arguments.
    ({"target": "os.system"}, "target", "No task is registered as 'os.system'"),
    ({"target": "tests.testapp.tasks.not_offered"}, "target", "No task is registered"),
    ({"target": ""}, "target", "blank"),
    ({"target": None}, "target", "null"),
    ({"arguments": {}}, "arguments", "missing"),
    ({"arguments": {"a": 1, "nope": 2}}, "arguments", "nope"),
    ({"arguments": "text"}, "arguments", ""),
    ({"arguments": None}, "arguments", "null"),
    ({"arguments": {"a": "x" * 70_000}}, "arguments", "bytes"),
    ({**HTTP, "target": "ftp://example.com/"}, "target", "ftp"),
    ({**HTTP, "target": "javascript:alert(1)"}, "target", ""),
    ({**HTTP, "target": "/relative"}, "target", ""),
    ({**HTTP, "target": "http://169.254.169.254/latest"}, "target", ""),
    ({**HTTP, "target": "http://[::1]/"}, "target", ""),
    ({**HTTP, "arguments": {"method": "YELL"}}, "arguments.method", "YELL"),
    ({**HTTP, "arguments": {"headers": {"a": "b\nc"}}}, "arguments.headers", ""),
    ({"kind": "shell"}, "kind", "shell"),
    ({"kind": ""}, "kind", "blank"),
    # Numbers, words, flags, lists.
    ({"priority": 101}, "priority", "100"),
    ({"priority": -101}, "priority", "-100"),
    ({"priority": 1.5}, "priority", "integer"),
    ({"priority": "7"}, "priority", "must be a whole number"),
    ({"priority": True}, "priority", "must be a whole number"),
    ({"priority": 10**3000}, "priority", "100"),
    ({"max_runs": 0}, "max_runs", "1"),
    ({"max_runs": 2**31}, "max_runs", ""),
    ({"max_running": 40_000}, "max_running", ""),
    ({"jitter_s": 86_401}, "jitter_s", "86400"),
    ({"max_attempts": 0}, "max_attempts", "1"),
    ({"timeout_s": 0}, "timeout_s", "0.1"),
    ({"timeout_s": "nan"}, "timeout_s", "must be a number"),
    ({"timeout_s": 10**400}, "timeout_s", ""),
    ({"retry_jitter": 1.1}, "retry_jitter", "1"),
    ({"on_overlap": "explode"}, "on_overlap", "explode"),
    ({"on_misfire": 3}, "on_misfire", ""),
    ({"guarantee": ["at_least_once"]}, "guarantee", ""),
    ({"enabled": "yes"}, "enabled", "true or false"),
    ({"enabled": None}, "enabled", "null"),
    ({"tags": "a,b"}, "tags", "list"),
    ({"tags": ["x" * 51]}, "tags.0", "50"),
    ({"tags": ["a", 5]}, "tags.1", "must be a text"),
    ({"tags": ["a"] * 21}, "tags", "20"),
    ({"name": ""}, "name", "blank"),
    ({"name": "x" * 201}, "name", "200"),
    ({"name": {"a": 1}}, "name", "must be a text"),
    ({"name": "taken"}, "name", "There is a job with this name already."),
    ({"description": "x" * 10_001}, "description", "10000"),
    ({"calendar": "nowhere"}, "calendar", "none with this name: nowhere"),
    ({"calendar": 5}, "calendar", "none with this name: 5"),
    ({"on_closed": "open"}, "on_closed", "run, skip, shift"),
    # Fields that there are not.
    ({"shedule": "@daily"}, "shedule", "is not a field of a job"),
    ({"deleted_at": "2030-01-01T00:00:00Z"}, "deleted_at", "is not a field of a job"),
    ({"": 1}, "", "is not a field of a job"),
]


@pytest.mark.parametrize(("changed", "field", "words"), REFUSED)
def test_a_job_that_cannot_work_is_refused_under_its_field(
    admin: ApiClient, changed: dict[str, Any], field: str, words: str
) -> None:
    make_job(name="taken")
    good = Job.objects.create(**GOOD | {"name": "good"})

    for response in (
        admin.post(f"{API}/jobs", GOOD | changed),
        admin.put(f"{API}/jobs/{good.pk}", GOOD | {"name": "good"} | changed),
        admin.patch(f"{API}/jobs/{good.pk}", changed),
    ):
        errors = errors_of(response)
        assert field in errors, errors
        assert words in errors[field]["message"] + errors[field].get("allowed", "")
        assert all(entry["message"] for entry in errors.values())

    assert Job.objects.count() == 2
    assert Job.objects.get(pk=good.pk).version == 1


def test_an_error_says_what_was_given_and_what_is_allowed(admin: ApiClient) -> None:
    errors = errors_of(
        admin.post(
            f"{API}/jobs", {"name": "a", "on_overlap": "explode", "priority": 500, "prio": 1}
        )
    )

    assert errors["on_overlap"]["given"] == "explode"
    assert errors["on_overlap"]["allowed"] == "skip, queue_one, queue_all, cancel_running, allow"
    assert errors["priority"]["given"] == "500"
    assert errors["priority"]["allowed"] == "a whole number from -100 to 100"
    assert errors["prio"]["suggestion"] == "priority"
    assert "schedule, timezone" in errors["prio"]["allowed"]
    assert errors["target"]["message"] == "This field is required."


def test_the_api_says_what_the_model_says(admin: ApiClient) -> None:
    from django.core.exceptions import ValidationError

    bad = GOOD | {"schedule": "61 25 * * *", "timezone": "x", "target": "nobody"}

    errors = admin.post(f"{API}/jobs", bad).json()["errors"]

    with pytest.raises(ValidationError) as refused:
        Job(**bad).full_clean()
    told = [(entry["field"], entry["message"]) for entry in errors]
    assert sorted(told) == sorted(
        (field, message)
        for field, messages in refused.value.message_dict.items()
        for message in messages
    )


def test_a_kind_that_is_switched_off_is_refused(admin: ApiClient, settings: Any) -> None:
    settings.SCHEDULER = {"kinds": ("task",)}

    errors = errors_of(admin.post(f"{API}/jobs", {"name": "a", **HTTP}))

    assert "switched off" in errors["kind"]["message"]
    assert errors["kind"]["allowed"] == "task"


# --- Verbs and queries ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("jobs/a/pause", {"until": "2001-01-01T00:00:00Z"}, "until"),
        ("jobs/a/pause", {"until": "2200-01-01T00:00:00Z"}, "until"),
        ("jobs/a/pause", {"until": "soon"}, "until"),
        ("jobs/a/pause", {"reason": "x" * 501}, "reason"),
        ("jobs/a/pause", {"why": "x"}, "why"),
        ("jobs/a/resume", {"now": True}, "now"),
        ("jobs/a/resume", {"run": "some"}, "run"),
        ("jobs/a/run", {"scheduled_for": "2200-01-01T00:00:00Z"}, "scheduled_for"),
        ("jobs/a/run", {"scheduled_for": "2100-12-31T23:59:59Z"}, "scheduled_for"),
        ("jobs/a/run", {"scheduled_for": "1969-01-01T00:00:00Z"}, "scheduled_for"),
        ("jobs/a/run", {"arguments": {"b": 1}}, "arguments"),
        ("jobs/a/run", {"arguments": None}, "arguments"),
        ("jobs/a/run", {"argument": {}}, "argument"),
        ("jobs/a/run", [], ""),
        ("executions/{}/cancel", {"reason": "x" * 41}, "reason"),
        ("executions/{}/cancel", {"force": True}, "force"),
        ("executions/{}/retry", {"now": True}, "now"),
    ],
)
def test_a_verb_refuses_what_it_does_not_take(
    admin: ApiClient, path: str, body: Any, field: str
) -> None:
    job = Job.objects.create(**GOOD)
    execution = make_execution(job, status=Status.READY)

    errors = errors_of(admin.post(f"{API}/{path.format(execution.pk)}", body))

    assert set(errors) == {field}
    assert Execution.objects.get().status == Status.READY
    assert Job.objects.get().paused_at is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("jobs?ordering=owner__password", "ordering"),
        ("jobs?ordering=?", "ordering"),
        ("jobs?ordering=name,id", "ordering"),
        ("jobs?paused=perhaps", "paused"),
        ("jobs?page_size=0", "page_size"),
        ("jobs?page_size=201", "page_size"),
        ("jobs?page_size=x", "page_size"),
        ("jobs?page_size=" + "9" * 2000, "page_size"),
        ("jobs?search=" + "x" * 101, "search"),
        ("jobs?search=%00", "search"),
        ("jobs?name=", "name"),
        ("jobs?name=a&name=b", "name"),
        ("jobs?tag=a%00", "tag"),
        ("jobs?owner__password=x", "owner__password"),
        ("jobs?%27%3B--=1", "';--"),
        ("jobs?cursor=x", "cursor"),
        ("jobs?cursor=bm9wZQ", "cursor"),
        ("jobs?cursor=%00", "cursor"),
        ("jobs?cursor=" + "W" * 900, "cursor"),
        # Cursors that somebody made up: ["name", false, "a\u0000", 1, false] and others.
        ("jobs?cursor=WyJuYW1lIixmYWxzZSwiYVx1MDAwMCIsMSxmYWxzZV0", "cursor"),
        ("jobs?cursor=WyJuYW1lIixmYWxzZSwxLDEsZmFsc2Vd", "cursor"),
        ("jobs?cursor=WyJuYW1lIixmYWxzZSwiYSIsdHJ1ZSxmYWxzZV0", "cursor"),
        ("executions?cursor=WyJuYW1lIixmYWxzZSwiYSIsMSxmYWxzZV0", "cursor"),
        ("executions?status=done", "status.0"),
        ("executions?status=", "status"),
        ("executions?since=yesterday", "since"),
        ("executions?since=2030-01-01", "since"),
        ("executions?until=99999-01-01T00:00:00Z", "until"),
        ("executions?node=%00", "node"),
        ("executions?job=%00", "job"),
        ("executions?staus=failed", "staus"),
        ("executions/latest?page_size=3", "page_size"),
        ("jobs/a/executions?job=b", "job"),
        ("nodes?state=asleep", "state.0"),
    ],
)
def test_s13_s23_a_query_refuses_what_it_does_not_take(
    admin: ApiClient, query: str, field: str
) -> None:
    Job.objects.create(**GOOD)

    errors = errors_of(admin.get(f"{API}/{query}"))

    assert field in errors


def test_a_write_with_an_unknown_parameter_does_nothing(admin: ApiClient) -> None:
    job = Job.objects.create(**GOOD)

    for method, path in (
        ("post", "run?dry_run=true"),
        ("post", "pause?until=2030-01-01T00:00:00Z"),
        ("post", "run?page_size=10"),
        ("delete", "?nonsense=1"),
        ("delete", "?fields=name"),
        ("patch", "?format="),
    ):
        errors = errors_of(getattr(admin, method)(f"{API}/jobs/a/{path}", {}))
        assert set(errors) == {path.split("?")[1].split("=")[0]}
    assert not Execution.objects.exists()
    assert (Job.objects.get().pk, Job.objects.get().paused_at) == (job.pk, None)
    # What chooses the form of the answer is none of these; what is not there is not there.
    assert admin.post(f"{API}/jobs/a/run?format=json", {}).status_code == 202
    assert admin.delete(f"{API}/jobs/a/run?nonsense=1").status_code == 405
    assert admin.post(f"{API}/nothing?nonsense=1").status_code == 404


ORDERED = {
    "jobs?ordering=id": ["id", False, 1],
    "jobs?ordering=-priority": ["priority", True, 1],
    "jobs?ordering=name": ["name", False, "a"],
    "jobs?ordering=created_at": ["created_at", False, "2030-01-01T00:00:00Z"],
    "jobs?ordering=-next_fire_at": ["fires_at", True, "2030-01-01T00:00:00Z"],
    "executions?": ["scheduled_for", True, "2030-01-01T00:00:00Z"],
    "calendars?": ["name", False, "a"],
    "nodes?": ["id", True, 1],
    "pauses?": ["id", True, 1],
    "tasks?": ["name", False, "a"],
    "audit?": ["at", True, "2030-01-01T00:00:00Z"],
    "bulk/executions?": ["created_at", True, "2030-01-01T00:00:00Z"],
}
"""Lists, and what a cursor of theirs holds before the id."""
UUID = "00000000-0000-4000-8000-000000000000"
FORGED = [
    *(None, True, 1.5, float("nan"), float("inf"), 10**400, [], {}, "", "x", "\0", "\ud800"),
    *("2030-01-01", "2030-01-01T00:00:00", "0001-01-01T00:00:00+23:59"),
    *("9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z", "2030-01-01T00:00:00+00:00:01"),
]


@pytest.mark.parametrize("of_list", ORDERED)
@pytest.mark.parametrize("place", ["value", "id"])
def test_no_forged_cursor_is_the_server_s_failure(
    admin: ApiClient, of_list: str, place: str
) -> None:
    column, descending, value = ORDERED[of_list]
    id_: Any = UUID if of_list.startswith("bulk") else 1

    def ask(words: list[Any]) -> Any:
        cursor = base64.urlsafe_b64encode(json.dumps(words).encode()).decode()
        return admin.get(f"{API}/{of_list}&cursor={cursor}")

    assert ask([column, descending, value, id_, False]).status_code == 200
    for forged in (*FORGED, 2**31, 2**63, -(10**30)):
        for backwards in (False, True):
            words = [value, forged] if place == "id" else [forged, id_]
            answer = ask([column, descending, *words, backwards])
            # What could be a row's is a place in the list; all else is refused.
            if answer.status_code != 200:
                assert "take it from next or previous" in errors_of(answer)["cursor"]["message"]


@pytest.mark.parametrize(
    "words",
    [
        *("x", 1, None, [], {}, [1] * 6, "names"),
        *(["name", False, value, 1, False] for value in ("\ud800", "\0", None, 1, [[]] * 40)),
        *(["name", False, "a", value, False] for value in ("1", 1.0, True, float("nan"), None)),
    ],
)
def test_a_cursor_that_nobody_was_given_is_refused(admin: ApiClient, words: Any) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(words).encode()).decode()

    errors = errors_of(admin.get(f"{API}/jobs?cursor={cursor}"))

    assert set(errors) == {"cursor"}


def test_a_cursor_of_another_order_is_refused(admin: ApiClient) -> None:
    for _ in range(2):
        make_job()
    cursor = admin.get(f"{API}/jobs?page_size=1").json()["next"].split("cursor=")[1]
    cursor = cursor.split("&")[0]

    for ordering in ("-name", "id", "created_at"):
        errors = errors_of(admin.get(f"{API}/jobs?ordering={ordering}&cursor={cursor}"))
        assert "take it from next or previous" in errors["cursor"]["message"]


# --- Bodies -----------------------------------------------------------------------------------


def post(client: ApiClient, body: bytes | str, form: str = "application/json") -> Any:
    return client.generic("POST", f"{API}/jobs", data=body, content_type=form)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "required"),
        (b"{", "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'\xef\xbb\xbf{"name": "a"}', "is not JSON"),
        (b'{"name": "a"} x', "is not JSON"),
        (b'{"name": "a", "name": "b"}', 'has the key "name" twice'),
        (b'{"arguments": {"a": 1, "a": 2}}', 'has the key "a" twice'),
        (b'{"priority": NaN}', "holds NaN"),
        (b'{"priority": -Infinity}', "holds -Infinity"),
        (b'{"priority": 1e400}', "too large"),
        (b'{"priority": ' + b"9" * 4001 + b"}", "4001 digits"),
        (b'{"priority": 0.' + b"9" * 4001 + b"}", "too long"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32"),
        (b"[" * 200_000, "deeper than 32"),
        (b'{"a":' * 40_000, "deeper than 32"),
        (b'{"name": "a\\u0000b"}', "NUL"),
        (b'{"name": "\\ud800"}', "surrogate"),
        (b'{"arguments": {"\\u0000": 1}}', "NUL"),
        (b'{"arguments": [["\\udfff"]]}', "surrogate"),
        (b"[]", "JSON object"),
        (b"3", "JSON object"),
        (b"null", "JSON object"),
        (b'"' + b'\\"' * 100_000, "is not JSON"),
    ],
)
def test_s20_a_body_that_is_not_strict_json_is_400(
    admin: ApiClient, body: bytes, words: str
) -> None:
    response = post(admin, body)

    assert response.status_code == 400, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert words in response.content.decode().replace("\\", "")
    assert not Job.objects.exists()


def test_s20_a_body_up_to_the_limit_is_read_and_one_beyond_is_413(admin: ApiClient) -> None:
    body = json.dumps(GOOD | {"arguments": {"a": 1}}).encode()

    at_limit = post(admin, body + b" " * (MAX_BODY_BYTES - len(body)))
    beyond = post(admin, body + b" " * (MAX_BODY_BYTES - len(body) + 1))
    as_form = post(admin, b"a" * (MAX_BODY_BYTES + 1), "application/x-www-form-urlencoded")

    assert at_limit.status_code == 201
    assert (beyond.status_code, beyond.json()["code"]) == (413, "body_too_large")
    assert as_form.status_code == 413
    assert ApiClient().post(f"{API}/jobs", {"a": "x" * MAX_BODY_BYTES}).status_code == 413


def test_a_body_in_chunks_is_not_taken_for_an_empty_one(admin: ApiClient) -> None:
    job = make_job()

    response = admin.post(f"{API}/jobs/{job.pk}/run", HTTP_TRANSFER_ENCODING="chunked")
    response_without_length = admin.generic(
        "POST", f"{API}/jobs/{job.pk}/run", CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"
    )

    assert 411 in (response.status_code, response_without_length.status_code)


@pytest.mark.parametrize("form", ["application/xml", "text/plain", "application/octet-stream"])
def test_another_media_type_is_415(admin: ApiClient, form: str) -> None:
    response = post(admin, b"<a/>", form)

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_a_form_with_more_fields_than_django_reads_is_400(admin: ApiClient) -> None:
    body = "&".join(f"a{n}=1" for n in range(1500)).encode()

    assert post(admin, body, "application/x-www-form-urlencoded").status_code == 400


def test_a_form_is_as_strict_inside_its_json(admin: ApiClient) -> None:
    for text in ("[" * 100_000, "NaN", "{", '"\\ud800"', '{"a":1,"a":1}'):
        response = admin.post(
            f"{API}/jobs", {"name": "a", "target": "t", "arguments": text}, format="multipart"
        )
        assert set(errors_of(response)) == {"arguments"}, text


@pytest.mark.parametrize("accept", ["application/xml", "text/csv"])
def test_an_answer_that_cannot_be_written_is_406(admin: ApiClient, accept: str) -> None:
    response = admin.get(f"{API}/jobs", HTTP_ACCEPT=accept)

    assert response.status_code == 406
    assert response["Content-Type"] == "application/problem+json"


def test_an_unknown_address_is_a_problem_in_the_same_shape(admin: ApiClient) -> None:
    for method in ("get", "post", "put", "patch", "delete"):
        response = getattr(admin, method)(f"{API}/nothing/at/all")
        assert response.status_code == 404
        assert response.json() == {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "There is nothing at /api/v1/nothing/at/all.",
            "code": "not_found",
            "instance": "/api/v1/nothing/at/all",
        }


def test_a_failure_of_the_server_says_so_without_details(
    admin: ApiClient, monkeypatch: Any
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr("scheduler_app.api.jobs.filter_jobs", fail)
    admin.raise_request_exception = False

    response = admin.get(f"{API}/jobs")

    assert response.status_code == 500
    assert response["Content-Type"] == "application/problem+json"
    assert b"canary" not in response.content


# --- The parser by itself ---------------------------------------------------------------------


def test_depth_is_counted_outside_of_strings_only() -> None:
    assert strict_loads('{"a": "[[[[{{{{\\"[[[["}') == {"a": '[[[[{{{{"[[[['}
    nested = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert strict_loads(nested)
    with pytest.raises(ParseError):
        strict_loads(f"[{nested}]")


def test_numbers_up_to_the_limit_are_kept_exactly() -> None:
    assert strict_loads("9" * 4000) == 10**4000 - 1
    assert strict_loads("-1.5e3") == -1500.0


@pytest.mark.parametrize(
    "text", ['"' * 250_000, '\\"' * 125_000, '"\\' * 125_000, "{" * 250_000, '["' * 125_000]
)
def test_hostile_texts_take_time_in_proportion_to_their_length(text: str) -> None:
    def seconds(text: str) -> float:
        began = time.process_time()
        with pytest.raises(ParseError):
            strict_loads(text)
        return time.process_time() - began

    # Quadratic would be a thousand times more for the whole than for its thirtieth part.
    assert seconds(text) < 300 * max(seconds(text[: len(text) // 30]), 0.001)
