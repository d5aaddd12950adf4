"""What a scheduler would rather not see, by name; each is made where it does harm."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from scheduler_app.management.drill import sidelog


class Unprintable(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class LoopingError(Exception):
    """Its `repr` calls itself."""

    def __repr__(self) -> str:
        return repr(self)

    __str__ = __repr__


class Reducing:
    """Would run code if it were pickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch " + os.environ[sidelog.VARIABLE] + ".pickled",)


def _user_model() -> type:
    # Only where Django is set up, which is not where the names are read.
    from django.contrib.auth import get_user_model

    return get_user_model()


def _deep(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


PAYLOADS: dict[str, Callable[[], object]] = {
    "nul": lambda: "a\x00b",
    "surrogate": lambda: "\ud800",
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "object": object,
    "set": lambda: {1, 2},
    "bytes": lambda: b"\xff\x00",
    "decimal": lambda: Decimal("1e400000"),
    "naive": lambda: datetime(2030, 1, 1),
    "deep dict": lambda: json.loads('{"a":' * 900 + "1" + "}" * 900),
    "deep list": lambda: _deep(3000),
    "text of brackets": lambda: "[" * 7000 + "]" * 7000,
    "big int": lambda: 10**5001,
    "big text": lambda: "x" * 10_000_000,
    "ansi": lambda: "\x1b[31mred\x1b[0m\rover",
    "right to left": lambda: "\u202egnp.exe",
    "markup": lambda: "<script>alert(1)</script>{{7*7}}%s%s%n",
    "generator": lambda: (number for number in range(3)),
    "lock": threading.Lock,
    "coroutine": lambda: asyncio.sleep(0),
    "queryset": lambda: _user_model().objects.all(),
    "model": lambda: _user_model()(username="\ud800"),
    "reducing": Reducing,
    "keys": lambda: {1: 2, (3, 4): 5, None: 6},
}
ERRORS: dict[str, Callable[[], BaseException]] = {
    "unprintable": Unprintable,
    "looping": LoopingError,
    "group": lambda: ExceptionGroup("many", [ValueError(str(n)) for n in range(10_000)]),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "memory": MemoryError,
    "generator exit": GeneratorExit,
}
OUTPUTS: dict[str, Callable[[], object]] = {
    "many lines": lambda: print("\n".join(f"line {n}" for n in range(200_000))),
    "long line": lambda: print("y" * 50_000_000),
    "much": lambda: [print("z" * 1_000_000) for _ in range(200)],
    "control": lambda: print("\x00\ud800\x1b[2J\r\u202e<script>"),
}
