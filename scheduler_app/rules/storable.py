"""Make what running code hands over storable: results, error texts, tracebacks.

Nothing here raises, whatever it is given, and everything it returns is bounded. It may run code of the value's
class (`__repr__`, `__str__`), so call it in the thread that ran the job. Nothing is pickled, no query is run.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import itertools
import json
import math
import os
import re
import reprlib
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable
from types import FrameType, FunctionType, TracebackType
from typing import Any

from .masking import masked_text

MAX_BYTES = 64 * 1024
"""Of a result or of a job's arguments, as JSON in UTF-8."""
LONGEST_ESCAPE = 6
"""Bytes that one character may take in JSON."""
MAX_DEPTH = 32
MAX_DIGITS = 4000
"""Of a whole number: Python refuses to read back one with more than 4,300."""

LINE_CHARS = 1000
REPR_CHARS = 10_000
LOOK_AT_CHARS = 16 * 1024 * 1024
LOOK_AT_VALUES = 100_000
"""How far a value is read; what lies beyond is cut off without being counted."""
STEPS = 1_000_000
"""Instructions that a `__repr__` or `__str__` may take; less than a second."""

FIRST_FRAMES = 20
LAST_FRAMES = 40
CHAINED = 10
GROUP_MEMBERS = 5
GROUP_DEPTH = 3
NOTES = 10

CAUSED = "The above exception was the direct cause of the following exception:"
HANDLED = "During handling of the above exception, another exception occurred:"

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_PLAIN = {str, int, float, bool, type(None)}
_CONTAINERS = {bytes, bytearray, list, tuple, dict, set, frozenset}
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Control characters, and those that turn the direction of what follows them.
STEERING = "\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""In a class of a pattern: what steers a terminal, or turns the direction of what follows, beside ASCII's own."""
_UNPRINTABLE = re.compile(f"[\x00-\x1f{STEERING}]")


def storable_json(value: object, max_bytes: int = MAX_BYTES) -> Any:
    """A copy of `value` that is strict JSON, can be read back, and takes at most `max_bytes`.

    What JSON lacks becomes text. What is too large becomes an object with `truncated`, its size, its digest and
    its start.
    """
    try:
        copy = _Copy()
        kept = copy.of(value)
        if kept is None or isinstance(kept, bool):
            return kept
        text = _encode(kept)
        if not copy.partial and len(text) * 4 <= max_bytes:
            return kept
        size = len(text.encode())
        if not copy.partial and size <= max_bytes:
            return kept
        marker: dict[str, Any] = {"truncated": True}
        if copy.partial:
            marker["bytes_at_least"] = size
        else:
            marker |= {"bytes": size, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        start = kept if isinstance(kept, str) else text
        room = max_bytes - json_bytes(marker) - len(', "start": ')
        return marker | {"start": cut_to_json_bytes(start, room)}
    except BaseException as error:  # noqa: BLE001 - MemoryError, or a value that changes while it is read
        return f"(the value could not be kept: {_class_name(error)})"


def storable_problems(value: object, max_bytes: int = MAX_BYTES) -> list[str]:
    """Why `value` could not be stored and read back exactly as it is, one sentence each; empty: it can."""
    copy = _Copy()
    try:
        if _is_small_and_plain(value, max_bytes):
            return []
        size = json_bytes(copy.of(value))
    except BaseException as error:  # noqa: BLE001 - as above
        return [f"This could not be read: {_class_name(error)}."]
    found = list(copy.changes)
    if size > max_bytes or copy.partial:
        at_least = "at least " if copy.partial else ""
        found.append(
            f"This takes {at_least}{size:,} bytes as JSON; at most {max_bytes:,} are allowed."
        )
    return found


def _is_small_and_plain(value: object, max_bytes: int) -> bool:
    """Whether a glance is enough, as for the arguments of nearly every call: a flat list or object of short values."""
    cls = type(value)
    if cls is dict:
        keys = list(value)  # type: ignore[call-overload]
        if not all(type(key) is str for key in keys):
            return False
        items = [*keys, *value.values()]  # type: ignore[attr-defined]
    elif cls is list:
        items = value  # type: ignore[assignment]
    else:
        return False
    at_most = 2
    for item in items:
        kind = type(item)
        if kind is str and not _UNSTORABLE.search(item):
            at_most += LONGEST_ESCAPE * len(item) + 4
        elif kind is int and item.bit_length() < 64:
            at_most += 24
        elif item is None or kind is bool:
            at_most += 8
        else:
            return False
        if at_most > max_bytes:
            return False
    return True


def storable_text(text: str, max_chars: int) -> str:
    """`text` without what PostgreSQL refuses, of at most `max_chars` characters."""
    kept = _exact(text) if issubclass(type(text), str) else shown(text)
    if len(kept) > max_chars:
        ending = f"… ({len(kept):,} characters in all)"
        kept = kept[: max(0, max_chars - len(ending))] + ending[:max_chars]
    return _storable(kept)


def one_line(text: str, max_chars: int = LINE_CHARS) -> str:
    """`text` as one printable line: white space closed up, control characters escaped."""
    start = storable_text(text, 4 * max_chars)
    line = _UNPRINTABLE.sub(_escaped, " ".join(start.split()))
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def error_line(error: BaseException) -> str:
    """What went wrong in one line, with the exception's class unless that says of itself `is_sentence`.

    Secrets in it are masked before it is cut and kept: the line can be searched, and a search tells what it finds.
    """
    name = _class_name(error)
    message = one_line(masked_text(one_line(_message(error), 4 * LINE_CHARS)))
    try:
        if getattr(type(error), "is_sentence", False) is True and message:
            return message
    except BaseException:  # noqa: BLE001 - a metaclass may do anything
        pass
    return one_line(f"{name}: {message}" if message else name)


def traceback_text(error: BaseException, max_chars: int = MAX_BYTES) -> str:
    """The traceback as Python prints it, without the scheduler's own frames, the middle left out where it is long."""
    try:
        text = "\n".join(_chain(error, depth=0))
    except BaseException as trouble:  # noqa: BLE001 - a broken exception is still an outcome
        text = f"(no traceback: {_class_name(trouble)})\n{error_line(error)}"
    return _storable(_without_middle(text, max_chars))


def shown(value: object) -> str:
    """`repr(value)`, bounded, whatever it does; a queryset or a model instance is named, not evaluated."""
    try:
        return _shown(value)[: REPR_CHARS + 1]
    except BaseException as error:  # noqa: BLE001 - includes what the value raises, SystemExit too
        return f"<{_class_name(value)} object, its repr failed: {_trouble(error)}>"


def json_bytes(value: object) -> int:
    """How many bytes a JSON value takes."""
    return len(_encode(value).encode())


def cut_to_json_bytes(text: str, max_bytes: int) -> str:
    """The start of `text` that takes at most `max_bytes` as a JSON string."""
    kept = text[: max(0, max_bytes)]
    while kept and (size := json_bytes(kept)) > max_bytes:
        kept = kept[: min(len(kept) - 1, len(kept) * max_bytes // size)]
    return kept


class _Copy:
    """Copies a value into plain JSON, and notes what it had to change on the way."""

    def __init__(self) -> None:
        self.changes: dict[str, None] = {}
        """Sentences, in the order of their first appearance."""
        self.partial = False
        """The value went on beyond what is looked at."""
        self._values_left = LOOK_AT_VALUES
        self._chars_left = LOOK_AT_CHARS

    def of(self, value: Any, depth: int = 1) -> Any:
        self._values_left -= 1
        # By `type`, never `isinstance`: that asks the value for its `__class__`. Through the base class's own
        # methods, never the value's: a subclass may have overridden them.
        cls = type(value)
        if value is None or cls is bool:
            return value
        if issubclass(cls, str):
            return self._text(_exact(value))
        if issubclass(cls, int):
            return self._whole(int.__int__(value))
        if issubclass(cls, float):
            return self._float(float.__float__(value))
        if not issubclass(cls, (dict, list, tuple)):
            self._change(f"A {_class_name(value)} is not JSON.")
            return self._text(shown(value))
        if depth > MAX_DEPTH:
            self._change(f"This is nested deeper than {MAX_DEPTH} levels.")
            return f"(deeper than {MAX_DEPTH} levels)"
        if issubclass(cls, dict):
            return self._object(dict.items(value), depth + 1)
        items = list.__iter__(value) if issubclass(cls, list) else tuple.__iter__(value)
        return self._array(items, depth + 1)

    def _object(self, items: Iterable[Any], depth: int) -> dict[str, Any]:
        copy = {}
        # Taken at once, as another thread may still change the original.
        for key, item in list(itertools.islice(items, self._values_left + 1)):
            if self._is_full():
                break
            copy[self._key(key)] = self.of(item, depth)
        return copy

    def _array(self, items: Iterable[Any], depth: int) -> list[Any]:
        copy = []
        for item in list(itertools.islice(items, self._values_left + 1)):
            if self._is_full():
                break
            copy.append(self.of(item, depth))
        return copy

    def _is_full(self) -> bool:
        if self._values_left > 0 and self._chars_left > 0:
            return False
        self.partial = True
        return True

    def _key(self, key: Any) -> str:
        cls = type(key)
        if issubclass(cls, str):
            return self._text(_exact(key))
        self._change("The keys of an object must be text.")
        if key is None or cls is bool:
            return json.dumps(key)
        if cls in (int, float):
            kept = self._whole(key) if cls is int else self._float(key)
            return kept if type(kept) is str else json.dumps(kept)
        return self._text(shown(key))

    def _text(self, text: str) -> str:
        if len(text) > self._chars_left:
            text = text[: self._chars_left]
            self.partial = True
        self._chars_left -= len(text)
        kept = _storable(text)
        if kept != text:
            self._change("NUL characters and lone surrogates cannot be stored.")
        return kept

    def _whole(self, number: int) -> Any:
        limit = min(MAX_DIGITS, sys.get_int_max_str_digits() or MAX_DIGITS)
        if number.bit_length() <= int(limit * math.log2(10)):
            return number
        self._change(f"A whole number may have at most {limit:,} digits.")
        return _large_number(number)

    def _float(self, number: float) -> Any:
        if math.isfinite(number):
            return number
        self._change("NaN and Infinity are not JSON.")
        return repr(number)

    def _change(self, sentence: str) -> None:
        self.changes[sentence] = None


class _Repr(reprlib.Repr):
    """`repr` of containers up to a size, that leaves other objects to `_shown`."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 6
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = 200
        self.maxfrozenset = self.maxdeque = self.maxarray = 200
        self.maxstring = self.maxlong = self.maxother = 2000

    def repr_instance(self, x: Any, level: int) -> str:
        return _exact(_shown_object(x))[:REPR_CHARS]


def _shown(value: Any) -> str:
    cls = type(value)
    if issubclass(cls, bytes | bytearray):
        if len(value) > REPR_CHARS // 4:
            return f"{bytes(value[: REPR_CHARS // 4])!r}… ({len(value):,} bytes in all)"
        return repr(bytes(value))
    # Shorter and more readable than their repr, and what Django's JSON encoder makes of them.
    if issubclass(cls, datetime.datetime):
        return datetime.datetime.isoformat(value)
    if cls in (datetime.date, datetime.time):
        return str(value.isoformat())
    if cls in (datetime.timedelta, decimal.Decimal, uuid.UUID):
        return str(value)
    if issubclass(cls, int):
        return _large_number(int.__int__(value))
    text = _stepping(_Repr().repr, value)
    return text if len(text) <= REPR_CHARS else text[:REPR_CHARS] + "…"


def _shown_object(value: Any) -> str:
    for base in type(value).__mro__:
        if base.__module__ == "django.db.models.query" and base.__name__ == "QuerySet":
            return f"<{_class_name(value)} of {_class_label(value.model)}, not evaluated>"
        if base.__module__ == "django.db.models.base" and base.__name__ == "Model":
            # Its own repr may follow a foreign key, which is a query.
            key = value.__dict__.get(value._meta.pk.attname)
            return f"<{_class_label(type(value))} pk={key!r:.100}>"
    if issubclass(type(value), BaseExceptionGroup):
        # Its own repr shows all members of all members.
        return f"<{error_line(value)}>"
    return repr(value)


def _stepping(call: Callable[[Any], str], value: object) -> str:
    """`call(value)`, ended with an exception when its Python code runs on and on. Its C code is not stopped."""
    steps = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal steps
        steps += 1
        if steps > STEPS:
            raise _RunsOn
        if event == "call":
            # Python 3.11 reports no new line for `while True: pass`.
            frame.f_trace_opcodes = True
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call(value)
    finally:
        sys.settrace(before)


class _RunsOn(BaseException):
    """A `__repr__` or `__str__` did not come to an end."""


def _message(error: BaseException) -> str:
    try:
        to_text = type(error).__str__
        types = {type(arg) for arg in error.args}
        if to_text is BaseException.__str__ and types & _CONTAINERS:
            # Bounded, which str() would not be.
            return shown(error.args[0] if len(error.args) == 1 else error.args)
        if types <= _PLAIN and not isinstance(to_text, FunctionType):
            return str(error)
        return _stepping(str, error)
    except BaseException as trouble:  # noqa: BLE001 - includes what `__str__` raises
        return f"(its text cannot be shown: {_trouble(trouble)})"


def _trouble(error: BaseException) -> str:
    return "it does not come to an end" if type(error) is _RunsOn else _class_name(error)


def _class_name(value: object) -> str:
    return _class_label(type(value))


def _class_label(cls: type) -> str:
    try:
        module, name = str(cls.__module__), str(cls.__qualname__)
    except BaseException:  # noqa: BLE001 - a metaclass may do anything
        return "object"
    label = name if module in ("builtins", "__main__") else f"{module}.{name}"
    return one_line(label, 200)


def _large_number(number: int) -> str:
    bits = number.bit_length()
    if bits <= 2000:
        return str(number)
    start = abs(number) >> (bits - 400)
    return f"{'-' * (number < 0)}{start:#x}… (about {int(bits * math.log10(2)) + 1:,} digits)"


def _exact(text: str) -> str:
    return text if type(text) is str else str.__str__(text)


def _storable(text: str) -> str:
    if text.isascii() and "\x00" not in text:
        return text
    return _UNSTORABLE.sub(REPLACEMENT, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _without_middle(text: str, max_chars: int) -> str:
    """`text`, or its start and, three times as long, its end: there stands the exception."""
    if len(text) <= max_chars:
        return text
    room = max(0, max_chars - 60)
    head, tail = room // 4, room - room // 4
    left_out = len(text) - head - tail
    return f"{text[:head]}\n… {left_out:,} characters left out …\n{text[len(text) - tail :]}"


_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))
_PLUMBING = tuple(
    os.path.join(root, *parts)
    for root, *parts in (
        (_HERE, "engine", ""),
        (_HERE, "targets", ""),
        (_LIBRARY, "asyncio", ""),
        (_LIBRARY, "concurrent", ""),
        (_LIBRARY, "threading.py"),
    )
)


def _is_plumbing(frame: FrameType) -> bool:
    """Whether the frame only leads to the job's code."""
    path = frame.f_code.co_filename
    return path.startswith(_PLUMBING) or f"{os.sep}asgiref{os.sep}" in path


def _chain(error: BaseException, depth: int) -> list[str]:
    """The exception with what led to it, oldest first."""
    blocks = [_one(error, depth)]
    seen = {id(error)}
    while True:
        if error.__cause__ is not None:
            earlier, link = error.__cause__, CAUSED
        elif error.__context__ is not None and not error.__suppress_context__:
            earlier, link = error.__context__, HANDLED
        else:
            break
        if id(earlier) in seen:
            break
        if len(seen) == CHAINED:
            blocks.append("(earlier exceptions left out)")
            break
        blocks += [f"\n{link}\n", _one(earlier, depth)]
        seen.add(id(earlier))
        error = earlier
    return blocks[::-1]


def _one(error: BaseException, depth: int) -> str:
    lines = ["Traceback (most recent call last):", *_frames(error.__traceback__)]
    message = _message(error)
    name = _class_name(error)
    lines.append(storable_text(f"{name}: {message}" if message else name, 4 * LINE_CHARS))
    notes = getattr(error, "__notes__", None)
    if type(notes) is list:
        lines += [storable_text(note, LINE_CHARS) for note in notes[:NOTES]]
    if issubclass(type(error), BaseExceptionGroup):
        members = error.exceptions  # type: ignore[attr-defined]
        for number, member in enumerate(members[:GROUP_MEMBERS] if depth < GROUP_DEPTH else ()):
            lines.append(f"  +--- {number + 1} of {len(members):,} ---")
            text = _without_middle("\n".join(_chain(member, depth + 1)), 8 * LINE_CHARS)
            lines += [f"  | {line}" for line in text.split("\n")]
        if len(members) > GROUP_MEMBERS:
            lines.append(f"  +--- {len(members) - GROUP_MEMBERS:,} more left out ---")
    return "\n".join(lines)


def _frames(start: TracebackType | None) -> list[str]:
    first = start
    while first is not None and _is_plumbing(first.tb_frame):
        first = first.tb_next
    # Raised by the scheduler's own code: then its frames are all there is to see.
    first = first or start
    count, link = 0, first
    while link is not None:
        count, link = count + 1, link.tb_next
    if count <= FIRST_FRAMES + LAST_FRAMES:
        entries = traceback.extract_tb(first).format()
    else:
        left_out = count - FIRST_FRAMES - LAST_FRAMES
        entries = [
            *traceback.extract_tb(first, limit=FIRST_FRAMES).format(),
            f"  … {left_out:,} frames left out …\n",
            *traceback.extract_tb(first, limit=-LAST_FRAMES).format(),
        ]
    return [storable_text(entry.rstrip("\n"), 2 * LINE_CHARS) for entry in entries]
