"""Which bodies are read: strict JSON within bounds that are checked before anything is built from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError

MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 4000

# Possessive, and a string that does not end matches up to the end of the text, even where that is a
# backslash: each quote is looked at once, so the time grows with the length, whatever the text holds.
_STRING_OR_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class JSONParser(parsers.JSONParser):
    """JSON in UTF-8, as strict as its standard: no NaN, no key twice, nothing that could not be stored."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            text = stream.read(MAX_BODY_BYTES + 1).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ParseError(
                f"The body is not UTF-8: {error.reason} at byte {error.start}."
            ) from None
        return strict_loads(text)


def strict_loads(text: str, what: str = "The body") -> Any:
    """The value of a JSON text; raises ParseError with a sentence that begins with `what`."""
    if _depth(text) > MAX_DEPTH:
        raise ParseError(f"{what} is nested deeper than {MAX_DEPTH} levels.")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise ParseError(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except _Refused as refused:
        raise ParseError(f"{what} {refused}") from None
    if _holds_unstorable(value):
        raise ParseError(
            f"{what} holds a text with a NUL character or half a surrogate pair, which cannot be stored."
        )
    return value


class _Refused(ValueError):
    """Valid JSON for Python, but not accepted; the message goes on after "The body"."""


def _depth(text: str) -> int:
    deepest = depth = 0
    for match in _STRING_OR_BRACKETS.finditer(text):
        token = match[0]
        if token in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"has the key {json.dumps(key[:100])} twice in one object.")
            seen.add(key)
    return found


def _whole_number(digits: str) -> int:
    # Counted first: turning digits into a number takes quadratic time, and Python refuses long ones.
    if len(digits) > MAX_DIGITS:
        raise _Refused(f"has a number of {len(digits)} digits; {MAX_DIGITS} are allowed.")
    return int(digits)


def _number(text: str) -> float:
    if len(text) > MAX_DIGITS or not math.isfinite(number := float(text)):
        raise _Refused(f"has a number that is too large or too long: {text[:40]}.")
    return number


def _constant(word: str) -> None:
    raise _Refused(f"holds {word}, which is not JSON.")


def _holds_unstorable(value: Any) -> bool:
    """Depth is bounded by now, so this may recurse."""
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is not None
    if isinstance(value, dict):
        return any(_UNSTORABLE.search(key) or _holds_unstorable(value[key]) for key in value)
    if isinstance(value, list):
        return any(_holds_unstorable(item) for item in value)
    return False
