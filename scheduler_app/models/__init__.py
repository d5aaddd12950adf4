"""The tables, and how rows are chosen from them.

Jobs are what people write; everything else is written by `lifecycle` and by the triggers of the first migration.
"""

from .clock import database_now
from .execution import Execution, LogChunk, Status, Trigger
from .gap import Gap, GapReason
from .job import Job, JobPlan, JobRevision, OnMisfire, OnOverlap, acting_as
from .node import Node, NodeState
from .pause import Pause, PauseScope

__all__ = [
    "Execution",
    "Gap",
    "GapReason",
    "Job",
    "JobPlan",
    "JobRevision",
    "LogChunk",
    "Node",
    "NodeState",
    "OnMisfire",
    "OnOverlap",
    "Pause",
    "PauseScope",
    "Status",
    "Trigger",
    "acting_as",
    "database_now",
]
