"""Run a target, here and now: whatever it returns, raises or does comes to an `Ending`.

The same code runs in a worker thread and in a child process. What an ending means for the execution, `runner`
decides, beside the node's clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from django.db import connections

from scheduler_app.rules.masking import masked_text
from scheduler_app.rules.storable import (
    LINE_CHARS,
    error_line,
    one_line,
    storable_json,
    storable_text,
    traceback_text,
)
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

TRACEBACK_CHARS = 64 * 1024
UNKNOWN_TARGET = "unknown_task"
REASON_CHARS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What running a target came to, in values that JSON keeps."""

    raised: bool = False
    result: str | None = None
    """JSON text, of what was returned or of what came before the failure."""
    error: str = ""
    """One line."""
    traceback: str = ""
    reason: str = ""
    """A machine word, where the failure has one."""
    permanent: bool = False
    """Another attempt could not help."""
    crashed: bool = False
    """The process ended without a word."""

    def to_message(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Ending:
        """What a child process said, held to what this process would have said: its code may have written that."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = message.get(field.name, field.default)
            if field.type == "bool":
                values[field.name] = value is True
            elif field.name == "result":
                values[field.name] = _checked_json(value)
            else:
                values[field.name] = value if isinstance(value, str) else ""
        values["error"] = one_line(masked_text(values["error"]), LINE_CHARS)
        values["traceback"] = storable_text(values["traceback"], TRACEBACK_CHARS)
        values["reason"] = one_line(values["reason"], REASON_CHARS)
        return cls(**values)


def _checked_json(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    try:
        return json.dumps(storable_json(json.loads(text)))
    except (ValueError, RecursionError):
        return None


def raised(error: BaseException, *, with_traceback: bool = True, **values: Any) -> Ending:
    """The ending that an exception is."""
    return Ending(
        raised=True,
        error=scrub(error_line(error)),
        traceback=scrub(traceback_text(error, TRACEBACK_CHARS)) if with_traceback else "",
        **values,
    )


def _stored(value: object) -> str:
    return "null" if value is None else scrub(json.dumps(storable_json(value)))


def perform(execution: CurrentExecution, kind: str) -> Ending:
    """Run it in this thread, to its end; never raises."""
    try:
        target = get_target(kind)
        target.load(execution.target)
    except UnknownTarget as error:
        return raised(error, with_traceback=False, reason=UNKNOWN_TARGET, permanent=True)
    except BaseException as error:  # noqa: BLE001
        return raised(error, reason="invalid_target", permanent=True)
    bound = bind_current_execution(execution)
    try:
        execution.arguments = resolve(execution.arguments)
        problems = target.problems(execution.target, execution.arguments)
        if problems:
            raise InvalidTarget(problems)
        return Ending(result=_stored(target.run(execution)))
    except InvalidTarget as error:
        return raised(error, reason="invalid_arguments", permanent=True)
    except TargetFailed as error:
        return raised(
            error,
            with_traceback=False,
            reason=error.reason,
            permanent=error.permanent,
            result=None if error.result is None else _stored(error.result),
        )
    except Stopped as error:
        return raised(error, with_traceback=False, reason="stopped")
    except BaseException as error:  # noqa: BLE001 - a job's SystemExit is an outcome too
        return raised(error)
    finally:
        unbind_current_execution(bound)
        # What the task opened, or left in a transaction, must not reach the next one.
        close_connections()


def close_connections() -> None:
    """Those that Django keeps for this thread."""
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
