"""Write outcomes to the database, those of many threads in one statement, and keep them until that worked."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import psycopg

from scheduler_app import lifecycle
from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import Finished, HandBack, LogPart, SpecCache

from .database import Session, Unavailable
from .gauges import Gauges
from .threads import start_guarded

logger = logging.getLogger(__name__)

GATHER_S = 0.003
GATHER_WHILE_FIRING_S = 0.02
"""How long the first outcome of a batch waits for others; longer while something is due, which must not wait."""
BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024
PROGRESS_INTERVAL_S = 1.0
UNSENT_BYTES = 16 * 1024 * 1024
"""Of log pieces that could not be written yet, so many are kept to be tried again."""

Progress = Callable[[], tuple[list[tuple[int, int, datetime]], list[LogPart]]]


class Recorder:
    """A thread with a connection of its own. Everything that ends or gives back an execution goes through it."""

    def __init__(
        self,
        config: SchedulerConfig,
        specs: SpecCache,
        *,
        gauges: Gauges,
        progress: Progress,
        on_retry: Callable[[float], None],
    ) -> None:
        self._session = Session(config, "recorder", gauges)
        self._gauges = gauges
        self._specs = specs
        self._progress = progress
        self._on_retry = on_retry
        self._waiting: deque[Finished | HandBack] = deque()
        self._bytes = 0
        self._unsent_starts: list[tuple[int, int, datetime]] = []
        self._unsent_log: list[LogPart] = []
        self._in_flight: list[Finished | HandBack] = []
        self._hurry = threading.Event()
        self._has_followers = False
        """Whether the next run of a job waits for one of the outcomes."""
        self.is_firing = False
        """Set by the scheduler while it decides what is due."""
        self._condition = threading.Condition()
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._gauges.tried("recorder", PROGRESS_INTERVAL_S)
        self._thread = start_guarded("recorder", self._run, self._closing)

    def put(self, *outcomes: Finished | HandBack) -> None:
        """Take over outcomes; returns at once."""
        with self._condition:
            if not self._waiting:
                self._condition.notify_all()
            for outcome in outcomes:
                self._waiting.append(outcome)
                self._bytes += outcome.size
                self._has_followers |= _promotes(outcome)

    @property
    def backlog(self) -> int:
        """Outcomes not in the database yet."""
        return len(self._waiting) + len(self._in_flight)

    @property
    def backlog_bytes(self) -> int:
        """Roughly the memory that those take."""
        return self._bytes

    def held(self) -> set[tuple[int, int]]:
        """Of the outcomes not in the database yet, the executions, as (id, token)."""
        with self._condition:
            return {(outcome.id, outcome.token) for outcome in (*self._in_flight, *self._waiting)}

    def left(self) -> list[Finished | HandBack]:
        """The outcomes that are not in the database yet, oldest first."""
        with self._condition:
            return [*self._in_flight, *self._waiting]

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken over so far is written; False when that took too long."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while self.backlog:
                self._hurry.set()
                left = deadline - time.monotonic()
                if left <= 0 or not self._condition.wait(left):
                    return not self.backlog
            return True

    def close(self, timeout_s: float) -> bool:
        """Write what is left and end the thread; False when something could not be written in time."""
        written = self.flush(timeout_s)
        self._closing.set()
        with self._condition:
            self._condition.notify_all()
        self._thread.join(1.0)
        return written

    def _run(self) -> None:
        next_progress = time.monotonic() + PROGRESS_INTERVAL_S
        while not self._closing.is_set():
            with self._condition:
                if not self._waiting:
                    self._condition.wait(max(0.0, next_progress - time.monotonic()))
            if self._waiting or self._in_flight:
                self._gather()
                self._write_batch()
            if time.monotonic() >= next_progress:
                self._write_progress()
                next_progress = time.monotonic() + PROGRESS_INTERVAL_S
            self._gauges.turned("recorder", PROGRESS_INTERVAL_S)
        if self._unsent_log:
            self._write_progress()
        self._session.close()
        self._gauges.over("recorder")

    def _gather(self) -> None:
        began = time.monotonic()
        while len(self._waiting) < BATCH_ROWS and self._bytes < BATCH_BYTES:
            may_wait = self.is_firing and not self._has_followers
            longest = GATHER_WHILE_FIRING_S if may_wait else GATHER_S
            if time.monotonic() - began >= longest or self._hurry.wait(GATHER_S):
                break

    def _write_batch(self) -> None:
        # What a failure of this thread left in flight goes first.
        batch = self._in_flight or self._next_batch()
        while not self._closing.is_set():
            try:
                self._write(batch)
            except Unavailable:
                self._gauges.tried("recorder", PROGRESS_INTERVAL_S)
                self._session.back_off(self._closing)
                continue
            break
        else:
            return
        with self._condition:
            self._in_flight = []
            self._bytes -= sum(outcome.size for outcome in batch)
            self._condition.notify_all()
        for outcome in batch:
            if isinstance(outcome, Finished) and outcome.retry_s is not None:
                self._on_retry(outcome.retry_s)
            elif isinstance(outcome, HandBack):
                self._on_retry(outcome.delay_s)

    def _next_batch(self) -> list[Finished | HandBack]:
        self._hurry.clear()
        batch: list[Finished | HandBack] = []
        size = 0
        with self._condition:
            while self._waiting and len(batch) < BATCH_ROWS and size < BATCH_BYTES:
                outcome = self._waiting.popleft()
                size += outcome.size
                batch.append(outcome)
            self._in_flight = batch
            self._has_followers = any(map(_promotes, self._waiting))
        return batch

    def _write(self, batch: Sequence[Finished | HandBack]) -> None:
        self._write_back([outcome for outcome in batch if isinstance(outcome, HandBack)])
        self._write_finished([outcome for outcome in batch if isinstance(outcome, Finished)])

    def _write_back(self, back: list[HandBack]) -> None:
        try:
            self._session.call(lambda connection: lifecycle.hand_back(connection, back))
        except (psycopg.DataError, psycopg.IntegrityError):
            if len(back) == 1:
                # Its node's next sweep finds that nobody here knows it, and gives it back bare.
                logger.exception("a hand-back was refused execution=%s", back[0].id)
                return
            for item in back:
                self._write_back([item])
        except Unavailable as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
            # Somebody holds the plan of one job for long: the others must not wait for it.
            if len(back) == 1:
                self.put(*back)
                return
            for item in back:
                # Each may wait for the lock; the recorder is slow then, and does not hang.
                self._gauges.tried("recorder", PROGRESS_INTERVAL_S)
                self._write_back([item])

    def _write_finished(self, finished: list[Finished]) -> None:
        """Write them together; if a value is refused, write halves, down to the one that has it."""
        if not finished:
            return
        try:
            recorded = self._finish(finished)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(finished) == 1:
                self._write_bare(finished[0], error)
                return
            middle = len(finished) // 2
            self._write_finished(finished[:middle])
            self._write_finished(finished[middle:])
            return
        except Unavailable as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                self._write_around_lock(finished)
            elif isinstance(error.__cause__, psycopg.errors.DiskFull) and _has_log(finished):
                # An update of rows that exist may still have room; a log needs new ones.
                self._keep_log([part for outcome in finished for part in outcome.log])
                self._write_finished([replace(outcome, log=()) for outcome in finished])
            else:
                raise
            return
        for outcome in finished:
            if outcome.id not in recorded:
                logger.warning(
                    "a late outcome was discarded, the execution is somebody else's now "
                    "execution=%s attempt=%s status=%s",
                    outcome.id,
                    outcome.attempt,
                    outcome.status,
                )

    def _finish(self, finished: list[Finished]) -> set[int]:
        """The ids that are recorded; what waited for them begins, or, while somebody holds its plan, with a tick."""
        recorded = self._session.call(
            lambda connection: lifecycle.finish(connection, self._specs, finished)
        )
        promoted = recorded.promoted
        if recorded.followed:
            try:
                promoted += self._session.call(
                    lambda connection: lifecycle.promote(connection, self._specs, recorded.followed)
                )
            except Unavailable as error:
                logger.debug("what waits for its job's limit is left to a tick: %s", error)
        if promoted:
            # This node claims it also where no notification arrives.
            self._on_retry(0.0)
        return recorded.ids

    def _write_around_lock(self, finished: list[Finished]) -> None:
        """Somebody holds the plan of one job for long: the outcomes of that job wait, those of others do not."""
        jobs: dict[int | None, list[Finished]] = {}
        for outcome in finished:
            jobs.setdefault(outcome.job_id if outcome.needs_plan else None, []).append(outcome)
        if len(jobs) > 1:
            for outcomes in jobs.values():
                self._gauges.tried("recorder", PROGRESS_INTERVAL_S)
                self._write_finished(outcomes)
            return
        logger.warning("outcomes wait for a lock on their job job_id=%s", *jobs)
        self.put(*finished)

    def _write_bare(self, outcome: Finished, error: psycopg.Error) -> None:
        """The outcome without what the database refuses to store: that it ended is what matters most."""
        logger.error("an outcome could not be stored as it is execution=%s: %s", outcome.id, error)
        bare = Finished(
            id=outcome.id,
            token=outcome.token,
            attempt=outcome.attempt,
            job_id=outcome.job_id,
            status=outcome.status,
            reason=outcome.reason,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
            error=f"The outcome could not be stored: {type(error).__name__}.",
            retry_s=outcome.retry_s,
            crashed=outcome.crashed,
            limited=outcome.limited,
            promotes=outcome.promotes,
        )
        try:
            self._finish([bare])
        except (psycopg.DataError, psycopg.IntegrityError):
            logger.exception("an outcome could not be stored at all execution=%s", outcome.id)

    def _write_progress(self) -> None:
        started, log = self._progress()
        self._unsent_starts = (self._unsent_starts + started)[-BATCH_ROWS:]
        self._keep_log(log)
        if not self._unsent_starts and not self._unsent_log:
            return
        try:
            self._session.call(
                lambda connection: lifecycle.record_progress(
                    connection, self._unsent_starts, self._unsent_log
                )
            )
        except Unavailable:
            logger.debug("progress was not written and is tried again")
            return
        except (psycopg.DataError, psycopg.IntegrityError):
            logger.exception("progress was refused")
        self._unsent_starts, self._unsent_log = [], []

    def _keep_log(self, parts: Sequence[LogPart]) -> None:
        self._unsent_log.extend(parts)
        size = sum(len(part.text) for part in self._unsent_log)
        while size > UNSENT_BYTES:
            size -= len(self._unsent_log.pop(0).text)


def _promotes(outcome: Finished | HandBack) -> bool:
    return isinstance(outcome, Finished) and outcome.promotes


def _has_log(finished: Sequence[Finished]) -> bool:
    return any(outcome.log for outcome in finished)
