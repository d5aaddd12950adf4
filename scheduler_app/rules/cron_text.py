"""What does a cron text say? Reads it strictly and rewrites it in forms that mean one thing only.

Five fields are minute, hour, day of month, month, weekday; six begin with the second. Every wrong
field is reported, each with what was given and what is allowed. What passes is rewritten in single
values, lists, ascending ranges and steps, on which every release of croniter agrees.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .problems import Invalid, Problem

LONGEST_TEXT = 200

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

LAST = 0
"""Stands for "the last one" where 1 to 5 stand for the first to the fifth."""


class InvalidSchedule(Invalid):
    """A schedule cannot be accepted; `.problems` says what, one entry a wrong field."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a cron text: its name, its values, and how they may be written."""

    name: str
    low: int
    high: int
    highest_written: int
    """Sunday may be written as 7, although weekdays end at 6."""
    names: tuple[str, ...] = ()
    first_name: int = 0
    unit: str = ""
    seconds: int = 0
    """Length of one unit, where a step too wide can be written as an interval."""
    hash_high: int = 0
    """`H` picks up to here: a hashed day exists in every month."""

    @property
    def allowed(self) -> str:
        span = f"{self.low}-{self.highest_written}"
        return f"{span} or {self.names[0]}-{self.names[-1]}" if self.names else span


MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

SECOND = Field("second", 0, 59, 59, unit="seconds", seconds=1, hash_high=59)
MINUTE = Field("minute", 0, 59, 59, unit="minutes", seconds=60, hash_high=59)
HOUR = Field("hour", 0, 23, 23, unit="hours", seconds=3600, hash_high=23)
DAY = Field("day of month", 1, 31, 31, unit="days", seconds=86400, hash_high=28)
MONTH = Field("month", 1, 12, 12, names=MONTH_NAMES, first_name=1, hash_high=12)
WEEKDAY = Field("weekday", 0, 6, 7, names=DAY_NAMES, hash_high=6)
FIELDS = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY)


@dataclass(frozen=True, slots=True)
class CronText:
    """A cron text that was understood, in its one safe form."""

    fields: tuple[str, ...]
    """Second to weekday, in forms that croniter expands; `W`, `#` and `FRIL` are in `nearest` and `nth`."""
    nearest: int
    """The day `d` of `dW`, or 0."""
    nth: frozenset[tuple[int, int]]
    """(weekday, 1 to 5 or LAST) of each `FRI#3` and `FRIL`."""
    plain_weekdays: bool
    """The weekday field also lists weekdays that count every week."""
    restricts_day: bool
    restricts_weekday: bool
    repeats: bool
    """`*` or `/` stands in the minute or hour: in an hour that comes twice, the job keeps its rhythm."""
    seconds_last: bool
    """Six fields whose last one looks like a second."""


def shown(piece: str) -> str:
    """Foreign text as a message may repeat it: printable and short."""
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in piece[:41])
    return safe[:40] + "…" if len(safe) > 40 else safe


def _usable(suggestion: str) -> str:
    """A suggestion made of foreign text, unless it holds what nobody can type."""
    return suggestion if suggestion.isascii() and suggestion.isprintable() else ""


class _FieldError(Exception):
    """One field cannot be read."""

    def __init__(
        self, field: Field, message: str, *, given: str, allowed: str = "", suggestion: str = ""
    ) -> None:
        super().__init__(message)
        self.problem = Problem(
            field=field.name,
            message=f"{field.name}: {message}",
            given=shown(given),
            allowed=allowed or field.allowed,
            suggestion=_usable(suggestion),
        )


def refuse(message: str, *, given: str, allowed: str = "", suggestion: str = "") -> InvalidSchedule:
    """The error for a text that is wrong as a whole."""
    return InvalidSchedule(
        [Problem("schedule", message, shown(given), allowed, _usable(suggestion))]
    )


def read_cron(text: str, key: str = "") -> CronText:
    """Understand a cron text or alias; `key` is what `H` derives its values from."""
    words = _words(text)
    problems: list[Problem] = []
    read: list[_FieldText] = []
    for field, word in zip(FIELDS, words, strict=True):
        try:
            read.append(_read_field(field, word, key))
        except _FieldError as wrong:
            problems.append(wrong.problem)
    six = len(text.split()) == 6
    if problems:
        if six and problems[-1].field == WEEKDAY.name and _looks_like_second(words[-1]):
            problems[-1] = _seconds_last(problems[-1], words)
        raise InvalidSchedule(problems)
    _, minute, hour, day, _, weekday = read
    return CronText(
        fields=tuple(part.plain for part in read),
        nearest=day.nearest,
        nth=frozenset(weekday.nth),
        plain_weekdays=weekday.has_plain,
        restricts_day=day.plain != "*" or bool(day.nearest),
        restricts_weekday=weekday.plain != "*" or bool(weekday.nth),
        repeats=minute.has_rhythm or hour.has_rhythm,
        seconds_last=six and words[-1].startswith("*/") and weekday.plain != "*",
    )


def _words(text: str) -> list[str]:
    """The six fields, second first."""
    words = re.split(r"[ \t]+", text.strip(" \t\r\n"))
    # Lower-casing turns some foreign letters into ASCII ones.
    first = words[0].lower() if words[0].isascii() else words[0]
    if first.startswith("@"):
        if len(words) > 1 or first not in ALIASES:
            raise _unknown_alias(first, text)
        return ["0", *ALIASES[first].split()]
    if re.match(r"(?:cron_)?tz=", first):
        raise refuse(
            "put the zone in the job's time-zone field",
            given=words[0],
            suggestion=" ".join(words[1:]),
        )
    if words == [""]:
        raise refuse(
            "the schedule is empty; use 5 fields (minute hour day month weekday), 6 (second first),"
            " an alias such as @daily, @every 5m, @at 2030-01-31T09:00:00 or @manual",
            given="",
        )
    if len(words) == 5:
        return ["0", *words]
    if len(words) == 6:
        return words
    if len(words) == 7:
        raise refuse(
            "7 fields: years are not supported; set the job's end date instead",
            given=text,
            allowed="5 or 6 fields",
            suggestion=" ".join(words[:6]),
        )
    count = "1 field" if len(words) == 1 else f"{len(words)} fields"
    raise refuse(
        f"{count}; use 5 (minute hour day month weekday) or 6 (second first)",
        given=text,
        allowed="5 or 6 fields",
    )


def _unknown_alias(alias: str, text: str) -> InvalidSchedule:
    known = ", ".join(ALIASES)
    if alias == "@reboot":
        return refuse(
            "@reboot: not a calendar time; use @manual and run the job when the system starts",
            given=text,
            suggestion="@manual",
        )
    interval = {"@every_minute": "@every 1m", "@every_second": "@every 1s"}.get(alias, "")
    if alias in ALIASES:
        return refuse(f"{alias} stands alone", given=text, suggestion=alias)
    hint = f"use {interval}" if interval else f"use {known}, @every 5m, @at or @manual"
    return refuse(
        f"{shown(alias)} is not known; {hint}", given=text, allowed=known, suggestion=interval
    )


def _looks_like_second(word: str) -> bool:
    values = [int(value) for value in re.findall(r"[0-9]{1,4}", word)]
    return bool(values) and 7 < max(values) <= 59


def _seconds_last(problem: Problem, words: Sequence[str]) -> Problem:
    return Problem(
        field=problem.field,
        message=f"{problem.message}. Did you put the seconds last? The first of six fields is the second",
        given=problem.given,
        allowed=problem.allowed,
        suggestion=_usable(" ".join([words[-1], *words[:-1]])),
    )


class _FieldText:
    """One field while it is read."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.pieces: list[str] = []
        self.nth: set[tuple[int, int]] = set()
        self.nearest = 0
        self.has_rhythm = False

    @property
    def has_plain(self) -> bool:
        return bool(self.pieces)

    @property
    def plain(self) -> str:
        return ",".join(dict.fromkeys(self.pieces)) or "*"


def _read_field(field: Field, word: str, key: str) -> _FieldText:
    result = _FieldText(field)
    result.has_rhythm = "*" in word or "/" in word
    if word == "?" and field in (DAY, WEEKDAY):
        return result
    pieces = word.split(",")
    for piece in pieces:
        if not piece.isascii():
            raise _FieldError(
                field, f"{shown(piece)} is not allowed ({field.allowed})", given=piece
            )
        if not piece:
            raise _FieldError(field, f"a value is missing in {shown(word)}", given=word)
        if piece in ("*", "*/1") and len(pieces) > 1:
            raise _FieldError(
                field,
                f"{piece} already means every {field.name}; remove it or the rest of {shown(word)}",
                given=word,
                suggestion="*",
            )
        _read_piece(result, piece, key, alone=len(pieces) == 1)
    return result


def _read_piece(result: _FieldText, piece: str, key: str, *, alone: bool) -> None:
    field = result.field
    if field is DAY and re.search("[LW]", piece, re.IGNORECASE):
        _read_special_day(result, piece, alone=alone)
    elif field is WEEKDAY and _read_special_weekday(result, piece):
        pass
    else:
        base, slash, step_text = piece.partition("/")
        step = _step(field, base, step_text, piece) if slash else 0
        if base[:1] in ("H", "h") and base[1:2] in ("", "("):
            result.pieces += _hashed(field, base, step, key, piece)
        elif base == "*":
            # `*` and `*/1` add nothing: a field without pieces is unrestricted.
            result.pieces += [f"*/{step}"] if step > 1 else []
        elif "-" in base and "(" not in base:
            result.pieces += _range(field, base, step, piece)
        else:
            start = _value(field, base, piece)
            if field is WEEKDAY:
                start %= 7
            result.pieces += _ascending(start, field.high, step) if slash else [str(start)]


def _read_special_day(result: _FieldText, piece: str, *, alone: bool) -> None:
    """`L`, or `15W`."""
    upper = piece.upper()
    if upper == "L":
        result.pieces.append("L")
        return
    match = re.fullmatch("([0-9]{1,2})W", upper)
    if match is None:
        both = "" if upper in ("LW", "WL") else ", and `15W` (the weekday nearest to day 15)"
        raise _FieldError(
            DAY,
            f"{shown(piece)} is not supported; `L` (last day) is{both}",
            given=piece,
            suggestion="L" if "L" in upper else "",
        )
    if not alone:
        raise _FieldError(
            DAY,
            f"{shown(piece)} cannot stand in a list; W must be alone",
            given=piece,
            suggestion=upper,
        )
    result.nearest = _value(DAY, match[1], piece)


def _read_special_weekday(result: _FieldText, piece: str) -> bool:
    """Take `FRI#3`, `FRIL` or `L5`; False when the piece is none of them."""
    if "#" in piece:
        day, _, nth = piece.partition("#")
        if "-" in day or not re.fullmatch("[1-5]", nth):
            raise _FieldError(
                WEEKDAY,
                f"{shown(piece)} is not allowed; FRI#3 is the third Friday, from #1 to #5",
                given=piece,
                allowed=f"{WEEKDAY.allowed}, then # and 1-5",
            )
        result.nth.add((_value(WEEKDAY, day, piece) % 7, int(nth)))
        return True
    if piece in ("L", "l"):
        raise _FieldError(
            WEEKDAY, "L needs a day; FRIL is the last Friday", given=piece, suggestion="FRIL"
        )
    match = re.fullmatch("(?:([0-7]|[A-Z]{3})L|L([0-9]+))", piece, re.IGNORECASE | re.ASCII)
    if match is None:
        return False
    result.nth.add((_value(WEEKDAY, match[1] or match[2], piece) % 7, LAST))
    return True


# How people write the names that cron shortens.
_LONG_NAMES = re.compile(
    "(sun|mon|tues?|wednes|weds?|thurs?|thu|fri|satur)(day)?"
    "|january|february|march|april|june|july|august|sept(ember)?|october|november|december",
    re.IGNORECASE | re.ASCII,
)


def _value(field: Field, text: str, piece: str) -> int:
    """The number that a value or name stands for, as written (Sunday may be 7)."""
    name = text.upper()
    if name in field.names:
        return field.names.index(name) + field.first_name
    if re.fullmatch("[0-9]{1,4}", text) and field.low <= int(text) <= field.highest_written:
        return int(text)
    if name[:3] in field.names and _LONG_NAMES.fullmatch(text):
        number = field.names.index(name[:3]) + field.first_name
        raise _FieldError(field, f"use {name[:3]}, or {number}", given=piece, suggestion=name[:3])
    if re.match(r"R(\(|$)", name):
        raise _FieldError(
            field,
            f"{shown(piece)} would draw a new time at each look; H draws once for each job",
            given=piece,
            suggestion="H" + piece[1:],
        )
    raise _FieldError(
        field, f"{shown(text or piece)} is not allowed ({field.allowed})", given=text or piece
    )


def _step(field: Field, base: str, text: str, piece: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise _FieldError(
            field,
            f"{shown(piece)} is not allowed; after / comes a step (1-{field.highest_written})",
            given=piece,
            allowed=f"1-{field.highest_written}",
        )
    step = int(text)
    if step == 0:
        raise _FieldError(
            field,
            f"step 0 is not allowed (1-{field.highest_written})",
            given=piece,
            allowed=f"1-{field.highest_written}",
        )
    if step > field.highest_written:
        message = f"step {shown(text)} is larger than {field.highest_written}"
        interval = ""
        if field.seconds and base in ("*", str(field.low)) and len(text) <= 6:
            message += (
                f'. Cron cannot say "every {step} {field.unit}";'
                f" use an interval of {step * field.seconds} s"
            )
            interval = f"@every {step}{field.unit[0]}"
        raise _FieldError(
            field,
            message,
            given=piece,
            allowed=f"1-{field.highest_written}",
            suggestion=interval,
        )
    return step


def _ascending(start: int, end: int, step: int) -> list[str]:
    if start + (step or 1) > end:
        return [str(start)]
    return [f"{start}-{end}/{step}" if step > 1 else f"{start}-{end}"]


def _range(field: Field, base: str, step: int, piece: str) -> list[str]:
    first, _, last = base.partition("-")
    if not first and re.fullmatch("[0-9]+", last):
        raise _FieldError(field, f"{shown(base)} is not allowed ({field.allowed})", given=piece)
    if not first or not last or "-" in last:
        raise _FieldError(
            field,
            f"{shown(piece)} is not allowed; a range is two values, such as"
            f" {field.low}-{field.high}",
            given=piece,
        )
    start, end = _value(field, first, piece), _value(field, last, piece)
    if start == end:
        return [str(start % 7 if field is WEEKDAY else start)]
    if field is WEEKDAY:
        return _weekdays(start, end, step)
    return _between(field, start, end, step)


def _weekdays(start: int, end: int, step: int) -> list[str]:
    """A range of weekdays, in which 7 is a Sunday that begins or ends it."""
    if start < end == 7:
        return list(dict.fromkeys(str(day % 7) for day in range(start, 8, step or 1)))
    return _between(WEEKDAY, start % 7, end, step)


def _between(field: Field, start: int, end: int, step: int) -> list[str]:
    if start <= end:
        return _ascending(start, end, step)
    if step > 1:
        size = field.high - field.low + 1
        values = range(start, end + size + 1, step)
        written = ",".join(str((value - field.low) % size + field.low) for value in values)
        raise _FieldError(
            field,
            f"a reversed range cannot have a step; write {written}",
            given=f"{start}-{end}/{step}",
            suggestion=written,
        )
    # The range passes the field's end: 22-2 is 22-23 and 0-2.
    return _ascending(start, field.high, 0) + _ascending(field.low, end, 0)


def _hashed(field: Field, base: str, step: int, key: str, piece: str) -> list[str]:
    """`H`, `H/n`, `H(a-b)` and `H(a-b)/n`: values that differ from job to job and stay."""
    low, high = field.low, field.hash_high
    if base not in ("H", "h"):
        match = re.fullmatch(r"[Hh]\(([^()-]+)-([^()-]+)\)", base)
        if match is None:
            raise _FieldError(
                field,
                f"{shown(piece)} is not allowed; use H, H/15, H({field.low}-{field.hash_high})"
                f" or H({field.low}-{field.hash_high})/2",
                given=piece,
            )
        low = _value(field, match[1], piece)
        high = min(_value(field, match[2], piece), field.high)
        if low > high:
            raise _FieldError(field, f"{shown(piece)}: H takes a range that ascends", given=piece)
    if not key:
        raise _FieldError(
            field, "H takes its value from the job's name, and there is none", given=piece
        )
    if not step:
        return [str(_fair(key, field, low, high - low + 1))]
    start = _fair(key, field, low, min(step, high - low + 1))
    return _ascending(start, high, step)


def _fair(key: str, field: Field, low: int, size: int) -> int:
    """Evenly spread over the keys, and independent from field to field."""
    digest = hashlib.blake2b(f"{key}\0{field.name}".encode(), digest_size=8).digest()
    return low + int.from_bytes(digest, "big") % size
