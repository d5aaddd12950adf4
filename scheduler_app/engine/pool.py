"""Worker threads: each takes from the ready queue, runs, and hands the outcome to the recorder."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime

from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import Claimed, Finished, HandBack, LogPart

from . import runner
from .children import Children
from .database import DatabaseClock
from .gauges import Gauges
from .ready_queue import ReadyQueue
from .runner import Attempt, StopCause
from .threads import start_guarded

logger = logging.getLogger(__name__)

OVERSEE_INTERVAL_S = 0.1
AHEAD_S = 0.1
BALANCE_S = 0.002
SHORT_S = 0.001
"""Tasks that take less are done by few threads while the process is busy for this part of the time:"""
SATURATED = 0.6
AHEAD_LIMIT = 1000
SHORTEST_S = 0.0001
TERM_S = 1.0
"""How long a child process has between SIGTERM and SIGKILL."""
KILLED_S = 5.0
SHOW_START_AFTER_S = 0.5
"""A start is written to the row of an attempt that runs for longer than this; others write it with their end."""


class Pool:
    """`threads` workers and one overseer that keeps them to their timeouts.

    A child process is killed. Python cannot stop a thread: one that ignores its timeout is given up: its outcome is recorded, and another
    thread takes its place, for up to half of the pool. After that the node is worn out, and ends to be started again.
    """

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        threads: int,
        node_name: str,
        clock: DatabaseClock,
        children: Children,
        gauges: Gauges,
        holds_lease: Callable[[], bool],
        on_outcome: Callable[[Finished | HandBack], None],
        on_idle: Callable[[], None],
        on_worn_out: Callable[[], None],
    ) -> None:
        self.queue = ReadyQueue()
        self._config = config
        self._threads = threads
        self._node_name = node_name
        self._clock = clock
        self._children = children
        self._on_outcome = on_outcome
        self._on_idle = on_idle
        self._on_worn_out = on_worn_out
        self._gauges = gauges
        self._holds_lease = holds_lease
        self._fenced = False
        self._lock = threading.Lock()
        self._attempts: dict[tuple[int, int], Attempt] = {}
        self._usual_s: float | None = None
        self._measured = threading.Event()
        self._stuck = 0
        self._started = 0
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the threads."""
        for _ in range(self._threads):
            self._start_worker()
        start_guarded("overseer", self._oversee, self._closing)
        start_guarded("foreman", self._balance, self._closing)

    @property
    def busy(self) -> int:
        """Attempts under way and about to begin, those of stuck threads left out."""
        with self._lock:
            return len(self.queue.taken() | self._attempts.keys())

    @property
    def children(self) -> int:
        """Attempts under way in child processes."""
        return sum(attempt.child is not None for attempt in self.running())

    @property
    def stuck(self) -> int:
        """Threads that were given up and still run."""
        return self._stuck

    @property
    def room(self) -> int:
        """How many more executions to claim: for idle workers, and for the next `AHEAD_S` of work.

        How long that work takes is known only from what ran before: until something did, nothing is taken ahead.
        """
        workers = self._threads - max(0, self._stuck - self._threads // 2)
        return max(0, workers - self.busy + self._ahead() - len(self.queue))

    @property
    def runs_dry(self) -> bool:
        """Whether workers will idle soon unless more is claimed."""
        return len(self.queue) <= self._ahead() // 2

    @property
    def is_measured(self) -> bool:
        """Whether something has run here."""
        return self._measured.is_set()

    def wait_until_measured(self, timeout_s: float) -> None:
        """Wait until something has run here, as from then on it is known how much can be taken ahead."""
        self._measured.wait(timeout_s)

    def _ahead(self) -> int:
        if self._usual_s is None:
            return 0
        at_work = 1 if self.queue.is_done_by_few else self._threads
        return min(AHEAD_LIMIT, int(at_work * AHEAD_S / max(self._usual_s, SHORTEST_S)))

    def held(self) -> set[tuple[int, int]]:
        """What waits or runs here, as (id, token)."""
        with self._lock:
            return self.queue.held() | self._attempts.keys()

    def running(self) -> list[Attempt]:
        """The attempts under way."""
        with self._lock:
            return list(self._attempts.values())

    def cancel(self, held: list[tuple[int, int]]) -> None:
        """Ask these to stop, as (id, token), because somebody cancelled them."""
        with self._lock:
            wanted = [self._attempts[key] for key in held if key in self._attempts]
        for attempt in wanted:
            self._stop(attempt, StopCause.CANCEL)

    def close(self) -> list[Claimed]:
        """Start nothing any more; returns what was claimed and did not begin."""
        return self.queue.close()

    def stop_all(self, cause: StopCause) -> None:
        """Ask everything that runs to stop."""
        for attempt in self.running():
            self._stop(attempt, cause)

    def abandon_all(self) -> list[Finished | HandBack]:
        """Give up on everything that still runs; what it brings later is dropped."""
        with self._lock:
            left = list(self._attempts.values())
            self._attempts.clear()
            for attempt in left:
                attempt.abandoned = True
                if attempt.child is not None:
                    attempt.child.kill(signal.SIGKILL)
        return [runner.interrupted(attempt, self._clock) for attempt in left]

    def progress(self) -> tuple[list[tuple[int, int, datetime]], list[LogPart]]:
        """What to show of attempts under way: starts not written yet, as (id, token, moment), and new log."""
        started, log = [], []
        now = time.monotonic()
        for attempt in self.running():
            claimed = attempt.claimed
            if not attempt.start_recorded and now - attempt.began > SHOW_START_AFTER_S:
                attempt.start_recorded = True
                started.append((claimed.id, claimed.token, attempt.began_at))
            fresh = attempt.log.take_fresh()
            if fresh is not None:
                log.append(LogPart(claimed.id, claimed.token, claimed.attempt, *fresh))
        return started, log

    def _start_worker(self) -> None:
        self._started += 1
        threading.Thread(target=self._work, name=f"worker-{self._started}", daemon=True).start()

    def _work(self) -> None:
        while (claimed := self.queue.take()) is not None:
            if not self._holds_lease():
                # Others may have it by now.
                self._on_outcome(HandBack(claimed.id, claimed.token, reason="fenced"))
                self.queue.forget(claimed)
                continue
            attempt = runner.begin(claimed, self._clock, self._children)
            key = (claimed.id, claimed.token)
            with self._lock:
                self._attempts[key] = attempt
            self.queue.forget(claimed)
            outcome = self._run(attempt)
            with self._lock:
                if attempt.abandoned:
                    was_replaced = self._stuck <= self._threads // 2
                    self._stuck -= 1
                    logger.info("a thread that was given up came back execution=%s", claimed.id)
                else:
                    # Handed over before it is forgotten: a drain that finds nobody busy finds all outcomes.
                    self._on_outcome(outcome)
                    was_replaced = False
                    del self._attempts[key]
                    if attempt.began < math.inf:
                        took = time.monotonic() - attempt.began
                        if self._usual_s is None:
                            self._usual_s = took
                            self._measured.set()
                        else:
                            self._usual_s += (took - self._usual_s) / 16
            if was_replaced:
                return
            self._on_idle()

    def _run(self, attempt: Attempt) -> Finished | HandBack:
        try:
            if attempt.began == math.inf:
                outcome = runner.prepare(
                    attempt, self._clock, self._config, self._node_name
                ) or self._begin(attempt)
                if outcome is not None:
                    return outcome
            return runner.run(attempt, self._clock, self._config, self._node_name)
        except BaseException:
            # The runner's own mistake; the worker and the record must survive it.
            logger.exception("the runner failed execution=%s", attempt.claimed.id)
            return runner.internal_error(attempt, self._clock, self._node_name)

    def _begin(self, attempt: Attempt) -> Finished | HandBack | None:
        """What it waited for is there: it starts now, unless it was stopped or others may have it meanwhile."""
        with self._lock:
            if attempt.stop_cause is None and not self._holds_lease():
                attempt.stop_cause = StopCause.FENCE
            if attempt.stop_cause is None and not attempt.abandoned:
                attempt.began_at, attempt.began = self._clock.now(), time.monotonic()
                return None
        if attempt.stop_cause is StopCause.CANCEL:
            return runner.cancelled(attempt, self._clock)
        return runner.interrupted(attempt, self._clock)

    def _balance(self) -> None:
        """More threads help as long as the process does not keep a core busy: what they do must be waiting, then."""
        while not self._closing.is_set():
            if not self.queue.wait_until_filled(1.0):
                continue
            cpu_s, began = time.process_time(), time.monotonic()
            time.sleep(BALANCE_S)
            busy = (time.process_time() - cpu_s) / (time.monotonic() - began)
            self.queue.balance(
                few=self._usual_s is not None and self._usual_s < SHORT_S,
                saturated=busy > SATURATED,
            )

    def _oversee(self) -> None:
        while not self._closing.wait(OVERSEE_INTERVAL_S):
            self._gauges.turned("overseer", OVERSEE_INTERVAL_S)
            self._fence()
            now = time.monotonic()
            for attempt in self.running():
                overdue = now - attempt.began - attempt.claimed.spec.timeout_s
                if overdue >= 0 and attempt.stop_cause in (None, StopCause.FENCE):
                    self._stop(attempt, StopCause.TIMEOUT)
                # What has not begun ends by itself, as soon as what it waits for has come or failed.
                has_begun = attempt.began < math.inf
                if has_begun and attempt.stop_cause in (StopCause.TIMEOUT, StopCause.CANCEL):
                    self._insist(attempt, now - attempt.stopped_at - self._config.kill_grace)

    def _fence(self) -> None:
        """When the lease is over, others may run what runs here: it must stop, and nothing may begin."""
        if self._holds_lease():
            self._fenced = False
            return
        if not self._fenced:
            self._fenced = True
            logger.error(
                "no heartbeat reached the database for nearly the lease; what runs is asked to stop running=%s",
                len(self.running()),
            )
        for attempt in self.running():
            if attempt.stop_cause is None:
                self._stop(attempt, StopCause.FENCE)
            if attempt.child is not None:
                attempt.child.kill(signal.SIGKILL)

    def _insist(self, attempt: Attempt, overdue_s: float) -> None:
        """A child process is killed, first so that it can clean up. A thread cannot be: it is given up."""
        if attempt.child is None:
            if overdue_s >= 0:
                self._give_up(attempt)
            return
        if overdue_s >= 0:
            attempt.child.kill(signal.SIGTERM)
        if overdue_s >= TERM_S:
            attempt.child.kill(signal.SIGKILL)
        if overdue_s >= TERM_S + KILLED_S:
            # Not even that ends a process that hangs in the kernel.
            self._give_up(attempt)

    def _stop(self, attempt: Attempt, cause: StopCause) -> None:
        with self._lock:
            replaceable = attempt.stop_cause in (None, StopCause.FENCE)
            if not replaceable and cause is not StopCause.DRAIN:
                return
            if replaceable:
                attempt.stop_cause = cause
            attempt.stopped_at = time.monotonic()
        attempt.execution.stop()

    def _give_up(self, attempt: Attempt) -> None:
        claimed = attempt.claimed
        with self._lock:
            if self._attempts.pop((claimed.id, claimed.token), None) is None:
                return
            attempt.abandoned = True
            self._stuck += 1
            replace = self._stuck <= self._threads // 2
            if attempt.stop_cause is StopCause.CANCEL:
                self._on_outcome(runner.cancelled(attempt, self._clock))
            else:
                self._on_outcome(runner.timed_out(attempt, self._clock, self._node_name))
        logger.warning(
            "a thread ignores that it must stop and is given up execution=%s job=%s stuck=%s",
            claimed.id,
            claimed.spec.name,
            self._stuck,
        )
        if replace:
            self._start_worker()
        else:
            self._on_worn_out()
        self._on_idle()
