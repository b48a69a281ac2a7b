"""What was tried for a job: its attempts, and their steps. Written in the transaction that changes the job itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from app.core.ledger.job import Attempt, Job, StepRun
from app.core.ledger.tables import attempts, steps

LOST = "lost"  # the outcome of an attempt whose worker is gone
DISPLACED = "displaced"  # the outcome of an attempt for which others left no memory on its card: it does not count
_BEGIN = insert(attempts)
_END = (
    update(attempts)
    .where(attempts.c.job_id == bindparam("this_id"), attempts.c.attempt == bindparam("this_attempt"))
    .values({name: bindparam(f"new_{name}") for name in ("outcome", "error_code", "ended_wall", "duration")})
)


def begin_attempt(connection: Connection, job: Job, release: str, wall: float) -> None:
    """The job was claimed."""
    values = {"owner": job.owner, "release": release, "began_wall": wall}
    connection.execute(_BEGIN, {"job_id": job.id, "attempt": job.attempt, **values})


def end_attempt(connection: Connection, job: Job, *, outcome: str, error_code: str | None = None, **past: Any) -> None:
    """The attempt is over, in whichever way; `past` has its `ended_wall` and `duration`."""
    given = {"outcome": outcome, "error_code": error_code, **past}
    new = {f"new_{name}": value for name, value in given.items()}
    connection.execute(_END, {"this_id": job.id, "this_attempt": job.attempt, **new})


def begin_step(connection: Connection, job: Job, number: int, name: str, wall: float) -> None:
    """The attempt's next step begins."""
    values = {"number": number, "name": name, "began_wall": wall}
    connection.execute(insert(steps).values(job_id=job.id, attempt=job.attempt, **values))


def end_step(connection: Connection, job: Job, number: int, outcome: str, duration: float) -> None:
    """The step has ended by itself."""
    this = and_(steps.c.job_id == job.id, steps.c.attempt == job.attempt, steps.c.number == number)
    connection.execute(update(steps).where(this).values(outcome=outcome, duration=duration))


def forget(connection: Connection, job_id: str) -> None:
    """The job is deleted."""
    for table in (attempts, steps):
        connection.execute(delete(table).where(table.c.job_id == job_id))


def displaced(connection: Connection, job_id: str) -> int:
    """How many attempts at the job do not count."""
    these = and_(attempts.c.job_id == job_id, attempts.c.outcome == DISPLACED)
    return int(connection.execute(select(func.count()).where(these)).scalar_one())


def attempts_of(connection: Connection, job_id: str) -> list[Attempt]:
    """All attempts, from the first."""
    query = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)
    return [Attempt(**row) for row in connection.execute(query).mappings()]


def steps_of(connection: Connection, job_id: str) -> list[StepRun]:
    """All steps of all attempts, in the order in which they began."""
    query = select(steps).where(steps.c.job_id == job_id).order_by(steps.c.attempt, steps.c.number)
    return [StepRun(**row) for row in connection.execute(query).mappings()]
