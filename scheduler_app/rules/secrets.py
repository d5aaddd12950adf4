"""References to secrets: `secret://name` in a job's arguments, and the values that must never be seen again."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from .masking import MASK

SHORTEST = 6
"""Characters that a secret has at least: hiding a shorter one would hide innocent text everywhere."""
_SCHEME = "secret://"
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_])?"
_REFERENCE = re.compile(rf"{_SCHEME}({_NAME})")


def unreadable_references(value: Any) -> list[str]:
    """Texts in which `secret://` is not followed by a name."""
    if isinstance(value, str):
        return [value] if _SCHEME in _REFERENCE.sub("", value) else []
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [text for item in items for text in unreadable_references(item)]
    return []


def with_values(value: Any, secrets: Mapping[str, str]) -> Any:
    """A copy of a JSON value with each reference replaced by the secret it names."""
    if isinstance(value, str):
        if _SCHEME not in value:
            return value
        return _REFERENCE.sub(lambda found: secrets[found[1]], value)
    if isinstance(value, dict):
        return {key: with_values(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [with_values(item, secrets) for item in value]
    return value


class Scrubber:
    """Hides known values in texts, in the spellings in which they get there."""

    def __init__(self, values: Iterable[str]) -> None:
        spellings = {spelling for value in values for spelling in _spellings(value)}
        # The longest first, so that a secret that holds another one goes as a whole.
        self._longest_first = sorted(spellings, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(map(re.escape, self._longest_first))) if spellings else None
        )

    def __call__(self, text: str) -> str:
        """The text with MASK for each value; and for the start of one before `…`, where a text was cut."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(MASK, text)
        if "…" not in text:
            return text
        return "…".join(self._without_start(part) for part in text.split("…"))

    def _without_start(self, text: str) -> str:
        for secret in self._longest_first:
            for length in range(min(len(secret) - 1, len(text)), 3, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + MASK
        return text


def _spellings(value: str) -> set[str]:
    """As it is, each of its lines (logs are hidden line by line), in JSON, in a URL, in Base64, as Python shows it."""
    forms = {
        value,
        *value.splitlines(),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(value, safe=""),
        quote_plus(value),
        base64.b64encode(value.encode()).decode(),
    }
    return {form for form in forms if len(form) >= SHORTEST}
