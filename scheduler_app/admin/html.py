"""The few pieces of HTML that are made in Python. All of them escape what they are given."""

from __future__ import annotations

from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from .display import clock, printable, relative, utc_clock, zone_of

GLYPHS = frozenset(
    (
        *("ready", "blocked", "running", "succeeded", "failed", "cancelled", "lost"),
        *("enabled", "paused", "disabled", "manual", "over", "planning", "problem", "deleted"),
        *("active", "draining", "stopped", "dead", "overdue", "waiting", "skipped"),
    )
)

_VERDICTS = {"planned": "waiting", "undecided": "planning", "missed": "problem", "limit": "problem"}


def moment_html(
    moment: datetime, zone_name: str, now: datetime, *, with_relative: bool = True
) -> SafeString:
    """The moment in a zone, its distance from now, and UTC to the millisecond as a hint."""
    shown = format_html(
        '<time class="sch-time" datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        utc_clock(moment),
        clock(moment, zone_of(zone_name)),
    )
    if not with_relative:
        return shown
    return format_html('{} <span class="sch-rel">{}</span>', shown, relative(moment, now))


def countdown_html(moment: datetime, now: datetime, zone_name: str) -> SafeString:
    """`in 5 min 3 s`; a script that counts it down finds the moment in the attribute."""
    return format_html(
        '<time class="sch-rel" datetime="{0}" data-countdown="{0}" title="{1}">{2}</time>',
        moment.isoformat(),
        clock(moment, zone_of(zone_name)),
        relative(moment, now),
    )


def glyph_html(key: str) -> SafeString:
    """The sign for a state; always beside its word, so it is hidden from screen readers."""
    known = key if key in GLYPHS else "problem"
    return format_html(
        '<svg class="sch-glyph" aria-hidden="true" focusable="false"><use href="#sch-{}"/></svg>',
        known,
    )


def verdict_key(what: str) -> str:
    """The sign of a verdict: that of its execution's status, or of the kind of reason why there is none."""
    return _VERDICTS.get(what, what if what in GLYPHS else "skipped")


def badge_html(key: str, text: str = "") -> SafeString:
    """A state as a sign and a word; never by colour alone."""
    return format_html(
        '<span class="sch-badge sch-is-{}">{}{}</span>',
        key if key in GLYPHS else "problem",
        glyph_html(key),
        printable(text or key.capitalize()),
    )
