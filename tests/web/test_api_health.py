"""Nodes and health: what a monitor, a load balancer and an operator are told."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from scheduler_app import lifecycle
from scheduler_app.models import JobPlan, Node, PauseScope, Status, database_now
from scheduler_app.models.vitals import COUNTED_TO

from .api_support import API, ApiClient, client_of, make_execution, make_job, make_node, statements

pytestmark = pytest.mark.django_db

HEALTH = f"{API}/health"


def ago(seconds: float) -> Any:
    return database_now() - timedelta(seconds=seconds)


# --- Nodes ------------------------------------------------------------------------------------


def test_a_node_tells_how_long_ago_it_was_heard_of() -> None:
    node = make_node(name="n1", heartbeat_at=ago(40), last_tick_at=ago(50), queues=["mail"], busy=3)

    found = client_of("viewer").get(f"{API}/nodes/{node.pk}").json()

    assert (found["name"], found["queues"], found["busy"], found["threads"]) == (
        "n1",
        ["mail"],
        3,
        10,
    )
    assert 40 <= found["heartbeat_age_s"] < 50 <= found["tick_age_s"] < 100
    assert found["state"] == "active"
    assert found["url"] == f"http://testserver{API}/nodes/{node.pk}"


def test_nodes_are_listed_newest_first_and_filtered() -> None:
    viewer = client_of("viewer")
    old, new = make_node(name="a", state="dead"), make_node(name="b", last_tick_at=None)

    def ids(query: str = "") -> list[int]:
        return [node["id"] for node in viewer.get(f"{API}/nodes{query}").json()["results"]]

    assert ids() == [new.pk, old.pk]
    assert ids("?state=active,draining") == [new.pk]
    assert ids("?name=a") == [old.pk]
    assert viewer.get(f"{API}/nodes?page_size=1").json()["next"]
    assert viewer.get(f"{API}/nodes/{new.pk}").json()["tick_age_s"] is None


def test_a_list_of_nodes_is_one_statement() -> None:
    viewer = client_of("viewer")
    for _ in range(20):
        make_node()

    with statements() as sent:
        viewer.get(f"{API}/nodes")

    assert len(sent) == 1


@pytest.mark.parametrize("pk", ["0", "77", "9" * 25])
def test_an_unknown_node_is_404(pk: str) -> None:
    assert client_of("viewer").get(f"{API}/nodes/{pk}").status_code == 404


# --- Health -----------------------------------------------------------------------------------


def test_without_any_node_it_is_down() -> None:
    response = client_of("viewer").get(HEALTH)

    assert response.status_code == 503
    assert response.json()["status"] == "down"
    assert "No node has ever completed a turn" in response.json()["reasons"][0]


def test_with_a_node_that_ticks_it_is_ok() -> None:
    make_node()

    response = client_of("viewer").get(HEALTH)

    found = response.json()
    assert (response.status_code, found["status"], found["reasons"]) == (200, "ok", [])
    assert found["nodes"] == {"ticking": 1, "draining": 0, "stuck": 0, "silent": 0, "troubles": []}
    assert 0 <= found["tick_age_s"] < 15
    assert found["backlog"] == {
        "ready": 0,
        "ready_age_s": None,
        "overdue": 0,
        "overdue_age_s": None,
        "counted_to": COUNTED_TO,
    }
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("role", ["anonymous", "stranger"])
def test_others_get_the_status_word_and_nothing_more(role: str) -> None:
    client = client_of(role)

    assert client.get(HEALTH).content == b'{"status":"down"}'
    make_node()
    response = client.get(HEALTH)
    assert (response.status_code, response.content) == (200, b'{"status":"ok"}')


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "", "*/*"])
def test_whatever_a_probe_accepts_it_gets_json(accept: str) -> None:
    response = ApiClient().get(HEALTH, HTTP_ACCEPT=accept)

    assert (response.status_code, response["Content-Type"]) == (503, "application/json")


@pytest.mark.parametrize(
    ("fields", "kind", "status"),
    [
        ({"last_tick_at": 60, "heartbeat_at": 0}, "stuck", "down"),
        ({"last_tick_at": 60, "heartbeat_at": 60}, "silent", "down"),
        ({"last_tick_at": 0, "heartbeat_at": 0, "state": "draining"}, "draining", "down"),
        ({"last_tick_at": 60, "heartbeat_at": 60, "state": "dead"}, None, "down"),
        ({"last_tick_at": 1, "heartbeat_at": 1, "state": "stopped"}, None, "down"),
    ],
)
def test_a_node_that_does_not_fire_does_not_count(
    fields: dict[str, Any], kind: str | None, status: str
) -> None:
    moments = {name: ago(value) for name, value in fields.items() if name != "state"}
    make_node(started_at=ago(100), state=fields.get("state", "active"), **moments)
    viewer = client_of("viewer")

    alone = viewer.get(HEALTH).json()
    make_node()
    beside_another = viewer.get(HEALTH).json()

    assert alone["status"] == status
    assert {name: n for name, n in alone["nodes"].items() if n} == ({kind: 1} if kind else {})
    # Draining, dead and stopped are as they should be; a silent or stuck node is not.
    assert beside_another["status"] == ("degraded" if kind in ("stuck", "silent") else "ok")


def test_a_node_that_has_just_started_is_not_stuck() -> None:
    Node.objects.create(name="new", host="here", pid=1, threads=1)

    assert client_of("viewer").get(HEALTH).json()["nodes"]["stuck"] == 0


def test_what_has_waited_too_long_degrades_it_with_the_reason() -> None:
    make_node()
    job = make_job()
    make_execution(job, status=Status.READY, run_after=ago(90), priority=-100)
    for _ in range(3):
        make_execution(job, status=Status.READY, run_after=ago(1), priority=100)
    make_execution(job, status=Status.READY, run_after=ago(-90))
    JobPlan.objects.filter(job=job).update(next_fire_at=ago(120))

    response = client_of("viewer").get(HEALTH)

    found = response.json()
    assert (response.status_code, found["status"]) == (200, "degraded")
    assert (found["backlog"]["ready"], found["backlog"]["overdue"]) == (4, 1)
    assert 90 <= found["backlog"]["ready_age_s"] < 120 <= found["backlog"]["overdue_age_s"] < 200
    assert len(found["reasons"]) == 2


@pytest.mark.parametrize("scope", [(PauseScope.QUEUE, "slow"), (PauseScope.TAG, "x"), ("all", "")])
def test_what_a_pause_holds_back_is_not_late(scope: tuple[str, str]) -> None:
    make_node()
    job = make_job(tags=["x"], queue="slow")
    make_execution(job, status=Status.READY, run_after=ago(90), queue="slow")
    lifecycle.pause_scope(*scope, by="ana")

    found = client_of("viewer").get(HEALTH).json()

    assert (found["status"], found["backlog"]["ready"]) == ("ok", 0)


def test_health_is_one_statement_that_walks_indexes() -> None:
    with statements() as sent:
        ApiClient().get(HEALTH)

    [question] = [sql for sql in sent if "scheduler_app_node" in sql]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {question}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    for index in ("plan_next_fire_at", "execution_ready", "node_alive"):
        assert index in plan


def test_a_wrong_password_is_401_and_not_a_guess() -> None:
    words = base64.b64encode(b"nobody:x").decode()

    assert ApiClient().get(HEALTH, HTTP_AUTHORIZATION=f"Basic {words}").status_code == 401


ASK = """
import base64, json, django
django.setup()
from django.test import Client
client = Client(SERVER_NAME="localhost", headers={"accept": "text/html"})
words = base64.b64encode(b"ana:x").decode()
client.cookies["sessionid"] = "a" * 32
for path, headers in (
    ("health", {}), ("health", {"authorization": "Basic " + words}),
    ("jobs", {}), ("jobs", {"authorization": "Basic " + words, "accept": "*/*"}),
):
    answer = client.get("/api/v1/" + path, headers=headers)
    print(json.dumps([answer.status_code, answer["Content-Type"], answer.json(), answer.get("Retry-After")]))
"""


def test_without_a_database_it_is_down_for_everybody_and_never_a_500(tmp_path: Path) -> None:
    answers = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ
        | {
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            "DJANGO_SETTINGS_MODULE": "jobscheduler.settings",
            "DATA_DIR": str(tmp_path),
            "DEBUG": "1",
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()

    health, health_with_password, jobs, jobs_with_password = map(json.loads, answers)
    assert health == health_with_password == [503, "application/json", {"status": "down"}, None]
    for status, form, body, retry_after in (jobs, jobs_with_password):
        assert (status, form, retry_after) == (503, "application/problem+json", "5")
        assert body["code"] == "database_away"


def test_what_the_database_refuses_living_nodes_is_a_reason() -> None:
    make_node(trouble="read_only")
    make_node(trouble="disk_full")
    make_node(trouble="disk_full")
    make_node(trouble="no_permission", state="dead")

    found = client_of("viewer").get(HEALTH).json()

    assert found["status"] == "degraded"
    assert found["nodes"]["troubles"] == ["disk_full", "read_only"]
    assert "refuses nodes something: disk_full, read_only." in " ".join(found["reasons"])
