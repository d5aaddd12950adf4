"""The loop: look, settle, fire, claim, and sleep until the next thing is due.

Everything it decides from is asked of the database in the same turn; notifications and its own reckoning only
say when to look again.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import psycopg

from scheduler_app import lifecycle
from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import Chores, Claimed, Outlook, SpecCache, notices

from .database import DatabaseClock, Session
from .heartbeat import Heartbeat
from .listener import Listener
from .pool import Pool
from .recorder import Recorder
from .wake import Wake

logger = logging.getLogger(__name__)

HOUSEKEEPING_INTERVAL_S = 1.0
EARLY_S = 0.001
"""The loop wakes this much before a fire time, and asks again."""
FLUSH_BEFORE_FIRING_S = 0.05
SMALLEST_BATCH, FIRST_BATCH, LARGEST_BATCH = 10, 100, 1000
"""How many jobs one transaction fires: few at first, so that they start soon, then more, which is cheaper."""
BEGUN_BATCH = 200
"""At most, where they start at once: they run while the next batch is written, and of a large one half would wait."""
SLOW_BATCH_S = 0.05
"""Where a transaction takes longer, each costs more than it gives, and they grow all the same."""
DECIDING_S = 0.01
"""What was fired begins this much later at the latest, if the next batch is not decided before."""
MEASURE_S = 0.005
STALE_IN_QUEUE_S = 1.0
"""What was claimed and did not start for this long is given back."""
EXPECTED_LIMIT = 10_000
"""How many retries a node remembers to be on time for; the others are found by polling."""
LOCKED_BY_OTHERS_S = 0.02
UNWRITTEN_LIMIT = 2000
UNWRITTEN_BYTES_LIMIT = 64 * 1024 * 1024
"""With this many outcomes not written yet, nothing more is claimed; nor with outcomes of this size."""


class Scheduler:
    """One node's share of planning, firing and claiming."""

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        node_id: int,
        queues: tuple[str, ...],
        specs: SpecCache,
        clock: DatabaseClock,
        pool: Pool,
        recorder: Recorder,
        heartbeat: Heartbeat,
        listener: Listener,
        session: Session,
        wake: Wake,
    ) -> None:
        self._config = config
        self._node_id = node_id
        self._queues = queues
        self._specs = specs
        self._clock = clock
        self._pool = pool
        self._recorder = recorder
        self._heartbeat = heartbeat
        self._listener = listener
        self._session = session
        self._wake = wake
        self._next_housekeeping = 0.0
        self._check_cancels = threading.Event()
        self._check_queue = threading.Event()
        self._others_wait = threading.Event()
        self._starved = False
        self._strays: set[tuple[int, int]] = set()
        self._expected: list[float] = []
        self._lock = threading.Lock()

    def heard(self, notice: str) -> None:
        """A notification arrived; called from the listener's thread."""
        if notice == notices.NODE:
            self._heartbeat.beat_soon()
            return
        if notice == notices.CANCEL:
            self._check_cancels.set()
        if notice in (notices.CANCEL, notices.PLAN):
            self._check_queue.set()
        if notice == notices.READY:
            self._others_wait.set()
        self._wake.call()

    def expect(self, seconds: float) -> None:
        """Something can be claimed that many seconds from now: a retry, or what was promoted. Called from any thread."""
        with self._lock:
            if len(self._expected) < EXPECTED_LIMIT:
                heapq.heappush(self._expected, time.monotonic() + seconds)
        self._wake.call()

    def slot_freed(self) -> None:
        """A worker is free; called from its thread."""
        if self._starved and self._pool.runs_dry:
            self._wake.call()

    def turn(self) -> float:
        """Do what is due; returns for how many seconds to sleep. Raises Unavailable."""
        self._hears_of_others()  # the look tells all of them
        # Deaf, it would not hear of a pause.
        if self._check_queue.is_set() or not self._listener.is_listening:
            self._take_back_held()
        asked_at = time.monotonic()
        outlook, chores = self._session.call(self._look)
        self._clock.set(outlook.now, asked_at)
        is_due = outlook.next_fire_at is not None and outlook.next_fire_at <= outlook.now
        decided = lifecycle.Fired()
        if outlook.edited:
            # Not begun at once: the definition that was in force at the fire time is not the one that is now.
            decided += self._repeat(lifecycle.settle_edited_jobs, outlook.ready, may_start=False)
        if is_due:
            # A run that has ended must not count as running when the next one is decided.
            self._recorder.flush(FLUSH_BEFORE_FIRING_S)
            self._recorder.is_firing = True
            try:
                decided += self._repeat(lifecycle.fire_due_jobs, outlook.ready or decided.ready > 0)
            finally:
                self._recorder.is_firing = False
        claimed = self._claim() if outlook.ready or decided.ready else 0
        if decided.ready > claimed and self._starved:
            # More than this node can start: let the others look at once.
            self._session.call(lambda connection: notices.notify(connection, notices.READY))
        if self._check_cancels.is_set():
            self.pass_on_cancels()
        if chores is not None:
            self._keep_house(chores)
        if outlook.edited or is_due:
            # The plans have moved: look again at once, unless other nodes are still at those that are left.
            return 0.0 if decided.jobs else LOCKED_BY_OTHERS_S
        return self._until(outlook.next_fire_at)

    def _look(self, connection: psycopg.Connection[Any]) -> tuple[Outlook, Chores | None]:
        if time.monotonic() < self._next_housekeeping:
            return lifecycle.look_ahead(connection, self._queues), None
        return lifecycle.look_round(
            connection, node_id=self._node_id, lease_s=self._config.lease, queues=self._queues
        )

    def _until(self, next_fire_at: datetime | None) -> float:
        wait = min(self._config.poll_interval, max(0.0, self._next_housekeeping - time.monotonic()))
        if next_fire_at is not None:
            left = (next_fire_at - self._clock.now()).total_seconds()
            wait = min(wait, left - EARLY_S if left > EARLY_S else max(left, 0.0))
        with self._lock:
            if self._expected:
                wait = min(wait, self._expected[0] - time.monotonic())
        return max(0.0, wait)

    def _hears_of_others(self) -> bool:
        """Whether, since this was asked, something became ready that this node did not fire."""
        with self._lock:
            is_due = False
            while self._expected and self._expected[0] <= time.monotonic():
                heapq.heappop(self._expected)
                is_due = True
        has_heard = self._others_wait.is_set()
        self._others_wait.clear()
        return is_due or has_heard

    def _repeat(
        self, step: Callable[..., lifecycle.Fired], others_wait: bool, *, may_start: bool = True
    ) -> lifecycle.Fired:
        """Batch after batch; what a batch fired starts while the next is decided.

        Straight away as long as no others wait for this node, and by a claim, which knows their order, otherwise.
        """
        decided = lifecycle.Fired()
        limit = FIRST_BATCH
        most_begun = BEGUN_BATCH
        while True:
            if self._check_queue.is_set():
                self._take_back_held()
            others_wait |= self._hears_of_others()
            room = self._room() if may_start and not others_wait else 0
            size = limit
            if room:
                # More than can start at once would have to be claimed.
                size = min(limit, most_begun, max(room, SMALLEST_BATCH))
            else:
                self._pool.queue.wake()
            began = time.monotonic()
            batch = self._step(step, size, room)
            if time.monotonic() - began > SLOW_BATCH_S:
                most_begun = LARGEST_BATCH
            self._hold(batch.started, wake_after_s=DECIDING_S)
            decided += batch
            # However much is due, the turn ends in time for what else a node has to do.
            if not batch.more or time.monotonic() >= self._next_housekeeping:
                self._pool.queue.wake()
                return decided
            if others_wait or batch.ready:
                self._pool.queue.wake()
                self._claim()
                others_wait = self._starved
            if batch.started and not self._pool.is_measured:
                self._pool.queue.wake()
                self._pool.wait_until_measured(MEASURE_S)
            limit = min(2 * limit, LARGEST_BATCH)

    def _step(self, step: Callable[..., lifecycle.Fired], limit: int, room: int) -> lifecycle.Fired:
        options: dict[str, Any] = {}
        if room:
            options["taker"] = lifecycle.Taker(
                node_id=self._node_id,
                room=room,
                queues=self._queues,
                release=self._config.release,
                # The workers have the interpreter while the database writes: before that, they would only take it
                # from this thread, which has the next ones to decide.
                on_decided=self._pool.queue.wake,
            )
        return self._session.call(
            lambda connection: step(
                connection,
                self._specs,
                misfire_after_s=self._config.misfire_after,
                limit=limit,
                **options,
            )
        )

    def _room(self) -> int:
        """How many more executions this node can take on now."""
        if (
            not self._heartbeat.holds_lease
            or self._recorder.backlog > UNWRITTEN_LIMIT
            or self._recorder.backlog_bytes > UNWRITTEN_BYTES_LIMIT
        ):
            return 0
        return self._pool.room

    def _claim(self) -> int:
        room = self._room()
        self._starved = room == 0
        if room == 0:
            return 0
        release = self._config.release
        claimed = self._session.call(
            lambda connection: lifecycle.claim(
                connection,
                self._specs,
                node_id=self._node_id,
                limit=room,
                queues=self._queues,
                release=release,
            )
        )
        self._starved = len(claimed) == room
        self._hold(claimed)
        return len(claimed)

    def _hold(self, claimed: list[Claimed], *, wake_after_s: float = 0.0) -> None:
        if claimed and not self._pool.queue.put(claimed, wake_after_s=wake_after_s):
            self._recorder.put(
                *(lifecycle.HandBack(item.id, item.token, reason="drained") for item in claimed)
            )

    def pass_on_cancels(self) -> None:
        """Ask to stop what somebody wants cancelled."""
        self._check_cancels.clear()
        held = self._session.call(lambda connection: lifecycle.held_by(connection, self._node_id))
        self._cancel(held)

    def _cancel(self, held: Sequence[tuple[int, int, bool]]) -> None:
        self._pool.cancel([(id_, token) for id_, token, cancelled in held if cancelled])

    def _take_back_held(self) -> None:
        """Of what was claimed ahead, give back what somebody has paused, cancelled or deleted since."""
        self._check_queue.clear()
        waiting = self._pool.queue.waiting()
        if waiting:
            held = self._session.call(lambda connection: lifecycle.held_back(connection, waiting))
            removed = self._pool.queue.remove(held)
            self._recorder.put(*(lifecycle.HandBack(item.id, item.token) for item in removed))

    def _give_back_strays(self, held: set[tuple[int, int]]) -> None:
        """Hand back what the database believes to run here and nobody here knows.

        A claim whose answer was lost on the way leaves such rows. Twice in a row, because what is just passing
        from the queue to a thread is in neither for a moment.
        """
        known = self._pool.held() | self._recorder.held()
        strays = held - known
        certain, self._strays = strays & self._strays, strays
        if certain:
            logger.warning("handed back claims whose answer was lost count=%s", len(certain))
            self._recorder.put(*(lifecycle.HandBack(id_, token) for id_, token in certain))

    def give_back_strays_at_the_end(self) -> None:
        """Nothing is claimed any more: what is not known here by now never will be. Raises Unavailable."""
        held = self._session.call(lambda connection: lifecycle.held_by(connection, self._node_id))
        running = {(id_, token) for id_, token, _ in held}
        strays = running - self._pool.held() - self._recorder.held()
        self._recorder.put(*(lifecycle.HandBack(id_, token) for id_, token in strays))

    def _keep_house(self, chores: Chores) -> None:
        self._cancel(chores.held)
        self._give_back_strays({(id_, token) for id_, token, _ in chores.held})
        stale = self._pool.queue.give_back(older_than_s=STALE_IN_QUEUE_S)
        if stale:
            self._recorder.put(*(lifecycle.HandBack(item.id, item.token) for item in stale))
        has_deaths = chores.silent_nodes or chores.orphans
        if has_deaths and self._may_judge():
            self._rescue()
        echo = self._listener.take_echo()
        if echo is not None:
            self._session.call(lambda connection: notices.notify(connection, echo))
        if chores.expired_pauses:
            self._session.call(lifecycle.resume_expired)
        if chores.blocked and self._session.call(
            lambda connection: lifecycle.promote_blocked(connection, self._specs)
        ):
            self._wake.call()
        self._next_housekeeping = time.monotonic() + HOUSEKEEPING_INTERVAL_S

    def _may_judge(self) -> bool:
        """Whether a silent node is dead, and not just unheard: after an outage or a leap of the clock all seem silent."""
        grace_s = self._config.outage_grace
        # Until every node that lives has said so by the new time.
        steady = self._clock.steady_s >= max(grace_s, 2 * self._config.heartbeat_interval)
        return steady and self._session.has_settled(grace_s)

    def _rescue(self) -> None:
        rescued = self._session.call(
            lambda connection: lifecycle.rescue(
                connection,
                lease_s=self._config.lease,
                max_crashes=self._config.max_crashes,
                believed_now=self._clock.now(),
            )
        )
        if rescued.nodes:
            logger.warning("declared dead nodes=%s", ",".join(rescued.nodes))
        if rescued.ready or rescued.given_up:
            logger.warning(
                "rescued executions ready=%s given_up=%s", rescued.ready, rescued.given_up
            )
