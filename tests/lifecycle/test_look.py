"""What a node sees when it looks round: each chore just while there is something to do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import Chores
from scheduler_app.models import Execution

from .support import (
    Connection,
    after_noon,
    claim,
    make_execution,
    make_job,
    make_node,
    rescue,
    settle,
)


def chores(connection: Connection, node: int) -> Chores:
    return lifecycle.look_round(connection, node_id=node, lease_s=15)[1]


def is_ready(connection: Connection, queues: Sequence[str] = ()) -> bool:
    return lifecycle.look_ahead(connection, queues).ready


def test_where_nothing_is_to_be_done_nothing_is_seen(connection, clock):
    node = make_node(connection)
    make_job()
    settle(connection)
    assert chores(connection, node) == Chores(False, False, False, False, [])
    assert not is_ready(connection)


def test_a_silent_node_is_seen_until_it_is_buried_and_then_what_it_held(connection, clock):
    silent = make_node(connection)
    make_execution()
    claim(connection, silent)
    clock.tick(16)
    node = make_node(connection)

    assert chores(connection, node).silent_nodes
    rescue(connection, limit=0)
    seen = chores(connection, node)
    assert (seen.silent_nodes, seen.orphans) == (False, True)
    rescue(connection)
    assert not chores(connection, node).orphans


def test_a_pause_is_seen_when_it_is_over(connection, clock):
    node = make_node(connection)
    job = make_job()
    lifecycle.pause([job.pk], by="ann", until=after_noon(10))
    assert not chores(connection, node).expired_pauses
    clock.tick(10)
    assert chores(connection, node).expired_pauses
    lifecycle.resume_expired(connection)
    assert not chores(connection, node).expired_pauses


def test_what_waits_for_its_job_is_seen_and_what_a_pause_holds_is_not(connection, clock):
    node = make_node(connection)
    job = make_job(schedule="@manual")
    lifecycle.run_now([job.pk], by="ann")
    [waiting] = lifecycle.run_now([job.pk], by="ann")
    assert waiting.status == "blocked"
    assert chores(connection, node).blocked

    lifecycle.cancel(Execution.objects.values_list("pk", flat=True), by="ann")
    assert not chores(connection, node).blocked

    make_execution(job, trigger="schedule")
    lifecycle.pause([job.pk], by="ann")
    assert Execution.objects.filter(status="blocked", reason="paused").exists()
    assert not chores(connection, node).blocked


def test_what_the_node_holds_is_told_with_what_is_cancelled(connection, clock):
    node, other = make_node(connection), make_node(connection)
    first, second = make_execution(), make_execution()
    [one] = claim(connection, node, limit=1)
    claim(connection, other)
    assert {one.id} < {first.pk, second.pk}
    assert chores(connection, node).held == [(one.id, one.token, False)]

    lifecycle.cancel([one.id], by="ann")
    assert chores(connection, node).held == [(one.id, one.token, True)]


@pytest.mark.parametrize(
    ("queues", "seen"), [((), True), (("mail",), True), (("mail", "x"), True), (("x",), False)]
)
def test_what_is_ready_is_seen_in_the_queues_that_the_node_takes(queues, seen, connection, clock):
    make_execution(queue="mail", run_after=after_noon(5))
    assert not is_ready(connection, queues)
    clock.tick(5)
    assert is_ready(connection, queues) is seen
