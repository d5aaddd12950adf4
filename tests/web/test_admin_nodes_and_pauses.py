"""Nodes, pauses, gaps, and the warning while nothing fires."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urljoin

import pytest

from scheduler_app import lifecycle
from scheduler_app.models import (
    AuditEntry,
    Execution,
    Gap,
    Job,
    Node,
    NodeState,
    Pause,
    Status,
    database_now,
)

from .admin_support import (
    EXECUTIONS,
    GAPS,
    JOBS,
    NODES,
    OPERATOR,
    PAUSES,
    VIEWER,
    Browser,
    log_of,
    make_execution,
    make_job,
    make_node,
)

pytestmark = pytest.mark.django_db

ALARM = "Nothing fires"


# --- Nodes ------------------------------------------------------------------------------------


def test_the_list_says_who_lives_ticks_and_is_busy() -> None:
    now = database_now()
    node = make_node(name="web-1", busy=3, queues=["imports", "mail"], release="2030.1")
    Node.objects.update(heartbeat_at=now - timedelta(seconds=2))
    make_execution(make_job(), status=Status.RUNNING, node=node)
    make_node(name="web-2", state=NodeState.DEAD, state_reason="no heartbeat since noon")

    text = Browser(*VIEWER).open(NODES).main

    for part in (
        *("web-1", "3 of 10", "imports, mail", "2030.1"),
        *("web-2", "Dead", "no heartbeat since noon"),
    ):
        assert part in text
    assert re.search(r"Active polling \d+ s ago", text)


def test_a_node_that_calls_itself_active_but_is_silent_or_stuck_is_seen() -> None:
    now = database_now()
    silent = make_node(name="silent", last_tick_at=now)
    Node.objects.filter(pk=silent.pk).update(heartbeat_at=now - timedelta(minutes=2))
    stuck = make_node(name="stuck", last_tick_at=now - timedelta(minutes=3))

    text = Browser(*VIEWER).open(NODES).main

    assert "Silent" in text and "Does not tick" in text
    page = Browser(*VIEWER, name="other").open(f"{NODES}{stuck.pk}/change/")
    assert "has not completed a turn for 3 min" in page.main


def test_a_node_whose_own_lease_is_longer_is_well_between_its_heartbeats() -> None:
    before = database_now() - timedelta(seconds=100)
    node = make_node(last_tick_at=before)
    Node.objects.filter(pk=node.pk).update(heartbeat_at=before)
    text = Browser(*VIEWER).open(NODES).text
    assert "Silent" in text and ALARM in text

    Node.objects.filter(pk=node.pk).update(lease_s=200)

    text = Browser(*VIEWER, name="other").open(NODES).text
    assert "Silent" not in text and ALARM not in text


def test_the_page_of_a_node_shows_what_it_runs() -> None:
    node = make_node(name="web-1")
    execution = make_execution(make_job(name="imports"), status=Status.RUNNING, node=node)
    browser = Browser(*VIEWER)

    page = browser.open(f"{NODES}{node.pk}/change/")

    assert "imports" in page.main and str(execution.pk) in page.links
    assert "web-1" in found(browser, "state=alive")
    assert found(browser, "state=dead") == set()


def found(browser: Browser, query: str) -> set[str]:
    page = browser.open(f"{NODES}?{query}")
    return {node.name for node in Node.objects.all() if node.name in page.links}


# --- Draining ---------------------------------------------------------------------------------

DRAINER = ("view_node", "drain_node")


def test_a_node_is_drained_after_a_question() -> None:
    node = make_node(name="web-1")
    make_node(name="web-2")
    make_execution(make_job(), status=Status.RUNNING, node=node)
    browser = Browser(*DRAINER)
    page = browser.open(NODES)
    page = browser.open(urljoin(page.address, page.links["Drain…"]))
    page = browser.open(f"{NODES}{node.pk}/drain/")
    assert "finishes the 1 execution that it runs" in page.main
    assert "the only active node" not in page.main
    node.refresh_from_db()
    assert node.state == NodeState.ACTIVE

    page = browser.press("Drain it")

    node.refresh_from_db()
    assert (node.state, node.drain_requested_by) == (NodeState.DRAINING, "ana")
    assert "web-1 takes nothing new" in page.text
    assert "Asked by ana." in page.main
    assert "Drain…" not in page.links
    entry = AuditEntry.objects.get(verb="node.drain")
    assert (entry.who, entry.object_name) == ("ana", "web-1")


def test_draining_the_only_node_and_one_that_has_ended_is_told() -> None:
    node = make_node()
    browser = Browser(*DRAINER)
    assert "It is the only active node" in browser.open(f"{NODES}{node.pk}/drain/").main
    Node.objects.update(state=NodeState.STOPPED, finished_at=database_now())

    page = browser.press("Drain it")

    assert "is stopped already" in page.text
    assert "There is nothing to ask: it has ended" in browser.open(f"{NODES}{node.pk}/drain/").main


def test_draining_takes_a_right_of_its_own() -> None:
    node = make_node()
    browser = Browser(*VIEWER, *OPERATOR)

    assert "Drain…" not in browser.open(NODES).links
    assert "Drain…" not in browser.open(f"{NODES}{node.pk}/change/").links
    for response in (
        browser.client.get(f"{NODES}{node.pk}/drain/"),
        browser.post(f"{NODES}{node.pk}/drain/"),
    ):
        assert response.status_code == 403
    node.refresh_from_db()
    assert node.state == NodeState.ACTIVE


def test_a_node_shows_drift_and_what_is_wrong_with_it() -> None:
    node = make_node(
        trouble="read_only", trouble_note="The database is read-only.", stuck=2, turn_ages={"upkeep": 0.5}
    )  # fmt: skip
    at = database_now() - timedelta(minutes=3)
    make_execution(
        make_job(), node=node, scheduled_for=at, started_at=at + timedelta(seconds=0.25), attempt=1
    )
    browser = Browser(*VIEWER)

    page = browser.open(NODES)
    assert "In trouble" in page.main and "The database is read-only." in page.main
    assert "250 ms" in page.main
    page = browser.open(f"{NODES}{node.pk}/change/")
    assert "half within 250 ms" in page.main
    assert "Threads given up 2" in page.main
    assert "upkeep 500 ms ago" in page.main


# --- The alarm --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin/", JOBS, EXECUTIONS, NODES, "/admin/password_change/"])
def test_every_page_warns_while_no_node_ticks(path: str) -> None:
    browser = Browser(*VIEWER)

    assert ALARM in browser.open(path).text
    node = make_node(last_tick_at=database_now() - timedelta(minutes=5))
    assert re.search(r"5 min( \d+ s)? ago", browser.open(path).text)
    Node.objects.filter(pk=node.pk).update(last_tick_at=database_now())
    assert ALARM not in browser.open(path).text
    Node.objects.update(state=NodeState.STOPPED, finished_at=database_now())
    assert ALARM in browser.open(path).text


def test_who_may_not_see_nodes_is_warned_without_their_details() -> None:
    make_node(last_tick_at=database_now() - timedelta(minutes=5))
    browser = Browser("view_job")

    text = browser.open(JOBS).text
    assert ALARM in text and "5 min ago" not in text
    browser.client.logout()
    assert ALARM not in browser.open("/admin/login/").text
    assert ALARM not in Browser(name="stranger").open("/admin/").text


@pytest.mark.parametrize("path", ["/admin/", "/admin/scheduler_app/live/"])
def test_the_warning_is_part_of_what_the_front_page_renews(path: str) -> None:
    browser = Browser("view_job")

    def parts() -> list[str]:
        page = browser.open(path)
        return [given["id"] for _, given in page.elements if "data-part" in given]

    assert parts().count("sch-part-alarm") == 1 and ALARM in browser.page.text
    make_node()
    assert parts().count("sch-part-alarm") == 1 and ALARM not in browser.page.text


# --- Pauses -----------------------------------------------------------------------------------


def test_a_queue_is_paused_and_resumed() -> None:
    make_job(queue="imports")
    browser = Browser(*OPERATOR)
    browser.open(PAUSES)
    page = browser.open(browser.page.links["Pause…"])
    assert ("option", {"value": "imports"}) in page.elements

    browser.press("Pause", scope="queue", value="imports", reason="supplier down", until="1d")

    pause = Pause.objects.get()
    assert (pause.scope, pause.value, pause.paused_by) == ("queue", "imports", "ana")
    assert pause.paused_until is not None
    assert "supplier down" in browser.page.main

    browser.open(browser.page.links["Resume…"])
    browser.press("Resume")

    pause.refresh_from_db()
    assert pause.ended_at is not None and pause.ended_by == "ana"
    assert "supplier down" not in browser.page.main
    assert "supplier down" in browser.open(f"{PAUSES}?state=ended").main
    assert log_of(pause) == ["ana: pause.create: supplier down", "ana: pause.end"]


def test_the_end_of_a_pause_of_many_asks_which_of_the_missed_fire_times_to_run() -> None:
    now = database_now()
    for _ in range(2):
        job = make_job(schedule="@every 10m", tags=["db"], anchor_at=now - timedelta(minutes=5))
        yesterday = now - timedelta(days=1)
        Job.objects.filter(pk=job.pk).update(created_at=yesterday, updated_at=yesterday)
    pause = lifecycle.pause_scope("tag", "db", by="ben", reason="DB work")
    Pause.objects.filter(pk=pause.pk).update(paused_at=now - timedelta(minutes=60))
    browser = Browser(*OPERATOR)

    page = browser.open(f"{PAUSES}{pause.pk}/resume/")
    assert "Paused for 1 h by ben: DB work. 12 fire times of 2 jobs were missed." in page.main
    assert "all 12, oldest first" in page.main
    browser.press("Resume", run="last")

    assert Execution.objects.filter(trigger="backfill").count() == 2
    assert log_of(pause) == ["ana: pause.end"]
    browser.open(f"{PAUSES}{pause.pk}/resume/")
    assert "The pause of tag db was over." in browser.press("Resume").main


@pytest.mark.parametrize(
    ("scope", "value"), [("all", "imports"), ("queue", ""), ("tag", " "), ("job", "x"), ("", "")]
)
def test_a_pause_that_names_nothing_is_refused(scope: str, value: str) -> None:
    browser = Browser(*OPERATOR)
    browser.open(f"{PAUSES}add/")

    browser.press("Pause", scope=scope, value=value)

    assert browser.status == 200
    assert not Pause.objects.exists()


def test_what_is_paused_already_is_said() -> None:
    lifecycle.pause_scope("all", by="ben")
    browser = Browser(*OPERATOR)
    browser.open(f"{PAUSES}add/")

    page = browser.press("Pause", scope="all", value="")

    assert "everything is paused already" in page.main
    assert Pause.objects.count() == 1


def test_pauses_need_their_permissions() -> None:
    pause = lifecycle.pause_scope("all", by="ben")
    viewer = Browser(*VIEWER, "pause_job", "run_job", name="viewer")

    assert viewer.post(f"{PAUSES}{pause.pk}/resume/").status_code == 403
    assert viewer.post(f"{PAUSES}add/", scope="tag", value="x").status_code == 403
    operator = Browser(*OPERATOR, name="operator")
    operator.open(f"{PAUSES}{pause.pk}/resume/")
    pause.refresh_from_db()
    assert pause.ended_at is None
    assert operator.client.post(f"{PAUSES}{pause.pk}/resume/").status_code == 403

    pause.refresh_from_db()
    assert pause.ended_at is None
    assert Pause.objects.count() == 1


# --- Gaps and the front page ------------------------------------------------------------------


def test_gaps_say_why_in_words() -> None:
    now = database_now()
    job, other = make_job(name="imports"), make_job(name="exports")
    Gap.objects.create(
        job=job, first_at=now, last_at=now, count=7, reason="paused", who="ben", detail="disk full"
    )
    Gap.objects.create(job=other, first_at=now, last_at=now, count=1, reason="missed")
    browser = Browser(*VIEWER)

    def jobs_in(query: str) -> set[str]:
        links = browser.open(GAPS + query).addresses
        return {one.name for one in (job, other) if f"{JOBS}{one.pk}/" in links}

    text = browser.open(GAPS).main
    assert "imports 7 paused by ben disk full" in text
    assert "no node was there in time" in text
    assert jobs_in("") == {"imports", "exports"}
    assert jobs_in(f"?job={job.pk}") == {"imports"}
    assert jobs_in("?reason=missed") == {"exports"}
    assert jobs_in("?q=import") == {"imports"}
