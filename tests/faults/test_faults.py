"""The faults themselves. FAULTS=short (as every test run), quick (`make faults`) or long (`make faults-long`)."""

from __future__ import annotations

import os

import pytest

from .cluster import Cluster
from .faults import FAULTS, Fault
from .pooler import PGBOUNCER
from .running import run

TIER = os.environ.get("FAULTS", "short")
SHORT = ("F0", "F1", "F2", "F3", "F4", "F6")
SHORT_S = 12.0
PATIENCE_S = {"short": 20.0, "quick": 5.0, "long": 5.0}
"""What a busy machine may add to bounds in seconds; nothing is added to what counts losses."""

if TIER not in PATIENCE_S:
    raise ValueError(f"FAULTS must be one of {', '.join(PATIENCE_S)}, got {TIER!r}.")


def seconds_of(fault: Fault) -> float:
    return {"short": SHORT_S, "quick": fault.quick_s, "long": fault.long_s}[TIER]


def chosen() -> list[object]:
    """The tier's faults; in the short one all share one cluster, and so one process of xdist."""
    names = (
        SHORT if TIER == "short" else [name for name, fault in FAULTS.items() if seconds_of(fault)]
    )
    marks = [pytest.mark.xdist_group("faults")] if TIER == "short" else []
    return [pytest.param(FAULTS[name], marks=marks, id=name) for name in names]


@pytest.mark.parametrize("fault", chosen())
def test_every_promise_is_kept_under(
    fault: Fault, cluster: Cluster, record_property: pytest.FixtureRequest
) -> None:
    if fault.pooled and PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    result = run(
        cluster,
        fault,
        seconds=seconds_of(fault),
        seed=int(os.environ.get("FAULTS_SEED", "1")),
        patience_s=PATIENCE_S[TIER],
    )
    record_property("fault", result.line)

    assert not result.problems, result.story
