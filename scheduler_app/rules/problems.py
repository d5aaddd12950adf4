"""What is wrong with something that a person gave us, said so that they can mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what was given, what is allowed, what to do."""

    field: str
    """The part that is wrong, as the person knows it: `minute`, `timezone`, `arguments.headers`."""
    message: str
    """The whole sentence; forms and the API show it as it is."""
    given: str = ""
    allowed: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        return self.message


class Invalid(ValueError):
    """Something given cannot be accepted; `.problems` says what, one entry a thing to mend."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.message for problem in self.problems))
