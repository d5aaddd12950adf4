"""Where bars, lines and marks of a chart lie, as plain values. Templates draw them as SVG, by attributes alone.

Coordinates are those of a view box of WIDTH × HEIGHT that is stretched to its place; words stand beside it in HTML, so
that they keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

WIDTH = 1000.0
HEIGHT = 100.0
SHARE_OF_SLOT = 0.8
"""Of the place that a column has; the rest is the space to the next."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar; `key` names its kind, as badges do."""

    key: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A stacked column."""

    x: float
    width: float
    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on an axis, from 0 to its length, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """What a bar is drawn of: amounts by kind, the lowest first, and its words."""

    title: str
    amounts: Sequence[tuple[str, float]]

    @property
    def total(self) -> float:
        return sum(amount for _, amount in self.amounts)


@dataclass(frozen=True, slots=True)
class Line:
    """A line, broken where a value is missing; each piece as an SVG `points`."""

    key: str
    pieces: tuple[str, ...]
    dots: tuple[tuple[float, float], ...] = ()
    """Values without a neighbour, which no line would show."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The height of a chart: what its upper end means, and lines across it."""

    top: float
    marks: tuple[Mark, ...] = field(default=())


def nice_top(highest: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, … that is not below; 1 for nothing."""
    if highest <= 1:
        return 1.0
    size = 10.0 ** math.floor(math.log10(highest))
    return next(factor * size for factor in (1.0, 2.0, 5.0, 10.0) if factor * size >= highest)


def stacked_bars(columns: Sequence[Column], top: float) -> list[Bar]:
    """One bar for each column, standing on the lower edge; `top` is what the height stands for."""
    slot = WIDTH / max(1, len(columns))
    bars = []
    for place, column in enumerate(columns):
        parts: list[Part] = []
        floor = HEIGHT
        for key, amount in column.amounts:
            if amount <= 0:
                continue
            height = min(floor, amount / top * HEIGHT)
            # One failure among thousands must still be seen.
            height = min(floor, max(height, 1.5))
            floor -= height
            parts.append(Part(key, _rounded(floor), _rounded(height)))
        bars.append(
            Bar(
                x=_rounded(slot * (place + (1 - SHARE_OF_SLOT) / 2)),
                width=_rounded(slot * SHARE_OF_SLOT),
                title=column.title,
                parts=tuple(parts),
            )
        )
    return bars


@dataclass(frozen=True, slots=True)
class Decades:
    """A logarithmic scale from one power of ten to another."""

    lowest: int
    highest: int

    @classmethod
    def holding(cls, values: Iterable[float | None], *, floor: float) -> Decades:
        """The powers of ten around the values, of which those below `floor` are drawn at the lower edge."""
        known = [max(floor, value) for value in values if value is not None]
        lowest = math.floor(math.log10(min(known, default=floor)))
        highest = math.ceil(math.log10(max(known, default=floor)) - 1e-9)
        return cls(lowest, max(highest, lowest + 1))

    def y(self, value: float) -> float:
        """Where the value lies, from the upper edge."""
        exponent = math.log10(value) if value > 0 else float(self.lowest)
        share = (exponent - self.lowest) / (self.highest - self.lowest)
        return _rounded(HEIGHT * (1 - min(1.0, max(0.0, share))))

    @property
    def steps(self) -> list[float]:
        """The powers of ten, the lowest first."""
        return [10.0**exponent for exponent in range(self.lowest, self.highest + 1)]


def line(key: str, values: Sequence[float | None], scale: Decades) -> Line:
    """A line through the middle of each value's place."""
    slot = WIDTH / max(1, len(values))
    pieces: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((_rounded(slot * (place + 0.5)), scale.y(value)))
    return Line(
        key,
        tuple(" ".join(f"{x:g},{y:g}" for x, y in piece) for piece in pieces if len(piece) > 1),
        tuple(piece[0] for piece in pieces if len(piece) == 1),
    )


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """From one moment to another."""

    start: datetime
    end: datetime

    def x(self, moment: datetime) -> float:
        """Where the moment lies; outside of the axis at its end."""
        share = (moment - self.start) / (self.end - self.start)
        return _rounded(WIDTH * min(1.0, max(0.0, share)))

    def width(self, since: datetime, until: datetime, *, least: float = 0.0) -> float:
        """How wide a stretch is, and at least `least`."""
        return max(least, _rounded(self.x(until) - self.x(since)))

    def percent(self, moment: datetime) -> float:
        """The same as `x`, of a hundred."""
        return _rounded(self.x(moment) * 100 / WIDTH)


def whole_steps(axis: TimeAxis, step: timedelta, shift: timedelta = timedelta(0)) -> list[datetime]:
    """The moments within the axis at whole multiples of `step`, counted from midnight UTC less `shift`."""
    midnight = axis.start.replace(hour=0, minute=0, second=0, microsecond=0) - shift
    first = midnight + step * math.ceil((axis.start - midnight) / step)
    return [first + step * number for number in range(int((axis.end - first) / step) + 1)]


def _rounded(value: float) -> float:
    # Two places are a fifth of a pixel on the widest screen, and keep pages small.
    return round(value, 2)
