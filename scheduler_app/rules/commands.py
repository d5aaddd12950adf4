"""The commands that a site allows: read from its setting, and filled with what a job says. No shell ever sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .problems import Problem

SETTING = "shell_commands"
OPTIONS = (
    *("argv", "environment", "cwd"),
    *("memory_mb", "file_mb", "open_files", "processes"),
)
FACTS = ("execution_id", "scheduled_for", "attempt", "job_name")
"""Placeholders beside those of the job's own arguments."""
PATH = "/usr/local/bin:/usr/bin:/bin"
LONGEST_ARGUMENT = 128 * 1024 - 1
"""Bytes; Linux takes no longer one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z_][A-Za-z0-9_-]*)?)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with the template of its arguments, and what it may use."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    """Empty: a directory of the execution's own, removed after it."""
    memory_mb: int = 2048
    file_mb: int = 1024
    open_files: int = 256
    processes: int | None = None
    """Counted with all others of the same user, so there is no limit unless one is given."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names that a job's arguments must have."""
        names = [name.partition(".") for word in self.argv for name in _PLACEHOLDER.findall(word)]
        return tuple(dict.fromkeys(rest for head, _, rest in names if head == "arguments"))

    @property
    def usage(self) -> str:
        """As people read it: `/bin/df -h -- {arguments.path}`."""
        return " ".join(self.argv)

    @property
    def limits(self) -> dict[str, int]:
        """By the names of Python's module `resource`."""
        limits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_AS": self.memory_mb * 1024 * 1024,
            "RLIMIT_FSIZE": self.file_mb * 1024 * 1024,
            "RLIMIT_NOFILE": self.open_files,
        }
        return limits if self.processes is None else limits | {"RLIMIT_NPROC": self.processes}


def read_command(name: object, value: object) -> Command | str:
    """An entry of the setting, or the sentence that says what is wrong with it."""
    where = f"{SETTING}: {name!r:.100}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{where} is not a name; use letters, digits, '_', '.' and '-'."
    options: Mapping[str, Any] = value if isinstance(value, Mapping) else {"argv": value}
    if unknown := [key for key in options if key not in OPTIONS]:
        return f"{where} has no option {unknown[0]!r}; the options are {', '.join(OPTIONS)}."
    argv = options.get("argv")
    if not isinstance(argv, list | tuple) or not argv or not all(map(_is_plain, argv)):
        return f'{where} must be a list of texts such as ["/bin/df", "-h", "--", "{{arguments.path}}"].'
    if not argv[0].startswith("/") or _PLACEHOLDER.search(argv[0]):
        return f"{where} must begin with the absolute path of a program, got {argv[0]!r}."
    for word in argv:
        for placeholder in _PLACEHOLDER.findall(word):
            if word != f"{{{placeholder}}}":
                return f"{where}: a placeholder must be a whole argument, got {word!r}."
            if placeholder not in FACTS and not placeholder.startswith("arguments."):
                known = ", ".join(f"{{{fact}}}" for fact in FACTS)
                return f"{where}: {word} is not known; there are {known} and {{arguments.NAME}}."
    environment = options.get("environment", {})
    if not isinstance(environment, Mapping) or not all(
        isinstance(key, str) and _VARIABLE.fullmatch(key) and _is_plain(text)
        for key, text in environment.items()
    ):
        return f'{where}: environment must be an object of texts such as {{"LANG": "C.UTF-8"}}.'
    cwd = options.get("cwd", "")
    if not _is_plain(cwd) or (cwd and not cwd.startswith("/")):
        return f"{where}: cwd must be an absolute path, got {cwd!r}."
    numbers = {key: options[key] for key in OPTIONS[3:] if key in options}
    for key, number in numbers.items():
        if type(number) is not int or not 1 <= number <= 1_000_000:
            return f"{where}: {key} must be a whole number from 1 to 1,000,000, got {number!r}."
    return Command(name=name, argv=tuple(argv), environment=dict(environment), cwd=cwd, **numbers)


def command_problems(setting: object) -> list[str]:
    """What is wrong with the whole setting, one sentence each."""
    if not isinstance(setting, Mapping):
        return [f"{SETTING} must be an object of commands by name, got {setting!r:.100}."]
    read = [read_command(name, value) for name, value in setting.items()]
    return [found for found in read if isinstance(found, str)]


def argument_problems(command: Command, arguments: Any) -> list[Problem]:
    """What keeps these arguments from filling the command. No message shows a value, which may be a secret."""
    wanted = command.parameters
    shape = "{" + ", ".join(f'"{name}": …' for name in wanted) + "}"
    if not isinstance(arguments, dict):
        return [
            Problem(
                "arguments",
                f"The arguments of {command.name} must be a JSON object: {shape}.",
                allowed=shape,
            )
        ]
    found = [
        Problem(f"arguments.{name}", f"{command.name} needs the argument {name!r}.", allowed=shape)
        for name in wanted
        if name not in arguments
    ]
    for name, value in arguments.items():
        if name not in wanted:
            known = ", ".join(wanted) or "none"
            message = f"{command.name} has no argument {name!r:.100}; it takes: {known}."
            found.append(Problem("arguments", message, allowed=known))
        elif message := _value_problem(command, name, value):
            found.append(Problem(f"arguments.{name}", message))
    return found


def filled(command: Command, arguments: Mapping[str, Any], facts: Mapping[str, str]) -> list[str]:
    """The argument list: each placeholder became exactly one argument. Raises ValueError for one that may not be."""
    values = {f"{{arguments.{name}}}": as_text(arguments[name]) for name in command.parameters}
    values |= {f"{{{name}}}": text for name, text in facts.items()}
    argv: list[str] = []
    for word in command.argv:
        value = values.get(word)
        if value is not None and value.startswith("-") and "--" not in argv:
            raise ValueError(
                f"The value of {word} may not begin with '-', which would be an option."
            )
        argv.append(word if value is None else value)
    return argv


def as_text(value: Any) -> str:
    """A JSON value as one argument: numbers as JSON writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _value_problem(command: Command, name: str, value: Any) -> str:
    if not isinstance(value, str | int | float):
        return f"The argument {name!r} must be a text, a number, true or false."
    text = as_text(value)
    if "\x00" in text:
        return (
            f"The argument {name!r} may not contain a NUL character: no program can be given one."
        )
    if len(text.encode("utf-8", "replace")) > LONGEST_ARGUMENT:
        return f"The argument {name!r} is longer than {LONGEST_ARGUMENT:,} bytes."
    before = command.argv[: command.argv.index(f"{{arguments.{name}}}")]
    if text.startswith("-") and "--" not in before:
        return f"The argument {name!r} may not begin with '-', which {command.name} would take for an option."
    return ""


def _is_plain(text: object) -> bool:
    return isinstance(text, str) and "\x00" not in text
