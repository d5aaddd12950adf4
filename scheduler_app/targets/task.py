"""The kind `task`: functions marked `@task`, from a registry. No name that anyone typed is ever imported."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from asgiref.sync import async_to_sync
from django.apps import apps
from django.utils import timezone
from django.utils.module_loading import module_has_submodule

from scheduler_app.rules.masking import masked_text
from scheduler_app.rules.problems import Problem
from scheduler_app.rules.storable import error_line, shown

from .argument_schemas import arguments_schema
from .base import JSON, CurrentExecution, Stopped, Target, UnknownTarget

logger = logging.getLogger(__name__)

TASK_LIBRARIES = ("django.tasks.base", "django_tasks.base")
NAMES_SHOWN = 20
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
WHERE_TASKS_ARE = "A task is a function marked with @task in the tasks.py of an installed app."


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a task's function takes, as people read it."""

    name: str
    annotation: str
    """As written; empty without one."""
    default: str
    """Its `repr`; empty without one."""
    required: bool
    variadic: bool
    """`*args` or `**kwargs`: takes any number."""


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What people and programs may know of a task."""

    name: str
    """The registered name: `Job.target`."""
    description: str
    """The docstring."""
    parameters: tuple[Parameter, ...]
    signature: str
    """As Python writes it: `(a: int, b: int = 2)`."""
    is_async: bool


@dataclass(frozen=True, slots=True)
class RegisteredTask:
    """A task with what is asked of it at every run."""

    task: Any
    """Of `django.tasks` or of `django_tasks`."""
    signature: inspect.Signature
    info: TaskInfo
    names: frozenset[str]
    """Of the parameters that a caller may give by position or by name, the context left out."""
    required: frozenset[str]
    """Of those, the ones without a default, which come first."""
    is_plain: bool
    """It has no other parameters."""

    def call_arguments(self, arguments: JSON) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments, without the context; raises TypeError when they do not fit."""
        args, kwargs = _call_of(arguments)
        if not self._fit_at_a_glance(args, kwargs):
            context = [None] if self.task.takes_context else []
            self.signature.bind(*context, *args, **kwargs)
        return args, kwargs

    def _fit_at_a_glance(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether they fit beyond doubt: to bind them takes a third of what a short run costs."""
        if not self.is_plain:
            return False
        if kwargs:
            return not args and self.required <= kwargs.keys() <= self.names
        return len(self.required) <= len(args) <= len(self.names)

    def arguments_schema(self) -> dict[str, Any]:
        """What a job's `arguments` may be, as JSON Schema."""
        return arguments_schema(self.task.func, takes_context=bool(self.task.takes_context))

    def arguments_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> JSON:
        """A call's arguments in the form of a job's: a list, or an object when some are named.

        Raises TypeError when they do not fit, or cannot all be named.
        """
        if not kwargs:
            return list(args)
        context = [None] if self.task.takes_context else []
        self.signature.bind(*context, *args, **kwargs)
        named = dict(kwargs)
        parameters = list(self.signature.parameters.values())[len(context) :]
        for parameter, value in zip(parameters, args, strict=False):
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
                raise TypeError(
                    f"{parameter.name} has no name for callers, so give all arguments by position"
                )
            named[parameter.name] = value
        return named


class TaskRegistry:
    """The tasks of all installed apps, collected when first asked for."""

    def __init__(self) -> None:
        # Reentrant, as a tasks.py may ask while it is being imported.
        self._lock = threading.RLock()
        self._tasks: dict[str, RegisteredTask] | None = None
        self._broken: dict[str, str] = {}

    def get(self, name: str) -> RegisteredTask:
        """Raises `UnknownTarget`, naming what is known."""
        try:
            return self._collected()[name]
        except KeyError:
            raise UnknownTarget(self._unknown(name)) from None

    def names(self) -> list[str]:
        return sorted(self._collected())

    def infos(self) -> tuple[TaskInfo, ...]:
        tasks = self._collected()
        return tuple(tasks[name].info for name in sorted(tasks))

    def broken_apps(self) -> dict[str, str]:
        """The apps whose tasks.py could not be imported, each with the error in one line."""
        self._collected()
        return dict(self._broken)

    def similar(self, name: str) -> str:
        """The known name that was probably meant, or an empty text."""
        names = self.names()
        same_function = [known for known in names if known.rpartition(".")[2] == name]
        close = same_function or difflib.get_close_matches(name, names, n=1)
        return close[0] if close else ""

    def _collected(self) -> dict[str, RegisteredTask]:
        # Published only when complete, so that other threads need no lock to read.
        if self._tasks is not None:
            return self._tasks
        with self._lock:
            if self._tasks is None:
                tasks: dict[str, RegisteredTask] = {}
                for app in apps.get_app_configs():
                    module = self._tasks_module(app.name, app.label, app.module)
                    for task in _tasks_in(module):
                        tasks.setdefault(task.module_path, _register(task))
                self._tasks = tasks
            return self._tasks

    def _tasks_module(self, name: str, label: str, package: ModuleType | None) -> ModuleType | None:
        if package is None or not module_has_submodule(package, "tasks"):
            return None
        try:
            return import_module(f"{name}.tasks")
        except (Exception, SystemExit) as error:
            self._broken[label] = error_line(error)
            logger.error("The tasks of an app could not be imported. app=%s", label, exc_info=True)
            return None

    def _unknown(self, name: str) -> str:
        similar = self.similar(name)
        hint = f" Did you mean {similar!r}?" if similar else ""
        known = f" Known tasks: {_listed(self.names())}."
        broken = "".join(
            f" The tasks of the app {label!r} could not be imported: {error}."
            for label, error in self._broken.items()
        )
        return f"No task is registered as {masked_text(name)!r:.300}.{hint}{known}{broken}"


registry = TaskRegistry()


def known_tasks() -> tuple[TaskInfo, ...]:
    """All tasks that this process knows, by name."""
    return registry.infos()


class TaskTarget(Target):
    """Runs a registered task in this process."""

    kind = "task"
    label = "Task"

    def __init__(self, tasks: TaskRegistry = registry) -> None:
        self._tasks = tasks

    def problems(self, target: str, arguments: JSON) -> list[Problem]:
        try:
            task = self._tasks.get(target)
        except UnknownTarget as error:
            return [
                Problem(
                    "target",
                    str(error),
                    given=masked_text(target),
                    allowed=_listed(self._tasks.names()),
                    suggestion=self._tasks.similar(target) or WHERE_TASKS_ARE,
                )
            ]
        try:
            task.call_arguments(arguments)
        except TypeError as error:
            return [_misfit(task, arguments, str(error))]
        return []

    def load(self, target: str) -> None:
        self._tasks.get(target)

    def run(self, execution: CurrentExecution) -> object:
        """What the function returns or raises. A coroutine is cancelled when the execution is asked to stop."""
        task = self._tasks.get(execution.target)
        args, kwargs = _call_of(execution.arguments)
        if task.task.takes_context:
            args = [_context(task.task, execution, args, kwargs), *args]
        if task.info.is_async:
            return _run_coroutine(task.task.func, args, kwargs, execution)
        return task.task.func(*args, **kwargs)


def _call_of(arguments: JSON) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(arguments, dict):
        return [], arguments
    if isinstance(arguments, list):
        return arguments, {}
    raise TypeError("they must be a JSON object of keyword arguments, or a JSON list")


def _tasks_in(module: ModuleType | None) -> list[Any]:
    """The tasks that a module holds, its own and those it imported; the plain one before its variations."""
    if module is None:
        return []
    libraries = [sys.modules[name] for name in TASK_LIBRARIES if name in sys.modules]
    types = tuple(library.Task for library in libraries)
    # By `type`, as isinstance() would evaluate a lazy object.
    found = [
        (name, value) for name, value in vars(module).items() if issubclass(type(value), types)
    ]
    # `later = work.using(...)` has the same function and so the same name.
    found.sort(key=lambda item: item[0] != item[1].func.__name__)
    return [value for _, value in found]


def _register(task: Any) -> RegisteredTask:
    signature = inspect.signature(task.func)
    takes_context = bool(task.takes_context)
    parameters = list(signature.parameters.values())
    context, parameters = parameters[:takes_context], parameters[takes_context:]
    readable = inspect.Signature(
        [parameter.replace(annotation=_annotation(parameter)) for parameter in parameters]
    )
    info = TaskInfo(
        name=task.module_path,
        description=inspect.getdoc(task.func) or "",
        parameters=tuple(_parameter(parameter) for parameter in readable.parameters.values()),
        signature=str(readable),
        is_async=inspect.iscoroutinefunction(task.func),
    )
    named = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    return RegisteredTask(
        task,
        signature,
        info,
        names=frozenset(named),
        required=frozenset(name for name, is_required in named.items() if is_required),
        is_plain=len(named) == len(parameters)
        # Given by position; what cannot take it, is left to Python to refuse.
        and len(context) == takes_context
        and all(parameter.kind in POSITIONAL for parameter in context),
    )


class _Annotation(str):
    """An annotation that was written as text, or comes from a module of lazy annotations; shown without quotes."""

    __slots__ = ()

    __repr__ = str.__str__


def _annotation(parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return parameter.empty
    if isinstance(parameter.annotation, str):
        return _Annotation(parameter.annotation)
    return _Annotation(inspect.formatannotation(parameter.annotation))


def _parameter(parameter: inspect.Parameter) -> Parameter:
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    has_default = parameter.default is not parameter.empty
    return Parameter(
        name=parameter.name,
        annotation=("" if parameter.annotation is parameter.empty else str(parameter.annotation)),
        default=shown(parameter.default) if has_default else "",
        required=not has_default and not variadic,
        variadic=variadic,
    )


def _misfit(task: RegisteredTask, arguments: JSON, why: str) -> Problem:
    suggestion = ""
    if isinstance(arguments, dict):
        names = [parameter.name for parameter in task.info.parameters if not parameter.variadic]
        for name in arguments:
            if name not in names and (close := difflib.get_close_matches(name, names, n=1)):
                suggestion = close[0]
                break
    hint = f" Did you mean {suggestion!r}?" if suggestion else ""
    return Problem(
        "arguments",
        f"The arguments do not fit {task.task.name}{task.info.signature}: {why}.{hint}",
        allowed=task.info.signature,
        suggestion=suggestion,
    )


def _context(
    task: Any, execution: CurrentExecution, args: list[Any], kwargs: dict[str, Any]
) -> Any:
    """The `TaskContext` of the library that the task belongs to."""
    library: Any = next(
        sys.modules[name]
        for name in TASK_LIBRARIES
        if name in sys.modules and issubclass(type(task), sys.modules[name].Task)
    )
    now = timezone.now()
    result = library.TaskResult(
        task=task,
        id=str(execution.id),
        status=library.TaskResultStatus.RUNNING,
        enqueued_at=execution.scheduled_for,
        started_at=now,
        finished_at=None,
        last_attempted_at=now,
        args=args,
        kwargs=kwargs,
        backend=task.backend,
        errors=[],
        # The library counts attempts by the workers it lists.
        worker_ids=["scheduler"] * execution.attempt,
    )
    return library.TaskContext(task_result=result)


def _run_coroutine(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    execution: CurrentExecution,
) -> object:
    async def run() -> object:
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None

        def cancel() -> None:
            # The loop is closed when the task was faster.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(this.cancel)

        execution.on_stop(cancel)
        try:
            return await function(*args, **kwargs)
        except asyncio.CancelledError:
            if execution.should_stop():
                raise Stopped("The task was cancelled at an await.") from None
            raise

    # Not asyncio.run(): this way the ORM's calls of a coroutine run in this very thread, on a connection of its own
    # that is closed after the execution, and not one by one in a thread that all coroutines share.
    result: object = async_to_sync(run)()
    return result


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
