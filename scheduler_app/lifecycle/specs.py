"""Definitions of jobs, read once: a revision never changes, so it can be kept."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import psycopg

from scheduler_app.models import JobRevision
from scheduler_app.rules.spec import JobSpec

logger = logging.getLogger(__name__)

REVISIONS_SQL = """
SELECT id, spec::text
FROM scheduler_app_jobrevision
WHERE id = ANY(%s)
"""

UNREADABLE = JobSpec()
"""Stands for a definition that was written past the validation so that it cannot even be read."""


class SpecCache:
    """The most recently used definitions by revision id; safe to share between threads."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._specs: OrderedDict[int, JobSpec] = OrderedDict()
        self._lock = threading.Lock()
        self.zones: set[str] = set()
        """Time zones whose data the database remembers."""

    def get_many(
        self, connection: psycopg.Connection[Any], revision_ids: Iterable[int]
    ) -> dict[int, JobSpec]:
        """The definitions by revision id, reading those not known in one statement."""
        wanted = set(revision_ids)
        found: dict[int, JobSpec] = {}
        with self._lock:
            for revision_id in wanted:
                if revision_id in self._specs:
                    self._specs.move_to_end(revision_id)
                    found[revision_id] = self._specs[revision_id]
        missing = list(wanted - found.keys())
        if missing:
            for revision_id, text in connection.execute(REVISIONS_SQL, [missing]):
                found[revision_id] = _read(revision_id, text)
            with self._lock:
                for revision_id in missing:
                    if revision_id in found:
                        self._specs[revision_id] = found[revision_id]
                    else:
                        # Removed by hand; whoever still points at it must be able to say so.
                        found[revision_id] = UNREADABLE
                while len(self._specs) > self._size:
                    self._specs.popitem(last=False)
        return found


def spec_of(revision: JobRevision) -> JobSpec | None:
    """The definition, or None for one that was written past the validation so that it cannot be read."""
    try:
        return JobSpec.from_json(revision.spec)
    except (ValueError, TypeError, AttributeError):
        return None


def _read(revision_id: int, text: str) -> JobSpec:
    try:
        return JobSpec.from_json(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        # Raised, it would stop all jobs that are looked at together with this one.
        logger.exception("a definition cannot be read revision=%s", revision_id)
        return UNREADABLE
