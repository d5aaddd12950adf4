"""Every hostile payload, as result, exception, output and argument, in a thread and in a process, ends as an outcome."""

from __future__ import annotations

import sys

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.urls import reverse

from scheduler_app import lifecycle
from scheduler_app.models import Execution, LogChunk, Node, Status
from tests.testapp.hostile import PAYLOADS

from .conftest import wait_for

HAS_NO_END = ("endless",)
"""`print` itself asks for the text, which never comes: that run ends by its timeout, as any that computes for ever."""
HAS_NO_TEXT = ("huge number", "wordless")
"""`print` itself raises."""
HAS_TEXT_SINCE_312 = ("deep", "deep object")
"""Until then `print` raises RecursionError."""
WAYS = {"result": Status.SUCCEEDED, "exception": Status.FAILED, "output": Status.SUCCEEDED}


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_every_payload_ends_as_an_outcome_and_every_page_still_opens(
    start_node, make_job, finished, client, isolation
):
    """Proves I18, I19 and I20, as the fault F19 asks."""
    job = make_job(
        "hand_over",
        {"payload": "nul", "way": "result"},
        isolation=isolation,
        on_overlap="allow",
        timeout_s=120,
    )
    node = start_node("--threads", "3")
    expected = {}
    for payload in PAYLOADS:
        for way, status in WAYS.items():
            if way == "output" and payload in HAS_NO_END:
                continue
            arguments = {"payload": payload, "way": way}
            [run] = lifecycle.run_now([job.pk], by="tester", arguments=arguments)
            has_no_text = payload in HAS_NO_TEXT or (
                payload in HAS_TEXT_SINCE_312 and sys.version_info < (3, 12)
            )
            fails = way == "output" and has_no_text
            expected[run.pk] = (payload, way, Status.FAILED if fails else status)

    wait_for(lambda: not Execution.objects.live().exists(), what="the end of all", within_s=300)

    found = dict(Execution.objects.values_list("pk", "status"))
    assert {pk: (*expected[pk][:2], found[pk]) for pk in expected} == expected
    assert node.process.poll() is None
    assert Node.objects.get().stuck == 0
    assert not Execution.objects.exclude(attempt=1, crashes=0).exists()
    sizes = [len(chunk.text) for chunk in LogChunk.objects.all()]
    assert max(sizes) < 1_200_000
    [look] = lifecycle.run_now([make_job("look_for_canary").pk], by="tester")
    assert finished(look).result == []

    client.force_login(get_user_model().objects.create_superuser("root", password="x"))
    for page in (
        reverse("admin:scheduler_app_execution_changelist"),
        reverse("admin:scheduler_app_job_changelist"),
        "/api/v1/executions/",
    ):
        assert client.get(page).status_code == 200, page
    for pk, (payload, way, _) in expected.items():
        for page in (
            reverse("admin:scheduler_app_execution_change", args=[pk]),
            f"/api/v1/executions/{pk}",
        ):
            assert client.get(page, follow=True).status_code == 200, (page, payload, way)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_arguments_that_came_past_the_validation_end_as_outcomes_too(
    start_node, make_job, finished, isolation
):
    """As plain SQL may write them: jsonb takes what Python does not read back."""
    job = make_job("take_anything", isolation=isolation, on_overlap="allow")
    texts = [
        '{"value": ' + "[" * 3000 + "]" * 3000 + "}",
        '{"value": ' + "9" * 5001 + "}",
        '{"value": 1e40000}',
        '{"value": "<script> {{7*7}} \\u202e \\u001b[31m %s"}',
        '"text"',
        "7",
    ]
    with connection.cursor() as cursor:
        for text in texts:
            cursor.execute(
                """
                INSERT INTO scheduler_app_execution
                    (job_id, revision_id, spec, trigger, scheduled_for, run_after, queue, priority, status)
                SELECT id, %s, jsonb_build_object('arguments', %s::jsonb), 'manual',
                    scheduler_now(), scheduler_now(), 'default', 0, 'ready'
                FROM scheduler_app_job
                """,
                [job.revisions.get().pk, text],
            )

    # What cannot even be read names no target.
    node = start_node(unknown_target_grace=0)

    wait_for(lambda: not Execution.objects.live().exists(), what="the end of all")
    assert set(Execution.objects.values_list("status", flat=True)) <= {"succeeded", "failed"}
    assert Execution.objects.count() == len(texts)
    assert node.process.poll() is None
