"""The mails that the ledger still owes: jobs that have ended, whose user left an address."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import and_, delete, insert, select, update

from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import Job, State, job_from
from app.core.ledger.tables import jobs, leases


class Outbox:
    """Who sends a mail takes its lease first: nobody else sends it, and it is not tried again, before that is over."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def waiting(self) -> list[Job]:
        """Jobs to be told of, the oldest first; some may be leased."""
        told = and_(jobs.c.email.is_not(None), jobs.c.mailed_wall.is_(None), jobs.c.verify.is_(False))
        query = select(jobs).where(told, jobs.c.state.in_((State.DONE, State.FAILED))).order_by(jobs.c.seq)
        with self._database.read() as connection:
            return [job_from(dict(row)) for row in connection.execute(query).mappings()]

    def take(self, job_id: str, lasts: Callable[[int], float]) -> int | None:
        """The number of this try, from 1, whose lease lasts `lasts(number)` seconds; None: it is not its turn."""
        name = _lease(job_id)
        with self._database.write() as connection:
            row = connection.execute(select(leases).where(leases.c.name == name)).first()
            now = self._clock.now()
            if row is not None and row.boot_id == self._clock.boot_id and row.lease_until > now:
                return None
            number = 1 if row is None else int(row.owner) + 1
            values = {"owner": str(number), "boot_id": self._clock.boot_id, "lease_until": now + lasts(number)}
            if row is None:
                connection.execute(insert(leases).values(name=name, **values))
            else:
                connection.execute(update(leases).where(leases.c.name == name).values(**values))
            return number

    def note_sent(self, job_id: str) -> None:
        """The server took the mail: the address is forgotten."""
        self._end(job_id, mailed_wall=self._clock.wall())

    def give_up(self, job_id: str) -> None:
        """Nobody will ever take the mail: the address is forgotten, too."""
        self._end(job_id)

    def _end(self, job_id: str, **values: float) -> None:
        with self._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(email=None, **values))
            connection.execute(delete(leases).where(leases.c.name == _lease(job_id)))


def _lease(job_id: str) -> str:
    return f"mail:{job_id}"
