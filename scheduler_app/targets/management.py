"""The kind `management`: a Django command of the site's allow-list, in a process of its own.

A process and not a thread: a command may call `sys.exit`, write past `self.stdout`, change the process (signals,
directory, translations) or never end, and of all these only a process can be told from the node and be ended.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from scheduler_app.conf import get_config
from scheduler_app.rules.masking import MASK, is_secret_key, masked_text
from scheduler_app.rules.problems import Invalid, Problem
from scheduler_app.rules.storable import error_line, one_line

from .base import JSON, CurrentExecution, InvalidTarget, Target, UnknownTarget
from .programs import CAN_RUN, Program, run_program

SHAPE = '{"args": ["…"], "options": {"name": …}}'
WHERE_COMMANDS_ARE = "The commands stand in the setting SCHEDULER['management_commands']."
NEVER = frozenset({"settings", "pythonpath", "help", "version"})
"""Options that would load other code, or run nothing."""
SETTLED = ["--no-color"]


class ManagementTarget(Target):
    """Runs `manage.py TARGET` with arguments that its own parser has accepted."""

    kind = "management"
    label = "Management command"

    def problems(self, target: str, arguments: JSON) -> list[Problem]:
        try:
            command_line(target, arguments)
        except UnknownTarget as error:
            names = sorted(get_config().management_commands)
            close = difflib.get_close_matches(target, names, n=1)
            return [
                Problem(
                    "target",
                    str(error),
                    given=masked_text(target),
                    allowed=", ".join(names),
                    suggestion=close[0] if close else WHERE_COMMANDS_ARE,
                )
            ]
        except Invalid as error:
            return list(error.problems)
        return []

    def load(self, target: str) -> None:
        _command(target)

    def run(self, execution: CurrentExecution) -> object:
        """The exit code and more; raises `TargetFailed` with it unless it is 0."""
        try:
            words = command_line(execution.target, execution.arguments)
        except Invalid as error:
            raise InvalidTarget(error.problems) from None
        environment = os.environ | {
            # As this process finds modules, whatever way it was started.
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONUNBUFFERED": "1",
            "SCHEDULER_EXECUTION_ID": str(execution.id),
        }
        return run_program(
            Program(
                name=execution.target,
                argv=[sys.executable, "-m", "django", *words],
                environment=environment,
                cwd=os.getcwd(),
            ),
            execution,
        )


def command_line(target: str, arguments: JSON) -> list[str]:
    """The words behind `manage.py`. Raises `UnknownTarget`, or `Invalid` with everything that is wrong.

    A value can never become an option: values of options are joined to them (`--days=7`), all others stand behind `--`.
    """
    parser = _command(target).create_parser("manage.py", target)
    problems: list[Problem] = []
    if not isinstance(arguments, dict) or not arguments.keys() <= {"args", "options"}:
        raise Invalid([Problem("arguments", f"The arguments must be {SHAPE}.", allowed=SHAPE)])
    positional = _texts("args", arguments.get("args", []), problems)
    options = arguments.get("options", {})
    if not isinstance(options, dict):
        raise Invalid([Problem("arguments.options", "The options must be a JSON object.")])
    actions: dict[str, list[argparse.Action]] = {}
    for action in parser._actions:
        if action.option_strings and action.dest not in NEVER:
            actions.setdefault(action.dest, []).append(action)
    words = []
    for name, value in options.items():
        dest = name.lstrip("-").replace("-", "_")
        if dest in actions:
            words += _option(name, value, actions[dest], problems)
        else:
            problems.append(_unknown_option(target, name, sorted(actions)))
    if any(action.nargs == argparse.PARSER for action in parser._actions):
        # A subcommand's parser would take what stands behind `--` for its own words.
        if any(word.startswith("-") for word in positional):
            problems.append(Problem("arguments.args", "No argument may begin with '-' here."))
        words += positional
    elif positional:
        words += ["--", *positional]
    if problems:
        raise Invalid(problems)
    _let_it_parse(parser, target, words, _secrets_in(options))
    return [target, *SETTLED, *words]


def _command(name: str) -> BaseCommand:
    """Raises `UnknownTarget`, naming what is allowed. No name is looked for unless the settings allow it."""
    allowed = sorted(get_config().management_commands) if CAN_RUN else []
    known = ", ".join(allowed) or "none"
    if name not in allowed:
        raise UnknownTarget(
            f"No management command is allowed as {masked_text(name)!r:.100}. Allowed: {known}. {WHERE_COMMANDS_ARE}"
        )
    try:
        return load_command_class(get_commands()[name], name)
    except KeyError:
        message = f"No installed app has the management command {name!r}. Allowed: {known}."
        raise UnknownTarget(message) from None
    except Exception as error:  # noqa: BLE001 - whatever its module raises
        message = f"The management command {name!r} cannot be loaded: {error_line(error)}"
        raise UnknownTarget(message) from None


def _option(
    name: str, value: JSON, actions: list[argparse.Action], problems: list[Problem]
) -> list[str]:
    """The words that give an option a value."""
    action = actions[0]
    flag = max(action.option_strings, key=len)
    if isinstance(action, argparse.BooleanOptionalAction):
        flag = next(
            word for word in action.option_strings if word.startswith("--no-") is (value is False)
        )
        return [flag] if _is_boolean(name, value, problems) else []
    if action.nargs == 0 and type(value) is int and not isinstance(value, bool):
        return [flag] * min(value, 9)
    if action.nargs == 0:
        if not _is_boolean(name, value, problems):
            return []
        return [max(each.option_strings, key=len) for each in actions if each.const is value][:1]
    is_list = action.nargs not in (None, "?") or isinstance(action, argparse._AppendAction)
    if isinstance(value, list) is not is_list:
        wanted = "a list" if is_list else "one text or number"
        problems.append(Problem(f"arguments.options.{name}", f"{name} takes {wanted}."))
        return []
    values = _texts(f"options.{name}", value if is_list else [value], problems)
    if action.nargs in (None, "?"):
        joint = "=" if flag.startswith("--") else ""
        return [f"{flag}{joint}{text}" for text in values]
    if any(text.startswith("-") for text in values):
        message = f"No value of {name} may begin with '-'."
        problems.append(Problem(f"arguments.options.{name}", message))
    return [flag, *values]


def _is_boolean(name: str, value: JSON, problems: list[Problem]) -> bool:
    if isinstance(value, bool):
        return True
    problems.append(Problem(f"arguments.options.{name}", f"{name} must be true or false."))
    return False


def _texts(place: str, values: Any, problems: list[Problem]) -> list[str]:
    texts = []
    for value in values if isinstance(values, list) else [None]:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            texts.append(str(value))
        if not texts or "\x00" in texts[-1] or isinstance(value, bool) or value is None:
            message = "This must be a list of texts and numbers, without NUL characters."
            problems.append(Problem(f"arguments.{place}", message))
            return []
    return texts


def _unknown_option(target: str, name: str, known: list[str]) -> Problem:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return Problem(
        "arguments.options",
        f"{target} has no option {name!r:.100}.{hint} Its options are {', '.join(known)}.",
        allowed=", ".join(known),
        suggestion=close[0] if close else "",
    )


def _secrets_in(options: Mapping[str, JSON]) -> set[str]:
    """The values of options whose names say that they are secret, in every form that a message may repeat them in."""
    found: set[str] = set()
    for name, value in options.items():
        if is_secret_key(name):
            texts = {str(item) for item in (value if isinstance(value, list) else [value])}
            found |= texts | {repr(text)[1:-1] for text in texts} | {one_line(t) for t in texts}
    return found - {""}


def _let_it_parse(
    parser: argparse.ArgumentParser, target: str, words: list[str], secrets: set[str]
) -> None:
    """Raises `Invalid` with what the command itself says to these words, less the secrets that it repeats."""
    if any(isinstance(action.type, argparse.FileType) for action in parser._actions):
        # Its parser would open the files that are named.
        return
    try:
        parser.parse_args(words)
    except SystemExit:
        message = f"{target} does not accept these arguments."
    except Exception as error:  # noqa: BLE001 - CommandError, and whatever its own types raise
        said = error_line(error).removeprefix("django.core.management.base.CommandError: ")
        for secret in sorted(secrets, key=len, reverse=True):
            said = said.replace(secret, MASK)
        message = f"{target}: {said}"
    else:
        return
    raise Invalid([Problem("arguments", message)])
