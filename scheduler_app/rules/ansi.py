"""Terminal colours in a text, as styles beside plain text: what a page may show without trusting what was printed."""

from __future__ import annotations

import re
from collections.abc import Iterator

PLAIN = ""
STYLES = ("bold", "dim", "italic", "underline")
COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

_SGR = re.compile(r"(?:\x1b\[|\x9b)([0-9;:]{0,40})m")
_ON = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",)}


def coloured(text: str, style: str = PLAIN) -> Iterator[tuple[str, str]]:
    """Pieces of the text, each with its style: words of STYLES and COLOURS, as `bold red`. Begins with `style`.

    Only colours are taken out; whatever else a terminal would obey is still in the pieces. The last piece is empty and
    has the style that goes on behind the text.
    """
    at = 0
    for found in _SGR.finditer(text):
        if found.start() > at:
            yield style, text[at : found.start()]
        style = _after(style, found[1])
        at = found.end()
    if at < len(text):
        yield style, text[at:]
    yield style, ""


def _after(style: str, codes: str) -> str:
    words = set(style.split())
    numbers = iter([int(code[:4]) if code else 0 for code in re.split("[;:]", codes)])
    for number in numbers:
        if number == 0:
            words.clear()
        elif number in _ON:
            words.add(_ON[number])
        elif number in _OFF:
            words.difference_update(_OFF[number])
        elif number in (38, 48):
            colour = _of_many(numbers)
            if number == 38:
                words.difference_update(COLOURS)
                words.update(colour)
        elif 30 <= number <= 39 or 90 <= number <= 97:
            words.difference_update(COLOURS)
            if number % 10 < 8:
                words.add(COLOURS[number % 10])
    return " ".join(word for word in (*STYLES, *COLOURS) if word in words)


def _of_many(numbers: Iterator[int]) -> list[str]:
    """One of 256 colours, if it is one of the first 16; three numbers of a true colour are skipped."""
    match next(numbers, None):
        case 5:
            index = next(numbers, 99)
            return [COLOURS[index % 8]] if index < 16 else []
        case 2:
            for _ in range(3):
                next(numbers, None)
    return []
