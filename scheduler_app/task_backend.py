"""The backend behind `task.enqueue()`: an enqueued task becomes an execution, run by the nodes like any other.

    TASKS = {"default": {"BACKEND": "scheduler_app.task_backend.SchedulerBackend", "QUEUES": []}}

`OPTIONS` may set what a job would: `timeout_s`, `max_attempts`, `retry_backoff_s`, `retry_factor`, `retry_cap_s`,
`retry_jitter`, `guarantee`. Imported by every `tasks.py`, perhaps before Django is set up, so it loads models late.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error

from scheduler_app.rules.spec import JobSpec

if TYPE_CHECKING:
    from django.tasks import TaskResult as _TaskResult
    from django.tasks import signals
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TaskError, TaskResultStatus
    from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist

    from scheduler_app.models import Execution

    TaskResult = _TaskResult[Any, Any]
else:
    try:
        from django.tasks import TaskResult, signals
        from django.tasks.backends.base import BaseTaskBackend
        from django.tasks.base import TaskError, TaskResultStatus
        from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
    except ImportError:  # Django 5.2: the same API from the backport
        from django_tasks import TaskResult, signals
        from django_tasks.backends.base import BaseTaskBackend
        from django_tasks.base import TaskError, TaskResultStatus
        from django_tasks.exceptions import InvalidTaskError as InvalidTask
        from django_tasks.exceptions import TaskResultDoesNotExist

POLICIES = (
    *("timeout_s", "max_attempts", "retry_backoff_s", "retry_factor", "retry_cap_s"),
    *("retry_jitter", "guarantee"),
)
"""The parts of a job's definition that `OPTIONS` may set."""

STATUSES = {
    "ready": TaskResultStatus.READY,
    "blocked": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "succeeded": TaskResultStatus.SUCCESSFUL,
}
"""Whatever else an execution comes to, the task failed."""

_EXCEPTION_LINE = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)", re.MULTILINE)


class SchedulerBackend(BaseTaskBackend):
    """Enqueued tasks are rows of the scheduler's executions, in the caller's transaction."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Options that are none."""
        unknown = sorted(set(self.options) - set(POLICIES))
        if not unknown:
            return []
        return [
            Error(
                f"TASKS[{self.alias!r}]: OPTIONS has {', '.join(map(repr, unknown))}.",
                hint=f"The options are {', '.join(POLICIES)}.",
                id="scheduler_app.E001",
            )
        ]

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Run the task once; raises InvalidTask when no node would know it, or for arguments that do not fit."""
        [result] = self.enqueue_many(task, [(args, kwargs)])
        return result

    def enqueue_many(
        self, task: Any, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]
    ) -> list[TaskResult]:
        """Run the task once for each (args, kwargs), all enqueued by one statement or none."""
        from scheduler_app import lifecycle
        from scheduler_app.targets.base import UnknownTarget
        from scheduler_app.targets.task import registry

        self.validate_task(task)
        given = [(list(args), dict(kwargs)) for args, kwargs in calls]
        try:
            known = registry.get(task.module_path)
            executions = lifecycle.enqueue(
                [
                    lifecycle.TaskCall(
                        target=task.module_path,
                        arguments=known.arguments_of(args, kwargs),
                        queue=task.queue_name,
                        priority=task.priority,
                        run_after=task.run_after,
                        policies=self.options,
                    )
                    for args, kwargs in given
                ]
            )
        except (UnknownTarget, TypeError, lifecycle.CannotDo) as error:
            raise InvalidTask(str(error)) from None
        results = [
            TaskResult(
                task=task,
                id=str(execution.id),
                status=TaskResultStatus.READY,
                enqueued_at=execution.at,
                started_at=None,
                finished_at=None,
                last_attempted_at=None,
                args=args,
                kwargs=kwargs,
                backend=self.alias,
                errors=[],
                worker_ids=[],
            )
            for execution, (args, kwargs) in zip(executions, given, strict=True)
        ]
        if signals.task_enqueued.has_listeners(type(self)):
            for result in results:
                signals.task_enqueued.send(type(self), task_result=result)
        return results

    def get_result(self, result_id: str) -> TaskResult:
        """How the execution stands; raises TaskResultDoesNotExist when it is none of an enqueued task, or pruned."""
        from scheduler_app.models import Execution, Trigger

        number = int(result_id) if result_id.isascii() and result_id.isdigit() else 0
        execution = (
            Execution.objects.filter(
                # An id longer than any was never given.
                pk=number if number < 2**63 else 0,
                trigger=Trigger.TASK,
            )
            .select_related("node")
            .first()
        )
        if execution is None:
            raise TaskResultDoesNotExist(result_id)
        return self._result_of(execution)

    def _result_of(self, execution: Execution) -> TaskResult:
        from scheduler_app.targets.base import UnknownTarget
        from scheduler_app.targets.task import registry

        spec = JobSpec.from_json(execution.spec or {})
        try:
            task = registry.get(spec.target).task
        except UnknownTarget as error:
            raise TaskResultDoesNotExist(str(error)) from None
        status = STATUSES.get(execution.status, TaskResultStatus.FAILED)
        failures = [
            (entry.get("error", ""), entry.get("traceback", "")) for entry in execution.failures
        ]
        nodes = [entry.get("node") or "" for entry in execution.failures]
        if execution.attempt > len(nodes):
            nodes.append(execution.node.name if execution.node else "")
        if status == TaskResultStatus.FAILED:
            failures.append((execution.error or execution.reason, execution.traceback))
        is_list = isinstance(spec.arguments, list)
        result = TaskResult(
            task=task.using(queue_name=execution.queue, priority=execution.priority),
            id=str(execution.pk),
            status=status,
            enqueued_at=execution.created_at,
            started_at=execution.started_at,
            finished_at=execution.finished_at,
            last_attempted_at=execution.started_at or execution.claimed_at,
            args=spec.arguments if is_list else [],
            kwargs={} if is_list else spec.arguments,
            backend=self.alias,
            errors=[_task_error(error, traceback) for error, traceback in failures],
            worker_ids=nodes,
        )
        if status == TaskResultStatus.SUCCESSFUL:
            # As the library's own backends do: the value is the backend's to fill in.
            object.__setattr__(result, "_return_value", execution.result)
        return result


def _task_error(error: str, traceback: str) -> TaskError:
    """The class as the traceback's last line names it; an execution keeps texts, not exceptions."""
    named = _EXCEPTION_LINE.findall(traceback) or _EXCEPTION_LINE.findall(error)
    path = named[-1] if named else "Exception"
    return TaskError(
        exception_class_path=path if "." in path else f"builtins.{path}",
        traceback=traceback or error,
    )
