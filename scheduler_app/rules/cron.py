"""When does a cron text fire in a time zone? Integers only, about a microsecond a step.

A `Plan` says which wall times the text names; `CronInZone` finds them on one zone's clock. croniter
expands the text and does not step: its own stepping fires twice in an autumn night, misses repeated
half hours and takes texts that never fire. Immutable, so any number of threads may use one.

The rules at a clock change: a run that falls into a gap happens once, at the first moment after the
jump, unless the job runs every hour anyway. A wall time that comes twice counts once, the first
time, unless `*` or `/` stands in the minute or hour: then the job keeps its rhythm.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from .cron_plan import Plan
from .zones import BEFORE_EVERYTHING, END_OF_TIME, FIRST_MOMENT, Zone


@dataclass(frozen=True, slots=True, eq=False)
class CronInZone:
    """One plan on one zone's wall clock; moments are Unix seconds."""

    plan: Plan
    zone: Zone

    def next_after(self, ts: int) -> int | None:
        """The first run strictly after `ts`."""
        plan, zone = self.plan, self.zone
        ts = max(ts + 1, FIRST_MOMENT)
        if ts >= END_OF_TIME:
            return None
        segment = bisect_right(zone.starts, ts) - 1
        local = ts + zone.offsets[segment]
        if segment:
            before = zone.local_ends[segment - 1]
            if local < before:
                # The second pass of a wall time.
                if not plan.repeats:
                    local = before
            elif ts == zone.starts[segment] and not plan.every_hour:
                # What fell into the gap runs now.
                local = before
        found = plan.first_from(local)
        if found >= zone.local_ends[segment] and plan.repeats:
            # The clock may go back to before `local`; that pass comes next.
            segment += 1
            if zone.local_starts[segment] < local:
                found = plan.first_from(zone.local_starts[segment])
        while True:
            if found >= zone.local_ends[segment]:
                segment = bisect_right(zone.local_ends, found)
            if found >= zone.local_starts[segment]:
                result = found - zone.offsets[segment]
                break
            if not plan.every_hour:
                result = zone.starts[segment]
                break
            found = plan.first_from(zone.local_starts[segment])
        return result if result < END_OF_TIME else None

    def previous_before(self, ts: int) -> int | None:
        """The last run strictly before `ts`."""
        plan, zone = self.plan, self.zone
        ts = min(ts, END_OF_TIME) - 1
        if ts < FIRST_MOMENT:
            return None
        segment = bisect_right(zone.starts, ts) - 1
        local = ts + zone.offsets[segment]
        while True:
            found = plan.last_until(local)
            if segment and found < zone.local_starts[segment] >= zone.local_ends[segment - 1]:
                # No wall time comes twice on the way back to it: go there directly.
                segment = bisect_right(zone.local_starts, found) - 1
                if found >= zone.local_ends[segment]:
                    if not plan.every_hour:
                        result = zone.starts[segment + 1]
                        break
                    local = zone.local_ends[segment] - 1
                    continue
            before = zone.local_ends[segment - 1] if segment else BEFORE_EVERYTHING
            if found >= (zone.local_starts[segment] if plan.repeats else before) or not segment:
                result = found - zone.offsets[segment]
                break
            # Into the first pass, whose wall times reach further than the second pass begins.
            segment -= 1
            local = before - 1
        return result if result >= FIRST_MOMENT else None

    def count(self, after: int, until: int) -> int:
        """How many runs there are strictly after `after`, up to and including `until`."""
        plan, zone = self.plan, self.zone
        first, end = max(after + 1, FIRST_MOMENT), min(until + 1, END_OF_TIME)
        if first >= end:
            return 0
        total = 0
        for segment in range(zone.segment(first), zone.segment(end - 1) + 1):
            start = max(first, zone.starts[segment])
            offset = zone.offsets[segment]
            local = start + offset
            local_end = min(end + offset, zone.local_ends[segment])
            if segment:
                before = zone.local_ends[segment - 1]
                if local < before:
                    if not plan.repeats:
                        local = before
                elif start == zone.starts[segment] and not plan.every_hour:
                    # A run made up for the gap, unless one is due at that moment anyway.
                    made_up = before <= plan.first_from(before) < local
                    total += made_up and plan.first_from(local) != local
            total += plan.count_between(local, local_end)
        return total
