"""Cancel or retry all executions of a selection, however many: counted first, then done in chunks.

The request is a row. The web process that takes it works on it for a moment, which is enough for most; nodes go on
with what is left, so that a closed browser or a restarted web process leaves nothing half done. Each chunk is one
short transaction that changes executions and moves the row's cursor, so it does not matter who does it, or how often
somebody presses the button.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from uuid import UUID

import psycopg
from django.core.exceptions import EmptyResultSet
from django.db import transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When

from scheduler_app.access import NotAllowed, current_caller, require_kinds, visible
from scheduler_app.access.ownership import current_view
from scheduler_app.access.throttling import RUNS, spend_up_to_all
from scheduler_app.conf import get_config
from scheduler_app.models import BulkOperation, BulkVerb, Execution, Job, Status
from scheduler_app.models.audit import Verb
from scheduler_app.models.clock import DatabaseNow
from scheduler_app.models.execution import LIVE, UNSUCCESSFUL
from scheduler_app.rules.problems import Invalid
from scheduler_app.targets import kinds

from . import notices
from .auditing import Subject, record
from .entitling import require_targets_again, require_targets_ever
from .selecting import NEWEST_FIRST, Selection, back_to, horizon, older
from .transactions import CannotDo, transaction_on_psycopg
from .verbs import cancel_on, retry_on

logger = logging.getLogger(__name__)

COUNTED = 10_000
"""Counting stops here: that it is more is what people have to know."""
TRIED = 50_000
"""Rows that a count looks at for a condition without an index."""
CHUNK = 500
TRIED_BY_CHUNK = 20_000
BUDGET_S = 1.0
"""How long the process that takes a request works on it before it leaves the rest to the nodes."""

SUITABLE = {BulkVerb.CANCEL: LIVE, BulkVerb.RETRY: UNSUCCESSFUL}
"""The statuses that a verb can change."""

TAKE_SQL = """
SELECT id, verb, selection::text, reason, requested_by, created_at, cursor_at, cursor_id
FROM scheduler_app_bulkoperation
WHERE finished_at IS NULL AND (%(id)s::uuid IS NULL OR id = %(id)s::uuid)
ORDER BY created_at
LIMIT 1
FOR UPDATE SKIP LOCKED   -- whoever has it is at work on it
"""

MOVE_SQL = """
UPDATE scheduler_app_bulkoperation
SET cursor_at = %(cursor_at)s,
    cursor_id = %(cursor_id)s,
    changed = changed + %(changed)s,
    refused = refused + %(refused)s,
    moved_at = scheduler_now(),
    finished_at = CASE WHEN %(finished)s THEN scheduler_now() END
WHERE id = %(id)s
"""

RECORD_SQL = """
INSERT INTO scheduler_app_auditentry (
    who, user_id, source, address, token, verb, object_kind, object_id, object_name, job_id, changes, reason
)
SELECT
    operation.requested_by, operation.user_id, operation.source, operation.address, operation.token,
    'execution.' || operation.verb, 'execution', execution.id::text,
    COALESCE(left(job.name, 200), ''), execution.job_id, '{}', operation.reason
FROM scheduler_app_bulkoperation AS operation
CROSS JOIN scheduler_app_execution AS execution
LEFT JOIN scheduler_app_job AS job ON job.id = execution.job_id
WHERE operation.id = %(id)s AND execution.id = ANY(%(changed)s)
"""

PLANNER_SQL = """
-- A node's connection has these off for its own statements; here the planner has to choose.
SELECT
    set_config('enable_sort', 'on', true),
    set_config('enable_bitmapscan', 'on', true),
    set_config('enable_hashjoin', 'on', true)
"""


@dataclass(frozen=True, slots=True)
class BulkCount:
    """What a bulk operation would do, as far as it was counted."""

    suitable: int
    is_capped: bool
    """There may be more."""
    refused: tuple[tuple[str, int], ...]
    """Why the others of the selection cannot be, and how many of them."""
    refused_is_capped: bool


def count_bulk(verb: str, selection: Selection) -> BulkCount:
    """What `start_bulk` would do; changes nothing, and costs the same however much there is."""
    statuses = SUITABLE[BulkVerb(verb)]
    if verb == BulkVerb.CANCEL:
        reason = "asked to stop already"
        is_refused: Any = Q(status=Status.RUNNING, cancel_requested_at__isnull=False)
    else:
        reason = "of a deleted job"
        jobs = Job.objects.filter(pk=OuterRef("job_id"))
        is_refused = Q(job_id__isnull=False) & ~Exists(jobs)
    by_fate, is_capped = _count(
        selection,
        visible.executions().filter(status__in=statuses),
        Case(When(is_refused, then=Value(reason)), default=Value("")),
    )
    suitable = min(by_fate.pop("", 0), COUNTED)
    others, others_are_capped = _count(
        selection, visible.executions().exclude(status__in=statuses), F("status")
    )
    refused = by_fate | {
        str(Status(status).label).lower(): count for status, count in sorted(others.items())
    }
    return BulkCount(
        suitable,
        is_capped,
        tuple(refused.items()),
        others_are_capped or (is_capped and by_fate != {}),
    )


def bulk_refusal(verb: str, selection: Selection) -> str:
    """Why the caller may not start this, in a sentence; empty when they may."""
    try:
        if verb == BulkVerb.RETRY:
            _require_targets(_as_seen(selection))
    except NotAllowed as error:
        return str(error)
    return ""


def start_bulk(
    key: UUID,
    verb: str,
    selection: Selection,
    *,
    by: str,
    reason: str = "",
    budget_s: float | None = None,
) -> BulkOperation:
    """Begin, and go on for a moment; nodes do the rest.

    `key` is the caller's: the same key again is the same operation, however often it is sent. Raises CannotDo when
    it names another, Invalid for a selection that cannot be meant.
    """
    selection = _as_seen(selection)
    counted = count_bulk(verb, selection)
    stored = Selection.from_json(selection.to_json()).to_json()
    caller = current_caller()
    if verb == BulkVerb.RETRY:
        _require_targets(selection)
        if not BulkOperation.objects.filter(pk=key).exists():
            spend_up_to_all(RUNS, lambda: counted.suitable)
    with transaction.atomic(using=get_config().database):
        operation, is_new = BulkOperation.objects.get_or_create(
            pk=key,
            defaults={
                "verb": verb,
                "selection": stored,
                "reason": reason[:500],
                "requested_by": by[:150],
                "user_id": "" if caller.user is None else str(caller.user.pk),
                "source": caller.source,
                "address": caller.address,
                "token": getattr(caller.token, "name", ""),
                "expected": counted.suitable,
                "expected_is_capped": counted.is_capped,
            },
        )
        if (operation.verb, operation.requested_by) != (verb, by[:150]):
            raise CannotDo("This key belongs to another operation; choose a new one.")
        if is_new:
            what = Verb.BULK_CANCEL if verb == BulkVerb.CANCEL else Verb.BULK_RETRY
            changes = {"selection": {"old": None, "new": stored}}
            record(what, [Subject("bulk", key, changes=changes)], by=by, reason=reason)
    return continue_bulk(key, budget_s=budget_s)


def _as_seen(selection: Selection) -> Selection:
    """For nodes, which go on with it: of what the caller sees now, and without the jobs that they do not see.

    A refusal would name what such a job does.
    """
    view, jobs = current_view(), selection.jobs
    if view is not None and jobs is not None:
        seen = visible.jobs_and_deleted().filter(pk__in=jobs).order_by("pk")
        jobs = tuple(seen.values_list("pk", flat=True))
    return replace(selection, view=view, jobs=jobs)


def _require_targets(selection: Selection) -> None:
    """Raises NotAllowed unless the caller may use whatever the jobs of the selection do and did; of all jobs, everything."""
    if selection.ids is not None:
        seen = visible.executions().filter(pk__in=selection.ids).values_list("pk", flat=True)
        require_targets_again(seen)
    elif selection.jobs is None:
        require_kinds(kinds())
    else:
        require_targets_ever(selection.jobs)


def continue_bulk(key: UUID, *, budget_s: float | None = None) -> BulkOperation:
    """Go on with it in this process until it is done, somebody else works on it, or the time is over."""
    until = time.monotonic() + (BUDGET_S if budget_s is None else budget_s)
    did = _Did.SOME
    while did == _Did.SOME and time.monotonic() < until:
        with transaction_on_psycopg() as connection:
            did = _do_chunk(connection, key)
    if did == _Did.SOME:
        with transaction_on_psycopg() as connection:
            notices.notify(connection, notices.BULK)
    return BulkOperation.objects.get(pk=key)


def stop_bulk(key: UUID, *, by: str) -> bool:
    """Leave the rest as it is; False when it was over. What was done is not undone."""
    with transaction.atomic(using=get_config().database):
        stopped = BulkOperation.objects.filter(pk=key, finished_at=None).update(
            finished_at=DatabaseNow(), stopped_by=by[:150]
        )
        if stopped:
            record(Verb.BULK_STOP, [Subject("bulk", key)], by=by)
    return bool(stopped)


def do_bulk_chunk(connection: psycopg.Connection[Any]) -> bool:
    """For nodes: the next chunk of the oldest operation that is left; False when there was none to do."""
    with connection.transaction():
        return _do_chunk(connection, None) != _Did.NOTHING


class _Did(Enum):
    NOTHING = "nothing"
    """There is no such operation left, or somebody else is at work on it."""
    SOME = "some"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class _Taken:
    id: UUID
    verb: str
    selection: str
    reason: str
    requested_by: str
    created_at: Any
    cursor_at: Any
    cursor_id: int | None


@dataclass(frozen=True, slots=True)
class _Chunk:
    ids: list[int]
    cursor_at: Any
    cursor_id: int | None
    is_last: bool


def _do_chunk(connection: psycopg.Connection[Any], key: UUID | None) -> _Did:
    connection.execute(PLANNER_SQL)
    row = connection.execute(TAKE_SQL, {"id": key}).fetchone()
    if row is None:
        return _Did.NOTHING
    taken = _Taken(*row)
    try:
        chunk = _next_chunk(connection, taken)
    except Invalid as error:
        # A newer release knows words that this one does not; its nodes go on with it.
        logger.warning("a bulk operation is left to others id=%s: %s", taken.id, error)
        return _Did.NOTHING
    changed = _change(connection, taken, chunk.ids)
    connection.execute(
        MOVE_SQL,
        {
            "id": taken.id,
            "cursor_at": chunk.cursor_at,
            "cursor_id": chunk.cursor_id,
            "changed": changed,
            "refused": len(chunk.ids) - changed,
            "finished": chunk.is_last,
        },
    )
    return _Did.LAST if chunk.is_last else _Did.SOME


def _change(connection: psycopg.Connection[Any], taken: _Taken, ids: list[int]) -> int:
    if not ids:
        return 0
    rows: list[Any]
    if taken.verb == BulkVerb.CANCEL:
        rows = cancel_on(connection, ids, by=taken.requested_by, reason=taken.reason)
    else:
        rows = retry_on(connection, ids, by=taken.requested_by)
    changed = [row[0] for row in rows]
    connection.execute(RECORD_SQL, {"id": taken.id, "changed": changed})
    return len(changed)


def _next_chunk(connection: psycopg.Connection[Any], taken: _Taken) -> _Chunk:
    selection = Selection.from_json(json.loads(taken.selection))
    # What was retried and failed again, or came after the request, is not what was asked for.
    candidates = selection.indexed(Execution.objects.all()).filter(
        status__in=SUITABLE[BulkVerb(taken.verb)], created_at__lte=taken.created_at
    )
    if taken.cursor_at is not None and taken.cursor_id is not None:
        candidates = older(candidates, (taken.cursor_at, taken.cursor_id))
    wanted = candidates
    last_tried = None
    if selection.is_tried:
        found = _fetch(
            connection,
            candidates.order_by(*NEWEST_FIRST)[TRIED_BY_CHUNK - 1 : TRIED_BY_CHUNK],
        )
        if found:
            last_tried = found[0]
            wanted = back_to(wanted, last_tried)
    rows = _fetch(connection, selection.tried(wanted).order_by(*NEWEST_FIRST)[:CHUNK])
    ids = [row[1] for row in rows]
    if len(rows) == CHUNK:
        return _Chunk(ids, *rows[-1], is_last=False)
    if last_tried is not None:
        return _Chunk(ids, *last_tried, is_last=False)
    last = rows[-1] if rows else (taken.cursor_at, taken.cursor_id)
    return _Chunk(ids, *last, is_last=True)


def _fetch(
    connection: psycopg.Connection[Any], executions: QuerySet[Execution]
) -> list[tuple[Any, int]]:
    """Keys, by a query of the ORM on a connection that may not be Django's."""
    keys = executions.values_list("scheduled_for", "pk")
    compiler = keys.query.get_compiler(using=get_config().database)
    try:
        sql, parameters = compiler.as_sql()
    except EmptyResultSet:
        # The selection contradicts itself, which Django sees before the database does.
        return []
    # Values in the statement, as Django sends them: a plan for any status could not use an index for some.
    with psycopg.ClientCursor(connection) as cursor:
        return cursor.execute(sql, parameters).fetchall()


def _count(
    selection: Selection, executions: QuerySet[Execution], by: Any
) -> tuple[Counter[str], bool]:
    """How many of the newest by a value of each, and whether there may be more."""
    candidates = selection.indexed(executions)
    bound = horizon(candidates, TRIED) if selection.is_tried else None
    if bound is not None:
        candidates = back_to(candidates, bound)
    # Sliced, so the order stays: an index that gives it is read no further than the cap.
    fates = selection.tried(candidates).annotate(fate=by).order_by(*NEWEST_FIRST)
    counts = Counter(fates.values_list("fate", flat=True)[: COUNTED + 1])
    return counts, bound is not None or counts.total() > COUNTED
