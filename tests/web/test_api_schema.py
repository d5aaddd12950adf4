"""The OpenAPI document: it tells of every address, in the shapes that the API really speaks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from scheduler_app.api import urls
from scheduler_app.api.operations import Deprecation
from scheduler_app.api.tasks import TaskViewSet

from .api_support import API, ApiClient, client_of, errors_of, make_job

pytestmark = pytest.mark.django_db

NOT_TOLD = {"schema", "docs", "unknown"}
"""The document and its page."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    with GENERATOR_STATS.silence():
        found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS._warn_cache, GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache, GENERATOR_STATS._error_cache
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)


def test_every_action_of_every_view_is_told_of(document: dict[str, Any]) -> None:
    told = {operation["operationId"] for _, _, operation in operations(document)}
    routes = {
        (pattern.name, action)
        for pattern in urls.urlpatterns
        for action in getattr(pattern.callback, "actions", {"get": ""}).values()
        if pattern.name not in NOT_TOLD
    }

    assert len(told) == len(operations(document)) == len(routes)
    for pattern in urls.urlpatterns:
        cls, actions = pattern.callback.cls, getattr(pattern.callback, "actions", None)
        if pattern.name not in NOT_TOLD:
            names = set(actions.values()) if actions else {"get"}
            assert names <= set(cls.operations), pattern.name


def test_every_operation_has_words_and_its_failures(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["security"], where
        for status in ("401", "403"):
            assert "application/problem+json" in operation["responses"][status]["content"], where
        if "{" in path:
            assert "404" in operation["responses"], where
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= set(operation["responses"]), where


def test_every_write_refuses_a_parameter(document: dict[str, Any]) -> None:
    """`run?dry_run=true` ran the job."""
    admin = client_of("admin")
    for path, method, operation in operations(document):
        if method == "get":
            continue
        address = re.sub(r"{\w+}", str(UUID(int=1)) if "/bulk/" in path else "1", path)
        response = getattr(admin, method)(f"{address}?dry_run=true", {})
        entry = errors_of(response)["dry_run"]
        assert entry["message"].startswith("dry_run is not a parameter of this request"), path
        assert entry["allowed"] == "no parameter at all"
        assert "400" in operation["responses"], path


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    count = 0
    for path, method, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for example in content.get("examples", {}).values():
                schema = {**content["schema"], "components": document["components"]}
                Draft202012Validator(schema).validate(example["value"])
                count += 1
                assert path, method
    assert count >= 10


@pytest.mark.parametrize(
    ("accept", "begins"),
    [
        ("application/json", b'{"openapi":"3.1.0"'),
        ("*/*", b'{"openapi":"3.1.0"'),
        ("application/vnd.oai.openapi", b"openapi:3.1.0"),
    ],
)
def test_the_document_is_served_to_who_is_logged_in(accept: str, begins: bytes) -> None:
    response = client_of("stranger").get(f"{API}/schema/", HTTP_ACCEPT=accept)

    assert response.status_code == 200
    assert response.content[:100].replace(b" ", b"").replace(b"\n", b"").startswith(begins)
    refused = ApiClient().get(f"{API}/schema/", HTTP_ACCEPT=accept)
    assert (refused.status_code, refused["Content-Type"]) == (401, "application/problem+json")


def test_the_page_for_it_wants_a_login_and_keeps_to_the_policy() -> None:
    page = client_of("stranger").get(f"{API}/docs", HTTP_ACCEPT="text/html").content.decode()

    assert "swagger-ui-bundle.js" in page
    assert "<style" not in page
    assert "<script>" not in page
    anonymous = ApiClient().get(f"{API}/docs", HTTP_ACCEPT="text/html")
    assert anonymous.status_code == 302
    assert anonymous["Location"].startswith("/admin/login/")


def test_what_is_refused_has_the_shape_that_the_document_says(document: dict[str, Any]) -> None:
    make_job(name="a")
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    validator = Draft202012Validator(schema)
    admin = client_of("admin")

    for response in (
        ApiClient().get(f"{API}/jobs"),
        client_of("stranger").get(f"{API}/jobs"),
        admin.get(f"{API}/jobs/nobody"),
        admin.post(f"{API}/jobs", {"name": "", "priority": 500, "nope": 1}),
        admin.put(f"{API}/jobs/a", {"target": "x"}, HTTP_IF_MATCH='"7"'),
        admin.post(f"{API}/executions"),
    ):
        assert response.status_code >= 400
        validator.validate(response.json())


def test_what_is_to_go_says_so_in_the_document_and_in_every_answer(monkeypatch: Any) -> None:
    deprecated = Deprecation(since=date(2030, 1, 1), sunset=date(2030, 7, 1))
    listed = replace(TaskViewSet.operations["list"], deprecated=deprecated)
    monkeypatch.setitem(TaskViewSet.operations, "list", listed)

    for client in (client_of("viewer"), client_of("anonymous")):
        answer = client.get(f"{API}/tasks")
        assert answer["Deprecation"] == "@1893456000"
        assert answer["Sunset"] == "Mon, 01 Jul 2030 00:00:00 GMT"
    document = SchemaGenerator().get_schema(request=None, public=True)
    marked = [one["operationId"] for *_, one in operations(document) if one.get("deprecated")]
    assert marked == ["task_list"]
    assert "Deprecation" not in client_of("viewer").get(f"{API}/jobs")
    assert set(Deprecation(since=date(2030, 1, 1)).headers) == {"Deprecation"}


def test_each_link_leads_to_an_operation_that_takes_what_it_gives(document: dict[str, Any]) -> None:
    by_id = {one["operationId"]: one for *_, one in operations(document)}
    found = {
        (operation["operationId"], link["operationId"])
        for *_, operation in operations(document)
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
        if {one["name"] for one in by_id[link["operationId"]]["parameters"] if one["in"] == "path"}
        == set(link["parameters"])
    }

    assert {("job_create", "job_run"), ("job_create", "job_destroy")} <= found
    assert {("job_run", "execution_retrieve"), ("job_run", "execution_cancel")} <= found
    count = sum(
        len(answer.get("links", {}))
        for *_, operation in operations(document)
        for answer in operation["responses"].values()
    )
    assert count == len(found)


@pytest.mark.parametrize(
    ("component", "body", "fits"),
    [
        ("BulkPauseRequest", {"jobs": ["a"]}, True),
        ("BulkPauseRequest", {"filter": {"tag": "a"}}, True),
        ("BulkPauseRequest", {"jobs": ["a"], "filter": {"tag": "a"}}, False),
        ("BulkPauseRequest", {}, False),
        ("BulkPauseRequest", {"filter": {}}, False),
        ("BulkRunRequest", {"runs": [{"job": "a"}]}, True),
        ("BulkRunRequest", {"runs": [{"job": "a"}], "jobs": ["a"]}, False),
        ("ScopePauseRequest", {"scope": "all"}, True),
        ("ScopePauseRequest", {"scope": "tag"}, False),
        ("ScopePauseRequest", {"scope": "all", "value": "a"}, False),
        ("PreviewRequest", {"job": "a"}, True),
        ("PreviewRequest", {"timezone": "UTC"}, False),
        ("JobDetailRequest", {"name": "a", "target": " "}, False),
        ("JobDetailRequest", {"name": "a", "target": "a\0"}, False),
        ("JobDetailRequest", {"name": "a", "target": "a", "arguments": 5}, False),
        ("JobDetailRequest", {"name": "a", "target": "a", "start_at": "1969-12-31T00:00Z"}, False),
    ],
)
def test_the_document_says_what_fields_ask_of_each_other_and_of_texts(
    document: dict[str, Any], component: str, body: Any, fits: bool
) -> None:
    schema = {**document, "$ref": f"#/components/schemas/{component}"}

    assert Draft202012Validator(schema).is_valid(body) is fits


def test_every_link_can_be_followed(document: dict[str, Any]) -> None:
    """What an operation answered can be asked about as the document says, whatever the state makes of it."""
    admin = client_of("admin")
    by_id = {one["operationId"]: (path, method, one) for path, method, one in operations(document)}
    followed = 0
    for path, method, operation in operations(document):
        for status, described in operation["responses"].items():
            if "links" not in described:
                continue
            made = admin.generic(
                method.upper(),
                path.replace("{job}", str(make_job(on_overlap="allow").pk)),
                json.dumps(body_of(operation)),
                content_type="application/json",
            )
            assert made.status_code == int(status), (path, made.content)
            # Deleted last.
            for link in sorted(
                described["links"].values(), key=lambda link: "destroy" in str(link)
            ):
                where, verb, target = by_id[link["operationId"]]
                for name, expression in link["parameters"].items():
                    value = made.json()[expression.removeprefix("$response.body#/")]
                    where = where.replace(f"{{{name}}}", str(value))
                answer = admin.generic(
                    verb.upper(),
                    where,
                    json.dumps(body_of(target)) if "requestBody" in target else "",
                    content_type="application/json",
                )
                assert str(answer.status_code) in target["responses"], (where, answer.content)
                assert answer.status_code not in (400, 404), (where, answer.content)
                followed += 1
    assert followed > 20


def body_of(operation: dict[str, Any]) -> Any:
    """The example of a body, which is to be done and not only looked at."""
    [content] = operation["requestBody"]["content"].values()
    if "arguments" in str(content.get("examples")):
        return {}
    found = next(iter(content.get("examples", {}).values()), {"value": {}})["value"]
    return {name: value for name, value in found.items() if name not in ("dry_run", "version")}
