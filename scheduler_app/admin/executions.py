"""The executions: what ran, what runs, what waits."""

from __future__ import annotations

from django.contrib import admin

from scheduler_app.models import Execution

from .execution_bulk import ExecutionBulk
from .execution_list import ExecutionList
from .execution_log import ExecutionLog
from .execution_page import ExecutionPage


@admin.register(Execution)
class ExecutionAdmin(ExecutionList, ExecutionPage, ExecutionLog, ExecutionBulk):
    """Nobody edits an execution; those who may run jobs cancel, retry and run again."""
