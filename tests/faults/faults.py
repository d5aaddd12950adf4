"""All faults; importing this fills the list."""

from __future__ import annotations

from . import clock_faults, database_faults, job_faults, node_faults, soak
from .catalogue import FAULTS, Fault

__all__ = [
    "FAULTS",
    "Fault",
    "clock_faults",
    "database_faults",
    "job_faults",
    "node_faults",
    "soak",
]
