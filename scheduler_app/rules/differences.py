"""What changed from one set of values to another, field by field, with secrets masked: what an audit trail keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .masking import masked

LONGEST = 2000
"""Characters of a value, written as JSON, that are kept whole."""

NESTED = "arguments"
"""Compared key by key, for that is how people edit them."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By field, `{"old": …, "new": …}`. A field without a value and an empty one are the same."""
    return {
        place: {"old": _told(key, before), "new": _told(key, after)}
        for place, key, before, after in _compared(old, new)
        if before != after and not (_is_empty(before) and _is_empty(after))
    }


def _compared(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, str, Any, Any]]:
    for name in dict.fromkeys((*old, *new)):
        before, after = old.get(name), new.get(name)
        if name == NESTED and isinstance(before, dict) and isinstance(after, dict):
            for key in dict.fromkeys((*before, *after)):
                yield f"{name}.{key}", key, before.get(key), after.get(key)
        else:
            yield name, name, before, after


def _told(key: str, value: Any) -> Any:
    """The value without its secrets, or the beginning of one that is too long to keep twice for good."""
    shown = masked({key: value})[key]
    text = json.dumps(shown, ensure_ascii=False)
    return shown if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})
