"""The picture of a fault is an SVG that shows what was found."""

from __future__ import annotations

from xml.etree import ElementTree

from scheduler_app.management.drill.checker import check
from scheduler_app.management.drill.ledger import Band

from .picture import draw
from .test_checker import T0, a_missing_run, honest

SVG = "{http://www.w3.org/2000/svg}"


def test_it_shows_runs_bands_and_findings():
    evidence = honest()
    a_missing_run(evidence)
    evidence.ledger.bands.append(Band("frozen <solid>", T0 + 20, T0 + 25, node="a"))

    picture = ElementTree.fromstring(draw(evidence, check(evidence), title="F0: a & b"))

    words = [element.text for element in picture.iter() if element.text]
    assert "F0: a & b" in words
    assert "frozen <solid> a" in words
    assert any(word.startswith("missing: steady") for word in words)
    bars = [element for element in picture.iter(f"{SVG}rect") if element.get("opacity") == "0.7"]
    assert len(bars) == len(evidence.runs)
    assert len(list(picture.iter(f"{SVG}circle"))) == 1
