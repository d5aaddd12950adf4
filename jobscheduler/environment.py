"""Environment variables as settings: read once, wrong values answered with a sentence that names the variable."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured


def dict_of_json(text: str) -> dict[str, Any]:
    """A JSON object; raises ValueError for all else."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


_EXPECTED = {
    bool: "1 or 0",
    int: "a whole number",
    float: "a number",
    dict_of_json: "a JSON object",
}
_BOOLEANS = {"1", "0", "true", "false", "yes", "no", "on", "off", "y", "n", ""}
_DATABASES = ("postgresql", "postgres")


class Env(environ.Env):  # type: ignore[misc]
    """django-environ that remembers what was read, and refuses what it would otherwise guess."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        """Every variable that was asked for, set or not."""

    def get_value(self, var: str, cast: Any = None, *args: Any, **kwargs: Any) -> Any:
        self.names.add(var)
        given = os.environ.get(var)
        try:
            if given is not None and cast is bool and given.strip().lower() not in _BOOLEANS:
                raise ValueError(given)
            if given is not None and cast is float:
                return finite(given)
            return super().get_value(var, cast, *args, **kwargs)
        except ValueError as error:
            expected = _EXPECTED.get(cast, "readable")
            raise ImproperlyConfigured(f"{var} must be {expected}, got {given!r}.") from error

    def plain(self, var: str) -> str:
        """The text as it stands; elsewhere django-environ takes a leading `$` for another variable's name."""
        self.names.add(var)
        return os.environ.get(var, "")

    def words(self, var: str) -> list[str]:
        """What stands between commas."""
        return [word.strip() for word in self.plain(var).split(",") if word.strip()]

    def read_file(self, path: Path) -> None:
        """Take variables from a `.env` file; what the real environment sets wins."""
        if path.is_file():
            self.read_env(path)

    def options(self, prefix: str, dataclass: type) -> dict[str, Any]:
        """The fields of a dataclass that are set as `PREFIX_FIELD`, each of its default's type."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(dataclass):
            name = f"{prefix}{field.name.upper()}"
            self.names.add(name)
            if name not in os.environ:
                continue
            if field.default_factory is dict:
                found[field.name] = self.get_value(name, dict_of_json)
            elif isinstance(field.default, tuple):
                found[field.name] = tuple(self.words(name))
            else:
                found[field.name] = self.get_value(name, type(field.default))
        return found

    def postgresql(self, var: str) -> dict[str, Any]:
        """A database URL as a Django database; PostgreSQL is the only one there is."""
        expected = f"{var} must look like postgresql://user:password@host:5432/name"
        # The value itself may hold a password, so the message does not repeat it.
        scheme, separator, _ = self.plain(var).partition("://")
        if not separator:
            raise ImproperlyConfigured(f"{expected}.")
        if scheme not in _DATABASES:
            raise ImproperlyConfigured(f"{expected}; {scheme} is not PostgreSQL.")
        try:
            database: dict[str, Any] = self.db_url(var)
        except ValueError as error:
            raise ImproperlyConfigured(f"{expected}: {error}.") from error
        # `?host=/directory` is how libpq spells a socket in a URL; Django's dbshell reads HOST only.
        if host := database.setdefault("OPTIONS", {}).pop("host", None):
            database["HOST"] = host
        return database


def finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
