"""Outcomes are recorded once, by who holds the token, and repeatably. Proves I3, I16, I17, I23, I25, I28, I29."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import LogPart, Run, SpecCache
from scheduler_app.models import Execution, Job, LogChunk
from scheduler_app.models.execution import LIVE
from scheduler_app.models.vitals import read_vitals
from tests.wire import sent_by

from .support import (
    NOON,
    after_noon,
    bury,
    claim,
    failure,
    finish,
    fire,
    make_execution,
    make_executions,
    make_job,
    make_node,
    outcome,
    overtaking,
    rescue,
    settle,
    status_of,
    statuses,
    story,
    together,
)


def snapshot() -> list[dict]:
    """All that is stored of executions and their logs."""
    return [*Execution.objects.order_by("id").values(), *LogChunk.objects.order_by("id").values()]


def logs() -> list[tuple[int, int, str]]:
    return list(LogChunk.objects.order_by("attempt", "seq").values_list("attempt", "seq", "text"))


# --- One outcome -----------------------------------------------------------------------------


def test_a_success_is_recorded_with_its_result_times_and_log(connection, clock):
    execution = make_execution()
    [claimed] = claim(connection, make_node(connection))

    recorded = finish(
        connection,
        outcome(
            claimed,
            result='{"rows": 3}',
            started_at=after_noon(1),
            finished_at=after_noon(3),
            log=(LogPart(claimed.id, claimed.token, 1, 0, "hello\n"),),
        ),
    )

    assert recorded == {execution.id}
    execution.refresh_from_db()
    assert (execution.status, execution.reason) == ("succeeded", "")
    assert execution.result == {"rows": 3}
    assert (execution.started_at, execution.finished_at) == (after_noon(1), after_noon(3))
    assert (execution.drift, execution.duration) == (timedelta(seconds=1), timedelta(seconds=2))
    assert logs() == [(1, 0, "hello\n")]


def test_a_failure_is_recorded_with_its_error_and_ends_without_a_retry(connection, clock):
    execution = make_execution()
    [claimed] = claim(connection, make_node(connection))

    finish(connection, failure(claimed))

    execution.refresh_from_db()
    assert (execution.status, execution.reason) == ("failed", "raised")
    assert (execution.error, execution.traceback) == ("ValueError: no", "Traceback …")
    assert execution.failures == []
    assert execution.finished_at == after_noon(1)


def test_many_outcomes_of_all_kinds_are_recorded_together(connection, clock):
    make_executions(300)
    claimed = claim(connection, make_node(connection), limit=300)
    outcomes = [
        (outcome, failure, lambda item: failure(item, retry_s=1))[number % 3](item)
        for number, item in enumerate(claimed)
    ]

    assert finish(connection, *outcomes) == {item.id for item in claimed}
    assert statuses(claimed) == ["succeeded", "failed (raised)", "ready (raised)"] * 100


def test_no_outcomes_are_nothing(connection):
    assert finish(connection) == set()


# --- Fence and repeat --------------------------------------------------------------------------


def test_a_repeated_outcome_is_recorded_and_changes_nothing(connection, clock):
    """Proves I17: after a lost answer the node repeats the call."""
    make_executions(2)
    node = make_node(connection)
    one, two = claim(connection, node)
    outcomes = [
        outcome(one, log=(LogPart(one.id, one.token, 1, 0, "out"),)),
        failure(two, retry_s=5, log=(LogPart(two.id, two.token, 1, 0, "err"),)),
    ]
    assert finish(connection, *outcomes) == {one.id, two.id}
    before = snapshot()

    clock.tick(1)
    assert finish(connection, *outcomes) == {one.id, two.id}

    assert snapshot() == before


def test_another_outcome_under_the_same_token_changes_nothing(connection, clock):
    make_execution()
    [claimed] = claim(connection, make_node(connection))
    finish(connection, outcome(claimed))
    before = snapshot()

    finish(connection, failure(claimed))

    assert snapshot() == before


@pytest.mark.parametrize("kind", [outcome, failure])
def test_a_node_that_was_given_up_cannot_finish(kind, connection, clock):
    """Proves I3: the outcome of a stale holder is refused, before and after the new one's."""
    execution = make_execution()
    node = make_node(connection)
    [stale] = claim(connection, node)
    bury(node)
    rescue(connection)
    late = kind(stale, log=(LogPart(stale.id, stale.token, 1, 0, "late"),))

    assert finish(connection, late) == set()
    assert status_of(execution) == "ready (rescued)"
    [again] = claim(connection, make_node(connection))
    assert finish(connection, late) == set()
    assert status_of(execution) == "running (rescued)"
    assert finish(connection, outcome(again, result="1"), late) == {execution.id}
    assert finish(connection, late) == set()

    assert status_of(execution) == "succeeded"
    assert logs() == []


def test_of_a_batch_only_what_is_fenced_is_refused(connection, clock):
    make_executions(3)
    node = make_node(connection)
    claimed = claim(connection, node)
    Execution.objects.filter(pk=claimed[1].id).update(token=9)

    recorded = finish(connection, *[outcome(item) for item in claimed])

    assert recorded == {claimed[0].id, claimed[2].id}
    assert statuses(claimed) == ["succeeded", "running", "succeeded"]


def test_two_nodes_that_both_believe_to_hold_it_end_it_once(connection, clock):
    """Proves I3 in a race between a stale and a present holder."""
    node, other = make_node(connection), make_node(connection)
    make_executions(30)
    stale = claim(connection, node)
    bury(node)
    rescue(connection)
    present = claim(connection, other)

    refused, recorded = together(
        lambda a: finish(a, *[failure(item) for item in stale]),
        lambda b: finish(b, *[outcome(item) for item in present]),
    )

    assert refused == set()
    assert len(recorded) == 30
    assert set(statuses(present)) == {"succeeded"}


def test_a_batch_that_one_value_spoils_records_nothing_of_it(connection, clock):
    """The recorder splits such a batch; what it relies on is that nothing was done by halves."""
    make_executions(2)
    one, two = claim(connection, make_node(connection))

    with pytest.raises(psycopg.DataError):
        finish(connection, outcome(one), outcome(two, result='"\\u0000"'))

    assert statuses([one, two]) == ["running", "running"]
    assert finish(connection, outcome(one), outcome(two)) == {one.id, two.id}


# --- Retries -----------------------------------------------------------------------------------


def test_a_failure_that_is_tried_again_waits_in_the_row(connection, clock):
    """Proves I29: the waiting time survives every restart, because it is a column."""
    execution = make_execution()
    node = make_node(connection)
    [claimed] = claim(connection, node)
    clock.tick(2)

    finish(connection, failure(claimed, retry_s=7.5))

    execution.refresh_from_db()
    assert (execution.status, execution.reason) == ("ready", "raised")
    assert (execution.run_after, execution.finished_at) == (after_noon(9.5), None)
    assert execution.scheduled_for == NOON
    assert execution.failures == [{"attempt": 1, "reason": "raised", "error": "ValueError: no"}]
    clock.set(after_noon(9.4))
    assert claim(connection, node) == []
    clock.set(after_noon(9.5))
    [again] = claim(connection, node)
    assert (again.attempt, again.token) == (2, claimed.token + 1)
    assert again.failures == execution.failures


def test_the_history_keeps_every_failed_attempt_in_order(connection, clock):
    execution = make_execution()
    node = make_node(connection)
    for attempt in (1, 2, 3):
        [claimed] = claim(connection, node)
        finish(connection, failure(claimed, retry_s=1 if attempt < 3 else None))
        clock.tick(1)

    execution.refresh_from_db()
    assert (execution.status, execution.attempt) == ("failed", 3)
    assert [entry["attempt"] for entry in execution.failures] == [1, 2]


def test_a_success_after_failures_clears_their_error_and_keeps_their_history(connection, clock):
    execution = make_execution()
    node = make_node(connection)
    [claimed] = claim(connection, node)
    finish(connection, failure(claimed, retry_s=0))
    [claimed] = claim(connection, node)
    finish(connection, outcome(claimed, result="1"))

    execution.refresh_from_db()
    assert (execution.error, execution.traceback, execution.reason) == ("", "", "")
    assert len(execution.failures) == 1


def test_a_retry_does_not_move_the_plan(connection, clock):
    job = make_job(max_attempts=3)
    node = make_node(connection)
    settle(connection)
    clock.tick(1)
    fire(connection)
    [claimed] = claim(connection, node)
    finish(connection, failure(claimed, retry_s=60))
    clock.tick(3)

    fire(connection)

    assert story(job) == ["12:00:01 ready (raised)", "12:00:02-12:00:04 retrying 3"]


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ("nothing", "ready (raised)"),
        ("cancel", "cancelled (cancelled)"),
        ("pause", "blocked (paused)"),
        ("pause that is over", "ready (raised)"),
        ("delete", "cancelled (job_deleted)"),
        ("hard delete", "cancelled (job_deleted)"),
    ],
)
def test_what_people_decided_while_it_ran_holds_for_its_next_attempt(
    happened, expected, connection, clock
):
    """Proves I4, I23 and I25: no new attempt begins."""
    job = make_job(schedule="@manual", max_attempts=5)
    execution = make_execution(job, trigger="schedule")
    [claimed] = claim(connection, make_node(connection))
    clock.tick(1)
    if happened == "cancel":
        lifecycle.cancel([execution.id], by="ann")
    elif happened.startswith("pause"):
        until = after_noon(2) if happened.endswith("over") else None
        lifecycle.pause([job.pk], by="ann", until=until)
    elif happened == "delete":
        job.delete()
    elif happened == "hard delete":
        connection.execute("DELETE FROM scheduler_app_job")
    clock.tick(1)

    assert finish(connection, failure(claimed, retry_s=0)) == {execution.id}

    assert status_of(execution) == expected
    if expected != "ready (raised)":
        assert claim(connection, make_node(connection)) == []
    execution.refresh_from_db()
    assert (execution.finished_at is None) == (execution.status in LIVE)
    assert execution.error == "ValueError: no"


def test_a_run_by_hand_is_tried_again_although_its_job_is_paused(connection, clock):
    job = make_job(schedule="@manual", max_attempts=5)
    execution = make_execution(job, trigger="manual")
    [claimed] = claim(connection, make_node(connection))
    lifecycle.pause([job.pk], by="ann")

    finish(connection, failure(claimed, retry_s=0))

    assert status_of(execution) == "ready (raised)"


def test_the_outcome_of_what_ran_when_its_job_was_deleted_is_kept(connection, clock):
    """Proves I23: what runs may finish, and its row survives."""
    job = make_job(schedule="@manual")
    execution = make_execution(job)
    [claimed] = claim(connection, make_node(connection))
    lifecycle.delete_jobs([job.pk], by="ann")

    finish(connection, outcome(claimed, result="1"))

    assert status_of(execution) == "succeeded"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("deleted_at = scheduler_now()", "cancelled (job_deleted)"),
        ("paused_at = scheduler_now()", "blocked (paused)"),
    ],
)
def test_a_retry_that_is_recorded_during_a_delete_or_a_pause_obeys_it(
    change, expected, connection, clock
):
    execution = make_execution(trigger="schedule")
    [claimed] = claim(connection, make_node(connection))

    overtaking(
        connection,
        f"UPDATE scheduler_app_job SET {change}",
        lambda other: finish(other, failure(claimed, retry_s=0)),
    )

    assert status_of(execution) == expected


# --- Those that wait for the job's limit ---------------------------------------------------------


@pytest.mark.parametrize("on_overlap", ["queue_one", "queue_all", "cancel_running"])
def test_the_end_of_one_lets_the_next_go(on_overlap, connection, clock):
    """Proves I28."""
    job = make_job(on_overlap=on_overlap)
    node = make_node(connection)
    settle(connection)
    clock.tick(2)
    fire(connection)
    assert story(job) == ["12:00:01 ready", "12:00:02 blocked"]

    [claimed] = claim(connection, node)
    finish(connection, outcome(claimed))

    assert story(job) == ["12:00:01 succeeded", "12:00:02 ready"]


def test_as_many_go_as_the_limit_allows_oldest_first(connection, clock):
    job = make_job(on_overlap="queue_all", max_running=3)
    node = make_node(connection)
    settle(connection)
    for _ in range(7):
        clock.tick(1)
        fire(connection)
    claimed = claim(connection, node)
    assert len(claimed) == 3

    finish(connection, *[outcome(item) for item in claimed[:2]])

    assert [line.split()[1] for line in story(job)] == [
        *("succeeded", "succeeded", "running", "ready", "ready", "blocked", "blocked")
    ]


def test_one_that_is_tried_again_keeps_its_place(connection, clock):
    job = make_job(on_overlap="queue_all", max_attempts=3)
    node = make_node(connection)
    settle(connection)
    clock.tick(2)
    fire(connection)
    [claimed] = claim(connection, node)

    finish(connection, failure(claimed, retry_s=30))

    assert story(job) == ["12:00:01 ready (raised)", "12:00:02 blocked"]


def test_many_ends_at_once_never_let_more_go_than_the_limit(connection, clock):
    """Proves I28 under concurrency: the limit is counted under the plan's lock."""
    job = make_job(schedule="@manual", on_overlap="queue_all", max_running=4)
    make_executions(4, job=job)
    make_executions(40, job=job, status="blocked", scheduled_for=after_noon(60))
    node = make_node(connection)
    for _ in range(10):
        claimed = claim(connection, node)
        assert len(claimed) == 4
        together(*[lambda other, item=item: finish(other, outcome(item)) for item in claimed])
        lifecycle.promote_blocked(connection, SpecCache())
        assert Execution.objects.filter(status__in=["ready", "running"]).count() == 4


def test_an_outcome_that_promotes_nobody_leaves_the_next_to_the_tick(connection, clock):
    job = make_job(schedule="@manual")
    make_execution(job)
    [claimed] = claim(connection, make_node(connection))
    [waiting] = lifecycle.run_now([job.pk], by="ann")
    assert waiting.status == "blocked"

    finish(connection, outcome(claimed, promotes=False))
    assert status_of(waiting) == "blocked"

    assert lifecycle.promote_blocked(connection, SpecCache()) == 1
    assert status_of(waiting) == "ready"
    assert lifecycle.promote_blocked(connection, SpecCache()) == 0


def test_who_waits_for_the_limit_of_a_job_that_others_seldom_wait_for_is_told_and_goes_next(
    connection, clock
):
    """A run by hand waits whatever the overlap policy is; no plan is locked to find that out."""
    job = make_job(schedule="@manual")
    alone = make_job(schedule="@manual")
    lifecycle.run_many([Run(job.pk)] * 3 + [Run(alone.pk)], by="ann")
    ended = [
        outcome(item, promotes=False, limited=True)
        for item in claim(connection, make_node(connection))
    ]
    connection.execute(f"LISTEN {lifecycle.CHANNEL}")
    specs = SpecCache()

    recorded = lifecycle.finish(connection, specs, ended)
    assert (len(recorded.ids), recorded.promoted, recorded.followed) == (2, 0, [job.pk])
    assert statuses(job.executions.order_by("id")) == ["succeeded", "blocked", "blocked"]

    assert lifecycle.promote(connection, specs, recorded.followed) == 1
    assert lifecycle.promote(connection, specs, recorded.followed) == 0
    assert statuses(job.executions.order_by("id")) == ["succeeded", "ready", "blocked"]
    # Once for the three: only what can begin is told.
    connection.execute("SELECT pg_notify(%s, 'end')", [lifecycle.CHANNEL])
    assert [note.payload for note in connection.notifies(timeout=5, stop_after=2)] == [
        *("ready", "end")
    ]


def test_what_a_pause_holds_is_not_taken_for_what_waits_for_a_limit(connection, clock):
    job = make_job(schedule="@manual")
    lifecycle.run_many([Run(job.pk)] * 2, by="ann")
    [claimed] = claim(connection, make_node(connection))
    job.executions.filter(status="blocked").update(reason="paused")

    recorded = lifecycle.finish(
        connection, SpecCache(), [outcome(claimed, promotes=False, limited=True)]
    )
    assert recorded.followed == []


def test_to_look_for_who_waits_is_no_statement_more(connection, clock):
    node = make_node(connection)
    specs = SpecCache()
    counts = []
    for limited in (True, False):
        make_execution(make_job(schedule="@manual"))
        [claimed] = claim(connection, node)
        with sent_by(connection) as sent:
            lifecycle.finish(connection, specs, [outcome(claimed, promotes=False, limited=limited)])
        counts.append((sent.statements, sent.transactions))

    assert counts[0] == counts[1]


def test_the_tick_tells_the_nodes_what_it_promotes(connection, clock):
    make_execution(make_job(schedule="@manual"), status="blocked")
    connection.execute(f"LISTEN {lifecycle.CHANNEL}")

    assert lifecycle.promote_blocked(connection, SpecCache()) == 1

    assert [note.payload for note in connection.notifies(timeout=5, stop_after=1)] == ["ready"]


def test_who_is_let_go_is_late_from_then_on_and_waits_behind_who_could_begin_before(
    connection, clock
):
    job = make_job(schedule="@manual", max_running=2)
    waited = make_execution(job, status="blocked")
    later = make_execution(job, status="blocked", run_after=after_noon(600))
    other = make_execution(run_after=after_noon(250))

    clock.tick(300)
    assert lifecycle.promote_blocked(connection, SpecCache()) == 2

    waited.refresh_from_db()
    later.refresh_from_db()
    assert (waited.status, waited.run_after) == ("ready", after_noon(300))
    assert waited.scheduled_for == NOON
    assert (later.status, later.run_after) == ("ready", after_noon(600))
    clock.tick(2)
    assert read_vitals(lease_s=15).ready_age_s == 52
    assert [item.id for item in claim(connection, make_node(connection))] == [other.pk, waited.pk]


def test_a_raised_limit_lets_more_go_at_the_next_tick(connection, clock):
    job = make_job(schedule="@manual", on_overlap="queue_all")
    make_executions(5, job=job, status="blocked")

    Job.objects.filter(pk=job.pk).update(max_running=3)
    settle(connection)

    assert lifecycle.promote_blocked(connection, SpecCache()) == 3


def test_a_limit_that_was_taken_away_lets_all_go(connection, clock):
    job = make_job(schedule="@manual", on_overlap="queue_all")
    make_executions(5, job=job, status="blocked")

    Job.objects.filter(pk=job.pk).update(on_overlap="allow")
    settle(connection)

    assert lifecycle.promote_blocked(connection, SpecCache()) == 5


def test_a_job_that_somebody_is_editing_does_not_hold_up_the_tick(connection, clock):
    """The tick fires all other jobs too: it must not wait for a transaction that somebody left open."""
    jobs = [make_job(schedule="@manual", on_overlap="queue_all") for _ in range(3)]
    for job in jobs:
        make_execution(job, status="blocked")

    with connection.transaction():
        connection.execute("UPDATE scheduler_app_job SET queue = 'x' WHERE id = %s", [jobs[0].pk])
        [promoted] = together(lambda other: lifecycle.promote_blocked(other, SpecCache()))

    assert promoted == 2


def test_cancel_running_asks_the_running_one_to_stop_and_the_next_waits_for_its_end(
    connection, clock
):
    job = make_job(on_overlap="cancel_running", max_attempts=3)
    node = make_node(connection)
    settle(connection)
    clock.tick(1)
    fire(connection)
    [claimed] = claim(connection, node)

    clock.tick(1)
    fire(connection)

    running = Execution.objects.get(pk=claimed.id)
    assert (running.cancel_requested_at, running.cancelled_by) == (after_noon(2), "overlap")
    assert lifecycle.held_by(connection, node) == [(claimed.id, claimed.token, True)]
    finish(connection, outcome(claimed, "cancelled", reason="cancelled"))
    assert story(job) == ["12:00:01 cancelled (cancelled)", "12:00:02 ready"]


def test_cancel_running_ends_one_that_waits_for_its_next_attempt(connection, clock):
    job = make_job(on_overlap="cancel_running", max_attempts=3)
    node = make_node(connection)
    settle(connection)
    clock.tick(1)
    fire(connection)
    [claimed] = claim(connection, node)
    finish(connection, failure(claimed, retry_s=60))

    clock.tick(1)
    fire(connection)
    lifecycle.promote_blocked(connection, SpecCache())

    assert story(job) == ["12:00:01 cancelled (overlap)", "12:00:02 ready"]


# --- Starts and logs while it runs -----------------------------------------------------------------


def test_a_start_is_shown_while_it_runs_and_only_by_its_holder(connection, clock):
    make_executions(2)
    node = make_node(connection)
    mine, lost = claim(connection, node)

    lifecycle.record_progress(
        connection, [(mine.id, mine.token, after_noon(1)), (lost.id, 99, after_noon(1))], []
    )

    assert Execution.objects.get(pk=mine.id).started_at == after_noon(1)
    assert Execution.objects.get(pk=lost.id).started_at is None


def test_log_parts_are_appended_once_however_often_they_are_sent(connection, clock):
    make_execution()
    [claimed] = claim(connection, make_node(connection))
    parts = [
        LogPart(claimed.id, claimed.token, 1, 0, "a"),
        LogPart(claimed.id, claimed.token, 1, 1, "b"),
    ]

    lifecycle.record_progress(connection, [], parts[:1])
    lifecycle.record_progress(connection, [], parts)
    finish(
        connection, outcome(claimed, log=(parts[1], LogPart(claimed.id, claimed.token, 1, 2, "c")))
    )

    assert [text for _, _, text in logs()] == ["a", "b", "c"]


def test_each_attempt_has_its_own_log(connection, clock):
    make_execution()
    node = make_node(connection)
    [claimed] = claim(connection, node)
    finish(
        connection,
        failure(claimed, retry_s=0, log=(LogPart(claimed.id, claimed.token, 1, 0, "first"),)),
    )
    [claimed] = claim(connection, node)
    finish(connection, outcome(claimed, log=(LogPart(claimed.id, claimed.token, 2, 0, "second"),)))

    assert logs() == [(1, 0, "first"), (2, 0, "second")]


def test_the_log_of_a_second_run_after_a_crash_does_not_get_lost_in_that_of_the_first(
    connection, clock
):
    """Both are attempt 1: a crash is not counted as an attempt."""
    make_execution()
    [first] = claim(connection, make_node(connection))
    lifecycle.record_progress(connection, [], [LogPart(first.id, first.token, 1, 0, "first ")])
    clock.tick(20)
    rescue(connection)
    [second] = claim(connection, make_node(connection))
    lifecycle.record_progress(connection, [], [LogPart(second.id, second.token, 1, 0, "second ")])
    finish(connection, outcome(second, log=(LogPart(second.id, second.token, 1, 1, "run"),)))

    assert [chunk.text for chunk in LogChunk.objects.all()] == ["first ", "second ", "run"]


def test_a_node_that_was_given_up_appends_nothing_to_the_log(connection, clock):
    """Proves I3 for logs."""
    make_execution()
    node = make_node(connection)
    [stale] = claim(connection, node)
    bury(node)
    rescue(connection)

    lifecycle.record_progress(connection, [], [LogPart(stale.id, stale.token, 1, 0, "late")])

    assert logs() == []
