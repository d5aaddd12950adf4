"""S17: a job whose every field, log, error and result is a payload; a real browser opens all pages of it, and nothing runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler_app import lifecycle
from scheduler_app.models import AuditEntry, Execution, Gap, Job, JobPlan, LogChunk, database_now
from tests.web.api_support import make_execution, make_job, make_node

from .support import OpenPage, Trap

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "'\"><svg onload=alert(3)>",
    "javascript:alert(4)",
    "</script><script>alert(5)</script>",
    "</textarea></pre></title><iframe srcdoc='<script>alert(6)</script>'>",
    "{{ constructor.constructor('alert(7)')() }} {% now %} ${alert(8)}",
    "<a href=javascript:alert(9) style=position:fixed;inset:0>x</a>",
    "\u202e\x1b[31m\x1b]8;;javascript:alert(10)\x07x<style>*{display:none}</style>",
    "<meta http-equiv=refresh content=0;url=javascript:alert(11)>",
)
EVIL = " ".join(PAYLOADS)


@pytest.fixture
def evil(transactional_db: None) -> dict[str, Any]:
    """Everything about one job, past all validation, as somebody who can write the tables could leave it."""
    now = database_now()
    job = make_job(name=EVIL[:190], tags=[PAYLOADS[1], PAYLOADS[2]], queue=PAYLOADS[1])
    lifecycle.pause([job.pk], by=PAYLOADS[1], reason=EVIL[:500])
    Job.objects.filter(pk=job.pk).update(
        description=EVIL,
        target=EVIL[:2000],
        schedule=PAYLOADS[0],
        timezone=PAYLOADS[1],
        kind="<svg onload=alert(1)"[:20],
        arguments={EVIL: [EVIL, {EVIL: EVIL}]},
    )
    JobPlan.objects.filter(job=job).update(problem=EVIL[:500])
    node = make_node(name=PAYLOADS[1], release=PAYLOADS[0], queues=[PAYLOADS[2]], state_reason=EVIL)
    execution = make_execution(
        job,
        status="failed",
        reason=PAYLOADS[0],
        error=EVIL,
        traceback=f'Traceback\n  File "{EVIL}", line 1, in {EVIL}\n{EVIL}',
        node=node,
        release=PAYLOADS[1],
        requested_by=PAYLOADS[1],
        result={EVIL: EVIL, "url": "javascript:alert(1)", "method": PAYLOADS[1]},
        spec={"arguments": [EVIL], "kind": "http", "target": "javascript:alert(1)"},
        failures=[{"attempt": EVIL, "reason": EVIL, "error": EVIL, "traceback": EVIL}],
        scheduled_for=now - timedelta(minutes=1),
        finished_at=now,
    )
    LogChunk.objects.create(execution=execution, attempt=1, seq=0, text=EVIL + "\n" + EVIL * 50)
    Gap.objects.create(
        job=job, first_at=now, last_at=now, count=1, reason="paused", who=PAYLOADS[1], detail=EVIL
    )
    lifecycle.pause_scope("tag", PAYLOADS[1], by=PAYLOADS[1], reason=EVIL)
    AuditEntry.objects.create(
        who=PAYLOADS[1],
        source="admin",
        address=PAYLOADS[0],
        token=PAYLOADS[1],
        verb=PAYLOADS[0],
        object_kind="job",
        object_id=PAYLOADS[1],
        object_name=EVIL[:200],
        job_id=job.pk,
        changes={EVIL: {"old": EVIL, "new": [EVIL]}},
        reason=EVIL[:500],
    )
    return {"job": job.pk, "execution": execution.pk, "node": node.pk}


def pages_of(evil: dict[str, Any]) -> list[str]:
    root = "/admin/scheduler_app"
    job, execution = f"{root}/job/{evil['job']}", f"{root}/execution/{evil['execution']}"
    return [
        "/admin/",
        *(f"{root}/{name}/" for name in ("job", "execution", "node", "gap", "auditentry")),
        *(f"{root}/pause/?state=all", f"{root}/job/?q=%3Cscript%3Ealert(1)%3C/script%3E"),
        *(f"{root}/{name}/" for name in ("timeline", "agenda", "heat", "apitoken")),
        *(f"{job}/{part}" for part in ("", "change/", "history/", "run/", "pause/", "resume/")),
        *(f"{job}/{part}" for part in ("timeline/", "backfill/", "delete/")),
        *(f"{execution}/{part}" for part in ("change/", "history/")),
        f"{root}/node/{evil['node']}/change/",
        *(f"/api/v1/{path}?format=api" for path in ("jobs/", f"jobs/{evil['job']}/")),
        f"/api/v1/executions/{evil['execution']}/?format=api",
    ]


def test_s17_no_payload_runs_on_any_page(
    open_page: OpenPage, trap: Trap, evil: dict[str, Any]
) -> None:
    assert Execution.objects.count() == 1
    # The pages of the API have no icon of their own to name.
    trap.forgive("favicon.ico")
    page = open_page()
    for address in pages_of(evil):
        answer = page.goto(address)
        assert answer is not None and answer.status < 400, f"{address}: {answer and answer.status}"
        # What would show that markup of a payload became part of the page.
        assert page.locator("svg[onload], img[onerror], iframe, a[href^=javascript]").count() == 0
        assert page.locator("script:not([src]):not([type='application/json'])").count() == 0, (
            address
        )
        page.wait_for_load_state("networkidle") if "execution" not in address else None
    assert not trap.problems, trap.problems
