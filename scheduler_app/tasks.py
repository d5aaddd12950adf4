"""What code that runs as a job needs: `@task` to offer a function, `current_execution()` to know the run."""

try:
    from django.tasks import task
except ImportError:  # Django 5.2: the same API from the backport
    from django_tasks import task  # type: ignore[no-redef]

from scheduler_app.targets.base import current_execution

__all__ = ["current_execution", "task"]
