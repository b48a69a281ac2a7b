"""How long what a job holds is kept: its original, its files, and what the ledger knows of its user."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, insert, or_, select, update

from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import Job, State, job_from
from app.core.ledger.tables import jobs, leases

ENDED = (State.DONE, State.FAILED, State.CANCELLED)
CLEAN = "clean-up"  # the name of its row among the leases: until then, everything that was due is gone
PERSONAL = {"email": None, "client": None, "input_name": "", "summary": None, "error_message": None, "step_name": None}


class Lifetime:
    """The ledger's side of retention. Every note can be made again without harm."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def with_original(self) -> list[Job]:
        """Ended jobs whose original is not needed any more, and was not noted as deleted."""
        return self._ended(jobs.c.input_dropped_wall.is_(None) & jobs.c.keep_input.is_(False))

    def due(self) -> list[Job]:
        """Ended jobs whose time is over, and which still have files or personal parts."""
        over = or_(jobs.c.expires_wall <= self._clock.wall(), jobs.c.expires_wall.is_(None))
        return self._ended(over & jobs.c.expired_wall.is_(None))

    def _ended(self, condition: ColumnElement[bool]) -> list[Job]:
        query = select(jobs).where(and_(jobs.c.state.in_(ENDED), condition)).order_by(jobs.c.seq)
        with self._database.read() as connection:
            return [job_from(dict(row)) for row in connection.execute(query).mappings()]

    def known(self, ids: Sequence[str]) -> dict[str, Job]:
        """Those of the jobs that the ledger knows, by id."""
        query = select(jobs).where(jobs.c.id.in_(ids))
        with self._database.read() as connection:
            return {row["id"]: job_from(dict(row)) for row in connection.execute(query).mappings()}

    def note_dropped(self, ids: Sequence[str]) -> None:
        """Note that the originals of these jobs are gone."""
        self._note(ids, input_dropped_wall=self._clock.wall())

    def forget(self, ids: Sequence[str]) -> None:
        """Note that the files of these jobs are gone, and blank what the ledger holds of their users."""
        wall = self._clock.wall()
        self._note(ids, expired_wall=wall, input_dropped_wall=wall, **PERSONAL)

    def _note(self, ids: Sequence[str], **values: object) -> None:
        if ids:
            with self._database.write() as connection:
                connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(**values))

    # ---- whether the clean-up is done -------------------------------------------------------------------------------

    def note_clean(self) -> None:
        """Note that just now everything that was due is gone."""
        values = {"owner": CLEAN, "boot_id": self._clock.boot_id, "lease_until": self._clock.now()}
        with self._database.write() as connection:
            if not connection.execute(update(leases).where(leases.c.name == CLEAN).values(**values)).rowcount:
                connection.execute(insert(leases).values(name=CLEAN, **values))

    def since_clean(self) -> float | None:
        """Seconds since the last note, counted from the start of the host where that was later; None: never."""
        with self._database.read() as connection:
            row = connection.execute(select(leases).where(leases.c.name == CLEAN)).first()
        if row is None:
            return None
        return self._clock.now() - (row.lease_until if row.boot_id == self._clock.boot_id else 0.0)
