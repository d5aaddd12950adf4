"""Which values are secrets, and how they are hidden when shown and kept when what was shown comes back."""

from __future__ import annotations

import re
from typing import Any

from .problems import Invalid, Problem

MASK = "********"

# Anywhere in the key: no innocent word holds one of these.
_STEMS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "authorization",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
)
# As a whole word of the key, or at its end: "tokens" and "author" are innocent.
_WORDS = frozenset({"pwd", "auth", "cookie", "cookies", "dsn", "token", "bearer", "jwt"})
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def is_secret_key(key: str) -> bool:
    """Whether what stands under this key is hidden: `X-Api-Key`, `dbPassword`, `access_token`."""
    joined = re.sub("[^a-z0-9]", "", key.lower())
    if any(stem in joined for stem in _STEMS) or joined.endswith("token"):
        return True
    return any(word.lower() in _WORDS for word in _WORD.findall(key))


def masked(value: Any) -> Any:
    """A copy of a JSON value with MASK for everything under a secret-like key that says something."""
    if isinstance(value, dict):
        return {key: MASK if _hides(key, item) else masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value


def unmasked(given: Any, stored: Any, path: str = "arguments") -> Any:
    """`given` with each MASK under a secret-like key replaced by what is stored there.

    Raises Invalid where nothing is stored: the mask itself is never a value.
    """
    if isinstance(given, dict):
        known = stored if isinstance(stored, dict) else {}
        return {
            key: _kept(known, key, f"{path}.{key}")
            if item == MASK and is_secret_key(key)
            else unmasked(item, known.get(key), f"{path}.{key}")
            for key, item in given.items()
        }
    if isinstance(given, list):
        known_items = stored if isinstance(stored, list) else []
        return [
            unmasked(item, known_items[n] if n < len(known_items) else None, f"{path}.{n}")
            for n, item in enumerate(given)
        ]
    return given


def _hides(key: str, value: Any) -> bool:
    return value not in (None, "", True, False, [], {}) and is_secret_key(key)


def _kept(stored: dict[str, Any], key: str, path: str) -> Any:
    if key in stored:
        return stored[key]
    raise Invalid(
        [
            Problem(
                path,
                f"{path}: {MASK} stands for a value that is stored already, and none is; give the value.",
                given=MASK,
            )
        ]
    )
