"""Run one attempt: whatever the target returns, raises or does ends as an outcome that can be stored."""

from __future__ import annotations

import enum
import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connections

from scheduler_app.conf import SchedulerConfig
from scheduler_app.lifecycle import Claimed, Finished, HandBack, LogPart
from scheduler_app.rules.retrying import may_retry, retry_delay_s
from scheduler_app.rules.storable import error_line, storable_json, traceback_text
from scheduler_app.targets import get_target
from scheduler_app.targets.base import (
    CurrentExecution,
    InvalidTarget,
    Stopped,
    TargetFailed,
    UnknownTarget,
    bind_current_execution,
    unbind_current_execution,
)
from scheduler_app.targets.secrets import resolve, scrub

from . import capture
from .database import DatabaseClock

UNKNOWN_TARGET = "unknown_task"
UNKNOWN_TARGET_DELAY_S = 5.0
TRACEBACK_CHARS = 64 * 1024
FAILURES_KEPT_CHARS = 8 * 1024
"""Of an earlier attempt's traceback, in the history on the row."""


class StopCause(enum.Enum):
    """Why a running execution was asked to stop."""

    TIMEOUT = "timed_out"
    CANCEL = "cancelled"
    DRAIN = "drained"


@dataclass(slots=True)
class Attempt:
    """A claimed execution that a worker thread has begun."""

    claimed: Claimed
    execution: CurrentExecution
    began_at: datetime
    began: float
    """On the monotonic clock."""
    log: capture.AttemptLog = field(default_factory=capture.AttemptLog)
    stop_cause: StopCause | None = None
    stopped_at: float = 0.0
    """When it was asked to stop, on the monotonic clock."""
    start_recorded: bool = False
    abandoned: bool = False
    """The pool answered for it already; what the thread still brings is dropped."""


def begin(claimed: Claimed, clock: DatabaseClock) -> Attempt:
    """The attempt starts now."""
    spec = claimed.spec
    return Attempt(
        claimed=claimed,
        execution=CurrentExecution(
            id=claimed.id,
            job_id=claimed.job_id,
            job_name=spec.name,
            attempt=claimed.attempt,
            scheduled_for=claimed.scheduled_for,
            target=spec.target,
            arguments=spec.arguments,
            timeout_s=spec.timeout_s,
        ),
        began_at=clock.now(),
        began=time.monotonic(),
    )


def run(
    attempt: Attempt, clock: DatabaseClock, config: SchedulerConfig, node_name: str
) -> Finished | HandBack:
    """Run it in this thread, to its end; never raises."""
    spec = attempt.claimed.spec
    try:
        target = get_target(spec.kind)
        target.load(spec.target)
    except UnknownTarget as error:
        return _unknown_target(attempt, error, clock, config, node_name)
    except BaseException as error:  # noqa: BLE001
        return failed(attempt, clock, node_name, error, permanent=True, reason="invalid_target")
    bound = bind_current_execution(attempt.execution)
    capturing = capture.start(attempt.log)
    try:
        attempt.execution.arguments = resolve(spec.arguments)
        problems = target.problems(spec.target, attempt.execution.arguments)
        if problems:
            raise InvalidTarget(problems)
        value = target.run(attempt.execution)
    except BaseException as error:  # noqa: BLE001 - a job's SystemExit is an outcome too
        return _raised(attempt, clock, node_name, error)
    else:
        return _returned(attempt, clock, node_name, value)
    finally:
        capture.stop(capturing)
        unbind_current_execution(bound)
        # What the task opened, or left in a transaction, must not reach the next one.
        _close_connections()


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        try:
            connection.close()
        except Exception:  # noqa: BLE001
            # An open atomic() block refuses to be closed politely.
            connection.connection = None
            connection.in_atomic_block = False
            connection.savepoint_ids = []
            connection.needs_rollback = False
            connection.closed_in_transaction = False


def _returned(
    attempt: Attempt, clock: DatabaseClock, node_name: str, value: object
) -> Finished | HandBack:
    if attempt.stop_cause is StopCause.TIMEOUT:
        return timed_out(attempt, clock, node_name)
    result = scrub(json.dumps(storable_json(value)))
    if attempt.stop_cause is StopCause.CANCEL:
        return _finished(attempt, clock, status="cancelled", reason="cancelled", result=result)
    return _finished(attempt, clock, status="succeeded", result=result)


def _raised(
    attempt: Attempt, clock: DatabaseClock, node_name: str, error: BaseException
) -> Finished | HandBack:
    if attempt.stop_cause is StopCause.CANCEL:
        return cancelled(attempt, clock)
    if attempt.stop_cause is StopCause.DRAIN:
        return HandBack(attempt.claimed.id, attempt.claimed.token, reason="drained")
    if attempt.stop_cause is StopCause.TIMEOUT:
        # What an HTTP target had until then tells how far it came.
        so_far = error.result if isinstance(error, TargetFailed) else None
        return timed_out(attempt, clock, node_name, result=so_far)
    if isinstance(error, InvalidTarget):
        return failed(attempt, clock, node_name, error, permanent=True, reason="invalid_arguments")
    if isinstance(error, TargetFailed):
        return failed(
            attempt,
            clock,
            node_name,
            error,
            permanent=error.permanent,
            reason=error.reason,
            result=error.result,
            with_traceback=False,
        )
    if isinstance(error, Stopped):
        return failed(attempt, clock, node_name, error, reason="stopped", with_traceback=False)
    return failed(attempt, clock, node_name, error)


def _unknown_target(
    attempt: Attempt,
    error: UnknownTarget,
    clock: DatabaseClock,
    config: SchedulerConfig,
    node_name: str,
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
            "error": error_line(error),
            "node": node_name,
            "finished_at": now.isoformat(),
        }
        return HandBack(claimed.id, claimed.token, UNKNOWN_TARGET, _unknown_delay_s(config), entry)
    since = datetime.fromisoformat(first["finished_at"])
    if (now - since).total_seconds() < config.unknown_target_grace:
        return HandBack(claimed.id, claimed.token, UNKNOWN_TARGET, _unknown_delay_s(config))
    return failed(
        attempt,
        clock,
        node_name,
        error,
        permanent=True,
        reason=UNKNOWN_TARGET,
        with_traceback=False,
    )


def _unknown_delay_s(config: SchedulerConfig) -> float:
    return min(UNKNOWN_TARGET_DELAY_S, max(config.unknown_target_grace / 4, 0.1))


def timed_out(
    attempt: Attempt, clock: DatabaseClock, node_name: str, result: Any = None
) -> Finished:
    """The attempt took longer than it may."""
    error = TimeoutError(f"Timed out after {attempt.claimed.spec.timeout_s:g} s.")
    return failed(
        attempt, clock, node_name, error, reason="timed_out", result=result, with_traceback=False
    )


def cancelled(attempt: Attempt, clock: DatabaseClock) -> Finished:
    """Somebody asked for it."""
    return _finished(attempt, clock, status="cancelled", reason="cancelled")


def failed(
    attempt: Attempt,
    clock: DatabaseClock,
    node_name: str,
    error: BaseException,
    *,
    permanent: bool = False,
    reason: str = "",
    result: Any = None,
    with_traceback: bool = True,
) -> Finished:
    """The attempt failed; tried again if the job's definition allows and it could help."""
    claimed = attempt.claimed
    message = scrub(error_line(error))
    text = scrub(traceback_text(error, TRACEBACK_CHARS)) if with_traceback else ""
    stored = None if result is None else scrub(json.dumps(storable_json(result)))
    retry_s = None
    if may_retry(claimed.spec, attempt=claimed.attempt, permanent=permanent):
        retry_s = retry_delay_s(claimed.spec, attempt=claimed.attempt)
    now = clock.now()
    entry = {
        "attempt": claimed.attempt,
        "reason": reason or "raised",
        "error": message,
        "traceback": text[-FAILURES_KEPT_CHARS:],
        "node": node_name,
        "started_at": attempt.began_at.isoformat(),
        "finished_at": now.isoformat(),
    }
    return _finished(
        attempt,
        clock,
        status="failed",
        reason=reason or "raised",
        result=stored,
        error=message,
        traceback=text,
        retry_s=retry_s,
        failure=json.dumps(entry),
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
        promotes=claimed.is_backfill
        or (
            spec.limit is not None
            and (spec.on_overlap not in ("skip", "allow") or spec.on_misfire == "all")
        ),
        log=log,
        **values,
    )
