"""Enqueued tasks: executions without a job, in the caller's transaction, read back as results of Django's tasks."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection as django_connection
from django.db import transaction

from scheduler_app import lifecycle
from scheduler_app.conf import get_config
from scheduler_app.engine.database import connect
from scheduler_app.lifecycle import CannotDo, TaskCall
from scheduler_app.models import Execution, Status
from scheduler_app.task_backend import InvalidTask, SchedulerBackend, TaskResultDoesNotExist
from tests.testapp import tasks
from tests.wire import sent_by

from .support import after_noon, claim, failure, finish, make_node, outcome


@pytest.fixture
def backend() -> SchedulerBackend:
    return SchedulerBackend("default", {"QUEUES": []})


def test_an_enqueued_task_is_claimed_with_its_arguments(connection, clock):
    result = tasks.add.enqueue(1, b=2)

    [claimed] = claim(connection, make_node(connection))

    assert str(claimed.id) == result.id
    assert (claimed.job_id, claimed.spec.target) == (None, "tests.testapp.tasks.add")
    assert claimed.arguments == {"a": 1, "b": 2}


def test_the_result_follows_the_execution(connection, clock):
    node = make_node(connection, name="worker")
    result = tasks.add.enqueue(1)
    assert (result.status, result.attempts) == ("READY", 0)

    [claimed] = claim(connection, node)
    result.refresh()
    assert (result.status, result.worker_ids) == ("RUNNING", ["worker"])

    finish(connection, outcome(claimed, result="2"))
    result.refresh()
    assert (result.return_value, result.is_finished) == (2, True)
    assert tasks.add.get_result(result.id).args == [1]


def test_a_failure_is_told_with_its_class(connection, clock):
    result = tasks.fail.enqueue()
    [claimed] = claim(connection, make_node(connection))
    finish(
        connection,
        failure(claimed, error="ValueError: no", traceback="Traceback …\nValueError: no"),
    )

    result.refresh()

    assert result.status == "FAILED"
    assert [error.exception_class for error in result.errors] == [ValueError]


def test_nothing_is_enqueued_by_a_transaction_that_is_rolled_back(clock):
    with pytest.raises(RuntimeError), transaction.atomic():
        tasks.echo.enqueue("x")
        raise RuntimeError
    assert not Execution.objects.exists()


def test_many_are_enqueued_in_their_order_for_the_price_of_one(
    backend, django_assert_max_num_queries, clock
):
    with transaction.atomic(), django_assert_max_num_queries(3):
        results = backend.enqueue_many(tasks.echo, [((number,), {}) for number in range(50)])

    executions = {str(execution.pk): execution for execution in Execution.objects.all()}
    assert [executions[result.id].spec["arguments"] for result in results] == [
        [number] for number in range(50)
    ]


def test_outside_of_a_transaction_to_enqueue_is_one_statement_however_many_there_are(
    backend, connection, clock
):
    connection.execute("LISTEN scheduler")
    django_connection.ensure_connection()
    for calls in (1, 50):
        with sent_by(django_connection.connection) as sent:
            backend.enqueue_many(tasks.echo, [((number,), {}) for number in range(calls)])
        assert (sent.statements, sent.transactions) == (1, 1)

    assert Execution.objects.count() == 51
    # The nodes hear of it once a call.
    assert [notice.payload for notice in connection.notifies(timeout=1)] == ["ready", "ready"]


def test_what_programs_repeat_is_prepared_unless_a_pooler_stands_between(clock, settings):
    def prepared() -> int:
        django_connection.close()
        for _ in range(6):
            tasks.echo.enqueue("x")
        with django_connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            return cursor.fetchone()[0]

    assert prepared() == 1
    settings.SCHEDULER = {**settings.SCHEDULER, "pooled": True}
    assert prepared() == 0


def test_a_transaction_goes_on_after_a_call_that_the_database_refused(clock):
    with transaction.atomic():
        tasks.echo.enqueue("before")
        with pytest.raises(psycopg.Error):
            lifecycle.enqueue([TaskCall(target="tests.testapp.tasks.echo", priority=10**9)])
        tasks.echo.enqueue("after")

    found = Execution.objects.order_by("id").values_list("spec__arguments", flat=True)
    assert list(found) == [["before"], ["after"]]


def test_queue_priority_and_moment_are_those_of_the_task(connection, clock):
    later = tasks.echo.using(queue_name="mail", priority=7, run_after=after_noon(60))
    later.enqueue("x")

    execution = Execution.objects.get()
    assert (execution.queue, execution.priority) == ("mail", 7)
    assert execution.scheduled_for == execution.run_after == after_noon(60)
    node = make_node(connection)
    assert not claim(connection, node)
    clock.tick(60)
    assert claim(connection, node)


def test_options_are_the_policies_of_every_task(connection, clock):
    backend = SchedulerBackend("default", {"QUEUES": [], "OPTIONS": {"max_attempts": 3}})
    backend.enqueue(tasks.echo, ["x"], {})
    [claimed] = claim(connection, make_node(connection))
    assert claimed.spec.max_attempts == 3


def test_an_unknown_option_is_a_mistake_that_the_checks_find(backend):
    assert not list(backend.check())
    [error] = SchedulerBackend("default", {"OPTIONS": {"retries": 3}}).check()
    assert "'retries'" in error.msg and "max_attempts" in error.hint


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "says"),
    [
        (tasks.add, [], {}, "missing a required argument: 'a'"),
        (tasks.add, [1], {"a": 2}, "multiple values for argument 'a'"),
        (tasks.add, [1], {"c": 2}, "unexpected keyword argument 'c'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(backend, task, args, kwargs, says, clock):
    with pytest.raises(InvalidTask, match=says):
        backend.enqueue(task, args, kwargs)
    assert not Execution.objects.exists()


def test_a_call_of_no_registered_task_is_refused(clock):
    with pytest.raises(CannotDo, match=r"No task is registered as 'os\.system'"):
        lifecycle.enqueue(
            [TaskCall(target="tests.testapp.tasks.echo"), TaskCall(target="os.system")]
        )
    assert not Execution.objects.exists()


@pytest.mark.parametrize("result_id", ["", "x", "-1", "0", "9" * 30, "²"])
def test_a_result_that_never_was_does_not_exist(result_id, backend, clock):
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result(result_id)


def test_what_was_cancelled_failed(connection, clock):
    result = tasks.echo.enqueue()
    lifecycle.cancel([int(result.id)], by="ann")
    result.refresh()
    assert result.status == "FAILED"
    assert Execution.objects.get().status == Status.CANCELLED


def test_the_backend_is_the_project_s(settings):
    assert settings.TASKS["default"]["BACKEND"].endswith(".SchedulerBackend")
    assert isinstance(tasks.echo.get_backend(), SchedulerBackend)


def test_a_connection_that_broke_is_not_kept_for_the_next_call(transactional_db):
    """A program that only enqueues heals as one that uses the ORM does: at its next request."""
    lifecycle.enqueue([TaskCall(target=tasks.echo.module_path, arguments=[1])])
    with django_connection.cursor() as cursor, connect(get_config(), "killer") as killer:
        cursor.execute("SELECT pg_backend_pid()")
        killer.execute("SELECT pg_terminate_backend(%s)", cursor.fetchone())

    with pytest.raises(psycopg.Error):
        lifecycle.enqueue([TaskCall(target=tasks.echo.module_path, arguments=[2])])
    [enqueued] = lifecycle.enqueue([TaskCall(target=tasks.echo.module_path, arguments=[3])])

    assert Execution.objects.get(pk=enqueued.id).status == "ready"
    assert django_connection.connection.prepare_threshold is None
