"""Bulk operations: counted before, done once each, by whoever has time, however often somebody asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo, Selection, bulk
from scheduler_app.models import AuditEntry, BulkOperation, BulkVerb, Execution, Job, Status
from scheduler_app.rules.problems import Invalid

from .support import (
    NOON,
    ClusterClock,
    Connection,
    after_noon,
    make_execution,
    make_executions,
    make_job,
    make_node,
    together,
)

KEY = UUID(int=7)
ENDED = {"finished_at": NOON, "attempt": 1}


def make_failures(count: int, job: Job | None = None, **fields: object) -> list[Execution]:
    values = {"status": Status.FAILED, "reason": "raised", "error": "ValueError: no paper"}
    return make_executions(count, job=job, **(ENDED | values | fields))


def statuses() -> dict[str, int]:
    found: dict[str, int] = {}
    for status in Execution.objects.values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found


def start(verb: str, key: UUID = KEY, *, budget_s: float = 30, **selection: Any) -> BulkOperation:
    return lifecycle.start_bulk(
        key, verb, Selection(**selection), by="ana", reason="paper is here", budget_s=budget_s
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of three executions, and two rows tried at a time."""
    monkeypatch.setattr(bulk, "CHUNK", 3)
    monkeypatch.setattr(bulk, "TRIED_BY_CHUNK", 2)


def test_all_that_match_are_retried_and_nothing_else(clock: ClusterClock) -> None:
    job, other = make_job(on_overlap="allow"), make_job()
    make_failures(7, job)
    make_failures(1, other)
    make_execution(job, status=Status.SUCCEEDED, **ENDED)

    operation = start("retry", jobs=(job.pk,))

    assert (operation.expected, operation.changed, operation.refused) == (7, 7, 0)
    assert operation.finished_at == NOON
    assert statuses() == {"ready": 7, "failed": 1, "succeeded": 1}
    assert set(Execution.objects.filter(status="ready").values_list("requested_by", flat=True)) == {
        "ana"
    }


def test_what_waits_is_cancelled_and_what_runs_is_asked_to_stop(
    clock: ClusterClock, connection: Connection
) -> None:
    job = make_job(on_overlap="allow")
    make_executions(3, job=job)
    running = make_execution(job, status=Status.RUNNING, node_id=make_node(connection))

    operation = start("cancel", jobs=(job.pk,))

    running.refresh_from_db()
    assert operation.changed == 4
    assert statuses() == {"cancelled": 3, "running": 1}
    assert (running.cancel_requested_at, running.cancelled_by) == (NOON, "ana")
    cancelled = Execution.objects.filter(status="cancelled").first()
    assert cancelled is not None and cancelled.reason == "paper is here"


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("selection", [{}, {"triggers": ("manual",)}, {"error": "PAPER"}])
def test_many_chunks_leave_nothing_out(
    clock: ClusterClock, selection: dict[str, tuple[str, ...]]
) -> None:
    make_failures(10, make_job(on_overlap="allow"))
    # All of one moment: the key of a chunk is not the fire time alone.
    make_failures(5, make_job(on_overlap="allow"), scheduled_for=NOON)

    operation = start("retry", **selection)

    assert (operation.changed, operation.refused) == (15, 0)
    assert statuses() == {"ready": 15}


@pytest.mark.usefixtures("small_chunks")
def test_what_failed_again_meanwhile_is_not_retried_twice(
    clock: ClusterClock, connection: Connection
) -> None:
    make_failures(5, make_job(on_overlap="allow"))
    start("retry", budget_s=0)
    lifecycle.do_bulk_chunk(connection)
    assert Execution.objects.filter(status="ready").update(status="failed", finished_at=NOON) == 3

    operation = lifecycle.continue_bulk(KEY, budget_s=30)

    assert operation.changed == 5
    assert statuses() == {"failed": 3, "ready": 2}


@pytest.mark.usefixtures("small_chunks")
def test_what_came_after_the_request_is_left_alone(
    clock: ClusterClock,
) -> None:
    job = make_job(on_overlap="allow")
    make_executions(4, job=job)
    operation = start("cancel", budget_s=0)
    assert operation.finished_at is None
    clock.tick(1)
    late = make_execution(job, scheduled_for=after_noon(-60), created_at=after_noon(1))

    operation = lifecycle.continue_bulk(KEY, budget_s=30)

    late.refresh_from_db()
    assert operation.changed == 4
    assert late.status == Status.READY


@pytest.mark.usefixtures("small_chunks")
def test_nodes_go_on_with_what_the_web_left(clock: ClusterClock, connection: Connection) -> None:
    job = make_job(on_overlap="allow", arguments={"customer": 42})
    make_failures(10, job)
    start("retry", UUID(int=1), statuses=("failed",), arguments=(("customer", "42"),), budget_s=0)
    start("retry", UUID(int=2), budget_s=0)

    chunks = 0
    while lifecycle.do_bulk_chunk(connection):
        chunks += 1

    assert chunks > 3
    assert statuses() == {"ready": 10}
    first, second = BulkOperation.objects.order_by("pk")
    assert (first.changed, second.changed) == (10, 0)
    assert first.finished_at and second.finished_at


def test_the_same_key_is_the_same_operation(clock: ClusterClock) -> None:
    make_failures(3, make_job(on_overlap="allow"))

    first, again = start("retry"), start("retry")

    assert first.pk == again.pk
    assert again.changed == 3
    assert BulkOperation.objects.count() == 1
    with pytest.raises(CannotDo, match="another operation"):
        start("cancel")


@pytest.mark.usefixtures("small_chunks")
def test_four_who_press_at_once_do_each_execution_once() -> None:
    make_failures(30, make_job(on_overlap="allow"))

    together(*[lambda _: start("retry")] * 4)
    lifecycle.continue_bulk(KEY, budget_s=30)

    assert set(Execution.objects.values_list("token", flat=True)) == {1}
    assert BulkOperation.objects.get().changed == 30


def test_the_audit_trail_has_the_operation_and_each_execution(
    clock: ClusterClock, connection: Connection
) -> None:
    job = make_job(on_overlap="allow")
    [execution] = make_failures(1, job)
    start("retry", budget_s=0)
    lifecycle.do_bulk_chunk(connection)

    whole, each = AuditEntry.objects.order_by("pk")

    assert (whole.verb, whole.who, whole.reason) == ("bulk.retry", "ana", "paper is here")
    assert whole.object_id == str(KEY)
    assert (each.verb, each.who, each.reason) == ("execution.retry", "ana", "paper is here")
    assert (each.object_id, each.object_name, each.job_id) == (
        str(execution.pk),
        job.name,
        job.pk,
    )


def test_stopped_means_that_the_rest_stays(clock: ClusterClock, connection: Connection) -> None:
    make_failures(3)
    start("retry", budget_s=0)

    assert lifecycle.stop_bulk(KEY, by="ben")

    assert not lifecycle.do_bulk_chunk(connection)
    assert not lifecycle.stop_bulk(KEY, by="ben")
    operation = BulkOperation.objects.get()
    assert (operation.stopped_by, operation.changed) == ("ben", 0)


def test_the_count_says_why_others_cannot_be(clock: ClusterClock, connection: Connection) -> None:
    job, gone = make_job(on_overlap="allow"), make_job()
    make_failures(3, job)
    make_failures(2, gone)
    make_execution(job, status=Status.SUCCEEDED, **ENDED)
    running = {"status": Status.RUNNING, "node_id": make_node(connection)}
    make_execution(job, **running)
    make_execution(job, cancel_requested_at=NOON, **running)
    gone.delete()

    retry = lifecycle.count_bulk("retry", Selection())
    cancel = lifecycle.count_bulk("cancel", Selection())

    assert (retry.suitable, retry.is_capped) == (3, False)
    assert dict(retry.refused) == {"of a deleted job": 2, "running": 2, "succeeded": 1}
    assert cancel.suitable == 1
    assert dict(cancel.refused) == {"asked to stop already": 1, "failed": 5, "succeeded": 1}


def test_counting_stops_at_a_cap(clock: ClusterClock, monkeypatch: pytest.MonkeyPatch) -> None:
    make_failures(5, make_job(on_overlap="allow"))
    monkeypatch.setattr(bulk, "COUNTED", 3)
    counted = lifecycle.count_bulk("retry", Selection())
    assert (counted.suitable, counted.is_capped) == (3, True)

    monkeypatch.setattr(bulk, "COUNTED", 100)
    monkeypatch.setattr(bulk, "TRIED", 2)
    tried = lifecycle.count_bulk("retry", Selection(error="paper"))
    assert (tried.suitable, tried.is_capped) == (2, True)
    assert start("retry", error="paper").changed == 5


def test_old_operations_are_pruned(clock: ClusterClock, connection: Connection) -> None:
    start("retry")
    clock.tick(days=8)

    lifecycle.prune(connection, lifecycle.Keep(age_s=7 * 86_400, audit_age_s=400 * 86_400))

    assert not BulkOperation.objects.exists()


# --- what a selection means ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("customer", "42", "number and text"),
        ("customer", '"42"', "text"),
        ("customer", "4", ""),
        ("address.city", "Ulm", "number"),
        ("city", "Ulm", ""),
        ("customer", "NaN", ""),
        ("customer", "1e999", ""),
        ("", "", ""),
        ("own", "1", "own"),
    ],
)
def test_arguments_are_found_wherever_they_are_stored(path: str, value: str, found: str) -> None:
    number = make_job(arguments={"customer": 42, "address": {"city": "Ulm"}})
    text = make_job(arguments={"customer": "42"})
    expected = {
        "number": make_execution(number).pk,
        "text": make_execution(text).pk,
        # Its own arguments hide those of the job.
        "own": make_execution(number, spec={"arguments": {"own": 1}}).pk,
    }
    edited = make_job(arguments={"customer": 42})
    expected["number and text"] = make_execution(edited).pk
    edited.arguments = {"customer": 1}
    edited.save()
    make_execution(edited, revision=edited.revisions.first())

    pks = set(Selection(arguments=((path, value),)).find().values_list("pk", flat=True))

    wanted = {
        "number and text": {expected[name] for name in ("number", "text", "number and text")},
        "": set(),
    }.get(found)
    assert pks == ({expected[found]} if wanted is None else wanted)


def test_what_is_masked_cannot_be_found_out() -> None:
    job = make_job(arguments={"headers": {"Authorization": "canary"}, "password": {"pin": 1234}})
    execution = make_execution(job)
    make_execution(job, spec={"arguments": {"token": "canary", "n": 1}})

    for pair in (
        ("headers.Authorization", "canary"),
        ("password.pin", "1234"),
        ("token", "canary"),
    ):
        assert not Selection(arguments=(pair,)).find().exists(), pair
        assert lifecycle.count_bulk("retry", Selection(arguments=(pair,))).suitable == 0
    assert Selection(arguments=(("n", "1"),)).find().exclude(pk=execution.pk).count() == 1


def test_a_selection_survives_as_json() -> None:
    selection = Selection(
        statuses=("failed", "lost"),
        ids=(),
        jobs=(),
        job_names=("nightly",),
        queues=("mail",),
        triggers=("api",),
        nodes=(3,),
        since=NOON - timedelta(hours=1),
        until=NOON,
        arguments=(("customer", "42"),),
        error="paper",
    )
    assert Selection.from_json(selection.to_json()) == selection
    assert Selection.from_json({}) == Selection()
    assert Selection().to_json() == {}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"status": ["failed"]}, "known are ids, statuses"),
        ({"statuses": ["dead"]}, "must be of ready"),
        ({"statuses": "failed"}, "must be a list"),
        ({"jobs": ["x"]}, "must be ids"),
        ({"jobs": [-1]}, "must be ids"),
        ({"nodes": [True]}, "must be ids"),
        ({"since": "yesterday"}, "moment with its offset"),
        ({"since": "2030-01-01T00:00:00"}, "moment with its offset"),
        ({"since": "2030-13-01T00:00:00Z"}, "moment with its offset"),
        ({"since": 5}, "moment with its offset"),
        ({"since": NOON, "until": NOON}, "after since"),
        ({"error": "\0"}, "text of at most"),
        ({"error": "x" * 201}, "text of at most"),
        ({"arguments": {"a": 1}}, "must be a list"),
        ({"arguments": [["a"]]}, "pairs"),
        ({"arguments": [["a", 1]]}, "text of at most"),
        ({"arguments": [["a", "b"]] * 6}, "5 at most"),
    ],
)
def test_what_cannot_be_meant_is_said(values: dict[str, object], word: str) -> None:
    with pytest.raises(Invalid, match=word):
        Selection.from_json(values)


def test_an_unknown_key_is_found_nowhere() -> None:
    assert lifecycle.count_bulk("retry", Selection(jobs=())).suitable == 0
    with pytest.raises(BulkOperation.DoesNotExist):
        lifecycle.continue_bulk(uuid4())


@pytest.mark.parametrize("selection", [{"jobs": ()}, {"ids": ()}])
def test_a_selection_that_nothing_can_match_is_over_at_once(
    selection: dict[str, Any], clock: ClusterClock, connection: Connection
) -> None:
    make_failures(1)
    operation = start(BulkVerb.RETRY, **selection)
    assert operation.finished_at is not None
    assert not lifecycle.do_bulk_chunk(connection)
    assert statuses() == {Status.FAILED: 1}


def test_a_selection_of_a_newer_release_is_left_to_its_nodes(
    clock: ClusterClock, connection: Connection
) -> None:
    operation = start(BulkVerb.RETRY, budget_s=0)
    BulkOperation.objects.filter(pk=operation.pk).update(
        selection={"moon": "full"}, finished_at=None
    )
    assert not lifecycle.do_bulk_chunk(connection)
    assert BulkOperation.objects.get().finished_at is None
