"""History goes when it is old enough, in small batches, and nothing else does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import Keep, Position, locks, pruning
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


def prune(connection, position=None, *, limit=1000, **options) -> lifecycle.Pruned:
    keep = Keep(**({"age_s": WEEK_S, "audit_age_s": WEEK_S} | options))
    return lifecycle.prune(connection, keep, position, limit=limit)


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


# --- What a job says of its own history, and what the site says of all -----------------------------


def history(job: Job, *ages_d: float, **fields) -> list[int]:
    """Ended executions and gaps of a job, so many days old, and a minute for each that came before."""
    for age_d in ages_d:
        moment = NOON - timedelta(days=age_d)
        ended(moment, job=job, **fields)
        Gap.objects.create(job=job, first_at=moment, last_at=moment, count=1, reason="overlap")
    return [row.pk for row in Execution.objects.filter(job=job).order_by("scheduled_for")]


def kept(job: Job) -> tuple[int, int]:
    """How many executions and gaps of the job are left."""
    return job.executions.count(), job.gaps.count()


def test_a_job_may_keep_its_history_for_a_shorter_or_a_longer_time(connection, clock):
    usual, shorter, longer = (make_job(keep_days=days) for days in (None, 2, 30))
    for job in (usual, shorter, longer):
        history(job, 40, 20, 5, 1)

    removed = prune(connection)

    assert [kept(job) for job in (usual, shorter, longer)] == [(2, 2), (1, 1), (3, 3)]
    assert (removed.executions, removed.gaps) == (6, 6)


def test_a_job_may_keep_a_number_of_its_newest(connection, clock):
    few, all_of_them = make_job(keep_last=2), make_job()
    for job in (few, all_of_them):
        history(job, 5, 4, 3, 2, 1)

    prune(connection)

    assert (kept(few), kept(all_of_them)) == ((2, 2), (5, 5))
    assert few.executions.earliest("scheduled_for").scheduled_for == NOON - timedelta(days=2)


def test_what_is_under_way_is_kept_whatever_the_number(connection, clock):
    job = make_job(keep_last=1)
    waiting = make_execution(job, scheduled_for=OLD)
    history(job, 2, 1)

    prune(connection, count=1)

    assert set(job.executions.values_list("pk", flat=True)) == {
        waiting.pk,
        job.executions.latest("scheduled_for").pk,
    }


def test_the_site_may_keep_a_number_of_all_whatever_jobs_say(connection, clock):
    first, second = make_job(keep_days=1000), make_job()
    history(first, 6, 4, 2)
    history(second, 5, 3, 1)

    removed = prune(connection, count=3)

    assert (removed.executions, removed.gaps) == (3, 3)
    assert (kept(first), kept(second)) == ((1, 1), (2, 2))


def test_logs_may_go_before_their_executions(connection, clock):
    old, young = (
        ended(NOON - timedelta(days=days), job=make_job(schedule="@manual")) for days in (2, 0.5)
    )
    for execution in (old, young):
        LogChunk.objects.create(execution=execution, attempt=1, seq=0, text="x")

    removed = prune(connection, log_age_s=86_400)

    assert (removed.logs, removed.executions) == (1, 0)
    assert list(LogChunk.objects.values_list("execution_id", flat=True)) == [young.pk]


def test_of_ended_nodes_the_newest_are_kept(connection, clock, monkeypatch):
    monkeypatch.setattr(pruning, "NODES_KEPT", 2)
    nodes = [make_node(connection) for _ in range(4)]
    Node.objects.update(state="stopped", finished_at=NOON)

    assert prune(connection).nodes == 2
    assert sorted(Node.objects.values_list("pk", flat=True)) == nodes[2:]


def test_a_batch_goes_on_where_the_last_one_ended_past_what_is_kept(connection, clock):
    """However much a job keeps at the old end, each batch comes further."""
    keeper = make_job(keep_days=1000)
    history(keeper, *range(100, 90, -1))
    late = ended(OLD, job=make_job(schedule="@manual"))
    position = Position()

    removed = [prune(connection, position, limit=4) for _ in range(4)]

    assert [batch.executions for batch in removed] == [0, 0, 1, 0]
    assert [batch.more for batch in removed] == [True, True, False, False]
    assert not Execution.objects.filter(pk=late.pk).exists()
    assert kept(keeper) == (10, 10)


def test_the_newest_are_counted_once_for_the_batches_of_a_pass(connection, clock):
    """To count to the millionth costs a walk over a million; a second later it is still old enough to go."""
    make_executions(4, status="succeeded", finished_at=NOON)
    position = Position()

    removed = [prune(connection, position, limit=1, count=2)]
    make_execution(scheduled_for=NOON + timedelta(days=1), status="succeeded", finished_at=NOON)
    removed += [prune(connection, position, limit=1, count=2) for _ in range(3)]
    position.boundaries = None
    removed.append(prune(connection, position, limit=1, count=2))

    assert [batch.executions for batch in removed] == [1, 1, 0, 0, 1]


def test_many_jobs_with_numbers_of_their_own_are_taken_in_turns(connection, clock, monkeypatch):
    monkeypatch.setattr(pruning, "JOBS_AT_ONCE", 2)
    jobs = [make_job(keep_last=1) for _ in range(5)]
    for job in jobs:
        history(job, 2, 1)
    position = Position()

    removed = [prune(connection, position) for _ in range(3)]

    assert [batch.executions for batch in removed] == [2, 2, 1]
    assert [batch.more for batch in removed] == [True, True, False]
    assert {kept(job) for job in jobs} == {(1, 1)}


def test_no_statement_reads_a_table_of_history_from_end_to_end(connection, clock):
    """Proves that pruning is work on indexes, whatever the statistics say."""
    parameters = {
        "after_at": OLD,
        "after_id": 0,
        "age_s": 1,
        "audit_age_s": 1,
        "log_age_s": 1,
        "boundary": "-infinity",
        "limit": 10,
        "jobs": [1, 2],
        "count": 10,
        "nodes": 10,
    }
    for name in (
        "BOUNDARIES_SQL",
        "EXECUTIONS_SQL",
        "GAPS_SQL",
        "LOGS_SQL",
        "OWN_EXECUTIONS_SQL",
        "OWN_GAPS_SQL",
        "JOBS_SQL",
        "AUDIT_SQL",
    ):
        with connection.transaction(force_rollback=True):
            plan = connection.execute(f"EXPLAIN {getattr(pruning, name)}", parameters).fetchall()
        text = "\n".join(row[0] for row in plan)
        for table in ("execution", "gap", "logchunk", "auditentry", "job"):
            assert f"Seq Scan on scheduler_app_{table}" not in text, f"{name}:\n{text}"
