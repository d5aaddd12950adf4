"""Secrets of this node: looked up when an execution begins, never stored, hidden wherever they would be seen.

`secret://name` in arguments is the file `name` in the directory `secrets_directory`, or else the environment variable
`secrets_prefix` + NAME, in capitals, `-` and `.` as `_`.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from scheduler_app.conf import get_config
from scheduler_app.rules.secrets import SHORTEST, Scrubber, with_values

from .base import TargetFailed

LARGEST = 32 * 1024
"""Bytes of a secret's file."""

_lock = threading.Lock()
_known: set[str] = set()
_scrubber = Scrubber(())


def resolve(arguments: Any) -> Any:
    """A copy of the arguments with secrets in the place of references, whose values `scrub` hides from now on.

    A copy in any case: what a task does to its arguments must not reach the next run of the job. Raises `TargetFailed`
    naming what this node lacks: another attempt, or another node, may have it.
    """
    found = _Found()
    resolved = with_values(arguments, found)
    if found:
        _remember(set(found.values()))
    return resolved


class _Found(dict[str, str]):
    """Secrets by name, looked up when first asked for."""

    def __missing__(self, name: str) -> str:
        value = self[name] = _look_up(name)
        return value


def scrub(text: str) -> str:
    """The text without any secret that this process has looked up."""
    return _scrubber(text)


def _look_up(name: str) -> str:
    config = get_config()
    value = _from_directory(config.secrets_directory, name) if config.secrets_directory else None
    variable = config.secrets_prefix + name.upper().replace("-", "_").replace(".", "_")
    if value is None:
        value = os.environ.get(variable)
    if value is None:
        places = [f"the environment variable {variable}"]
        if config.secrets_directory:
            places.insert(0, f"the file {config.secrets_directory}/{name}")
        raise TargetFailed(
            f"This node has no secret called {name!r}; it looked for {' and '.join(places)}.",
            reason="missing_secret",
        )
    if len(value) < SHORTEST:
        raise TargetFailed(
            f"The secret {name!r} of this node has {len(value)} characters; at least {SHORTEST} are needed,"
            " so that it can be hidden in logs without hiding other words.",
            reason="missing_secret",
        )
    return value


def _from_directory(directory: str, name: str) -> str | None:
    try:
        with (Path(directory) / name).open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise TargetFailed(
                f"The file of the secret {name!r} is larger than {LARGEST:,} bytes.",
                reason="missing_secret",
            )
        return content.decode().rstrip("\r\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TargetFailed(
            f"This node cannot read the file of the secret {name!r}: {why}.",
            reason="missing_secret",
        ) from None


def _remember(values: set[str]) -> None:
    global _scrubber
    with _lock:
        if not values <= _known:
            _known.update(values)
            _scrubber = Scrubber(_known)
