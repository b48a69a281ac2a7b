"""Finding jobs, for administrators and figures. None of it changes anything, or waits for a writer."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import ColumnElement, and_, case, func, select

from app.core.ledger.database import Database
from app.core.ledger.job import Job, State, job_from
from app.core.ledger.tables import attempts, jobs

Count = Callable[[Database], dict[tuple[str, str], int]]
USERS = jobs.c.verify.is_(False)  # a deploy's own jobs count nowhere
_BUCKETS = (1, 5, 10, 30, 60, 120, 240, 300, 600, 900, 1800, 3600)  # seconds


def newest(database: Database, states: Collection[State], limit: int) -> list[Job]:
    """The jobs submitted last in one of these states, the newest first."""
    query = select(jobs).where(jobs.c.state.in_(states)).order_by(jobs.c.seq.desc()).limit(limit)
    with database.read() as connection:
        return [job_from(dict(row)) for row in connection.execute(query).mappings()]


def ids_like(database: Database, beginning: str) -> list[str]:
    """The ids that begin so, ten at most."""
    query = select(jobs.c.id).where(jobs.c.id.startswith(beginning, autoescape=True)).limit(10)
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def by_state(database: Database) -> dict[tuple[str, str], int]:
    """How many jobs each queue has in each state."""
    query = select(jobs.c.queue, jobs.c.state, func.count()).where(USERS).group_by(jobs.c.queue, jobs.c.state)
    with database.read() as connection:
        return {(queue, state): count for queue, state, count in connection.execute(query)}


def by_error(database: Database) -> dict[tuple[str, str], int]:
    """How many jobs of each queue failed with each code."""
    failed = and_(USERS, jobs.c.state == State.FAILED)
    code = func.coalesce(jobs.c.error_code, "")
    query = select(jobs.c.queue, code, func.count()).where(failed).group_by(jobs.c.queue, code)
    with database.read() as connection:
        return {(queue, word): count for queue, word, count in connection.execute(query)}


def by_outcome(database: Database) -> dict[tuple[str, str], int]:
    """How many attempts of each queue's jobs ended in which way."""
    ended = and_(USERS, attempts.c.outcome.is_not(None))
    joined = select(jobs.c.queue, attempts.c.outcome, func.count()).join(jobs, jobs.c.id == attempts.c.job_id)
    with database.read() as connection:
        rows = connection.execute(joined.where(ended).group_by(jobs.c.queue, attempts.c.outcome))
        return {(queue, outcome): count for queue, outcome, count in rows}


def oldest_waiting(database: Database) -> dict[str, float]:
    """When the job that waits longest in each queue was submitted, UTC epoch."""
    waiting = and_(USERS, jobs.c.state == State.QUEUED)
    query = select(jobs.c.queue, func.min(jobs.c.submitted_wall)).where(waiting).group_by(jobs.c.queue)
    with database.read() as connection:
        return {queue: float(wall) for queue, wall in connection.execute(query)}


def durations(database: Database) -> dict[str, tuple[list[tuple[str, float]], float]]:
    """Of each queue's jobs that were done: how many lasted at most so many seconds, by bound; and all their seconds."""

    def within(bound: float) -> ColumnElement[int]:
        return func.sum(case((jobs.c.duration <= bound, 1), else_=0))

    done = and_(USERS, jobs.c.state == State.DONE, jobs.c.duration.is_not(None))
    columns = [within(bound) for bound in _BUCKETS]
    query = select(jobs.c.queue, func.sum(jobs.c.duration), func.count(), *columns).where(done).group_by(jobs.c.queue)
    bounds = [*(str(float(bound)) for bound in _BUCKETS), "+Inf"]
    with database.read() as connection:
        rows = connection.execute(query).all()
    return {
        queue: (list(zip(bounds, map(float, (*counts, count)), strict=True)), float(seconds))
        for queue, seconds, count, *counts in rows
    }
