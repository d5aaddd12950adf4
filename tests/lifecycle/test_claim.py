"""A node takes what is ready, no two nodes the same, and gives back what it cannot start. Proves I2, I4, I13, I25."""

from __future__ import annotations

import itertools

import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import HandBack
from scheduler_app.lifecycle.specs import UNREADABLE
from scheduler_app.models import Execution, Job, Node

from .support import (
    NOON,
    after_noon,
    bury,
    claim,
    finish,
    make_execution,
    make_executions,
    make_job,
    make_node,
    outcome,
    overtaking,
    pause_impatiently,
    status_of,
    statuses,
    together,
)


def ids(rows) -> list[int]:
    return [row.id for row in rows]


# --- What is taken, and in which order ---------------------------------------------------------


def test_a_claim_takes_the_highest_priority_first_and_then_the_oldest(connection, clock):
    job = make_job(schedule="@manual")
    older = make_execution(job, run_after=after_noon(-20))
    urgent = make_execution(job, run_after=after_noon(-5), priority=10)
    oldest = make_execution(job, run_after=after_noon(-30))
    humble = make_execution(job, run_after=after_noon(-99), priority=-10)
    node = make_node(connection)

    assert ids(claim(connection, node, limit=2)) == [urgent.id, oldest.id]
    assert ids(claim(connection, node)) == [older.id, humble.id]
    assert claim(connection, node) == []


def test_among_equals_the_first_created_is_taken_first(connection, clock):
    executions = make_executions(20, scheduled_for=NOON)
    node = make_node(connection)

    taken = [claim(connection, node, limit=1)[0].id for _ in range(20)]

    assert taken == ids(executions)


def test_a_claimed_execution_runs_for_its_node_under_a_new_token(connection, clock):
    job = make_job(schedule="@manual", target="report", arguments={"day": 1}, timeout_s=7)
    execution = make_execution(job, priority=3)
    node = make_node(connection)
    clock.tick(2)

    [claimed] = claim(connection, node, release="v7")

    assert (claimed.id, claimed.token, claimed.attempt, claimed.crashes) == (execution.id, 1, 1, 0)
    assert (claimed.job_id, claimed.scheduled_for, claimed.priority) == (job.pk, NOON, 3)
    assert (claimed.spec.target, claimed.arguments) == ("report", {"day": 1})
    assert claimed.spec.timeout_s == 7
    execution.refresh_from_db()
    assert (execution.status, execution.node_id, execution.token) == ("running", node, 1)
    assert (execution.claimed_at, execution.started_at) == (after_noon(2), None)
    assert execution.release == "v7"


def test_an_execution_runs_by_the_revision_it_was_fired_with(connection, clock):
    """Proves I24: an edit between fire and claim changes nothing."""
    job = make_job(schedule="@manual", target="old", arguments={"n": 1})
    make_execution(job)
    Job.objects.update(target="new", arguments={"n": 2})

    [claimed] = claim(connection, make_node(connection))

    assert (claimed.spec.target, claimed.arguments) == ("old", {"n": 1})


def test_what_an_execution_changes_of_its_definition_counts(connection, clock):
    job = make_job(schedule="@manual", target="report", arguments={"n": 1}, timeout_s=9)
    make_execution(job, spec={"arguments": {"n": 5}})

    [claimed] = claim(connection, make_node(connection))

    assert (claimed.spec.target, claimed.arguments) == ("report", {"n": 5})
    assert claimed.spec.timeout_s == 9


def test_an_enqueued_task_needs_no_job(connection, clock):
    make_execution(
        None, spec={"target": "mail", "arguments": {}, "max_attempts": 3}, trigger="task"
    )

    [claimed] = claim(connection, make_node(connection))

    assert (claimed.job_id, claimed.spec.target, claimed.spec.max_attempts) == (None, "mail", 3)


def test_a_definition_that_cannot_be_read_leaves_the_others_of_the_claim_alone(connection, clock):
    job = make_job(schedule="@manual", target="report", timeout_s=7, on_overlap="allow")
    good = make_execution(job)
    number = "1" * 5000  # more digits than Python reads
    bad = [make_execution(job), make_execution()]
    connection.execute(
        "UPDATE scheduler_app_execution SET spec = %s WHERE id = %s",
        [f'{{"arguments": {number}}}', bad[0].id],
    )
    connection.execute(
        "UPDATE scheduler_app_jobrevision SET spec = %s WHERE id = %s",
        [f'{{"target": "x", "arguments": {number}}}', bad[1].revision_id],
    )

    claimed = claim(connection, make_node(connection))

    assert ids(claimed) == [good.id, *ids(bad)]
    assert [item.spec.timeout_s for item in claimed] == [
        7,
        UNREADABLE.timeout_s,
        UNREADABLE.timeout_s,
    ]
    assert [item.spec.target for item in claimed] == ["report", "", ""], "no target: it fails"


def test_what_is_due_later_is_left(connection, clock):
    make_execution(run_after=after_noon(0.000001))
    node = make_node(connection)

    assert claim(connection, node) == []
    clock.tick(0.000001)
    assert len(claim(connection, node)) == 1


@pytest.mark.parametrize(
    "status", ["blocked", "running", "succeeded", "failed", "cancelled", "lost"]
)
def test_only_what_is_ready_is_taken(status, connection, clock):
    live = status in ("blocked", "running")
    make_execution(status=status, node_id=1, finished_at=None if live else NOON)

    assert claim(connection, make_node(connection)) == []


@pytest.mark.parametrize("limit", [-1, 0, 1, 7])
def test_never_more_than_the_limit(limit, connection, clock):
    """Proves I13."""
    make_executions(20)

    assert len(claim(connection, make_node(connection), limit=limit)) == max(limit, 0)


@pytest.mark.parametrize(
    ("queues", "expected"),
    [((), "abc"), (("a",), "a"), (("a", "c"), "ac"), (("d",), ""), (("A",), "")],
)
def test_a_node_takes_from_its_own_queues_only(queues, expected, connection, clock):
    for queue in "abc":
        make_execution(make_job(schedule="@manual", queue=queue))

    claimed = claim(connection, make_node(connection), queues=queues)

    assert "".join(sorted(item.spec.queue for item in claimed)) == expected


@pytest.mark.parametrize("state", ["draining", "stopped", "dead"])
def test_a_node_that_ends_or_was_given_up_gets_nothing(state, connection, clock):
    make_execution()
    node = make_node(connection)
    Node.objects.filter(pk=node).update(state=state)

    assert claim(connection, node) == []
    assert claim(connection, 10**9) == []
    assert len(claim(connection, make_node(connection))) == 1


# --- Nobody twice --------------------------------------------------------------------------------


def test_four_threads_of_two_nodes_share_two_hundred_executions(connection, clock):
    executions = make_executions(200)
    nodes = [make_node(connection), make_node(connection)]

    def take(node: int):
        def until_none_is_left(connection):
            taken: list[int] = []
            while claimed := claim(connection, node, limit=7):
                assert len(claimed) <= 7
                taken += ids(claimed)
            return taken

        return until_none_is_left

    taken = together(*[take(node) for node in nodes * 2])

    assert sorted(itertools.chain(*taken)) == ids(executions)
    # Somebody may find only rows that others hold, and stop early; nobody takes one twice.
    assert {e.attempt for e in Execution.objects.all()} == {1}
    assert {e.token for e in Execution.objects.all()} == {1}


def test_a_claim_does_not_wait_for_rows_that_another_node_is_taking(connection, clock):
    first, second = make_execution(), make_execution()
    node, other_node = make_node(connection), make_node(connection)

    with connection.transaction():
        assert ids(claim(connection, node, limit=1)) == [first.id]
        [others] = together(lambda other: claim(other, other_node, limit=1))

    assert ids(others) == [second.id]


def test_the_planner_never_takes_more_than_the_limit_while_others_take_too(connection, clock):
    make_executions(300)
    node = make_node(connection)

    taken = together(*[lambda other: [len(claim(other, node, limit=3)) for _ in range(20)]] * 4)

    assert max(max(counts) for counts in taken) <= 3


# --- Pauses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "value", "taken"),
    [("all", "", ""), ("queue", "a", "b"), ("queue", "z", "ab"), ("tag", "x", "b")],
)
def test_what_waits_in_a_paused_scope_is_not_started(scope, value, taken, connection, clock):
    """Proves I4 for queues, tags and everything: what was fired before the pause waits."""
    make_execution(make_job(schedule="@manual", queue="a", tags=["x", "y"]))
    make_execution(make_job(schedule="@manual", queue="b", tags=["y"]))
    node = make_node(connection)

    pause = lifecycle.pause_scope(scope, value, by="ann")
    assert "".join(item.spec.queue for item in claim(connection, node)) == taken

    lifecycle.resume_scope(pause.pk, by="ann")
    assert len(claim(connection, node)) == 2 - len(taken)


def test_a_pause_with_an_end_lets_go_at_its_end(connection, clock):
    make_execution()
    node = make_node(connection)
    lifecycle.pause_scope("all", by="ann", until=after_noon(10))

    clock.tick(9.9)
    assert claim(connection, node) == []
    clock.tick(0.1)
    assert len(claim(connection, node)) == 1


def test_an_enqueued_task_is_paused_with_its_queue(connection, clock):
    make_execution(None, spec={"target": "mail"}, trigger="task", queue="mails")
    lifecycle.pause_scope("queue", "mails", by="ann")

    assert claim(connection, make_node(connection)) == []


def test_a_pause_of_everything_waits_for_a_node_that_is_claiming(connection, clock):
    """Proves I4's cut: a claim is before the pause, with its commit, or after it, with nothing."""
    make_executions(2)
    node = make_node(connection)

    with connection.transaction():
        assert len(claim(connection, node, limit=1)) == 1
        assert together(pause_impatiently) == ["waits"]
    assert together(pause_impatiently) == ["paused"]

    assert claim(connection, node) == []


# --- Handing back --------------------------------------------------------------------------------


def test_what_is_handed_back_is_ready_again_and_the_attempt_does_not_count(connection, clock):
    execution = make_execution()
    node = make_node(connection)
    [claimed] = claim(connection, node)

    assert lifecycle.hand_back(connection, [HandBack(claimed.id, claimed.token, "drained")]) == {
        execution.id
    }

    execution.refresh_from_db()
    assert (execution.status, execution.reason) == ("ready", "drained")
    assert (execution.attempt, execution.crashes, execution.token) == (0, 0, 2)
    assert (execution.node_id, execution.claimed_at, execution.started_at) == (None, None, None)
    assert execution.run_after == NOON
    [again] = claim(connection, node)
    assert (again.attempt, again.token) == (1, 3)


def test_handing_back_can_delay_and_leave_a_note(connection, clock):
    execution = make_execution()
    [claimed] = claim(connection, make_node(connection))
    clock.tick(2)
    note = {"reason": "unknown_task", "error": "No task is registered as 'x'."}

    lifecycle.hand_back(connection, [HandBack(claimed.id, claimed.token, "unknown_task", 5, note)])

    execution.refresh_from_db()
    assert execution.run_after == after_noon(7)
    assert execution.failures == [note]
    assert execution.reason == "unknown_task"


def test_only_the_holder_of_the_token_can_hand_back(connection, clock):
    """Proves I3."""
    executions = make_executions(3)
    node = make_node(connection)
    stale, done, mine = claim(connection, node)
    bury(node)
    assert lifecycle.rescue(connection, lease_s=15, max_crashes=3).ready == 3
    held = {item.id: item for item in claim(connection, make_node(connection))}
    finish(connection, outcome(held[done.id]))

    given = lifecycle.hand_back(
        connection,
        [
            HandBack(stale.id, stale.token),
            HandBack(done.id, held[done.id].token),
            HandBack(mine.id, held[mine.id].token),
        ],
    )

    assert given == {mine.id}
    assert statuses(executions) == ["running (rescued)", "succeeded", "ready"]


def test_handing_back_nothing_is_nothing(connection):
    assert lifecycle.hand_back(connection, []) == set()


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ("nothing", "ready (drained)"),
        ("cancel", "cancelled (cancelled)"),
        ("pause", "blocked (paused)"),
        ("pause that is over", "ready (drained)"),
        ("delete", "cancelled (job_deleted)"),
        ("hard delete", "cancelled (job_deleted)"),
    ],
)
def test_what_people_decided_meanwhile_holds_for_what_is_handed_back(
    happened, expected, connection, clock
):
    """Proves I4, I23 and I25: none of it begins afterwards."""
    job = make_job(schedule="@manual")
    execution = make_execution(job, trigger="schedule")
    [claimed] = claim(connection, make_node(connection))
    clock.tick(1)
    if happened == "cancel":
        assert lifecycle.cancel([execution.id], by="ann").requested == [execution.id]
    elif happened.startswith("pause"):
        until = after_noon(2) if happened.endswith("over") else None
        lifecycle.pause([job.pk], by="ann", until=until)
    elif happened == "delete":
        lifecycle.delete_jobs([job.pk], by="ann")
    elif happened == "hard delete":
        connection.execute("DELETE FROM scheduler_app_job")
    clock.tick(1)

    lifecycle.hand_back(connection, [HandBack(claimed.id, claimed.token, "drained")])

    assert status_of(execution) == expected
    if expected != "ready (drained)":
        assert claim(connection, make_node(connection)) == []
    if happened == "pause":
        lifecycle.resume([job.pk], by="ann")
        assert len(claim(connection, make_node(connection))) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("deleted_at = scheduler_now()", "cancelled (job_deleted)"),
        ("paused_at = scheduler_now()", "blocked (paused)"),
    ],
)
def test_what_is_handed_back_during_a_delete_or_a_pause_obeys_it(
    change, expected, connection, clock
):
    """Proves I4 and I23 in a race: the one that comes second sees what the first did."""
    execution = make_execution(trigger="schedule")
    [claimed] = claim(connection, make_node(connection))

    overtaking(
        connection,
        f"UPDATE scheduler_app_job SET {change}",
        lambda other: lifecycle.hand_back(other, [HandBack(claimed.id, claimed.token)]),
    )

    assert status_of(execution) == expected


# --- What was claimed and has not begun ----------------------------------------------------------


@pytest.mark.parametrize(
    "how", ["nothing", "pause", "pause queue", "pause tag", "pause all", "cancel", "delete"]
)
def test_what_was_claimed_must_not_begin_once_somebody_holds_it(connection, clock, how):
    job = make_job(schedule="@manual", on_overlap="allow", queue="q", tags=["t"])
    execution = make_execution(job, trigger="schedule")
    other = make_execution()
    claim(connection, make_node(connection))

    if how == "pause":
        lifecycle.pause([job.pk], by="ann")
    elif how.startswith("pause"):
        scope = how.split()[1]
        lifecycle.pause_scope(scope, {"queue": "q", "tag": "t", "all": ""}[scope], by="ann")
    elif how == "cancel":
        lifecycle.cancel([execution.pk], by="ann")
    elif how == "delete":
        lifecycle.delete_jobs([job.pk], by="ann")

    held = lifecycle.held_back(connection, [execution.pk, other.pk])

    assert (execution.pk in held) == (how != "nothing")
    assert (other.pk in held) == (how == "pause all")
