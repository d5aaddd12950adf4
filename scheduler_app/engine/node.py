"""One node: starts the parts, runs the loop, and ends them in the order that loses nothing."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

from scheduler_app import lifecycle
from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import HandBack, SpecCache

from . import capture
from .children import Children
from .database import DatabaseClock, Session, Unavailable
from .gauges import Gauges
from .heartbeat import Heartbeat
from .listener import Listener
from .pool import Pool
from .recorder import Recorder
from .runner import StopCause
from .scheduler import Scheduler
from .spool import Spool
from .upkeep import Upkeep
from .wake import Wake
from .watchdog import watchdog

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h: a supervisor should start the node again."""

FLUSH_TIMEOUT_S = 10.0
STOP_CHECK_S = 0.05
LAST_WORDS_S = 30.0
"""Beyond the drain timeout, what a node that hangs in some part has to end by itself."""
CANCELS_INTERVAL_S = 1.0
"""How often a draining node asks whether something was cancelled."""


class Node:
    """What `manage.py runscheduler` runs."""

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        name: str = "",
        threads: int | None = None,
        queues: tuple[str, ...] = (),
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._config = config
        self._threads = threads or config.threads
        self._queues = queues
        self._stop = threading.Event()
        self._stop_now = threading.Event()
        self._asked_to_stop = False
        self._why_stopped = ""
        self._exit_code = EXIT_OK
        self._ends_by = math.inf
        self._declared_dead = threading.Event()
        self._next_cancels = 0.0
        self._wake = Wake()
        self._clock = DatabaseClock()
        self._gauges = Gauges()
        self._session = Session(config, "scheduler", self._gauges)
        self._spool = Spool(config.spool_directory)
        self._born: str | None = None
        self._replayed: list[Path] = []

    def request_stop(self) -> None:
        """Drain; asked a second time, hand back at once what still runs. Not for signal handlers: it takes locks."""
        if self._asked_to_stop:
            self._stop_now.set()
        self._asked_to_stop = True
        self._drain_soon("drained")

    def _drain_soon(self, why: str) -> None:
        if not self._stop.is_set():
            self._why_stopped = why
        self._stop.set()
        self._wake.call()

    def _end_to_start_again(self, why: str) -> None:
        """Drain, and let the supervisor start another."""
        if not self._stop.is_set():
            logger.error("the node ends to be started again: %s", why)
            self._exit_code = EXIT_AGAIN
            self._drain_soon(why[:500])

    def run(self) -> int:
        """Work until asked to stop; returns the exit code."""
        node_id = self._register()
        if node_id is None:
            self._session.close()
            return EXIT_OK
        logger.info(
            "node started name=%s id=%s threads=%s queues=%s",
            self.name,
            node_id,
            self._threads,
            ",".join(self._queues) or "all",
        )
        capture.install()
        specs = SpecCache()
        children = Children(self._config, self._gauges)
        pool = Pool(
            self._config,
            threads=self._threads,
            node_name=self.name,
            clock=self._clock,
            children=children,
            gauges=self._gauges,
            holds_lease=lambda: heartbeat.holds_lease,
            on_worn_out=lambda: self._end_to_start_again(
                f"{pool.stuck} of {self._threads} threads are stuck in tasks that ignore that they must stop"
            ),
            on_outcome=lambda outcome: self._recorder.put(outcome),
            on_idle=lambda: self._scheduler.slot_freed(),
        )
        self._recorder = Recorder(
            self._config,
            specs,
            gauges=self._gauges,
            progress=pool.progress,
            on_retry=lambda s: self._scheduler.expect(s),
        )
        self._upkeep = Upkeep(self._config, self._gauges)
        listener = Listener(
            self._config,
            node_id=node_id,
            gauges=self._gauges,
            on_notice=lambda notice: self._heard(notice),
            on_change=lambda: heartbeat.beat_soon(),
        )
        heartbeat = Heartbeat(
            self._config,
            node_id=node_id,
            gauges=self._gauges,
            clock=self._clock,
            condition=lambda: self._condition(pool, listener),
            on_drain_requested=self._on_drain_requested,
            on_declared_dead=self._on_declared_dead,
        )
        self._scheduler = Scheduler(
            self._config,
            node_id=node_id,
            queues=self._queues,
            specs=specs,
            clock=self._clock,
            pool=pool,
            recorder=self._recorder,
            heartbeat=heartbeat,
            listener=listener,
            session=self._session,
            wake=self._wake,
        )
        for part in (self._recorder, pool, heartbeat, listener, self._upkeep):
            part.start()
        self._gauges.tried("scheduler", self._config.poll_interval)
        watchdog.also(self._check_parts)
        self._replay(node_id)
        self._loop(heartbeat)
        listener.close()
        self._upkeep.close()
        if self._declared_dead.is_set():
            # Others answer for everything that was held here; nothing of it may be written any more.
            pool.close()
            pool.stop_all(StopCause.DRAIN)
            self._recorder.close(0)
            children.close()
            watchdog.no_longer(self._check_parts)
            return EXIT_AGAIN
        self._drain(pool, heartbeat)
        children.close()
        is_spooled = self._keep_unwritten(node_id)
        heartbeat.close()
        if is_spooled:
            # Said to have stopped, its executions would be rescued before the next node here has read the file.
            self._session.close()
            logger.info("node ended without a word to the database name=%s", self.name)
        else:
            self._say_stopped(node_id)
        watchdog.no_longer(self._check_parts)
        return EXIT_AGAIN if self._declared_dead.is_set() else self._exit_code

    def _check_parts(self) -> None:
        """In the watchdog's thread: a part that hangs cannot be ended, but the process can, for another to begin."""
        if time.monotonic() > self._ends_by:
            logger.critical("the node did not end by itself and is ended now")
            logging.shutdown()
            os._exit(EXIT_AGAIN)
        late = self._gauges.late()
        if not late or self._ends_by < math.inf:
            return
        part, age_s = max(late.items(), key=lambda item: item[1])
        self._end_to_start_again(f"its part {part} has not completed a turn for {age_s:.0f} s")
        for thread in threading.enumerate():
            if thread.name in (part, "MainThread"):
                logger.error("where it hangs thread=%s\n%s", thread.name, _stack_of(thread))
        # Without its loop it cannot drain.
        left = 0.0 if part == "scheduler" else self._config.drain_timeout + LAST_WORDS_S
        self._ends_by = time.monotonic() + left

    def _replay(self, node_id: int) -> None:
        """Write what an earlier node on this host could not."""

        def birth_of(node_id: int) -> str | None:
            return self._session.call(lambda connection: lifecycle.birth_of(connection, node_id))

        try:
            self._born = birth_of(node_id)
            outcomes, files = self._spool.take(birth_of)
        except Unavailable:
            logger.warning("what an earlier node on this host may have left waits for the next one")
            return
        if outcomes:
            logger.info(
                "outcomes that a node on this host left are written count=%s", len(outcomes)
            )
            self._recorder.put(*outcomes)
        self._replayed = files

    def _forget_replayed(self) -> None:
        if self._replayed and not self._recorder.backlog:
            for path in self._replayed:
                path.unlink(missing_ok=True)
            self._replayed = []

    def _keep_unwritten(self, node_id: int) -> bool:
        """Outcomes that the database did not take by now go to a file; their executions are rescued otherwise.

        True when there is such a file, which the next node on this host has until the end of the lease to read.
        """
        left = [] if self._declared_dead.is_set() else self._recorder.left()
        if not left:
            self._forget_replayed()
            return False
        path = self._spool.keep(node_id, self._born, left)
        if path is None:
            logger.error(
                "outcomes were not written before the end, their executions will be rescued count=%s",
                len(left),
            )
        else:
            logger.warning(
                "outcomes were not written before the end, the next node on this host writes them count=%s file=%s",
                len(left),
                path,
            )
        return path is not None

    def _condition(self, pool: Pool, listener: Listener) -> lifecycle.Condition:
        trouble = self._gauges.trouble()
        return lifecycle.Condition(
            busy=pool.busy,
            children=pool.children,
            stuck=pool.stuck,
            unwritten=self._recorder.backlog,
            unwritten_bytes=self._recorder.backlog_bytes,
            listening=listener.is_listening,
            turn_ages=self._gauges.turn_ages(),
            trouble=trouble.name if trouble else "",
            trouble_note=trouble.sentence if trouble else "",
        )

    def _register(self) -> int | None:
        """The node's row; waits for the database as long as it takes. None when asked to stop before."""
        while not self._stop.is_set():
            try:
                return self._session.call(
                    lambda connection: lifecycle.register_node(
                        connection,
                        name=self.name,
                        host=socket.gethostname(),
                        pid=os.getpid(),
                        release=self._config.release,
                        queues=self._queues,
                        threads=self._threads,
                        lease_s=self._config.lease,
                    )
                )
            except Unavailable:
                self._session.back_off(self._stop)
        return None

    def _loop(self, heartbeat: Heartbeat) -> None:
        has_turned = False
        while not self._stop.is_set():
            try:
                sleep_s = self._scheduler.turn()
                self._gauges.turned("scheduler", self._config.poll_interval)
                if not has_turned:
                    # Whoever waits for the node to work need not wait for the interval.
                    heartbeat.beat_soon()
                    has_turned = True
                self._forget_replayed()
                self._wake.sleep(sleep_s)
            except Unavailable:
                self._gauges.tried("scheduler", self._config.poll_interval)
                self._session.back_off(self._stop)
            except Exception:
                # Something written past the validation must not stop the node for all the others.
                logger.exception("a turn failed, trying again")
                self._gauges.tried("scheduler", self._config.poll_interval)
                self._stop.wait(self._config.poll_interval)

    def _drain(self, pool: Pool, heartbeat: Heartbeat) -> None:
        """Let what runs finish, hand back the rest, write everything down."""
        self._gauges.over("scheduler")
        heartbeat.drain()
        self._hand_back(pool.close())
        began = time.monotonic()
        if pool.busy:
            logger.info(
                "draining running=%s for_at_most_s=%g; a second signal hands back at once",
                pool.busy,
                self._config.drain_timeout,
            )
        while pool.busy and time.monotonic() - began < self._config.drain_timeout:
            if self._stop_now.wait(STOP_CHECK_S) or self._declared_dead.is_set():
                break
            self._pass_on_cancels()
        if pool.busy:
            pool.stop_all(StopCause.DRAIN)
            grace = time.monotonic() + (0 if self._stop_now.is_set() else self._config.kill_grace)
            while pool.busy and time.monotonic() < grace and not self._stop_now.is_set():
                time.sleep(STOP_CHECK_S)
            self._recorder.put(*pool.abandon_all())
        try:
            self._scheduler.give_back_strays_at_the_end()
        except Unavailable:
            logger.debug("no word about claims whose answer was lost while draining")
        self._recorder.close(FLUSH_TIMEOUT_S)

    def _pass_on_cancels(self) -> None:
        if time.monotonic() < self._next_cancels:
            return
        self._next_cancels = time.monotonic() + CANCELS_INTERVAL_S
        try:
            self._scheduler.pass_on_cancels()
        except Unavailable:
            logger.debug("no word about cancels while draining")

    def _hand_back(self, held: list[lifecycle.Claimed]) -> None:
        self._recorder.put(*(HandBack(item.id, item.token, reason="drained") for item in held))

    def _say_stopped(self, node_id: int) -> None:
        try:
            self._session.call(
                lambda connection: lifecycle.stop_node(
                    connection, node_id, reason=self._why_stopped
                )
            )
        except Unavailable:
            logger.warning("the node could not say that it stopped; it will be declared dead")
        self._session.close()
        logger.info("node stopped name=%s id=%s", self.name, node_id)

    def _heard(self, notice: str) -> None:
        self._upkeep.heard(notice)
        self._scheduler.heard(notice)

    def _on_drain_requested(self, by: str) -> None:
        if not self._stop.is_set():
            logger.info("asked from elsewhere to drain by=%s", by)
            self._drain_soon(f"drained, as {by} asked" if by else "drained")

    def _on_declared_dead(self) -> None:
        logger.error(
            "this node was declared dead: no heartbeat reached the database for %g s. "
            "Its executions were given to others; it stops now.",
            self._config.lease,
        )
        self._declared_dead.set()
        self._drain_soon("declared dead")


def _stack_of(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else ""
