"""Whatever a target does ends as a stored outcome."""

from __future__ import annotations

import pytest

from scheduler_app import lifecycle
from scheduler_app.models import Job, LogChunk, Status

from .conftest import wait_for


@pytest.fixture
def run(make_job, finished):
    """Run a task on the node that the test started."""

    def run(task: str, arguments=None, **values):
        job = make_job(task, arguments, **values)
        [execution] = lifecycle.run_now([job.pk], by="tester")
        return finished(execution)

    return run


def log_of(execution) -> str:
    return "".join(chunk.text for chunk in LogChunk.objects.filter(execution=execution))


def test_results_errors_logs_and_contexts(start_node, run):
    start_node()

    assert run("echo", {"value": {"a": [1, None, "ä"]}}).result == {"a": [1, None, "ä"]}
    assert run("add", [40, 2]).result == 42
    assert run("add_async", {"a": 1, "b": 2}).result == 3
    assert run("tell_attempt").result == "attempt 1"

    printed = run("print_much", {"lines": 3, "text": "hello"})
    assert log_of(printed) == "hello 0\nhello 1\nhello 2\n"

    failed = run("fail", {"message": "no luck"})
    assert (failed.status, failed.reason) == (Status.FAILED, "raised")
    assert failed.error == "RuntimeError: no luck"
    assert "in fail" in failed.traceback
    assert "scheduler_app/engine" not in failed.traceback


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_s16_no_search_for_an_error_finds_a_secret_in_it(start_node, run, isolation):
    start_node()
    message = "postgresql://ana:hunter2@db refused; token=hunter3 " + "x" * 2000

    failed = run("fail", {"message": message}, isolation=isolation)

    assert failed.error.startswith(
        "RuntimeError: postgresql://ana:********@db refused; token=******** x"
    )
    assert lifecycle.Selection(error="ana:****").find().exists()
    for guess in ("ana:h", "hunter2", "token=h", "hunter3"):
        assert not lifecycle.Selection(error=guess).find().exists(), guess


def test_a_failure_is_tried_again_until_it_succeeds(start_node, run):
    start_node()

    execution = run("fail_until", {"attempt": 3}, max_attempts=5, retry_backoff_s=0.1)

    assert (execution.status, execution.attempt) == (Status.SUCCEEDED, 3)
    assert execution.result == "attempt 3 succeeds"
    assert [entry["attempt"] for entry in execution.failures] == [1, 2]
    assert [entry["error"] for entry in execution.failures] == [
        "RuntimeError: attempt 1 fails",
        "RuntimeError: attempt 2 fails",
    ]


def test_attempts_are_bounded(start_node, run):
    start_node()

    execution = run("fail", max_attempts=3, retry_backoff_s=0.05)

    assert (execution.status, execution.attempt) == (Status.FAILED, 3)
    assert len(execution.failures) == 2


def test_a_timeout_ends_code_that_listens_and_code_that_does_not(start_node, run, tmp_path):
    start_node("--threads", "2", kill_grace=2)
    path = str(tmp_path / "side.log")

    listening = run("note_slowly", {"path": path, "seconds": 600}, timeout_s=0.3)
    deaf = run("sleep_deaf", {"seconds": 600}, timeout_s=0.3)
    in_a_loop = run("sleep_async", {"seconds": 600}, timeout_s=0.3)

    for execution in (listening, deaf, in_a_loop):
        assert (execution.status, execution.reason) == (Status.FAILED, "timed_out")
        assert "0.3 s" in execution.error
    # One of two threads was given up; the node still works.
    assert run("echo", {"value": 1}).result == 1


def test_cancelling_stops_what_runs(start_node, make_job, finished, tmp_path):
    path = tmp_path / "side.log"
    start_node(kill_grace=0.3)
    listening = make_job("note_slowly", {"path": str(path), "seconds": 600})
    deaf = make_job("sleep_deaf", {"seconds": 600})
    executions = lifecycle.run_now([listening.pk, deaf.pk], by="tester")
    wait_for(
        lambda: path.exists() and Job.objects.get(pk=deaf.pk).executions.running().exists(),
        what="both runs",
    )

    answer = lifecycle.cancel([execution.pk for execution in executions], by="ana")

    assert len(answer.requested) == 2
    for execution in map(finished, executions):
        assert (execution.status, execution.cancelled_by) == (Status.CANCELLED, "ana")


def test_hostile_code_ends_as_an_outcome_and_the_node_survives(start_node, make_job, finished):
    node = start_node()
    expected = {
        "exit": Status.FAILED,
        "interrupt": Status.FAILED,
        "recursion": Status.FAILED,
        "surrogate": Status.FAILED,
        "unprintable": Status.FAILED,
        "nul": Status.SUCCEEDED,
        "nan": Status.SUCCEEDED,
        "object": Status.SUCCEEDED,
        "generator": Status.SUCCEEDED,
        "large": Status.SUCCEEDED,
        "deep": Status.SUCCEEDED,
    }
    jobs = {how: make_job("be_hostile", {"how": how}, name=how) for how in expected}
    runs = {how: lifecycle.run_now([job.pk], by="tester")[0] for how, job in jobs.items()}

    assert {how: finished(execution).status for how, execution in runs.items()} == expected
    assert node.process.poll() is None


def test_a_flood_of_output_is_bounded(start_node, run):
    start_node()

    text = log_of(run("print_much", {"lines": 200_000, "text": "x" * 20}))

    assert len(text) < 1_100_000
    assert text.startswith("x" * 20 + " 0\n")
    assert text.endswith(" 199999\n")


def test_a_task_cannot_spoil_the_connection_of_the_next(start_node, run):
    start_node("--threads", "1")
    before = run("ask_search_path").result

    assert run("leave_a_mess").status == Status.SUCCEEDED

    assert run("ask_search_path").result == before


def test_a_task_that_no_node_knows_fails_after_a_while_with_the_names_known(
    start_node, make_job, finished
):
    job = make_job()
    Job.objects.filter(pk=job.pk).update(target="tests.testapp.tasks.gone")
    other = make_job()
    start_node(unknown_target_grace=1.5)

    [execution] = lifecycle.run_now([job.pk], by="tester")

    [fine] = lifecycle.run_now([other.pk], by="tester")
    assert finished(fine).status == Status.SUCCEEDED
    execution = finished(execution)
    assert (execution.status, execution.reason) == (Status.FAILED, "unknown_task")
    assert "tests.testapp.tasks.echo" in execution.error


def test_a_name_that_was_not_offered_as_a_task_never_runs(start_node, make_job, finished, tmp_path):
    canary = tmp_path / "canary"
    names = [
        "os.system",
        "builtins.exec",
        "subprocess.run",
        "tests.testapp.tasks.Path",
        "tests.testapp.tasks.get_user_model",
    ]
    start_node(unknown_target_grace=0)
    for number, name in enumerate(names):
        job = make_job(name=f"evil {number}")
        Job.objects.filter(pk=job.pk).update(target=name, arguments=[f"touch {canary}"])
        [execution] = lifecycle.run_now([job.pk], by="tester")

        assert finished(execution).reason == "unknown_task"

    assert not canary.exists()


def test_arguments_that_no_longer_fit_fail_at_once_and_for_good(start_node, make_job, finished):
    job = make_job("add", {"a": 1}, max_attempts=5)
    Job.objects.filter(pk=job.pk).update(arguments={"z": 1})
    start_node()

    [execution] = lifecycle.run_now([job.pk], by="tester")

    execution = finished(execution)
    assert (execution.status, execution.reason) == (Status.FAILED, "invalid_arguments")
    assert execution.attempt == 1
