"""The kind `shell`: a program of the site's allow-list, started with an argument list. There is no shell in between."""

from __future__ import annotations

import difflib
import tempfile
from datetime import UTC

from scheduler_app.conf import get_config
from scheduler_app.rules.commands import PATH, Command, argument_problems, filled, read_command
from scheduler_app.rules.masking import masked_text
from scheduler_app.rules.problems import Problem

from . import secrets
from .base import JSON, CurrentExecution, InvalidTarget, Target, UnknownTarget
from .programs import CAN_RUN, Program, run_program

WHERE_COMMANDS_ARE = "The commands stand in the setting SCHEDULER['shell_commands']."


def allowed_commands() -> dict[str, Command]:
    """By name, what the settings of this process allow."""
    read = [read_command(name, value) for name, value in get_config().shell_commands.items()]
    return {command.name: command for command in read if isinstance(command, Command)}


class ShellTarget(Target):
    """Runs an allowed command. A job chooses which one, and what its placeholders become; nothing else."""

    kind = "shell"
    label = "Shell command"

    def problems(self, target: str, arguments: JSON) -> list[Problem]:
        try:
            return argument_problems(_command(target), arguments)
        except UnknownTarget as error:
            names = list(allowed_commands())
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

    def load(self, target: str) -> None:
        _command(target)

    def run(self, execution: CurrentExecution) -> object:
        """The exit code and more; raises `TargetFailed` with it unless it is 0."""
        command = _command(execution.target)
        facts = {
            "execution_id": str(execution.id),
            "scheduled_for": execution.scheduled_for.astimezone(UTC)
            .isoformat()
            .replace("+00:00", "Z"),
            "attempt": str(execution.attempt),
            "job_name": execution.job_name,
        }
        try:
            argv = filled(command, execution.arguments, facts)
        except ValueError as error:
            raise InvalidTarget([Problem("arguments", str(error))]) from None
        own = secrets.resolve(dict(command.environment))
        with tempfile.TemporaryDirectory(
            prefix="scheduler-run-", ignore_cleanup_errors=True
        ) as directory:
            environment = {
                "PATH": PATH,
                "LANG": "C.UTF-8",
                "HOME": directory,
                "TMPDIR": directory,
                "SCHEDULER_EXECUTION_ID": facts["execution_id"],
                "SCHEDULER_SCHEDULED_FOR": facts["scheduled_for"],
                "SCHEDULER_ATTEMPT": facts["attempt"],
            }
            return run_program(
                Program(
                    name=command.name,
                    argv=argv,
                    environment=environment | own,
                    cwd=command.cwd or directory,
                    limits=command.limits,
                ),
                execution,
            )


def _command(name: str) -> Command:
    """Raises `UnknownTarget`, naming what is allowed."""
    commands = allowed_commands() if CAN_RUN else {}
    command = commands.get(name)
    if command is None:
        known = ", ".join(commands) or "none"
        raise UnknownTarget(
            f"No shell command is allowed as {masked_text(name)!r:.100}. Allowed: {known}. {WHERE_COMMANDS_ARE}"
        )
    return command
