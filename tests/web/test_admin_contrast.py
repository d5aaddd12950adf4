"""Text can be read: the contrast of WCAG AA, computed from the variables of the style sheets, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib import admin

import scheduler_app

STOCK = Path(admin.__file__).parent / "static/admin/css"
OWN = Path(scheduler_app.__file__).parent / "static/scheduler_app/admin.css"
TEXT = 4.5
GRAPHICS = 3.0

LIGHT = r'html\[data-theme="light"\],\s*:root'
DARK_BY_CHOICE = r'html\[data-theme="dark"\]'
DARK_BY_SYSTEM = r"@media \(prefers-color-scheme: dark\) \{\s*:root"

BADGES = ("good", "bad", "warn", "busy", "calm")


def variables(path: Path, selector: str) -> dict[str, str]:
    """Those that a block sets."""
    block = re.search(rf"{selector}\s*\{{(.*?)\}}", path.read_text(), re.S)
    assert block, (path, selector)
    return dict(re.findall(r"(--[\w-]+):\s*([^;]+);", block[1]))


def theme(name: str) -> dict[str, str]:
    """All variables of a theme, the stock admin's under the own."""
    found = variables(STOCK / "base.css", LIGHT) | variables(OWN, LIGHT)
    if name == "dark":
        found |= variables(STOCK / "dark_mode.css", DARK_BY_CHOICE)
        found |= variables(OWN, DARK_BY_CHOICE)
    return found


def luminance(colour: str, known: dict[str, str]) -> float:
    while reference := re.fullmatch(r"var\((--[\w-]+)\)", colour):
        colour = known[reference[1]].strip()
    colour = {"white": "#ffffff", "black": "#000000"}.get(colour, colour).removeprefix("#")
    if len(colour) == 3:
        colour = "".join(2 * digit for digit in colour)
    parts = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str, known: dict[str, str]) -> float:
    dark, light = sorted(luminance(known[name].strip(), known) for name in (one, other))
    return (light + 0.05) / (dark + 0.05)


PAIRS = [
    *(
        (text, ground, TEXT)
        for text in ("--body-fg", "--body-quiet-color", "--body-medium-color", "--link-fg")
        for ground in ("--body-bg", "--sch-panel-bg", "--darkened-bg", "--sch-code-bg")
    ),
    ("--link-hover-color", "--sch-panel-bg", TEXT),
    ("--breadcrumbs-fg", "--breadcrumbs-bg", TEXT),
    ("--breadcrumbs-link-fg", "--breadcrumbs-bg", TEXT),
    ("--header-color", "--header-bg", TEXT),
    ("--header-link-color", "--header-bg", TEXT),
    ("--button-fg", "--button-bg", TEXT),
    ("--button-fg", "--button-hover-bg", TEXT),
    ("--button-fg", "--delete-button-bg", TEXT),
    ("--error-fg", "--body-bg", TEXT),
    ("--body-fg", "--selected-row", TEXT),
    ("--body-fg", "--selected-bg", TEXT),
    *((f"--sch-{name}", f"--sch-{name}-bg", TEXT) for name in BADGES),
    *((f"--sch-{name}", "--sch-panel-bg", TEXT) for name in BADGES),
    *((f"--sch-{name}", "--body-bg", GRAPHICS) for name in BADGES),
    *(("--body-fg", f"--message-{name}-bg", TEXT) for name in ("success", "warning", "error")),
]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_stands_out_from_its_ground(name: str) -> None:
    known = theme(name)

    found = {(one, other): contrast(one, other, known) for one, other, _ in PAIRS}

    poor = {
        pair: round(found[pair], 2)
        for pair, least in ((p[:2], p[2]) for p in PAIRS)
        if found[pair] < least
    }
    assert poor == {}


def test_dark_by_choice_and_dark_by_the_system_are_the_same() -> None:
    assert variables(OWN, DARK_BY_CHOICE) == variables(OWN, DARK_BY_SYSTEM)


def test_the_measure_is_right() -> None:
    known = {"--a": "#000", "--b": "white", "--c": "#777777"}
    assert contrast("--a", "--b", known) == pytest.approx(21)
    assert contrast("--c", "--b", known) == pytest.approx(4.48, abs=0.01)
