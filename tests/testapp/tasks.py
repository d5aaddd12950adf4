"""Tasks for tests: well-behaved ones, and all the others."""

from __future__ import annotations

import asyncio
import ctypes
import enum
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from scheduler_app.tasks import current_execution, task

from . import hostile


@task
def echo(value: object = None) -> object:
    """Give back what was given."""
    return value


@task
def add(a: int, b: int = 1) -> int:
    """The sum of two numbers."""
    return a + b


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@task
def take_every_type(
    flag: bool,
    kind: Literal["x", "y"],
    day: date,
    price: Decimal,
    size: Size = Size.SMALL,
    tags: list[str] | None = None,
    at: datetime | None = None,
    ref: UUID | None = None,
) -> list:
    """Take something of every type that a form has an input for."""
    return [flag, kind, day, price, size, tags, at, ref]


@task
def note(path: str, text: str = "") -> None:
    """Write down which attempt of which execution ran, where a test can read it."""
    run = current_execution()
    with Path(path).open("a") as file:
        file.write(
            f"{run.id} {run.attempt} {run.scheduled_for.timestamp():.0f} {os.getpid()} {text}\n"
        )


@task
def note_slowly(path: str, seconds: float) -> str:
    """As `note`, and then work for a while, looking round for a request to stop."""
    note.func(path, "began")
    if current_execution().wait(seconds):
        return "stopped early"
    note.func(path, "ended")
    return "ended"


@task
def sleep_deaf(seconds: float) -> str:
    """Work for a while and listen to nobody."""
    time.sleep(seconds)
    return "woke"


@task
def fail(message: str = "on purpose") -> None:
    """Raise."""
    raise RuntimeError(message)


@task
def fail_until(attempt: int) -> str:
    """Fail until this attempt."""
    run = current_execution()
    if run.attempt < attempt:
        raise RuntimeError(f"attempt {run.attempt} fails")
    return f"attempt {run.attempt} succeeds"


@task
async def add_async(a: int, b: int) -> int:
    """The sum of two numbers, later."""
    await asyncio.sleep(0.01)
    return a + b


@task
async def sleep_async(seconds: float) -> str:
    """Wait in an event loop."""
    await asyncio.sleep(seconds)
    return "woke"


@task(takes_context=True)
def tell_attempt(context, word: str = "attempt") -> str:
    """Use the context that Django gives."""
    return f"{word} {context.attempt}"


@task(takes_context=True)
async def tell_attempt_async(context, word: str = "attempt") -> str:
    """Use the context in a coroutine."""
    return f"{word} {context.attempt} of {context.task_result.id}"


@task
def take_anything(*args: object, **kwargs: object) -> list:
    """Give back all that was given."""
    return [list(args), kwargs]


@task
async def ask_in_which_thread() -> str:
    """The thread in which the ORM's calls of a coroutine run."""
    return await sync_to_async(lambda: threading.current_thread().name)()


@task
async def exit_async() -> None:
    """Ask Python to end, in a coroutine."""
    sys.exit(3)


# The same task under another name, as programs that enqueue it may keep.
add_elsewhere = add.using()


def not_offered() -> None:
    """No task, so nothing may run it."""
    raise AssertionError("a function that is no task ran")


@task
def print_much(lines: int, text: str = "line") -> None:
    """Print many lines."""
    for number in range(lines):
        print(text, number)


@task
def leave_a_mess() -> str:
    """Leave a transaction open, with a change in it, and a changed setting."""
    cursor = connection.cursor()
    cursor.execute("SET search_path TO nowhere")
    transaction.set_autocommit(False)
    get_user_model().objects.none()
    return "left"


@task
def ask_search_path() -> str:
    """What the connection looks like for the next task."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        return cursor.fetchone()[0]


@task
def be_hostile(how: str) -> object:
    """Return, raise or do what a scheduler would rather not see."""
    if how == "exit":
        sys.exit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "recursion":
        return be_hostile.func(how)
    if how == "nul":
        return "a\x00b"
    if how == "surrogate":
        raise ValueError("\ud800")
    if how == "unprintable":
        raise Unprintable
    if how == "nan":
        return float("nan")
    if how == "object":
        return object()
    if how == "generator":
        return (number for number in range(3))
    if how == "large":
        return "x" * 10_000_000
    if how == "deep":
        value: list = []
        for _ in range(3000):
            value = [value]
        return value
    raise AssertionError(how)


@task
def crash(how: str) -> None:
    """End the process that this runs in."""
    print("last words")
    if how == "exit":
        os._exit(7)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        ctypes.string_at(0)
    raise AssertionError(how)


@task
def take_memory(mebibytes: int) -> int:
    """Take that much memory at once."""
    return len(bytearray(mebibytes * 1024 * 1024))


@task
def burn() -> None:
    """Use the CPU without end."""
    while True:
        pass


@task
def tell_process() -> list[int]:
    """The process that this runs in, and the one that started it."""
    return [os.getpid(), os.getppid()]


@task
def tell_pid_and_sleep(path: str) -> None:
    """Note the process that this runs in, and stay."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


@task
def leave_processes(path: str, stay: bool = False) -> str:
    """Start another process, and note it; it lives long, and prints."""
    started = subprocess.Popen(["sh", "-c", "echo from the shell; sleep 600 & sleep 600"])
    Path(path).write_text(f"{started.pid}")
    if stay:
        time.sleep(600)
    return "left"


@task
def fork_like_a_bomb(path: str, at_most: int) -> str:
    """Fork again and again, noting each, but no more than so many: all of them sleep, and end by themselves."""
    with Path(path).open("a", buffering=1) as file:
        for _ in range(at_most):
            if (pid := os.fork()) == 0:
                time.sleep(60)
                os._exit(0)
            file.write(f"{pid}\n")
    time.sleep(60)
    return "nobody minded"


@task
def open_files(number: int) -> int:
    """Have that many files open at once."""
    return len([open(os.devnull) for _ in range(number)])


@task
def spoil_the_process() -> str:
    """Change what all code of a process shares."""
    os.chdir("/")
    os.environ["SPOILED"] = "1"
    sys.stdout.close()
    return os.getcwd()


@task
def ask_whether_spoiled() -> list[object]:
    """What `spoil_the_process` would have left."""
    return [os.getcwd(), os.environ.get("SPOILED")]


@task
def watch_the_clock() -> dict[str, object]:
    """What running code may ask of its execution."""
    run = current_execution()
    before = run.time_left()
    stopped = run.wait(60)
    return {"id": run.id, "left": before, "stopped": stopped, "asked": run.should_stop()}


@task
def log_and_print() -> None:
    """Say something in every way."""
    print("printed")
    print("complained", file=sys.stderr)
    logging.getLogger("shop").warning("logged")
    os.system("echo from a shell")
    sys.stdout.write("no newline \udcff")


@task
def hand_over(payload: str, way: str) -> object:
    """Return, raise or print something hostile, by its name in `hostile`."""
    value = hostile.PAYLOADS[payload]()
    if way == "result":
        return value
    if way == "output":
        print(value)
        logging.getLogger("hostile").warning("%s", value)
        return None
    raise value if isinstance(value, BaseException) else ValueError(value)


@task
def look_for_canary() -> list[str]:
    """What ran that must not."""
    return hostile.canary


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@task
def spill(secret: str, how: str) -> object:
    """Let a secret out, in every way that code does by accident."""
    if how == "return":
        return {secret: [f"it is {secret}"]}
    if how == "print":
        print(f"using {secret}")
        print(f"{secret!r}", file=sys.stderr)
    if how == "log":
        logging.getLogger("anything").warning("using %s", secret)
    if how == "raise":
        raise ValueError(f"{secret} is wrong")
    if how == "exit":
        sys.exit(f"no luck with {secret}")
    if how == "chain":
        try:
            raise KeyError(secret)
        except KeyError as error:
            error.add_note(f"the key was {secret}")
            raise RuntimeError("see above") from error
    return how


@task
def print_slowly(lines: int) -> None:
    """A line now and then."""
    for number in range(lines):
        print(f"line {number}", flush=True)
        time.sleep(0.3)
