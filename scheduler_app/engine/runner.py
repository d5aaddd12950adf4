"""Run one attempt, in this thread or in a child process, and say what its ending means for the execution."""

from __future__ import annotations

import enum
import json
import logging
import math
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import Error

from scheduler_app.access.owners import NotKnown, Owners
from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import Claimed, Finished, HandBack, LogPart
from scheduler_app.rules.retrying import may_retry, retry_delay_s
from scheduler_app.targets.base import CurrentExecution

from . import capture
from .children import Child, Children, NoChild
from .database import DatabaseClock, within_deadline
from .performing import UNKNOWN_TARGET, Ending, close_connections, perform, raised

logger = logging.getLogger(__name__)

UNKNOWN_TARGET_DELAY_S = 5.0
NO_CHILD_DELAY_S = 5.0
OWNER_DELAY_S = 5.0
FAILURES_KEPT_CHARS = 8 * 1024
"""Of an earlier attempt's traceback, in the history on the row."""

_owners = Owners(within_deadline)


class StopCause(enum.Enum):
    """Why a running execution was asked to stop."""

    TIMEOUT = "timed_out"
    CANCEL = "cancelled"
    DRAIN = "drained"
    FENCE = "fenced"
    """The lease may be over, so others may have it: what it still brings is nobody's."""


@dataclass(slots=True)
class Attempt:
    """A claimed execution that a worker thread has begun."""

    claimed: Claimed
    execution: CurrentExecution
    began_at: datetime
    began: float
    """On the monotonic clock; infinite while it waits for what it needs to begin."""
    log: capture.AttemptLog = field(default_factory=capture.AttemptLog)
    child: Child | None = None
    """The process that it runs in, if not in this one."""
    stop_cause: StopCause | None = None
    stopped_at: float = 0.0
    """When it was asked to stop, on the monotonic clock."""
    start_recorded: bool = False
    abandoned: bool = False
    """The pool answered for it already; what the thread still brings is dropped."""


def begin(claimed: Claimed, clock: DatabaseClock, children: Children) -> Attempt:
    """The attempt starts now, or once what it needs is there: see `prepare`."""
    spec = claimed.spec
    # What was under way when a node died may have been what killed it, and must not kill another.
    suspected = claimed.crashes > 0 and children.available
    child = children.child() if spec.isolation == "process" or suspected else None
    return Attempt(
        claimed=claimed,
        execution=CurrentExecution(
            id=claimed.id,
            job_id=claimed.job_id,
            job_name=spec.name,
            attempt=claimed.attempt,
            scheduled_for=claimed.scheduled_for,
            target=spec.target,
            arguments=claimed.arguments,
            timeout_s=spec.timeout_s,
        ),
        began_at=clock.now(),
        began=time.monotonic() if claimed.owner_id is None and child is None else math.inf,
        child=child,
    )


def prepare(
    attempt: Attempt, clock: DatabaseClock, config: SchedulerConfig, node_name: str
) -> Finished | HandBack | None:
    """Wait for what it needs to begin, which is not the job's time; what it comes to when it cannot. Never raises."""
    claimed = attempt.claimed
    if claimed.owner_id is not None:
        refused = _refused_to_owner(claimed)
        if isinstance(refused, HandBack):
            return refused
        if refused is not None:
            return conclude(attempt, refused, clock, config, node_name)
    if attempt.child is not None:
        try:
            attempt.child.prepare()
        except NoChild:
            return _without_child(claimed)
    return None


def run(
    attempt: Attempt, clock: DatabaseClock, config: SchedulerConfig, node_name: str
) -> Finished | HandBack:
    """Run it to its end, in this thread or with this thread watching over its child process; never raises."""
    if attempt.child is not None:
        try:
            ending = attempt.child.run(attempt.execution, attempt.claimed.spec, attempt.log)
        except NoChild:
            return _without_child(attempt.claimed)
    else:
        capturing = capture.start(attempt.log)
        try:
            ending = perform(attempt.execution, attempt.claimed.spec.kind)
        finally:
            capture.stop(capturing)
    return conclude(attempt, ending, clock, config, node_name)


def _without_child(claimed: Claimed) -> HandBack:
    return HandBack(claimed.id, claimed.token, "no_child_process", NO_CHILD_DELAY_S)


def _refused_to_owner(claimed: Claimed) -> Ending | HandBack | None:
    """The ending of a job whose owner may not let it run any more; handed back while that cannot be found out."""
    try:
        why = _owners.refusal(claimed.owner_id, claimed.spec.kind, claimed.spec.target)
    except (Error, NotKnown) as error:
        logger.warning("the rights of an owner are not known execution=%s: %s", claimed.id, error)
        return HandBack(claimed.id, claimed.token, "owner_not_known", OWNER_DELAY_S)
    finally:
        # A node needs a handful of connections, however many threads it has.
        close_connections()
    return (
        Ending(raised=True, permanent=True, error=why, reason="owner_not_entitled") if why else None
    )


def conclude(
    attempt: Attempt, ending: Ending, clock: DatabaseClock, config: SchedulerConfig, node_name: str
) -> Finished | HandBack:
    """What the execution comes to: the ending, seen with what the attempt was asked meanwhile."""
    if ending.reason == UNKNOWN_TARGET:
        return _unknown_target(attempt, ending, clock, config, node_name)
    if attempt.stop_cause is StopCause.TIMEOUT:
        # What an HTTP target had until then tells how far it came.
        return timed_out(attempt, clock, node_name, result=ending.result if ending.raised else None)
    if attempt.stop_cause is StopCause.CANCEL:
        return cancelled(attempt, clock, result=None if ending.raised else ending.result)
    if not ending.raised:
        return _finished(attempt, clock, status="succeeded", result=ending.result)
    if attempt.stop_cause in (StopCause.DRAIN, StopCause.FENCE):
        return interrupted(attempt, clock)
    if ending.crashed and attempt.claimed.crashes + 1 >= config.max_crashes:
        ending = Ending(
            raised=True, crashed=True, permanent=True, error=ending.error, reason="poisoned"
        )
    return failed(attempt, ending, clock, node_name)


def _unknown_target(
    attempt: Attempt, ending: Ending, clock: DatabaseClock, config: SchedulerConfig, node_name: str
) -> Finished | HandBack:
    """Another node may know it, of a newer or an older release: give it a minute, then say what is known."""
    claimed = attempt.claimed
    now = clock.now()
    first = next(
        (
            entry
            for entry in claimed.failures
            # Of this attempt: that it was unknown before a deploy, or before a person's retry, is over.
            if entry.get("reason") == UNKNOWN_TARGET and entry.get("attempt") == claimed.attempt
        ),
        None,
    )
    if first is None:
        entry = {
            "attempt": claimed.attempt,
            "reason": UNKNOWN_TARGET,
            "error": ending.error,
            "node": node_name,
            "finished_at": now.isoformat(),
        }
        return HandBack(claimed.id, claimed.token, UNKNOWN_TARGET, _unknown_delay_s(config), entry)
    since = datetime.fromisoformat(first["finished_at"])
    if (now - since).total_seconds() < config.unknown_target_grace:
        return HandBack(claimed.id, claimed.token, UNKNOWN_TARGET, _unknown_delay_s(config))
    return failed(attempt, ending, clock, node_name)


def _unknown_delay_s(config: SchedulerConfig) -> float:
    return min(UNKNOWN_TARGET_DELAY_S, max(config.unknown_target_grace / 4, 0.1))


def timed_out(
    attempt: Attempt, clock: DatabaseClock, node_name: str, result: str | None = None
) -> Finished:
    """The attempt took longer than it may."""
    error = TimeoutError(f"Timed out after {attempt.claimed.spec.timeout_s:g} s.")
    ending = raised(error, with_traceback=False, reason="timed_out", result=result)
    return failed(attempt, ending, clock, node_name)


def cancelled(attempt: Attempt, clock: DatabaseClock, result: str | None = None) -> Finished:
    """Somebody asked for it."""
    return _finished(attempt, clock, status="cancelled", reason="cancelled", result=result)


def interrupted(attempt: Attempt, clock: DatabaseClock) -> Finished | HandBack:
    """The node had to stop it: it goes back uncounted, unless it has begun and its job allows that once at most."""
    claimed = attempt.claimed
    reason = "fenced" if attempt.stop_cause is StopCause.FENCE else "drained"
    if claimed.spec.guarantee != "at_most_once" or attempt.began == math.inf:
        return HandBack(claimed.id, claimed.token, reason)
    error = "The node had to stop while this ran, and the job may run once at most."
    return _finished(attempt, clock, status="lost", reason=reason, error=error)


def internal_error(attempt: Attempt, clock: DatabaseClock, node_name: str) -> Finished:
    """The runner's own mistake."""
    error = RuntimeError("The scheduler could not handle what this attempt came to.")
    return failed(attempt, raised(error, reason="internal_error"), clock, node_name)


def failed(attempt: Attempt, ending: Ending, clock: DatabaseClock, node_name: str) -> Finished:
    """The attempt failed; tried again if the job's definition allows and it could help."""
    claimed = attempt.claimed
    retry_s = None
    if may_retry(claimed.spec, attempt=claimed.attempt, permanent=ending.permanent):
        retry_s = retry_delay_s(claimed.spec, attempt=claimed.attempt)
    reason = ending.reason or "raised"
    entry = {
        "attempt": claimed.attempt,
        "reason": reason,
        "error": ending.error,
        "traceback": ending.traceback[-FAILURES_KEPT_CHARS:],
        "node": node_name,
        "started_at": attempt.began_at.isoformat(),
        "finished_at": clock.now().isoformat(),
    }
    return _finished(
        attempt,
        clock,
        status="failed",
        reason=reason,
        result=ending.result,
        error=ending.error,
        traceback=ending.traceback,
        retry_s=retry_s,
        failure=json.dumps(entry),
        crashed=ending.crashed,
    )


def _finished(attempt: Attempt, clock: DatabaseClock, **values: Any) -> Finished:
    claimed = attempt.claimed
    rest = attempt.log.take_rest()
    log = () if rest is None else (LogPart(claimed.id, claimed.token, claimed.attempt, *rest),)
    spec = claimed.spec
    return Finished(
        id=claimed.id,
        token=claimed.token,
        attempt=claimed.attempt,
        job_id=claimed.job_id,
        started_at=attempt.began_at,
        finished_at=clock.now(),
        limited=spec.limit is not None,
        promotes=claimed.is_backfill
        or (
            spec.limit is not None
            and (spec.on_overlap not in ("skip", "allow") or spec.on_misfire == "all")
        ),
        log=log,
        **values,
    )
