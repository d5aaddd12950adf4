"""The tables, and how rows are chosen from them.

Jobs are what people write; everything else is written by `lifecycle` and by the triggers of the first migration.
"""

from .audit import AuditEntry, Source, Verb
from .backfill import Backfill
from .bulk import BulkOperation, BulkVerb
from .calendar import Calendar
from .clock import database_now
from .execution import Execution, LogChunk, Status, Trigger
from .gap import Gap, GapReason
from .idempotency import IdempotencyKey
from .job import (
    CalendarMode,
    Isolation,
    Job,
    JobPlan,
    JobRevision,
    OnClosed,
    OnMisfire,
    OnOverlap,
    acting_as,
)
from .node import Node, NodeState
from .pause import Pause, PauseScope
from .tally import Tally
from .throttle import Throttle
from .token import ApiToken, Scope
from .zone import ZoneData

__all__ = [
    "ApiToken",
    "AuditEntry",
    "Backfill",
    "BulkOperation",
    "BulkVerb",
    "Calendar",
    "CalendarMode",
    "Execution",
    "Gap",
    "GapReason",
    "IdempotencyKey",
    "Isolation",
    "Job",
    "JobPlan",
    "JobRevision",
    "LogChunk",
    "Node",
    "NodeState",
    "OnClosed",
    "OnMisfire",
    "OnOverlap",
    "Pause",
    "PauseScope",
    "Scope",
    "Source",
    "Status",
    "Tally",
    "Throttle",
    "Trigger",
    "Verb",
    "ZoneData",
    "acting_as",
    "database_now",
]
