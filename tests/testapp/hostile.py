"""What a scheduler would rather not see: values that cannot be stored, shown, read back or even asked for their text."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from types import TracebackType

from django.contrib.auth import get_user_model

canary: list[str] = []
"""Stays empty: filled only by code that nothing may run."""


def deep() -> list:
    value: list = []
    for _ in range(3000):
        value = [value]
    return value


def deep_object() -> dict:
    value: dict = {}
    for _ in range(3000):
        value = {"a": value}
    return value


async def coroutine() -> None:
    await asyncio.sleep(0)


class Executes:
    """Unpickled, or pickled, it would run code."""

    def __reduce__(self) -> tuple:
        canary.append("reduced")
        return (canary.append, ("unpickled",))


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Endless:
    def __repr__(self) -> str:
        while True:
            pass


def many_errors() -> ExceptionGroup:
    return ExceptionGroup("many", [ValueError(str(number)) for number in range(10_000)])


def far_away() -> BaseException:
    """An exception with a traceback of very many frames.

    Made by hand: for a real one the recursion limit would have to change, which is the whole process's, other runs'
    included.
    """
    try:
        raise ValueError("from afar")
    except ValueError as error:
        here = way = error.__traceback__
        for _ in range(9_000):
            way = TracebackType(way, here.tb_frame, here.tb_lasti, here.tb_lineno)
        return error.with_traceback(way)


PAYLOADS: dict[str, Callable[[], object]] = {
    "nul": lambda: "a\x00b",
    "surrogate": lambda: "\ud800",
    "nan": lambda: float("nan"),
    "infinity": lambda: [float("inf"), -float("inf")],
    "object": object,
    "set": lambda: {1, 2, 3},
    "bytes": lambda: b"\x00\xff" * 100,
    "decimal": lambda: Decimal("1e400000"),
    "naive": lambda: datetime(2030, 1, 1),
    "deep": deep,
    "deep object": deep_object,
    "deep text": lambda: "[" * 7000 + "]" * 7000,
    "huge number": lambda: 10**5000,
    "number as text": lambda: "1e400000",
    "keys": lambda: {1: "a", None: "b", (1, 2): "c", "\x00": "d"},
    "10 MiB": lambda: "x" * (10 * 1024 * 1024),
    "50 MiB in a line": lambda: "y" * (50 * 1024 * 1024),
    "200,000 lines": lambda: "line\n" * 200_000,
    "escapes": lambda: "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "overwrites": lambda: "secret\rpublic",
    "turns round": lambda: "abc\u202egnp.exe",
    "script": lambda: "<script>alert(1)</script>",
    "template": lambda: "{{7*7}} {% load x %} %s%s%n %(a)s",
    "wordless": Wordless,
    "endless": Endless,
    "group": many_errors,
    "far away": far_away,
    "generator": lambda: (number for number in range(3)),
    "lock": threading.Lock,
    "coroutine": coroutine,
    "queryset": lambda: get_user_model().objects.all(),
    "model": lambda: get_user_model()(username="\x00"),
    "executes": Executes,
}
