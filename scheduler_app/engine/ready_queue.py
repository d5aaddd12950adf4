"""Executions that this node holds and has not started: the highest priority first, then the oldest."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from scheduler_app.lifecycle import Claimed


class _Entry(NamedTuple):
    """In the order of the queue, as tuples are compared; no two have the same place, so that the rest never is."""

    rank: int
    """The priority's negative: the lowest first."""
    run_after: datetime
    place: int
    since: float
    claimed: Claimed


class ReadyQueue:
    """A heap that worker threads wait at. Its size is bounded by what the scheduler claims.

    Short tasks that keep the interpreter busy are done by few workers: ten would spend as long on handing the
    interpreter to each other. `balance` says when.
    """

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._order = itertools.count()
        self._condition = threading.Condition()
        self._closed = False
        self._taken: set[tuple[int, int]] = set()
        self._filled = threading.Event()
        self._few = False
        self._surplus = 0
        self._awake = 0
        self._rests_until = 0.0
        self.is_done_by_few = False
        """Whether few workers do all that the process has time for."""
        self._takers: set[int] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, items: list[Claimed], *, wake_after_s: float = 0.0) -> bool:
        """Add executions and wake as many workers; False when the queue was closed, and nothing was added.

        With `wake_after_s`, who waits is woken so much later at the latest, and before that by `wake`.
        """
        now = time.monotonic()
        with self._condition:
            if self._closed:
                return False
            for claimed in items:
                place = next(self._order)
                heapq.heappush(
                    self._heap, _Entry(-claimed.priority, claimed.run_after, place, now, claimed)
                )
            self._rests_until = now + wake_after_s
            if not wake_after_s:
                self._wake()
            self._filled.set()
        return True

    def wake(self) -> None:
        """Wake workers for all that waits."""
        with self._condition:
            if self._rests_until:
                self._wake()

    def _wake(self) -> None:
        self._rests_until = 0.0
        self._condition.notify(1 if self._few else len(self._heap))

    def take(self) -> Claimed | None:
        """The next execution, waiting for one; None when the queue was closed."""
        with self._condition:
            if self._surplus and self._heap:
                self._surplus -= 1
                self._condition.wait()
            while not self._heap and not self._closed:
                self._condition.wait()
            if self._closed:
                return None
            self._takers.add(threading.get_ident())
            claimed = heapq.heappop(self._heap).claimed
            # Until the taker says that it has begun, it is here, so that it is somewhere at every moment.
            self._taken.add((claimed.id, claimed.token))
            return claimed

    def wait_until_filled(self, timeout_s: float) -> bool:
        """Wait until something waits here; False when nothing came in time."""
        with self._condition:
            if self._heap:
                return True
            self._filled.clear()
        return self._filled.wait(timeout_s)

    def balance(self, *, few: bool, saturated: bool) -> None:
        """Fit the number of workers to what waits: all of them, or `few` that keep the process just `saturated`.

        Called every few milliseconds while something waits; who took something since is at work.
        """
        with self._condition:
            active = len(self._takers)
            self._takers.clear()
            self._few = few
            is_enough = few and saturated and active > 0
            self._surplus = active - 1 if is_enough else 0
            self.is_done_by_few = is_enough
            if self._heap and not is_enough and time.monotonic() >= self._rests_until:
                self._rests_until = 0.0
                # Twice as many, where few were at work: who took something before may still be at it.
                twice = 2 * max(1, self._awake)
                self._awake = min(twice, len(self._heap)) if few else len(self._heap)
                self._condition.notify(self._awake)
            else:
                self._awake = active

    def forget(self, claimed: Claimed) -> None:
        """What was taken is accounted for elsewhere now."""
        with self._condition:
            self._taken.discard((claimed.id, claimed.token))

    def taken(self) -> set[tuple[int, int]]:
        """What was taken and is not accounted for elsewhere yet, as (id, token)."""
        with self._condition:
            return set(self._taken)

    def held(self) -> set[tuple[int, int]]:
        """What waits here or was just taken, as (id, token)."""
        with self._condition:
            return self._taken | {(entry.claimed.id, entry.claimed.token) for entry in self._heap}

    def give_back(self, *, older_than_s: float) -> list[Claimed]:
        """Remove and return what has waited here for longer than that: another node may be free."""
        limit = time.monotonic() - older_than_s
        with self._condition:
            stale = [entry.claimed for entry in self._heap if entry.since <= limit]
            if stale:
                self._heap = [entry for entry in self._heap if entry.since > limit]
                heapq.heapify(self._heap)
            return stale

    def waiting(self) -> list[int]:
        """The ids of what waits here."""
        with self._condition:
            return [entry.claimed.id for entry in self._heap]

    def remove(self, ids: Collection[int]) -> list[Claimed]:
        """Remove and return those of them that wait here; what a worker has taken has begun."""
        with self._condition:
            found = [entry.claimed for entry in self._heap if entry.claimed.id in ids]
            if found:
                self._heap = [entry for entry in self._heap if entry.claimed.id not in ids]
                heapq.heapify(self._heap)
            return found

    def close(self) -> list[Claimed]:
        """Send the workers home; returns what was not started."""
        with self._condition:
            self._closed = True
            left = [entry.claimed for entry in sorted(self._heap)]
            self._heap = []
            self._condition.notify_all()
            return left
