"""1,809 facts from thirteen other schedulers' tests; `data/README.md` says whose they are."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from scheduler_app.rules.schedules import InvalidSchedule, parse_schedule

DATA = Path(__file__).parent / "data" / "cron_cases.jsonl"


class Case(NamedTuple):
    id: str
    source: str
    topic: str
    kind: str
    text: str
    zone: str
    day_match: str
    start: str | None
    want: list[str] | str


CASES = [Case(*json.loads(line)) for line in DATA.read_text().splitlines()[1:]]


def test_the_file_is_whole():
    kinds = Counter(case.kind for case in CASES)
    assert kinds == {"must": 1483, "differs": 140, "optional": 137, "refuse": 49}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_answer_is_as_promised(case):
    try:
        schedule = parse_schedule(case.text, case.zone, day_match=case.day_match)
    except InvalidSchedule as error:
        assert error.problems
        assert case.want in ("error", []) or case.kind == "optional", case
        return
    assert case.kind != "refuse", case
    assert case.want != "error", case
    moment = datetime.fromisoformat(case.start)
    answers = []
    for _ in case.want or ["never"]:
        moment = schedule.next_after(moment)
        answers.append(moment)
        if moment is None:
            break
    assert answers == ([datetime.fromisoformat(want) for want in case.want] or [None]), case
    assert all(answer is None or answer.tzinfo is UTC for answer in answers)
