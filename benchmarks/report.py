"""Results as a table that people read: figures, and the ratio to what PostgreSQL itself can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(results: Sequence[dict[str, Any]]) -> str:
    """One block a workload, one line a contender; drains with their ratio to what PostgreSQL itself does."""
    limits = {
        result["workload"]: result["figures"]["per_s"]
        for result in results
        if result["contender"] == "postgresql" and "figures" in result
    }
    lines = []
    for workload in dict.fromkeys(result["workload"] for result in results):
        lines.append(f"\n{workload}")
        for result in (result for result in results if result["workload"] == workload):
            cells = [f"{name} {_shown(value)}" for name, value in result.get("figures", {}).items()]
            if "per_s" in result.get("figures", {}) and result["contender"] != "postgresql":
                of = "2 connections" if "two nodes" in workload else "1 connection"
                if limit := limits.get(f"limit, 500 a batch, {of}"):
                    cells.append(f"of the limit {result['figures']['per_s'] / limit:.2f}")
            lines.append(f"  {result['contender']:<18}" + (result.get("says") or ", ".join(cells)))
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
