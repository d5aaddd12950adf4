"""Which failures are the same failure: their error without what differs by chance, and where in the own code it arose."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

KEPT_CHARS = 200
"""Of an error's line: what follows is mostly data."""

# Longer forms first: a UUID is made of hex, and hex of digits.
_BY_CHANCE = (
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.I), "<id>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.I), "<hex>"),
    (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b", re.I), "<hex>"),
    (re.compile(r"\d+(?:[.,:T-]\d+)*"), "<n>"),
)
_FRAME = re.compile(r'^ *File "(?P<path>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<name>.+))?$', re.M)
_STRANGE = re.compile(r"(?:site|dist)-packages[/\\]|[/\\]lib[/\\]python\d|^<")


@dataclass(frozen=True, slots=True)
class Frame:
    """One place of a traceback."""

    path: str
    line: int
    name: str

    @property
    def is_own(self) -> bool:
        """Whether the code is the site's: not a library's, Python's or generated."""
        return not _STRANGE.search(self.path)

    @property
    def place(self) -> str:
        """`send in tasks.py`: without the line, which the next edit moves, and the folder, which the next release does."""
        file = re.split(r"[/\\]", self.path)[-1]
        return f"{self.name} in {file}" if self.name else file


def frames_of(traceback: str) -> list[Frame]:
    """The frames of a traceback's text, outermost first."""
    return [
        Frame(found["path"], int(found["line"]), (found["name"] or "").strip())
        for found in _FRAME.finditer(traceback)
    ]


def last_own_place(traceback: str) -> str:
    """Where in the site's own code the error came by last; empty when nowhere."""
    return next((frame.place for frame in reversed(frames_of(traceback)) if frame.is_own), "")


@lru_cache(maxsize=4096)
def normalised(error: str) -> str:
    """The error's first line with numbers, ids and addresses replaced: `host <n> refused`."""
    line = error.strip().partition("\n")[0][: 2 * KEPT_CHARS]
    for pattern, word in _BY_CHANCE:
        line = pattern.sub(word, line)
    return " ".join(line.split())[:KEPT_CHARS]


def fingerprint(error: str, place: str) -> str:
    """Twelve characters that are equal for equal failures."""
    text = f"{normalised(error)}\0{place}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()
