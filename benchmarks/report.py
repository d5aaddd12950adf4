"""Results as a table that people read: figures, and the ratios to what PostgreSQL itself can do and to the best peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

MAIN = {"drain": "per_s", "pickup": "p50_ms", "herd": "last_ms", "seconds": "p99_ms"}
"""By which figure contenders are compared."""
MORE_IS_BETTER = {"per_s"}
LIMIT_BATCH = 500
NOT_PEERS = {"scheduler", "postgresql"}


def table(results: Sequence[Result], notes: Mapping[str, str] | None = None) -> str:
    """One block a workload, one line a contender; below, how each contender is configured."""
    lines = []
    for workload in dict.fromkeys(result["workload"] for result in results):
        lines += ["", *_block(workload, _of(results, workload), _limits(results))]
    if notes:
        lines += ["", *(f"{name}: {note}" for name, note in notes.items())]
    return "\n".join(lines)


def _block(workload: str, results: Sequence[Result], limits: Mapping[int, float]) -> list[str]:
    columns = list(dict.fromkeys(name for result in results for name in result.get("figures", {})))
    rows = [["", *columns]]
    best = best_peer(results)
    for result in results:
        figures = result.get("figures", {})
        cells = [_shown(figures[name]) if name in figures else "" for name in columns]
        rows.append([result["contender"], *cells, *_ratios(result, best, limits)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns) + 1)]
    lines = [workload]
    says = ["", *(result.get("says", "") for result in results)]
    for row, words in zip(rows, says, strict=True):
        if words:
            lines.append(f"  {row[0]:<{widths[0]}}  {words}")
            continue
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([f"  {row[0]:<{widths[0]}}", *cells, *row[len(widths) :]]).rstrip())
    return lines


def _ratios(result: Result, best: Result | None, limits: Mapping[int, float]) -> list[str]:
    main = MAIN.get(result.get("kind", ""), "")
    figures = result.get("figures", {})
    if main not in figures:
        return []
    found = []
    if result["kind"] == "drain" and (limit := limits.get(result["nodes"])):
        found.append(f"{_ratio(figures[main] / limit)} of the limit")
    if best is result:
        found.append("best peer")
    elif best and best["figures"][main]:
        ratio = _ratio(figures[main] / best["figures"][main])
        found.append(f"{ratio} of {best['contender']}'s {main}")
    return found


def best_peer(results: Sequence[Result]) -> Result | None:
    """Whose main figure is best among the peers that miss and double least."""

    def rank(result: Result) -> tuple[float, float]:
        figures, main = result["figures"], MAIN[result["kind"]]
        sign = -1 if main in MORE_IS_BETTER else 1
        return figures.get("missed", 0) + figures.get("doubled", 0), sign * figures[main]

    peers = [
        result
        for result in results
        if result["contender"] not in NOT_PEERS
        and MAIN.get(result.get("kind", ""), "") in result.get("figures", {})
    ]
    return min(peers, key=rank, default=None)


def _limits(results: Sequence[Result]) -> dict[int, float]:
    """Rows a second in the largest batches, by the number of connections."""
    return {
        result["nodes"]: result["figures"]["per_s"]
        for result in results
        if result.get("batch") == LIMIT_BATCH and "figures" in result
    }


def _of(results: Sequence[Result], workload: str) -> list[Result]:
    return [result for result in results if result["workload"] == workload]


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
