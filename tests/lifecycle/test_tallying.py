"""Counters say exactly what happened, whoever wrote, however often, and however much was pruned."""

from __future__ import annotations

from scheduler_app import lifecycle
from scheduler_app.models import Execution, Tally

from .support import (
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
    rescue,
    settle,
    together,
)


def counted(name: str) -> dict[str, int]:
    """By label, all buckets together."""
    found: dict[str, int] = {}
    for (label, _), (count, _) in lifecycle.read_tallies()[name].items():
        found[label] = found.get(label, 0) + count
    return found


def seconds(name: str) -> float:
    return sum(total for _, total in lifecycle.read_tallies()[name].values())


def test_fire_times_are_counted_by_their_verdict(connection, clock):
    make_job(schedule="* * * * * *", on_overlap="skip")
    make_job(schedule="* * * * * *", on_overlap="allow")
    settle(connection)
    for _ in range(3):
        clock.tick(1)
        fire(connection)

    assert counted("fired") == {"": 4}
    assert counted("withheld") == {"overlap": 2}


def test_missed_fire_times_are_counted_one_by_one(connection, clock):
    make_job(schedule="* * * * * *", on_misfire="skip")
    settle(connection)
    clock.tick(minutes=10)
    fire(connection)

    # Those of the last five seconds are not missed; one of them runs, the others overlap.
    assert counted("withheld") == {"missed": 595, "overlap": 4}
    assert counted("fired") == {"": 1}


def test_executions_are_counted_by_outcome_with_drift_and_duration(connection, clock):
    job = make_job(schedule="* * * * * *", on_overlap="allow")
    settle(connection)
    clock.tick(3)
    fire(connection, misfire_after_s=60)
    manual = make_execution()
    taken = claim(connection, make_node(connection))
    [first, second, *_] = [each for each in taken if each.job_id == job.pk]
    [by_hand] = [each for each in taken if each.id == manual.pk]
    started = clock()

    finish(
        connection,
        outcome(first, started_at=started, finished_at=started),
        failure(second, reason="timed_out", started_at=started, finished_at=started),
        outcome(by_hand, "cancelled", reason="cancelled"),
    )

    assert counted("finished") == {"succeeded": 1, "timed_out": 1, "cancelled": 1}
    assert counted("duration") == {"": 3}
    # What is run by hand has no fire time to be late for.
    assert counted("drift") == {"": 2}
    late = (started - first.scheduled_for) + (started - second.scheduled_for)
    assert seconds("drift") == late.total_seconds()
    assert seconds("duration") == 1


def test_an_attempt_that_is_followed_by_another_is_a_retry_and_not_an_end(connection, clock):
    make_execution()
    [first] = claim(connection, make_node(connection))

    finish(connection, failure(first, retry_s=5))

    assert counted("retried") == {"": 1}
    assert counted("finished") == {}


def test_an_outcome_is_counted_once_though_it_is_written_twice_or_too_late(connection, clock):
    make_executions(2)
    node = make_node(connection)
    first, second = claim(connection, node)
    finish(connection, outcome(first))

    finish(connection, outcome(first))
    bury(node)
    rescue(connection)
    finish(connection, outcome(second))

    assert counted("finished") == {"succeeded": 1}
    assert counted("rescued") == {"": 1}


def test_what_ends_with_its_node_is_counted(connection, clock):
    node = make_node(connection)
    make_execution(make_job(schedule="@manual", guarantee="at_most_once"))
    claim(connection, node)
    bury(node)

    rescue(connection)

    assert counted("finished") == {"lost": 1}


def test_pruning_takes_nothing_from_the_counters(connection, clock):
    make_executions(3)
    finish(connection, *map(outcome, claim(connection, make_node(connection))))
    clock.tick(days=30)

    lifecycle.prune(connection, lifecycle.Keep(age_s=86_400, audit_age_s=86_400))

    assert not Execution.objects.exists()
    assert counted("finished") == {"succeeded": 3}


def test_nodes_that_count_at_the_same_time_lose_nothing_and_do_not_deadlock(connection, clock):
    make_executions(400)
    nodes = [make_node(connection) for _ in range(4)]
    shares = [claim(connection, node) for node in nodes]

    def write(share):
        def work(own):
            for number in range(0, len(share), 5):
                few = share[number : number + 5]
                finish(own, *map(outcome, few[:3]), *map(failure, few[3:]))

        return work

    together(*map(write, shares))

    assert counted("finished") == {"succeeded": 240, "failed": 160}
    assert seconds("duration") == 400
    assert Tally.objects.count() <= 16 * 3
