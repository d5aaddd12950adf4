"""From what was measured to a word for it."""

from __future__ import annotations

import pytest

from scheduler_app.rules.health import Vitals, judge

WELL = {
    "nodes_ticking": 2,
    "nodes_draining": 0,
    "nodes_stuck": 0,
    "nodes_silent": 0,
    "tick_age_s": 0.5,
    "ready": 0,
    "ready_age_s": None,
    "overdue": 0,
    "overdue_age_s": None,
    "counted_to": 10_000,
}


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({}, "ok", ""),
        ({"nodes_draining": 1}, "ok", ""),
        ({"ready": 9, "ready_age_s": 59.0, "overdue": 9, "overdue_age_s": 59.0}, "ok", ""),
        ({"ready_age_s": 61.0}, "degraded", "ready for 61 s"),
        ({"overdue_age_s": 61.0}, "degraded", "due for 61 s"),
        ({"nodes_silent": 1}, "degraded", "fell silent: 1"),
        ({"nodes_stuck": 1}, "degraded", "do not turn: 1"),
        ({"troubles": ("disk_full", "read_only")}, "degraded", "something: disk_full, read_only."),
        ({"nodes_ticking": 0, "tick_age_s": 99.0}, "down", "99 s ago"),
        ({"nodes_ticking": 0, "tick_age_s": None}, "down", "start one"),
    ],
)
def test_it_is_judged_with_the_reason(changed: dict, status: str, words: str) -> None:
    health = judge(Vitals(**WELL | changed))

    assert health.status == status
    assert words in " ".join(health.reasons)
    assert bool(health.reasons) == (status != "ok")
