"""A traceback as people look for its cause: the own places first, innermost first, libraries' only when asked for."""

from __future__ import annotations

from dataclasses import dataclass

from .fingerprints import Frame, frames_of

SHOWN = 20
"""Own places that are worth a look; a recursion has thousands."""


@dataclass(frozen=True, slots=True)
class Place:
    """A frame with the line of code that the traceback quotes."""

    frame: Frame
    code: str


def own_places(traceback: str) -> list[Place]:
    """The places in the site's own code, where the error came by last at first; each once."""
    lines = traceback.splitlines()
    code_after = {
        line.strip(): lines[number + 1].strip()
        for number, line in enumerate(lines[:-1])
        if line.lstrip().startswith('File "')
        and not lines[number + 1].lstrip().startswith('File "')
    }
    found: dict[Frame, Place] = {}
    for frame in reversed(frames_of(traceback)):
        if frame.is_own and frame not in found:
            written = f'File "{frame.path}", line {frame.line}'
            line = f"{written}, in {frame.name}" if frame.name else written
            found[frame] = Place(frame, code_after.get(line, ""))
            if len(found) == SHOWN:
                break
    return list(found.values())
