"""One look at many jobs at once, for those who follow them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select

from app.core.ledger.database import Database
from app.core.ledger.job import Job, State, job_from
from app.core.ledger.tables import jobs


@dataclass(frozen=True, slots=True)
class Look:
    """A job as it is now, and its place in its queue from 1; 0 for one that does not wait."""

    job: Job
    position: int


def look(database: Database, ids: Collection[str]) -> dict[str, Look]:
    """The jobs of these ids that there are, by id, in one query. Raises SQLAlchemyError."""
    # Numbered once for all: asked for each job alone, two hundred followers of a long queue would cost its square.
    number = func.row_number().over(partition_by=(jobs.c.queue, jobs.c.verify), order_by=jobs.c.seq)
    waiting = select(jobs.c.id, number.label("position")).where(jobs.c.state == State.QUEUED).subquery()
    query = (
        select(jobs, func.coalesce(waiting.c.position, 0).label("position"))
        .join(waiting, waiting.c.id == jobs.c.id, isouter=True)
        .where(jobs.c.id.in_(ids))
    )
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return {row["id"]: Look(job_from(dict(row)), int(row["position"])) for row in rows}
