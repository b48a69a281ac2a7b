"""Sums over the ledger that concern no single job."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select

from app.core.ledger.database import Database
from app.core.ledger.job import State
from app.core.ledger.tables import jobs


@dataclass(frozen=True, slots=True)
class Totals:
    """What has become of all users' jobs; verify jobs count nowhere."""

    done: int
    done_today: int
    failed: int
    waiting: int
    running: int
    users: int


def totals(database: Database, midnight: float) -> Totals:
    """Count the jobs; `midnight` is the wall time at which today began."""
    users = jobs.c.verify.is_(False)

    def count(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(and_(users, *conditions))

    done = jobs.c.state == State.DONE
    query = select(
        count(done),
        count(done, jobs.c.ended_wall >= midnight),
        count(jobs.c.state == State.FAILED),
        count(jobs.c.state == State.QUEUED),
        count(jobs.c.state == State.RUNNING),
        func.count(jobs.c.client.distinct()).filter(users),
    )
    with database.read() as connection:
        return Totals(*connection.execute(query.select_from(jobs)).one())


def submitted_since(database: Database, client: str, wall: float) -> list[float]:
    """When this client's jobs after a wall time were submitted; verify jobs count nowhere."""
    recent = and_(jobs.c.client == client, jobs.c.submitted_wall > wall, jobs.c.verify.is_(False))
    with database.read() as connection:
        return list(connection.execute(select(jobs.c.submitted_wall).where(recent)).scalars())
