"""When does a time zone change its clock? A table of integers, read from zoneinfo once per zone.

Moments are Unix seconds; a *local* second is the Unix second plus the zone's offset, so that wall
times can be compared and divided like numbers. Everything here is immutable once built.
"""

from __future__ import annotations

import difflib
import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from .problems import Problem

FIRST_MOMENT = 0
"""1970-01-01T00:00:00Z, the first moment that schedules know."""
END_OF_TIME = 4133980800
"""2101-01-01T00:00:00Z, the first moment after the last year that schedules know (2100)."""

BEFORE_EVERYTHING = -(1 << 60)
AFTER_EVERYTHING = 1 << 60

# These name the machine's own zone, which differs from node to node.
MACHINE_ZONES = frozenset({"localtime", "posixrules", "posix", "right"})
LONGEST_NAME = 64

# The shortest time that any zone has kept an offset since 1970 is just under seven days, so looking
# every three days misses no change.
PROBE_S = 3 * 86400


@dataclass(frozen=True, slots=True, eq=False)
class Zone:
    """The segments of constant offset of one zone, in order."""

    name: str
    starts: tuple[int, ...]
    """Unix second at which each segment begins; the first is before everything."""
    offsets: tuple[int, ...]
    """Seconds east of UTC in each segment."""
    local_starts: tuple[int, ...]
    local_ends: tuple[int, ...]
    """The first local second of each segment, and the first one after it by the same offset."""

    def segment(self, ts: int) -> int:
        return bisect_right(self.starts, ts) - 1

    def offset_at(self, ts: int) -> int:
        return self.offsets[bisect_right(self.starts, ts) - 1]

    def first_moment_of(self, local: int) -> int:
        """When the wall clock first shows `local`; in a gap, the first moment after the jump."""
        segment = bisect_right(self.local_ends, local)
        return max(self.starts[segment], local - self.offsets[segment])


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every name that a job may use."""
    return frozenset(available_timezones() - MACHINE_ZONES)


def zone_problem(name: str) -> Problem | None:
    """What is wrong with a zone name, or None."""
    if not isinstance(name, str) or name not in zone_names():
        given = str(name)
        close = _closest(given)
        hint = f"; did you mean {close}?" if close else ""
        shown = given if len(given) <= LONGEST_NAME else given[:LONGEST_NAME] + "…"
        return Problem(
            field="timezone",
            message=f"timezone: {shown!r} is not a known time zone{hint}",
            given=shown,
            allowed="a name of the IANA time zone database, such as Europe/Paris or UTC",
            suggestion=close,
        )
    return None


def _closest(name: str) -> str:
    if not name or len(name) > LONGEST_NAME or name in MACHINE_ZONES:
        return ""
    by_lower = {known.lower(): known for known in zone_names()}
    wanted = name.strip().lower().replace(" ", "_")
    if wanted in by_lower:
        return by_lower[wanted]
    cities = {known.rpartition("/")[2]: known for known in sorted(by_lower)}
    if wanted in cities:
        return by_lower[cities[wanted]]
    found = difflib.get_close_matches(wanted, sorted(by_lower), n=1, cutoff=0.8)
    return by_lower[found[0]] if found else ""


@lru_cache(maxsize=1024)
def load_zone(name: str) -> Zone:
    """The table of a known zone; about ten milliseconds the first time."""
    zone = ZoneInfo(name)

    def offset_at(ts: int) -> int:
        offset = datetime.fromtimestamp(ts, zone).utcoffset()
        assert offset is not None
        return offset.days * 86400 + offset.seconds

    starts = [BEFORE_EVERYTHING]
    probe = FIRST_MOMENT - 7 * 86400
    offsets = [offset_at(probe)]
    while probe < END_OF_TIME:
        before, probe = probe, min(probe + PROBE_S, END_OF_TIME)
        offset = offset_at(probe)
        if offset != offsets[-1]:
            low, high = before, probe
            while high - low > 1:
                middle = (low + high) // 2
                if offset_at(middle) == offset:
                    high = middle
                else:
                    low = middle
            starts.append(high)
            offsets.append(offset)
    ends = [*starts[1:], AFTER_EVERYTHING]
    return Zone(
        name=name,
        starts=tuple(starts),
        offsets=tuple(offsets),
        local_starts=tuple(start + offset for start, offset in zip(starts, offsets, strict=True)),
        local_ends=tuple(end + offset for end, offset in zip(ends, offsets, strict=True)),
    )


@lru_cache(maxsize=1024)
def zone_fingerprint(name: str) -> str:
    """Changes when a tz data release changes this zone between 1970 and 2100; 16 hex digits.

    Store it beside what was computed; after a restart, what was computed by another one is stale.
    """
    zone = load_zone(name)
    facts = repr((zone.starts, zone.offsets)).encode()
    return hashlib.blake2b(facts, digest_size=8).hexdigest()


@lru_cache(maxsize=4096)
def utc(ts: int) -> datetime:
    """An aware UTC datetime from a Unix second."""
    return datetime.fromtimestamp(ts, UTC)
