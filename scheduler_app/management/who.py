"""In whose name a command acts."""

from __future__ import annotations

import getpass


def who() -> str:
    """Whoever is logged in to the machine: the trail says that it was a command."""
    try:
        return getpass.getuser()[:150]
    except (KeyError, OSError):
        # A container may run as a number without a name.
        return "somebody"
