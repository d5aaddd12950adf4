"""Jobs of the fault suite that do what well-behaved ones do not."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from django.db import connection, transaction

from scheduler_app.management.drill.tasks import begin, end
from scheduler_app.targets.base import Stopped
from scheduler_app.tasks import current_execution, task

from .payloads import ERRORS, OUTPUTS, PAYLOADS


@task
def in_transaction(seconds: float) -> str:
    """Hold a transaction of the job's own open for a while; fails when somebody ends its connection."""
    execution = current_execution()
    key = begin(execution)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            execution.wait(seconds)
            cursor.execute("SELECT 1")
    except BaseException:
        end(key, "raised")
        raise
    end(key, "returned")
    return key


@task
def deaf(seconds: float) -> str:
    """Work for a while and listen to nobody."""
    key = begin(current_execution())
    time.sleep(seconds)
    end(key, "returned")
    return key


@task
def endless() -> str:
    """Work until somebody says stop."""
    execution = current_execution()
    key = begin(execution)
    execution.wait(3600)
    end(key, "stopped")
    raise Stopped(key)


def _call_itself() -> None:
    _call_itself()


@task
def poison(how: str) -> None:
    """Take the process down that this runs in, or try to."""
    key = begin(current_execution())
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(41)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    end(key, "raised")
    if how == "system_exit":
        sys.exit(key)
    if how == "recursion":
        _call_itself()
    raise AssertionError(how)


@task
def hostile(channel: str, payload: str, extra: object = None) -> object:
    """Return, raise, print or be given what a scheduler would rather not see."""
    if channel == "output":
        OUTPUTS[payload]()
        return None
    if channel == "error":
        raise ERRORS[payload]()
    if channel == "message":
        raise ValueError(PAYLOADS[payload]())
    if channel == "frames":
        return hostile.func(channel, payload)
    if channel == "printed":
        print(PAYLOADS[payload]())
        return None
    if channel == "argument":
        return extra
    return PAYLOADS[payload]()
