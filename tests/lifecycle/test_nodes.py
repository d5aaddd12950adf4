"""A node's row: what it says of itself, and what others ask of it."""

from __future__ import annotations

import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo, Condition
from scheduler_app.models import Node

from .support import NOON, claim, make_execution, make_node, rescue


def test_a_node_that_was_asked_to_drain_claims_nothing_and_hears_of_it(connection, clock):
    node = make_node(connection)
    make_execution()

    assert lifecycle.drain_node(node, by="ana")

    assert claim(connection, node) == []
    contact = lifecycle.heartbeat(connection, node, Condition())
    assert (contact.drain_requested, contact.drain_requested_by) == (True, "ana")
    row = Node.objects.get()
    assert (row.state, row.drain_requested_at, row.drain_requested_by) == ("draining", NOON, "ana")


def test_the_second_request_changes_nothing(connection, clock):
    node = make_node(connection)
    lifecycle.drain_node(node, by="ana")
    clock.tick(1)

    assert not lifecycle.drain_node(node, by="bob")

    row = Node.objects.get()
    assert (row.drain_requested_at, row.drain_requested_by) == (NOON, "ana")


@pytest.mark.parametrize("end", ["stopped", "dead"])
def test_what_has_ended_cannot_be_drained(connection, clock, end):
    node = make_node(connection, name="n")
    if end == "stopped":
        lifecycle.stop_node(connection, node)
    else:
        clock.tick(16)
        rescue(connection)

    with pytest.raises(CannotDo, match=f"The node n is {end} already."):
        lifecycle.drain_node(node, by="ana")
    assert Node.objects.get().drain_requested_at is None


def test_a_node_that_is_not_known_cannot_be_drained(connection):
    with pytest.raises(CannotDo, match="no such node"):
        lifecycle.drain_node(77, by="ana")


def test_a_heartbeat_shows_how_the_node_is(connection, clock):
    node = make_node(connection)

    lifecycle.heartbeat(
        connection,
        node,
        Condition(
            busy=3,
            children=2,
            stuck=1,
            unwritten=7,
            unwritten_bytes=3500,
            turn_ages={"scheduler": 0.2},
            trouble="disk_full",
            trouble_note="x" * 600,
        ),
    )

    row = Node.objects.get()
    assert (row.busy, row.children, row.stuck, row.unwritten, row.unwritten_bytes) == (
        3,
        2,
        1,
        7,
        3500,
    )
    assert row.turn_ages == {"scheduler": 0.2}
    assert (row.trouble, len(row.trouble_note)) == ("disk_full", 500)
