"""Targets that are Python functions: those marked `@task` in some installed app's `tasks.py`, and no others.

A job names a task by its path, which is looked up among the functions found at the start and never imported:
who can write the jobs' table cannot run anything that the project did not offer.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import inspect
import logging
import threading
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from django.apps import apps

from scheduler_app.rules.problems import Problem

from .base import JSON, CurrentExecution, Stopped, Target, UnknownTarget

try:
    from django.tasks.base import Task, TaskContext, TaskResult, TaskResultStatus
except ImportError:  # Django 5.2: the same API from the backport
    from django_tasks.base import (  # type: ignore[no-redef,assignment]
        Task,
        TaskContext,
        TaskResult,
        TaskResultStatus,
    )

logger = logging.getLogger(__name__)

MOST_NAMES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a task, as a person who fills in a form needs it."""

    name: str
    annotation: str
    required: bool
    default: str


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task that a job can name."""

    name: str
    description: str
    """The docstring."""
    signature: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class _Registered:
    task: Any
    signature: inspect.Signature
    """What a job's arguments bind to: without the context, which the scheduler gives."""


class _Registry:
    """Finds the tasks once, at the first question."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, _Registered] | None = None

    def tasks(self) -> dict[str, _Registered]:
        """By name."""
        with self._lock:
            if self._tasks is None:
                self._tasks = _discover()
            return self._tasks

    def get(self, name: str) -> _Registered:
        """Raises UnknownTarget with the names known."""
        tasks = self.tasks()
        if name not in tasks:
            raise UnknownTarget(_unknown(name, sorted(tasks)))
        return tasks[name]


def _discover() -> dict[str, _Registered]:
    found = {}
    for config in apps.get_app_configs():
        module_name = f"{config.name}.tasks"
        if find_spec(module_name) is None:
            continue
        try:
            module = importlib.import_module(module_name)
        except Exception:
            # Its tasks are unknown here, which their jobs will say; the other apps' tasks run.
            logger.exception("%s cannot be imported, so its tasks are not known", module_name)
            continue
        for value in vars(module).values():
            if isinstance(value, Task):
                found[value.module_path] = _Registered(value, _signature(value))
    return found


def _signature(task: Any) -> inspect.Signature:
    try:
        signature = inspect.signature(task.func, eval_str=True)
    except Exception:
        # An annotation that only type checkers can read; as text it serves as well.
        signature = inspect.signature(task.func)
    if task.takes_context:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    return signature


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return f"No task is registered as {name!r}: no installed app's tasks.py has a function marked @task."
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    more = f" and {len(known) - MOST_NAMES_SHOWN} more" if len(known) > MOST_NAMES_SHOWN else ""
    names = ", ".join(known[:MOST_NAMES_SHOWN])
    return f"No task is registered as {name!r}.{hint} Registered tasks: {names}{more}."


registry = _Registry()


@lru_cache(maxsize=1)
def known_tasks() -> tuple[TaskInfo, ...]:
    """All tasks that this process knows, by name."""
    return tuple(
        TaskInfo(
            name=name,
            description=inspect.getdoc(registered.task.func) or "",
            signature=str(registered.signature),
            parameters=tuple(
                Parameter(
                    name=parameter.name,
                    annotation=""
                    if parameter.annotation is parameter.empty
                    else inspect.formatannotation(parameter.annotation),
                    required=parameter.default is parameter.empty
                    and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD),
                    default="" if parameter.default is parameter.empty else repr(parameter.default),
                )
                for parameter in registered.signature.parameters.values()
            ),
        )
        for name, registered in sorted(registry.tasks().items())
    )


class TaskTarget(Target):
    """Runs a registered task in the worker's thread; an async one in an event loop of its own."""

    kind = "task"
    label = "Task"

    def problems(self, target: str, arguments: JSON) -> list[Problem]:
        if not isinstance(arguments, dict | list):
            return [
                Problem(
                    "arguments",
                    "Give a task's arguments as a JSON object (by name) or a JSON list (by position), "
                    f"not as {_json_type(arguments)}.",
                )
            ]
        try:
            registered = registry.get(target)
        except UnknownTarget as error:
            return [Problem("target", str(error.args[0]))]
        try:
            _bind(registered.signature, arguments)
        except TypeError as error:
            return [
                Problem(
                    "arguments",
                    f"The arguments do not fit {target}{registered.signature}: {error}.",
                )
            ]
        return []

    def load(self, target: str) -> None:
        registry.get(target)

    def run(self, execution: CurrentExecution) -> object:
        registered = registry.get(execution.target)
        bound = _bind(registered.signature, execution.arguments)
        args = bound.args
        if registered.task.takes_context:
            args = (_context(registered.task, execution, bound), *args)
        function = registered.task.func
        if inspect.iscoroutinefunction(function):
            return asyncio.run(_await(function(*args, **bound.kwargs), execution))
        return function(*args, **bound.kwargs)


def _bind(signature: inspect.Signature, arguments: JSON) -> inspect.BoundArguments:
    if isinstance(arguments, dict):
        return signature.bind(**arguments)
    return signature.bind(*arguments)


async def _await(coroutine: Any, execution: CurrentExecution) -> object:
    """Await it, and cancel it when the execution is asked to stop."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(coroutine)

    def cancel() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    execution.on_stop(cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if execution.should_stop():
            raise Stopped("The task was cancelled because it was asked to stop.") from None
        raise


def _context(task: Any, execution: CurrentExecution, bound: inspect.BoundArguments) -> Any:
    """What Django gives a task that was marked with `takes_context=True`."""
    return TaskContext(
        task_result=TaskResult(
            task=task,
            id=str(execution.id),
            status=TaskResultStatus.RUNNING,
            enqueued_at=execution.scheduled_for,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(bound.args),
            kwargs=dict(bound.kwargs),
            backend=task.backend,
            errors=[],
            # Its length is the number of the attempt.
            worker_ids=["scheduler"] * execution.attempt,
        )
    )


def _json_type(value: JSON) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"
