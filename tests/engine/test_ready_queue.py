"""The heap between claiming and running."""

import threading
import time
from datetime import UTC, datetime, timedelta

from scheduler_app.engine.ready_queue import ReadyQueue
from scheduler_app.lifecycle import Claimed
from scheduler_app.rules.spec import JobSpec

from .conftest import wait_for

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
        arguments={},
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


# --- How many workers -------------------------------------------------------------------------


class Crew:
    """Workers that each hold what they took until told to go on."""

    def __init__(self, queue: ReadyQueue, size: int) -> None:
        self._queue = queue
        self.took: list[int] = []
        self.go_on = threading.Semaphore(0)
        self.threads = [threading.Thread(target=self._work, args=[queue]) for _ in range(size)]
        for thread in self.threads:
            thread.start()

    def _work(self, queue: ReadyQueue) -> None:
        while (item := queue.take()) is not None:
            self.took.append(item.id)
            self.go_on.acquire()

    def has_taken(self, count: int) -> bool:
        """Whether it comes to that many, and to no more in a while."""
        wait_for(lambda: len(self.took) >= count, what=f"{count} taken of {self.took}")
        time.sleep(0.1)
        return len(self.took) == count

    def wait_until_idle(self) -> None:
        """Who has not begun to wait would take without being woken."""
        waiting = self._queue._condition._waiters
        wait_for(lambda: len(waiting) == len(self.threads), what="all workers wait")

    def end(self, queue: ReadyQueue) -> None:
        queue.close()
        self.go_on.release(100)
        for thread in self.threads:
            thread.join(10)


def test_few_workers_begin_with_short_work_and_more_come_while_the_process_has_time_left():
    queue = ReadyQueue()
    crew = Crew(queue, 9)
    try:
        crew.wait_until_idle()
        queue.balance(few=True, saturated=True)
        queue.put([claimed(number) for number in range(12)])
        assert crew.has_taken(1)

        queue.balance(few=True, saturated=False)
        assert crew.has_taken(3)  # twice as many as before, beside the one that is at it
        queue.balance(few=True, saturated=False)
        assert crew.has_taken(7)
        queue.balance(few=False, saturated=True)
        assert crew.has_taken(9)
    finally:
        crew.end(queue)
    assert not any(thread.is_alive() for thread in crew.threads)


def test_workers_that_only_get_in_each_other_s_way_rest_until_they_are_needed():
    queue = ReadyQueue()
    crew = Crew(queue, 3)
    try:
        queue.put([claimed(number) for number in range(12)])
        assert crew.has_taken(3)

        queue.balance(few=True, saturated=True)
        crew.go_on.release(3)
        assert crew.has_taken(4)  # two rest, one goes on

        queue.balance(few=True, saturated=True)
        crew.go_on.release()
        assert crew.has_taken(5)  # who works alone never rests
        queue.balance(few=False, saturated=True)
        assert crew.has_taken(7)
    finally:
        crew.end(queue)
    assert not any(thread.is_alive() for thread in crew.threads)


def test_nobody_watches_over_an_empty_queue():
    queue = ReadyQueue()
    assert not queue.wait_until_filled(0.01)
    queue.put([claimed(1)])
    assert queue.wait_until_filled(10)
    queue.take()
    assert not queue.wait_until_filled(0.01)


def test_workers_are_woken_when_told_or_when_it_takes_too_long():
    queue = ReadyQueue()
    crew = Crew(queue, 3)
    try:
        crew.wait_until_idle()
        queue.put([claimed(number) for number in range(3)], wake_after_s=3600)
        queue.balance(few=False, saturated=False)
        assert crew.has_taken(0)
        queue.wake()
        assert crew.has_taken(3)
        crew.go_on.release(3)

        crew.wait_until_idle()
        queue.put([claimed(number) for number in range(3)], wake_after_s=0.001)
        time.sleep(0.002)
        queue.balance(few=False, saturated=False)
        assert crew.has_taken(6)
    finally:
        crew.end(queue)
    assert not any(thread.is_alive() for thread in crew.threads)
