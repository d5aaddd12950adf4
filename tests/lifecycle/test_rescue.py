"""What a dead node held comes back, fenced, counted as a crash. Proves I2, I3, I15, I21, I23, I25."""

from __future__ import annotations

import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import Condition, HandBack, SpecCache
from scheduler_app.models import Execution, Job, Node

from .support import (
    NOON,
    after_noon,
    bury,
    claim,
    failure,
    finish,
    make_execution,
    make_executions,
    make_job,
    make_node,
    outcome,
    overtaking,
    rescue,
    status_of,
    statuses,
    together,
)

# --- Who is dead ---------------------------------------------------------------------------------


def test_a_node_lives_as_long_as_its_heartbeat_is_within_the_lease(connection, clock):
    node = make_node(connection, name="a")
    make_execution()
    claim(connection, node)

    clock.tick(15)
    assert rescue(connection).nodes == []
    assert lifecycle.heartbeat(connection, node, Condition(busy=1, listening=True))
    clock.tick(15)
    assert rescue(connection).nodes == []
    clock.tick(0.001)
    found = rescue(connection)

    assert (found.nodes, found.ready, found.given_up) == (["a"], 1, 0)
    row = Node.objects.get()
    assert (row.state, row.finished_at) == ("dead", after_noon(30.001))
    assert row.state_reason == "no heartbeat since 2030-01-01 12:00:15 UTC"


@pytest.mark.parametrize(("lease_s", "silent_s"), [(60, 60), (5, 15), (0, 15)])
def test_a_node_has_its_own_lease_where_that_is_longer(lease_s, silent_s, connection, clock):
    """Proves I11 through a deploy that shortens the lease: the old nodes stop themselves by theirs."""
    node = make_node(connection, name="a", lease_s=lease_s)
    looker = make_node(connection, name="b", lease_s=1000)
    make_execution()
    claim(connection, node)

    clock.tick(silent_s)
    _, chores = lifecycle.look_round(connection, node_id=looker, lease_s=15)
    assert (chores.silent_nodes, rescue(connection).nodes) == (False, [])
    clock.tick(0.001)
    _, chores = lifecycle.look_round(connection, node_id=looker, lease_s=15)
    assert (chores.silent_nodes, rescue(connection).nodes) == (True, ["a"])


def test_nobody_is_declared_dead_by_a_clock_that_has_leapt(connection, clock):
    """Proves I8b, as the fault F11 does with real nodes."""
    make_node(connection, name="a")
    clock.tick(hours=1)

    assert rescue(connection, believed_now=after_noon(1)).nodes == []

    assert rescue(connection, believed_now=after_noon(3599)).nodes == ["a"]


def test_a_draining_node_is_held_to_its_heartbeat_too(connection, clock):
    node = make_node(connection)
    make_execution()
    claim(connection, node)
    lifecycle.heartbeat(connection, node, Condition(busy=1, listening=False, draining=True))
    assert Node.objects.get().state == "draining"

    assert rescue(connection).ready == 0
    clock.tick(16)

    assert rescue(connection).ready == 1


def test_a_node_that_was_declared_dead_learns_it_from_its_heartbeat(connection, clock):
    """Proves I14: what is buried stays buried; a restart is another row."""
    node = make_node(connection)
    clock.tick(16)
    rescue(connection)

    condition = Condition(busy=0, listening=True, turn_ages={"scheduler": 0.0})
    assert lifecycle.heartbeat(connection, node, condition) is None
    lifecycle.stop_node(connection, node)

    row = Node.objects.get()
    assert (row.state, row.last_tick_at, row.heartbeat_at) == ("dead", None, NOON)
    assert make_node(connection) != node


def test_a_heartbeat_answers_with_the_time_and_shows_the_node(connection, clock):
    node = make_node(connection)
    clock.tick(3)

    condition = Condition(busy=4, listening=True, turn_ages={"scheduler": 0.5})
    contact = lifecycle.heartbeat(connection, node, condition)

    row = Node.objects.get()
    assert contact.now == row.heartbeat_at == after_noon(3)
    assert row.last_tick_at == after_noon(2.5)
    assert (row.busy, row.listening, row.state) == (4, True, "active")


def test_a_node_that_stopped_has_said_its_last_word(connection, clock):
    node = make_node(connection)
    clock.tick(3)

    lifecycle.stop_node(connection, node, reason="drained")

    row = Node.objects.get()
    assert (row.state, row.state_reason, row.finished_at) == ("stopped", "drained", after_noon(3))
    clock.tick(60)
    assert rescue(connection).nodes == []


# --- What becomes of what it held ------------------------------------------------------------------


def test_a_dead_node_s_executions_are_ready_again_with_a_new_token(connection, clock):
    """Proves I2 and I3."""
    execution = make_execution()
    node = make_node(connection, name="a")
    [claimed] = claim(connection, node)
    lifecycle.record_progress(connection, [(claimed.id, claimed.token, after_noon(1))], [])
    clock.tick(20)

    rescue(connection)

    execution.refresh_from_db()
    assert (execution.status, execution.reason) == ("ready", "rescued")
    assert execution.token == claimed.token + 1
    assert (execution.crashes, execution.attempt) == (1, 0), "a crash, not an attempt"
    assert (execution.node_id, execution.claimed_at, execution.started_at) == (None, None, None)
    [entry] = execution.failures
    assert (entry["reason"], entry["node"], entry["attempt"]) == ("node_died", "a", 1)
    assert entry["error"] == "The node a died while this ran."
    [again] = claim(connection, make_node(connection))
    assert (again.attempt, again.crashes, again.token) == (1, 1, claimed.token + 2)


def test_a_stale_node_changes_nothing_whatever_it_still_writes(connection, clock):
    """Proves I3."""
    make_executions(3)
    node = make_node(connection)
    stale = claim(connection, node)
    clock.tick(20)
    rescue(connection)
    claim(connection, make_node(connection))
    before = list(Execution.objects.order_by("id").values())

    assert finish(connection, outcome(stale[0]), failure(stale[1], retry_s=0)) == set()
    assert lifecycle.hand_back(connection, [HandBack(stale[2].id, stale[2].token)]) == set()
    lifecycle.record_progress(
        connection, [(item.id, item.token, after_noon(9)) for item in stale], []
    )

    assert list(Execution.objects.order_by("id").values()) == before


@pytest.mark.parametrize("own", [False, True], ids=["by the job", "by the execution"])
def test_at_most_once_is_lost_rather_than_run_twice(own, connection, clock):
    guarantee = "at_least_once" if own else "at_most_once"
    job = make_job(schedule="@manual", guarantee=guarantee)
    execution = make_execution(job, spec={"guarantee": "at_most_once"} if own else None)
    node = make_node(connection, name="a")
    claim(connection, node)
    clock.tick(20)

    found = rescue(connection)

    execution.refresh_from_db()
    assert (found.ready, found.given_up) == (0, 1)
    assert (execution.status, execution.reason) == ("lost", "node_died")
    assert execution.error == "The node a died while this ran."
    assert (execution.finished_at, execution.attempt) == (after_noon(20), 1)
    assert execution.failures == [], "those are the earlier attempts"
    assert claim(connection, make_node(connection)) == []


def test_an_execution_that_takes_its_nodes_down_is_poisoned_at_last(connection, clock):
    """Proves I21."""
    execution = make_execution()
    seen = []
    for _ in range(3):
        [claimed] = claim(connection, make_node(connection, name="a"))
        seen.append((claimed.attempt, claimed.crashes))
        clock.tick(20)
        rescue(connection)

    execution.refresh_from_db()
    assert seen == [(1, 0), (1, 1), (1, 2)]
    assert (execution.status, execution.reason) == ("failed", "poisoned")
    assert (execution.crashes, len(execution.failures)) == (3, 2)
    assert execution.error == "The node a died while this ran."
    assert claim(connection, make_node(connection)) == []


def test_crashes_do_not_use_up_the_attempts(connection, clock):
    make_execution(make_job(schedule="@manual", max_attempts=2))
    for _ in range(2):
        claim(connection, make_node(connection))
        clock.tick(20)
        rescue(connection)

    [claimed] = claim(connection, make_node(connection))

    assert claimed.attempt == 1


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ("cancel", "cancelled (cancelled)"),
        ("pause", "blocked (paused)"),
        ("pause that is over", "ready (rescued)"),
        ("delete", "cancelled (job_deleted)"),
        ("hard delete", "cancelled (job_deleted)"),
    ],
)
def test_what_people_decided_holds_for_what_is_rescued(happened, expected, connection, clock):
    """Proves I4, I23 and I25."""
    job = make_job(schedule="@manual")
    execution = make_execution(job, trigger="schedule")
    claim(connection, make_node(connection))
    if happened == "cancel":
        lifecycle.cancel([execution.id], by="ann")
    elif happened.startswith("pause"):
        until = after_noon(2) if happened.endswith("over") else None
        lifecycle.pause([job.pk], by="ann", until=until)
    elif happened == "delete":
        job.delete()
    else:
        connection.execute("DELETE FROM scheduler_app_job")
    clock.tick(20)

    rescue(connection)

    assert status_of(execution) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("deleted_at = scheduler_now()", "cancelled (job_deleted)"),
        ("paused_at = scheduler_now()", "blocked (paused)"),
        ("queue = 'x'", "ready (rescued)"),
    ],
)
def test_a_job_that_is_being_edited_is_left_to_the_next_sweep_and_holds_up_no_other(
    change, expected, connection, clock
):
    """Proves I23 in a race, and that an open transaction on one job delays no other job's rescue."""
    edited = make_execution(trigger="schedule")
    other = make_execution(trigger="schedule")
    claim(connection, make_node(connection))
    clock.tick(20)

    found = overtaking(
        connection,
        f"UPDATE scheduler_app_job SET {change} WHERE id = {edited.job_id}",
        rescue,
    )
    assert found.ready == 1
    assert statuses([edited, other]) == ["running", "ready (rescued)"]

    rescue(connection)
    assert status_of(edited) == expected


def test_a_claim_that_commits_late_on_a_buried_node_is_found_by_the_next_sweep(connection, clock):
    """Proves I2: a frozen node wakes up in the middle of its claim, after its burial."""
    make_execution()
    node = make_node(connection, lease_s=-1)

    def bury_it(other):
        clock_is_late = rescue(other, lease_s=-1)
        return clock_is_late.nodes, clock_is_late.ready

    with connection.transaction():
        [claimed] = claim(connection, node)
        [(nodes, ready)] = together(bury_it)
        assert (len(nodes), ready) == (1, 0)
    assert status_of(claimed) == "running"

    assert rescue(connection).ready == 1
    assert status_of(claimed) == "ready (rescued)"


def test_what_runs_for_a_node_that_nobody_knows_is_rescued(connection, clock):
    execution = make_execution(status="running", node_id=12345, attempt=1, token=1)

    rescue(connection)

    assert status_of(execution) == "ready (rescued)"


def test_what_a_stopped_node_still_holds_is_rescued(connection, clock):
    """A node that could not write everything down in time says it stopped all the same."""
    make_execution()
    node = make_node(connection)
    [claimed] = claim(connection, node)
    lifecycle.stop_node(connection, node)

    rescue(connection)

    assert status_of(claimed) == "ready (rescued)"


def test_nodes_that_sweep_together_rescue_everything_once(connection, clock):
    make_executions(100)
    claim(connection, make_node(connection))
    clock.tick(20)

    found = together(*[rescue] * 4)

    assert sum(len(answer.nodes) for answer in found) == 1
    rescue(connection)
    assert {e.crashes for e in Execution.objects.all()} == {1}
    assert {e.status for e in Execution.objects.all()} == {"ready"}


def test_a_sweep_takes_no_more_than_its_limit_and_the_next_goes_on(connection, clock):
    make_executions(5)
    claim(connection, make_node(connection))
    clock.tick(20)

    assert [rescue(connection, limit=2).ready for _ in range(4)] == [2, 2, 1, 0]


def test_the_slot_of_a_crashed_holder_is_free_for_the_rescued_one_alone(connection, clock):
    """Proves I15: the limit is neither leaked by a crash nor exceeded by the rescue."""
    job = make_job(schedule="@manual", on_overlap="queue_all")
    make_execution(job)
    waiting = make_execution(job, status="blocked", scheduled_for=after_noon(1))
    [claimed] = claim(connection, make_node(connection))
    clock.tick(20)
    rescue(connection)
    lifecycle.promote_blocked(connection, SpecCache())
    assert status_of(waiting) == "blocked"

    [again] = claim(connection, make_node(connection))
    assert again.id == claimed.id
    finish(connection, outcome(again))

    assert status_of(waiting) == "ready"


def test_the_slot_of_one_that_was_lost_goes_to_the_next_at_the_tick(connection, clock):
    job = make_job(schedule="@manual", on_overlap="queue_all", guarantee="at_most_once")
    make_execution(job)
    waiting = make_execution(job, status="blocked", scheduled_for=after_noon(1))
    claim(connection, make_node(connection))
    clock.tick(20)

    rescue(connection)
    lifecycle.promote_blocked(connection, SpecCache())

    assert status_of(waiting) == "ready"


def test_what_a_node_holds_is_told_with_what_people_want_of_it(connection, clock):
    make_executions(3)
    node, other = make_node(connection), make_node(connection)
    one, two = claim(connection, node, limit=2)
    claim(connection, other)
    lifecycle.cancel([two.id], by="ann")

    assert sorted(lifecycle.held_by(connection, node)) == [
        (one.id, one.token, False),
        (two.id, two.token, True),
    ]


def test_the_rescue_of_a_job_s_execution_leaves_its_definition_alone(connection, clock):
    """Proves I24: the second run does what the first should have."""
    job = make_job(schedule="@manual", target="old")
    make_execution(job)
    claim(connection, make_node(connection))
    Job.objects.update(target="new")
    clock.tick(20)
    rescue(connection)

    [again] = claim(connection, make_node(connection))

    assert again.spec.target == "old"


def test_burying_is_for_the_silent_only(connection, clock):
    silent = make_node(connection, name="silent")
    clock.tick(20)
    make_node(connection, name="fresh")
    bury(make_node(connection, name="buried before"))

    assert rescue(connection).nodes == ["silent"]
    assert Node.objects.get(pk=silent).finished_at == after_noon(20)
