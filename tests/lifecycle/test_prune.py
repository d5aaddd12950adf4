"""History goes when it is old enough, in small batches, and nothing else does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import locks
from scheduler_app.models import (
    Execution,
    Gap,
    Job,
    JobPlan,
    JobRevision,
    LogChunk,
    Node,
    Pause,
)

from .support import NOON, make_execution, make_executions, make_job, make_node, together

WEEK_S = 7 * 86_400
OLD = NOON - timedelta(days=7, seconds=1)
YOUNG = NOON - timedelta(days=7)


def prune(connection, **options) -> lifecycle.Pruned:
    return lifecycle.prune(connection, **({"age_s": WEEK_S, "audit_age_s": WEEK_S} | options))


def ended(moment, **fields) -> Execution:
    values = {"status": "succeeded", "scheduled_for": moment, "finished_at": moment}
    return make_execution(**(values | fields))


def test_only_what_ended_long_enough_ago_goes(connection, clock):
    old = ended(OLD)
    kept = [
        ended(YOUNG),
        # Due long ago, and still under way or ended lately.
        ended(OLD, finished_at=NOON),
        make_execution(scheduled_for=OLD),
        make_execution(scheduled_for=OLD, status="blocked"),
        make_execution(scheduled_for=OLD, status="running", node_id=1),
    ]

    removed = prune(connection)

    assert (removed.executions, removed.more) == (1, False)
    assert set(Execution.objects.values_list("id", flat=True)) == {row.id for row in kept}
    assert not Execution.objects.filter(pk=old.pk).exists()


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "lost"])
def test_every_kind_of_end_grows_old(status, connection, clock):
    ended(OLD, status=status)

    assert prune(connection).executions == 1


def test_the_log_goes_with_its_execution(connection, clock):
    old, young = ended(OLD), ended(YOUNG)
    for execution in (old, young):
        for seq in range(3):
            LogChunk.objects.create(execution=execution, attempt=1, seq=seq, text="x")

    prune(connection)

    assert set(LogChunk.objects.values_list("execution_id", flat=True)) == {young.id}


def test_a_batch_is_as_small_as_asked_oldest_first_and_says_that_there_is_more(connection, clock):
    make_executions(5, status="succeeded", finished_at=OLD)
    for number, execution in enumerate(Execution.objects.all()):
        Execution.objects.filter(pk=execution.pk).update(scheduled_for=OLD - number * timedelta(1))
    newest = Execution.objects.order_by("scheduled_for").last()

    assert (prune(connection, limit=2).executions, prune(connection, limit=2).more) == (2, True)
    assert list(Execution.objects.all()) == [newest]
    last = prune(connection, limit=2)
    assert (last.executions, last.more) == (1, False)


def test_old_gaps_go_and_those_that_reach_into_the_present_stay(connection, clock):
    job = make_job()
    for first, last in [(OLD, OLD), (OLD, YOUNG)]:
        Gap.objects.create(
            job=job,
            first_at=first - timedelta(hours=len(Gap.objects.all())),
            last_at=last,
            count=1,
            reason="overlap",
        )

    assert prune(connection).gaps == 1
    assert Gap.objects.get().last_at == YOUNG


def test_nodes_that_ended_long_ago_go_and_those_that_live_stay(connection, clock):
    for state, finished_at in [
        ("stopped", OLD),
        ("dead", OLD),
        ("dead", YOUNG),
        ("active", None),
        ("draining", None),
    ]:
        Node.objects.filter(pk=make_node(connection)).update(
            state=state, finished_at=finished_at, heartbeat_at=OLD
        )

    assert prune(connection).nodes == 2
    assert sorted(Node.objects.values_list("state", flat=True)) == ["active", "dead", "draining"]


def test_a_dead_node_stays_as_long_as_something_runs_for_it(connection, clock):
    """A claim that commits late must find its node dead, not unknown."""
    node = make_node(connection)
    Node.objects.update(state="dead", finished_at=OLD)
    make_execution(status="running", node_id=node)

    assert prune(connection).nodes == 0


def test_pauses_that_ended_long_ago_go_and_standing_ones_stay(connection, clock):
    Pause.objects.create(scope="queue", value="a", paused_at=OLD, ended_at=OLD)
    Pause.objects.create(scope="queue", value="b", paused_at=OLD, ended_at=YOUNG)
    Pause.objects.create(scope="queue", value="c", paused_at=OLD)

    prune(connection)

    assert list(Pause.objects.values_list("value", flat=True)) == ["b", "c"]


def test_a_job_deleted_long_ago_vanishes_after_its_last_execution(connection, clock):
    job, young, living = make_job(), make_job(), make_job()
    Job.including_deleted.filter(pk=job.pk).update(deleted_at=OLD)
    Job.including_deleted.filter(pk=young.pk).update(deleted_at=YOUNG)
    last = make_execution(job, status="succeeded", scheduled_for=YOUNG, finished_at=YOUNG)
    Gap.objects.create(job=job, first_at=YOUNG, last_at=YOUNG, count=1, reason="overlap")

    assert prune(connection).jobs == 0
    clock.tick(1)
    removed = prune(connection)
    assert (removed.executions, removed.jobs) == (1, 2)

    assert not Execution.objects.filter(pk=last.pk).exists()
    assert [kept.pk for kept in Job.including_deleted.all()] == [living.pk]
    assert [plan.pk for plan in JobPlan.objects.all()] == [living.pk]
    assert {revision.job_id for revision in JobRevision.objects.all()} == {living.pk}
    assert not Gap.objects.exists()


def test_one_node_prunes_at_a_time(connection, clock):
    ended(OLD)

    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks.PRUNING])
        assert together(prune) == [None]

    assert prune(connection).executions == 1


def test_an_empty_history_has_nothing_to_prune(connection, clock):
    assert prune(connection) == lifecycle.Pruned()
