"""One look at many jobs at once, for those who follow them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import BindParameter, bindparam, func, select

from app.core.ledger.asked import waits
from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import Job, State, job_from
from app.core.ledger.tables import jobs


@dataclass(frozen=True, slots=True)
class Look:
    """A job as it is now, and its place in its queue from 1; 0 for one that does not wait.

    `waiting`: what the workers of its queue wait for before they take a job, in words.
    """

    job: Job
    position: int
    waiting: str | None = None


_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_JOBS = select(jobs).where(jobs.c.id.in_(_IDS))
# Numbered once for all: counted for each job alone, two hundred followers of a long queue would cost its square.
_NUMBER = func.row_number().over(partition_by=(jobs.c.queue, jobs.c.verify), order_by=jobs.c.seq)
_WAITING = select(jobs.c.id, _NUMBER.label("position")).where(jobs.c.state == State.QUEUED).subquery()
_POSITIONS = select(_WAITING).where(_WAITING.c.id.in_(_IDS))


def look(database: Database, clock: Clock, ids: Collection[str]) -> dict[str, Look]:
    """The jobs of these ids that there are, by id; more queries if any of them waits. Raises SQLAlchemyError."""
    with database.read() as connection:
        found = [job_from(dict(row)) for row in connection.execute(_JOBS, {"ids": list(ids)}).mappings()]
        waiting = {job.id: job.queue for job in found if job.state == State.QUEUED}
        positions: dict[str, int] = {}
        words: dict[str, str] = {}
        if waiting:
            positions = {row.id: row.position for row in connection.execute(_POSITIONS, {"ids": list(waiting)})}
            words = waits(connection, set(waiting.values()), clock)
    return {job.id: Look(job, positions.get(job.id, 0), words.get(waiting.get(job.id, ""))) for job in found}
