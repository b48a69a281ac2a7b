"""A job as the ledger knows it, and the pure sums made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

DEFAULT_DURATION = 240.0  # seconds that a job is taken to last before any has ended
DURATIONS = 20  # how many of the last durations the mean is made of


class State(StrEnum):
    """The states of a job; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a job is made of when it is submitted. `client`: a salted hash of the address that it came from."""

    id: str
    queue: str
    pipeline: str
    input_name: str
    options: Mapping[str, Any]
    verify: bool = False
    release: str = ""
    keep_input: bool = False
    email: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the ledger. `*_wall`: seconds UTC; `cancel_requested`: whoever runs it is to let it go."""

    seq: int
    id: str
    state: str
    attempt: int
    owner: str | None
    boot_id: str | None
    lease_until: float | None
    started_at: float | None
    queue: str
    pipeline: str
    release: str
    verify: bool
    options: Mapping[str, Any]
    input_name: str
    error_code: str | None
    error_message: str | None
    progress: float
    step: int
    steps: int
    step_name: str | None
    summary: Mapping[str, Any] | None
    result_size: int | None
    duration: float | None
    submitted_wall: float
    ended_wall: float | None
    cancel_requested: bool
    keep_input: bool
    input_dropped_wall: float | None
    expires_wall: float | None
    expired_wall: float | None
    email: str | None
    mailed_wall: float | None
    client: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job. `outcome`: done, failed, cancelled, lost, displaced; None: it runs. `duration`: seconds."""

    job_id: str
    attempt: int
    owner: str
    release: str
    began_wall: float
    ended_wall: float | None
    outcome: str | None
    error_code: str | None
    duration: float | None


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of an attempt. `outcome`: done, skipped or failed; None while it runs, and where it was cut short."""

    job_id: str
    attempt: int
    number: int
    name: str
    began_wall: float
    duration: float | None
    outcome: str | None


FIELDS = tuple(field.name for field in fields(Job))


def job_from(row: Mapping[str, Any]) -> Job:
    """The job of one row of the table `jobs`."""
    return Job(**{name: row[name] for name in FIELDS})


def mean_duration(durations: Sequence[float]) -> float:
    """Seconds that a job is expected to last, from the durations of the last ones that ended well."""
    last = durations[:DURATIONS]
    return sum(last) / len(last) if last else DEFAULT_DURATION


def remaining(elapsed: float, progress: float, mean: float) -> float:
    """Seconds that a running job is expected to need still: by its own progress once that says something."""
    if progress >= 5:
        return elapsed * (100 - progress) / progress
    return max(0.0, mean - elapsed)
