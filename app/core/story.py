"""The states that a job goes through, in their order: so that nobody who follows it misses one that was short.

queued, running (attempt 1), queued again after a lost attempt, running (attempt 2), …, and one end. Each has a place
on this line, which follows from state and attempt alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from app.core.ledger import Job, State

BEGIN = -1  # before the first place
_UNDER_WAY = (State.QUEUED, State.RUNNING)


def has_ended(job: Job) -> bool:
    """Whether nothing more will happen that its followers see; one that is to be cancelled can only be let go."""
    return job.cancel_requested or job.state not in _UNDER_WAY


def place(job: Job) -> int:
    """The place of the job's present state: greater the later, whatever any clock says."""
    if has_ended(job):
        return 2 * job.attempt + 1
    return 2 * job.attempt - (job.state == State.RUNNING)


def since(last: int, job: Job) -> Iterator[tuple[int, Job]]:
    """Every place after `last` up to the job's present one (this in any case), each with the job as it was there."""
    present = place(job)
    # One that was cancelled may have ended before its next attempt began; it was queued once in any case.
    until = max(1, present - 1) if has_ended(job) else present
    for number in range(last + 1, until):
        yield number, _as_it_was(job, number)
    yield present, job


def _as_it_was(job: Job, number: int) -> Job:
    """The job at an earlier place, with what is known of that place: nothing of its result, its error or its steps."""
    return replace(
        job,
        state=State.RUNNING if number % 2 else State.QUEUED,
        attempt=(number + 1) // 2,
        cancel_requested=False,
        progress=0.0,
        step=0,
        step_name=None,
        error_code=None,
        error_message=None,
        summary=None,
        result_size=None,
        duration=None,
        ended_wall=None,
    )
