"""The heap between claiming and running."""

import threading
from datetime import UTC, datetime, timedelta

from scheduler_app.engine.ready_queue import ReadyQueue
from scheduler_app.lifecycle import Claimed
from scheduler_app.rules.spec import JobSpec

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def claimed(number: int, *, priority: int = 0, minutes: int = 0) -> Claimed:
    moment = NOON + timedelta(minutes=minutes)
    return Claimed(
        id=number,
        token=1,
        attempt=1,
        crashes=0,
        job_id=1,
        spec=JobSpec(),
        scheduled_for=moment,
        run_after=moment,
        priority=priority,
        reason="",
        failures=[],
    )


def test_the_highest_priority_comes_first_and_then_the_oldest():
    queue = ReadyQueue()
    queue.put([claimed(1), claimed(2, priority=5), claimed(3, minutes=-1)])
    queue.put([claimed(4, priority=5, minutes=-1), claimed(5, priority=-5, minutes=-9)])

    order = [queue.take().id for _ in range(5)]

    assert order == [4, 2, 3, 1, 5]


def test_closing_sends_waiting_workers_home_and_returns_what_was_left():
    queue = ReadyQueue()
    taken = []
    workers = [threading.Thread(target=lambda: taken.append(queue.take())) for _ in range(4)]
    for worker in workers:
        worker.start()

    queue.close()

    for worker in workers:
        worker.join(10)
    assert taken == [None] * 4
    assert not queue.put([claimed(1)])


def test_what_was_not_started_is_returned_by_close_in_order():
    queue = ReadyQueue()
    queue.put([claimed(1), claimed(2, priority=1)])

    assert [item.id for item in queue.close()] == [2, 1]


def test_what_waits_too_long_is_given_back():
    queue = ReadyQueue()
    queue.put([claimed(1), claimed(2)])

    assert queue.give_back(older_than_s=60) == []
    assert {item.id for item in queue.give_back(older_than_s=0)} == {1, 2}
    assert len(queue) == 0


def test_what_must_not_begin_any_more_is_taken_out():
    queue = ReadyQueue()
    queue.put([claimed(number) for number in (1, 2, 3)])
    assert queue.take().id == 1

    removed = queue.remove({1, 3})

    assert [item.id for item in removed] == [3]
    assert queue.waiting() == [2]
