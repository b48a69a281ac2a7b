"""The ledger: the only truth about jobs, and about the workers that are alive."""

from __future__ import annotations

from app.core.ledger.clock import Clock, boot_clock, this_boot
from app.core.ledger.database import Database, LedgerMismatch, clock_of, open_database
from app.core.ledger.election import Election
from app.core.ledger.job import Attempt, Job, NewJob, State, StepRun
from app.core.ledger.jobs import Jobs
from app.core.ledger.place import Place, place_of
from app.core.ledger.trouble import is_full
from app.core.ledger.workers import Workers

__all__ = [
    "Attempt",
    "Clock",
    "Database",
    "Election",
    "Job",
    "Jobs",
    "LedgerMismatch",
    "NewJob",
    "Place",
    "State",
    "StepRun",
    "Workers",
    "boot_clock",
    "clock_of",
    "is_full",
    "open_database",
    "place_of",
    "this_boot",
]
