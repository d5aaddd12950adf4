"""When does a cron text fire? A second answer, as slow and as plain as can be, to test the first one.

It shares nothing with the product: its own reading of the text (each value is asked whether a piece
of the field names it), dates by `datetime`, and every wall time of every date tried through zoneinfo.
It takes only texts that are right.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Reference:
    """One text on one zone's wall clock."""

    def __init__(self, text: str, zone: str, day_match: str = "or") -> None:
        words = ALIASES.get(text.strip().lower(), text).lower().split()
        if len(words) == 5:
            words = ["0", *words]
        second, minute, hour, self.day, month, self.weekday = words
        self.zone = ZoneInfo(zone)
        self.both = day_match == "and"
        self.seconds = [v for v in range(60) if names(second, v, 0, 59)]
        self.minutes = [v for v in range(60) if names(minute, v, 0, 59)]
        self.hours = [v for v in range(24) if names(hour, v, 0, 23)]
        self.months = [v for v in range(1, 13) if names(month, v, 1, 12, MONTHS, 1)]
        self.every_hour = len(self.hours) == 24
        self.keeps_rhythm = self.every_hour or any(c in minute + hour for c in "*/")

    def runs_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        free = ("*", "?", "*/1")
        by_day = self.day in free or self._day_matches(day)
        by_weekday = self.weekday in free or self._weekday_matches(day)
        if self.day in free or self.weekday in free or self.both:
            return by_day and by_weekday
        return by_day or by_weekday

    def _day_matches(self, day: date) -> bool:
        if self.day.endswith("w"):
            return day == nearest_weekday(day.replace(day=1), int(self.day[:-1]))
        for piece in self.day.split(","):
            if piece == "l":
                if (day + DAY).month != day.month:
                    return True
            elif names(piece, day.day, 1, 31):
                return True
        return False

    def _weekday_matches(self, day: date) -> bool:
        today = day.isoweekday() % 7
        for piece in self.weekday.split(","):
            if "#" in piece:
                name, nth = piece.split("#")
                if number(name, WEEKDAYS, 0) % 7 == today and (day.day + 6) // 7 == int(nth):
                    return True
            elif piece[-1] == "l" or piece[0] == "l":
                last = (day + 7 * DAY).month != day.month
                if number(piece.strip("l"), WEEKDAYS, 0) % 7 == today and last:
                    return True
            elif any(
                names(piece, value, 0, 6, WEEKDAYS, 0) for value in ways_to_write(piece, today)
            ):
                return True
        return False

    def fires(self, after: int, until: int) -> list[int]:
        """Every fire time strictly after `after`, up to and including `until`, in Unix seconds."""
        found: set[int] = set()
        margin = self._margin(after, until)
        day = datetime.fromtimestamp(after, self.zone).date() - 2 * DAY
        end = datetime.fromtimestamp(until, self.zone).date() + 2 * DAY
        while day <= end:
            for hour in self.hours if self.runs_on(day) else ():
                wall = datetime(day.year, day.month, day.day, hour)
                if (
                    not after - margin
                    <= seconds_of(wall.replace(tzinfo=self.zone))
                    <= until + margin
                ):
                    continue
                for minute in self.minutes:
                    for second in self.seconds:
                        found.update(self._instants(wall.replace(minute=minute, second=second)))
            day += DAY
        return sorted(ts for ts in found if after < ts <= until)

    def _margin(self, after: int, until: int) -> int:
        """Wall times further than this outside of the stretch cannot run in it."""
        if until - after > 4 * 86400:
            return 26 * 3600
        around = [after - 2 * 86400, until + 2 * 86400]
        offsets = [datetime.fromtimestamp(ts, self.zone).utcoffset() for ts in around]
        assert offsets[0] is not None and offsets[1] is not None
        return abs(int((offsets[1] - offsets[0]).total_seconds())) + 3600

    def next_after(self, after: int, years: int) -> int | None:
        """The first fire time after `after`, looking only so far."""
        day = datetime.fromtimestamp(after, self.zone).date() - DAY
        for _ in range(366 * years):
            if self.runs_on(day):
                noon = seconds_of(datetime(day.year, day.month, day.day, 12, tzinfo=self.zone))
                # A run of this date may be made up on the next one.
                if found := self.fires(max(after, noon - 86400), noon + 86400):
                    return found[0]
            day += DAY
        return None

    def _instants(self, wall: datetime) -> list[int]:
        """When this wall time makes the job run: once, twice, or at the end of the gap it is in."""
        first = seconds_of(wall.replace(tzinfo=self.zone, fold=0))
        second = seconds_of(wall.replace(tzinfo=self.zone, fold=1))
        shown = datetime.fromtimestamp(first, self.zone).replace(tzinfo=None, fold=0)
        if shown == wall:
            return [first, second] if second != first and self.keeps_rhythm else [first]
        if self.every_hour:
            return []
        # The clock jumped over this wall time somewhere between these two.
        early, late = sorted((first, second))
        offset = datetime.fromtimestamp(late, self.zone).utcoffset()
        while late - early > 1:
            middle = (early + late) // 2
            if datetime.fromtimestamp(middle, self.zone).utcoffset() == offset:
                late = middle
            else:
                early = middle
        return [late]


def names(
    text: str, value: int, low: int, high: int, words: list[str] | None = None, first: int = 0
) -> bool:
    """Whether a field, or a piece of it, names this value."""
    if "," in text:
        return any(names(piece, value, low, high, words, first) for piece in text.split(","))
    base, _, step_text = text.partition("/")
    step = int(step_text) if step_text else 1
    if base == "*":
        return (value - low) % step == 0
    if "-" in base:
        start, end = (number(word, words, first) for word in base.split("-"))
        if words is WEEKDAYS:
            start = 0 if start == 7 != end else start
    else:
        start = number(base, words, first)
        if words is WEEKDAYS and start == 7 and value < 7:
            start = 0
        end = high if step_text else start
    if start == end:
        return value == start or (words is WEEKDAYS and {value, start} == {0, 7})
    if start < end:
        return start <= value <= end and (value - start) % step == 0
    return value >= start or value <= end


def ways_to_write(piece: str, weekday: int) -> list[int]:
    """Sunday is also 7, in a piece that says 7."""
    return [0, 7] if weekday == 0 and "7" in piece else [weekday]


def number(word: str, words: list[str] | None, first: int) -> int:
    return words.index(word) + first if words and word in words else int(word)


def nearest_weekday(first: date, wanted: int) -> date | None:
    """The day from Monday to Friday that is nearest to a day of the month, in that month."""
    try:
        day = first.replace(day=wanted)
    except ValueError:
        return None
    for distance in (0, -1, 1, -2, 2):
        candidate = day + distance * DAY
        if candidate.month == first.month and candidate.isoweekday() <= 5:
            return candidate
    raise AssertionError("every day has a weekday within two days")


def seconds_of(moment: datetime) -> int:
    return int((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def clock_changes(zone: str, first_year: int, last_year: int) -> list[int]:
    """The Unix seconds at which the zone's offset changes."""
    info = ZoneInfo(zone)

    def offset(ts: int) -> timedelta | None:
        return datetime.fromtimestamp(ts, info).utcoffset()

    changes = []
    ts = seconds_of(datetime(first_year, 1, 1, tzinfo=UTC))
    end = seconds_of(datetime(last_year + 1, 1, 1, tzinfo=UTC))
    while ts < end:
        if offset(ts) != offset(ts + 86400):
            early, late = ts, ts + 86400
            while late - early > 1:
                middle = (early + late) // 2
                if offset(middle) == offset(late):
                    late = middle
                else:
                    early = middle
            changes.append(late)
        ts += 86400
    return changes
