"""Two programs at the same time: one edit of a version wins, one name is one job, nothing is a 500."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler_app.models import Execution, Job, Status
from tests.lifecycle.support import together

from .api_support import API, ApiClient, make_execution, make_job, make_user

pytestmark = pytest.mark.django_db(transaction=True)

ECHO = "tests.testapp.tasks.echo"


def at_once(method: str, path: str, bodies: list[Any], **headers: str) -> list[int]:
    """The status that each body gets, all sent from one start."""
    clients = []
    for _ in bodies:
        client = ApiClient()
        client.force_login(make_user("admin"))
        clients.append(client)

    def send(client: ApiClient, body: Any) -> Any:
        return lambda _: getattr(client, method)(f"{API}/{path}", body, **headers).status_code

    return sorted(together(*map(send, clients, bodies)))


def test_of_four_edits_of_one_version_one_wins() -> None:
    """Proves I24 for the API."""
    for turn in range(5):
        job = make_job(name=f"job {turn}")
        bodies = [{"priority": n + 1} for n in range(4)]

        assert at_once("patch", f"jobs/{job.pk}", bodies, HTTP_IF_MATCH='"1"') == [
            200,
            412,
            412,
            412,
        ]

        job.refresh_from_db()
        assert job.version == 2


def test_of_four_creations_of_one_name_one_wins() -> None:
    for turn in range(5):
        statuses = at_once("post", "jobs", [{"name": f"job {turn}", "target": ECHO}] * 4)

        # The others hear of it in their validation, or from the unique key.
        assert statuses[0] == 201
        assert set(statuses[1:]) <= {400, 409}
        assert Job.objects.filter(name=f"job {turn}").count() == 1


def test_verbs_that_meet_leave_one_answer_each() -> None:
    job = make_job(name="a", on_overlap="allow")
    waits = make_execution(job, status=Status.READY)

    runs = at_once("post", "jobs/a/run", [{}] * 6)
    cancels = at_once("post", f"executions/{waits.pk}/cancel", [{}] * 4)
    pauses = at_once("post", "jobs/a/pause", [{}] * 4)
    deletes = at_once("delete", "jobs/a", [{}] * 4)

    assert runs == [202] * 6
    assert Execution.objects.count() == 7
    assert cancels == [200, 409, 409, 409]
    assert pauses == [200] * 4
    assert deletes == [204, 404, 404, 404]


def test_of_four_puts_of_one_new_name_one_creates_and_the_others_agree() -> None:
    for turn in range(5):
        statuses = at_once("put", f"jobs/job {turn}", [{"target": ECHO, "priority": 7}] * 4)

        assert statuses == [200, 200, 200, 201]
        assert Job.objects.get(name=f"job {turn}").version == 1
