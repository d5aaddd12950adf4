"""The registry of tasks over the API."""

from __future__ import annotations

import pytest

from scheduler_app.targets.task import known_tasks

from .api_support import API, ApiClient, client_of, errors_of, statements

pytestmark = pytest.mark.django_db

ADD = "tests.testapp.tasks.add"


@pytest.fixture
def viewer() -> ApiClient:
    return client_of("viewer")


def test_a_task_says_what_it_does_and_takes(viewer: ApiClient) -> None:
    found = viewer.get(f"{API}/tasks/{ADD}").json()

    assert (found["name"], found["description"]) == (ADD, "The sum of two numbers.")
    assert found["signature"] == "(a: int, b: int = 1)"
    by_name = found["arguments_schema"]["anyOf"][0]
    assert (by_name["required"], by_name["additionalProperties"]) == (["a"], False)
    assert by_name["properties"]["b"] == {"type": "integer", "default": 1}
    assert viewer.get(found["url"]).json() == found


def test_an_unknown_task_is_404_with_what_was_meant(viewer: ApiClient) -> None:
    response = viewer.get(f"{API}/tasks/tests.testapp.tasks.ad")

    assert response.status_code == 404
    assert f"Did you mean '{ADD}'?" in response.json()["detail"]


def test_pages_of_tasks_hold_each_once_in_either_direction(viewer: ApiClient) -> None:
    names = [info.name for info in known_tasks()]
    with statements() as sent:
        pages = [viewer.get(f"{API}/tasks?page_size=5&fields=name").json()]
    assert not sent
    while pages[-1]["next"]:
        pages.append(viewer.get(pages[-1]["next"]).json())
    back = [pages[-1]]
    while back[-1]["previous"]:
        back.append(viewer.get(back[-1]["previous"]).json())

    assert [task["name"] for page in pages for task in page["results"]] == names
    assert [p["results"] for p in back] == [p["results"] for p in reversed(pages)]


def test_tasks_are_searched_by_name_and_words(viewer: ApiClient) -> None:
    found = viewer.get(f"{API}/tasks?search=SUM of two").json()["results"]

    assert ADD in [task["name"] for task in found]
    assert len(found) < len(known_tasks())
    assert set(errors_of(viewer.get(f"{API}/tasks?serach=x"))) == {"serach"}
