"""What was done to the system, and when: every start, signal, exit, cut and order, written down as it happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True)
class Life:
    """One process life of a node."""

    node: str
    pid: int
    began: float
    ended: float = inf
    code: int | None = None
    """Negative: the signal that ended it; None while it lives."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that was sent to a node."""

    at: float
    node: str
    pid: int
    number: int


@dataclass(slots=True)
class Band:
    """A stretch of time in which something was broken."""

    kind: str
    began: float
    ended: float = inf
    node: str = ""
    """Empty: all of them."""
    unable: bool = True
    """Whether the node could do nothing meanwhile: no heartbeat, no fire, no outcome written."""


@dataclass(slots=True)
class Order:
    """Something asked for by a person or a program: pause, resume, cancel, retry, run_now."""

    kind: str
    target: int
    """The job or execution; 0: everything."""
    asked: float
    done: float = inf
    """When the answer came; infinity when none came."""


@dataclass(slots=True)
class Ledger:
    """All of it; times are seconds since 1970."""

    lives: list[Life] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_life(self, life: Life) -> None:
        with self._lock:
            self.lives.append(life)

    def add_signal(self, node: str, pid: int, number: int) -> None:
        with self._lock:
            self.signals.append(Signal(time.time(), node, pid, number))

    def note(self, text: str) -> None:
        """Something worth to be read beside the findings."""
        with self._lock:
            self.notes.append((time.time(), text))

    def begin(self, kind: str, node: str = "", *, unable: bool = True) -> Band:
        """A stretch begins; `end` ends it."""
        band = Band(kind, time.time(), node=node, unable=unable)
        with self._lock:
            self.bands.append(band)
        return band

    @staticmethod
    def end(band: Band) -> None:
        """The stretch is over."""
        band.ended = time.time()

    @contextmanager
    def band(self, kind: str, node: str = "", *, unable: bool = True) -> Iterator[Band]:
        """What is broken within the block."""
        band = self.begin(kind, node, unable=unable)
        try:
            yield band
        finally:
            self.end(band)

    @contextmanager
    def order(self, kind: str, target: int = 0) -> Iterator[Order]:
        """What is asked for within the block; without an end when the block raises, as it may have been done or not."""
        order = Order(kind, target, time.time())
        with self._lock:
            self.orders.append(order)
        yield order
        order.done = time.time()
