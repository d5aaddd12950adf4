"""A picture of a fault: which fire time ran when and on which node, under the bands of what was broken."""

from __future__ import annotations

from html import escape
from math import inf

from scheduler_app.management.drill.checker import Report
from scheduler_app.management.drill.evidence import Evidence
from scheduler_app.management.drill.scene import Scene

LANE, LEFT, TOP, SECOND = 26, 190, 60, 16
COLOURS = ("#2563eb", "#16a34a", "#d97706", "#9333ea", "#0891b2", "#be123c")


def draw(evidence: Evidence, report: Report, *, title: str) -> str:
    """The SVG: a lane for each job with a tick for each expected fire time, then a lane for each node."""
    scene = Scene(evidence)
    names = sorted({node.name for node in evidence.nodes})
    colour = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    since = min((job.definitions[0].asked for job in evidence.jobs), default=0.0) - 2
    until = evidence.ended + 1
    lanes = {job.id: TOP + number * LANE for number, job in enumerate(evidence.jobs)}
    node_lanes = {
        name: TOP + (len(lanes) + number) * LANE + 12 for number, name in enumerate(names)
    }
    height = TOP + (len(lanes) + len(names)) * LANE + 40 + 15 * len(report.findings[:40])

    def x(moment: float) -> float:
        return LEFT + (min(max(moment, since), until) - since) * SECOND

    parts = [f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>']
    for band in evidence.ledger.bands:
        top = node_lanes.get(band.node, TOP) if band.node else TOP
        tall = LANE if band.node else height - TOP
        width = x(min(band.ended, until)) - x(band.began)
        parts.append(
            f'<rect x="{x(band.began):.1f}" y="{top}" width="{max(width, 1):.1f}" height="{tall}" fill="#fca5a5" '
            f'opacity="0.45"><title>{escape(band.kind)} {escape(band.node)}</title></rect>'
        )
    for second in range(int(since), int(until) + 1, 5):
        parts.append(
            f'<text x="{x(second):.1f}" y="{TOP - 8}" fill="#6b7280">{second - int(since)} s</text>'
            f'<line x1="{x(second):.1f}" y1="{TOP}" x2="{x(second):.1f}" y2="{height}" stroke="#e5e7eb"/>'
        )
    for job in evidence.jobs:
        y = lanes[job.id]
        parts.append(f'<text x="8" y="{y + 16}">{escape(job.name[:26])}</text>')
        for moment in sorted(scene.expected(job)[0]):
            at = x(scene.due(moment))
            parts.append(
                f'<line x1="{at:.1f}" y1="{y + 2}" x2="{at:.1f}" y2="{y + 6}" stroke="#111827"/>'
            )
        for gap in (gap for gap in evidence.gaps if gap.job == job.id):
            a, b = x(scene.due(gap.first)), x(scene.due(gap.last))
            parts.append(
                f'<rect x="{a - 2:.1f}" y="{y + 2}" width="{b - a + 4:.1f}" height="4" fill="#9ca3af">'
                f"<title>gap: {escape(gap.reason)} {gap.count}</title></rect>"
            )
    for run in evidence.runs:
        row, claim = scene.rows.get(run.execution), scene.claims_of_runs[run.key]
        if row is None or row.job not in lanes:
            continue
        node = scene.names.get(claim.node, "") if claim else ""
        ended = run.ended if run.ended is not None else run.began + 0.2
        stroke = ' stroke="#dc2626" stroke-width="1.5"' if run.ended is None else ""
        parts.append(
            f'<rect x="{x(run.began):.1f}" y="{lanes[row.job] + 8}" width="{max(x(ended) - x(run.began), 2):.1f}" '
            f'height="{LANE - 12}" fill="{colour.get(node, "#000")}" opacity="0.7"{stroke}><title>'
            f"execution {run.execution} for {run.fire_time:.0f} on {escape(node)}: {run.how or 'no end'}"
            "</title></rect>"
        )
    for name, y in node_lanes.items():
        parts.append(f'<text x="8" y="{y + 16}" fill="{colour[name]}">{escape(name)}</text>')
        for life in evidence.ledger.lives:
            if life.node == name:
                ended = life.ended if life.ended < inf else until
                parts.append(
                    f'<rect x="{x(life.began):.1f}" y="{y + 10}" width="{max(x(ended) - x(life.began), 1):.1f}" '
                    f'height="6" fill="{colour[name]}"><title>pid {life.pid}, ended with {life.code}</title></rect>'
                )
    for finding in report.findings:
        if finding.at and finding.job in lanes:
            at, y = x(scene.due(finding.at)), lanes[finding.job]
            parts.append(
                f'<circle cx="{at:.1f}" cy="{y + 12}" r="6" fill="none" stroke="#dc2626" stroke-width="2">'
                f"<title>{escape(finding.kind)}: {escape(finding.text)}</title></circle>"
            )
    for number, finding in enumerate(report.findings[:40]):
        parts.append(
            f'<text x="8" y="{height - 15 * (len(report.findings[:40]) - number)}" fill="#dc2626">'
            f"{escape(finding.kind)}: {escape(finding.text)}</text>"
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x(until) + 20:.0f}" height="{height + 10}" '
        f'font-family="sans-serif" font-size="11" style="background:#fff">{"".join(parts)}</svg>\n'
    )
