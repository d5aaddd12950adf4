"""Many runs in one request: all of them or none, in order, within each job's limit."""

from __future__ import annotations

import pytest
from django.db import connection as django_connection

from scheduler_app import lifecycle
from scheduler_app.lifecycle import CannotDo, Run
from scheduler_app.models import Execution
from tests.wire import sent_by

from .support import NOON, after_noon, make_job, together

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "tests.testapp.tasks.add"


def make_add(**fields):
    fields = {"kind": "task", "target": ADD, "arguments": {"a": 1}, "on_overlap": "allow", **fields}
    return make_job(schedule="@manual", **fields)


def test_each_run_has_its_own_arguments_and_fire_time(connection, clock):
    one, other = make_add(), make_add()
    runs = [
        Run(one.pk, {"a": 5}),
        Run(other.pk),
        Run(one.pk, scheduled_for=NOON),
        Run(one.pk, {"a": 7}),
    ]

    ids = lifecycle.run_many(runs, by="ann", trigger="api")

    found = Execution.objects.in_bulk(ids)
    assert [found[pk].job_id for pk in ids] == [one.pk, other.pk, one.pk, one.pk]
    assert [found[pk].spec for pk in ids] == [
        {"arguments": {"a": 5}},
        None,
        None,
        {"arguments": {"a": 7}},
    ]
    assert found[ids[2]].scheduled_for == NOON
    assert {run.status for run in found.values()} == {"ready"}
    assert {run.trigger for run in found.values()} == {"api"}


def test_a_fire_time_that_is_still_to_come_is_named_by_its_place(connection, clock):
    job = make_add()
    runs = [Run(job.pk, scheduled_for=NOON), Run(job.pk, scheduled_for=after_noon(1))]

    with pytest.raises(CannotDo, match="still to come") as refused:
        lifecycle.run_many(runs, by="ann")

    assert [problem.field for problem in refused.value.problems] == ["runs.1.scheduled_for"]
    assert not Execution.objects.exists()


def test_a_thousand_runs_are_as_many_statements_as_one(connection, clock):
    job = make_add()
    django_connection.ensure_connection()
    for count in (1, 1000):
        with sent_by(django_connection.connection) as sent:
            lifecycle.run_many([Run(job.pk)] * count, by="ann")
        # Begin, lock the plan, insert and notify, the audit trail, commit.
        assert (sent.statements, sent.transactions) == (5, 1)


@pytest.mark.parametrize(
    ("fields", "ready"),
    [
        ({"on_overlap": "allow"}, 5),
        ({"on_overlap": "skip"}, 1),
        ({"on_overlap": "allow", "max_running": 3}, 3),
    ],
)
def test_no_more_start_at_once_than_the_limit_allows(fields, ready, connection, clock):
    job = make_add(**fields)

    lifecycle.run_many([Run(job.pk)] * 5, by="ann")

    statuses = list(Execution.objects.order_by("id").values_list("status", flat=True))
    assert statuses == ["ready"] * ready + ["blocked"] * (5 - ready)


def test_what_lives_counts_and_two_at_once_do_not_exceed_the_limit(connection, clock):
    job = make_add(max_running=4)
    lifecycle.run_many([Run(job.pk)], by="ann")

    together(*[lambda _: lifecycle.run_many([Run(job.pk)] * 3, by="ann")] * 2)

    assert Execution.objects.filter(status="ready").count() == 4
    assert Execution.objects.filter(status="blocked").count() == 3


def test_arguments_that_do_not_fit_run_nothing(connection, clock):
    job = make_add()

    with pytest.raises(CannotDo, match="do not fit add") as refused:
        lifecycle.run_many([Run(job.pk), Run(job.pk, {"nope": 1})], by="ann")

    assert [problem.field for problem in refused.value.problems] == ["runs.1.arguments"]
    assert not Execution.objects.exists()


def test_a_job_that_is_gone_runs_nothing(connection, clock):
    one, gone = make_add(), make_add()
    lifecycle.delete_jobs([gone.pk], by="ann")

    with pytest.raises(CannotDo, match="nothing was run"):
        lifecycle.run_many([Run(one.pk), Run(gone.pk)], by="ann")

    assert not Execution.objects.exists()


@pytest.mark.parametrize("count", [0, 1001])
def test_a_request_is_bounded(count, connection, clock):
    job = make_add()

    with pytest.raises(CannotDo, match="1 to 1,000 runs"):
        lifecycle.run_many([Run(job.pk)] * count, by="ann")
