"""Which values are secrets, and how they are hidden when shown and put back when what was shown comes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

MASK = "********"
LONGEST_LINE = 64 * 1024
"""Characters of an unfinished line that are held back until its end comes; nodes keep shorter lines."""

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
# As a whole word of the key: "tokens" and "author" are innocent.
_WORDS = frozenset({"pwd", "auth", "cookie", "cookies", "dsn", "token", "bearer", "jwt"})
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# Secrets within a text: each pattern has what stays before the secret, and the secret.
_PASSWORD_IN_URL = re.compile(r"(://[^\s/?#:@]*+:)([^\s/?#@]++)(?=@)")
_PARAMETER = re.compile(r"((?:^|[?&;\s])([\w.\[\]-]++)=)([^\s&;#\"']++)")
_HEADER = re.compile(
    r"(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token|digest)\s+)?)([^\s\"',}]++)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"(?:(?:bearer|basic|token) )?secret://[\w.-]{1,100}", re.IGNORECASE)


def is_secret_key(key: str) -> bool:
    """Whether what stands under this key is hidden: `X-Api-Key`, `dbPassword`, `access_token`."""
    joined = re.sub("[^a-z0-9]", "", key.lower())
    if any(stem in joined for stem in _STEMS) or joined.endswith("token"):
        return True
    return any(word.lower() in _WORDS for word in _WORD.findall(key))


def masked(value: Any) -> Any:
    """A copy of a JSON value with MASK for what stands under a secret-like key, and within its texts."""
    if isinstance(value, dict):
        return {
            key: MASK if is_secret_key(key) and not _says_nothing(item) else masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item) for item in value]
    return masked_text(value) if isinstance(value, str) else value


def masked_text(text: str) -> str:
    """A text with MASK for passwords in URLs, secret-like `key=value` pairs and Authorization headers."""
    return _replaced(text, lambda secret: MASK)


def masked_lines(texts: Iterable[str]) -> Iterator[str]:
    """What `masked_text` makes of texts that follow each other, in whole lines: a secret may lie in two of them."""
    held = ""
    for text in texts:
        lines, newline, held = (held + text).rpartition("\n")
        whole = lines + newline
        if len(held) > LONGEST_LINE:
            whole, held = whole + held, ""
        if whole:
            yield masked_text(whole)
    if held:
        yield masked_text(held)


def unmasked(given: Any, stored: Any) -> Any:
    """`given` with the values put back that are stored at the same places; see `has_mask` for the rest."""
    if isinstance(given, dict):
        known = stored if isinstance(stored, dict) else {}
        return {
            key: known[key]
            if item == MASK and key in known and is_secret_key(key)
            else unmasked(item, known.get(key))
            for key, item in given.items()
        }
    if isinstance(given, list):
        places = stored if isinstance(stored, list) else []
        return [
            unmasked(item, places[n] if n < len(places) else None) for n, item in enumerate(given)
        ]
    if isinstance(given, str) and isinstance(stored, str) and given == masked_text(stored):
        return stored
    return given


def is_same_place(old_target: str, new_target: str) -> bool:
    """Whether the secrets of one target may be told to the other: the same one, or the same server."""
    if old_target == new_target:
        return True
    try:
        old, new = urlsplit(old_target), urlsplit(new_target)
    except ValueError:
        return False
    return bool(old.netloc) and (old.scheme, old.netloc) == (new.scheme, new.netloc)


def has_mask(value: Any) -> bool:
    """Whether MASK stands where a secret should: it must not be stored."""
    return bool(mask_places(value))


def mask_places(value: Any, path: str = "") -> list[str]:
    """Where MASK stands for a secret: `headers.Authorization`; the empty path is the value itself."""
    if isinstance(value, dict):
        found: list[str] = []
        for key, item in value.items():
            inner = f"{path}.{key}" if path else key
            found += [inner] if item == MASK and is_secret_key(key) else mask_places(item, inner)
        return found
    if isinstance(value, list):
        return [
            place
            for n, item in enumerate(value)
            for place in mask_places(item, f"{path}.{n}" if path else str(n))
        ]
    if isinstance(value, str) and MASK in value:
        secrets: list[str] = []

        def note(secret: str) -> str:
            secrets.append(secret)
            return secret

        _replaced(value, note)
        return [path] if MASK in secrets else []
    return []


def _replaced(text: str, replacement: Callable[[str], str]) -> str:
    text = _PASSWORD_IN_URL.sub(lambda found: found[1] + replacement(found[2]), text)
    text = _PARAMETER.sub(
        lambda found: found[1] + replacement(found[3]) if is_secret_key(found[2]) else found[0],
        text,
    )
    return _HEADER.sub(lambda found: found[1] + replacement(found[2]), text)


def _says_nothing(value: Any) -> bool:
    """Nothing to hide: empty, or the name of a secret and not the secret."""
    if isinstance(value, str) and _REFERENCE.fullmatch(value):
        return True
    return value in (None, "", True, False, [], {})
