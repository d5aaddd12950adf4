"""Every verb's page has the call that does the same by the API: it is sent as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from urllib.parse import urlsplit

import pytest

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Job, JobPlan, Node, Pause, Status, database_now

from .admin_support import (
    EXECUTIONS,
    JOBS,
    NODES,
    OPERATOR,
    PAUSES,
    Browser,
    Page,
    make_execution,
    make_job,
    make_node,
)
from .api_support import ApiClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Browser:
    return Browser(*OPERATOR, "drain_node")


def call_on(page: Page) -> list[str]:
    """The words of the call that the page shows last."""
    *_, found = re.findall(r"<pre[^>]*>(curl .*?)</pre>", page.html, re.DOTALL)
    return shlex.split(unescape(found))


def send(page: Page, browser: Browser) -> bool:
    """Whether the API takes it."""
    words = call_on(page)
    assert words[:5] == ["curl", "-u", "ana", "-X", "POST"]
    client = ApiClient()
    client.force_login(browser.user)
    body = json.loads(words[words.index("--data") + 1])
    return client.post(urlsplit(words[5]).path, body).status_code < 300


def planned(**fields: object) -> Job:
    job = make_job(schedule="@hourly", arguments={"value": "it's"}, **fields)
    at = database_now() + timedelta(minutes=5)
    JobPlan.objects.filter(pk=job.pk).update(next_fire_at=at, dirty=False)
    return job


def is_paused(job: Job) -> bool:
    return Job.objects.filter(pk=job.pk, paused_at__isnull=False).exists()


PAGES: dict[str, Callable[[Job], bool]] = {
    "run": lambda job: job.executions.filter(spec__arguments=job.arguments).exists(),
    "pause": is_paused,
    "resume": lambda job: not is_paused(job),
    "backfill": lambda job: job.executions.filter(trigger="backfill").exists(),
}


@pytest.mark.parametrize("verb", PAGES)
def test_the_page_of_a_verb_has_its_call(verb: str, operator: Browser) -> None:
    job = planned()
    Job.objects.filter(pk=job.pk).update(created_at=database_now() - timedelta(days=3))
    if verb == "resume":
        lifecycle.pause([job.pk], by="ben")

    page = operator.open(f"{JOBS}{job.pk}/{verb}/")

    assert send(page, operator)
    assert PAGES[verb](job)


def test_the_page_of_a_job_has_the_call_that_skips_its_next_fire_time(operator: Browser) -> None:
    job = planned()

    assert send(operator.open(f"{JOBS}{job.pk}/"), operator)
    assert JobPlan.objects.get(pk=job.pk).skip_at is not None


@pytest.mark.parametrize(("action", "paused"), [("run_selected", False), ("pause_selected", True)])
def test_so_has_the_question_about_many_jobs(action: str, paused: bool, operator: Browser) -> None:
    jobs = [planned(), planned()]
    operator.open(JOBS)

    page = operator.choose(action, *jobs)

    assert send(page, operator)
    assert {is_paused(job) for job in jobs} == {paused}
    assert Execution.objects.exists() is not paused


def test_a_pause_of_a_queue_is_begun_and_ended_by_its_calls(operator: Browser) -> None:
    make_job(queue="mail")
    assert send(operator.open(f"{PAUSES}add/?scope=queue&value=mail"), operator)
    pause = Pause.objects.get(scope="queue", value="mail", ended_at=None)

    assert send(operator.open(f"{PAUSES}{pause.pk}/resume/"), operator)
    pause.refresh_from_db()
    assert pause.ended_by == "ana"


def test_a_node_is_drained_by_its_call(operator: Browser) -> None:
    node = make_node()

    assert send(operator.open(f"{NODES}{node.pk}/drain/"), operator)
    assert Node.objects.get().drain_requested_by == "ana"


def test_all_that_match_are_retried_by_the_call_of_the_question(operator: Browser) -> None:
    job, node = make_job(), make_node(name="web 1")
    failed = make_execution(
        job,
        status=Status.FAILED,
        error="no paper",
        node=node,
        scheduled_for=database_now() - timedelta(minutes=1),
    )
    other = make_execution(make_job(), status=Status.FAILED, scheduled_for=failed.scheduled_for)
    question = f"{EXECUTIONS}bulk/?verb=retry"
    filters = f"&status=failed&job={job.pk}&node={node.pk}&when=1h&q=error:paper"

    assert send(operator.open(question + filters), operator)
    failed.refresh_from_db()
    other.refresh_from_db()
    assert (failed.status, other.status) == (Status.READY, Status.FAILED)
    # Neither everything nor single executions can be named to the API.
    for query in ("", f"&q=={other.pk}"):
        assert "curl" not in operator.open(question + query).html


def test_no_call_tells_a_secret(operator: Browser) -> None:
    job = make_job(arguments={"value": 1, "password": "canary"}, target="tests.testapp.tasks.echo")

    page = operator.open(f"{JOBS}{job.pk}/run/")

    assert "canary" not in " ".join(call_on(page))
