"""A lease that one process holds at a time, for work that needs one hand only."""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.tables import leases


class Election:
    """One named lease of a ledger."""

    def __init__(self, database: Database, clock: Clock, name: str) -> None:
        self._database = database
        self._clock = clock
        self._name = name

    def hold(self, owner: str, lasts: float) -> bool:
        """Take or keep the lease for `lasts` seconds; False while somebody else holds it."""
        holder = self._holder()
        if holder not in (None, owner):
            return False
        mine = leases.c.name == self._name
        values = {"owner": owner, "boot_id": self._clock.boot_id, "lease_until": self._clock.now() + lasts}
        try:
            with self._database.write() as connection:
                row = connection.execute(select(leases).where(mine).with_for_update()).first()
                if row is None:
                    connection.execute(insert(leases).values(name=self._name, **values))
                elif row.owner == owner or self._is_over(row.boot_id, row.lease_until):
                    connection.execute(update(leases).where(mine).values(**values))
                else:
                    return False
        except IntegrityError:  # on a server two can make the very first one at once
            return False
        return True

    def _holder(self) -> str | None:
        # Reading first keeps those who wait from taking the write lock every few seconds.
        with self._database.read() as connection:
            row = connection.execute(select(leases).where(leases.c.name == self._name)).first()
        return None if row is None or self._is_over(row.boot_id, row.lease_until) else str(row.owner)

    def _is_over(self, boot_id: str, lease_until: float) -> bool:
        return boot_id != self._clock.boot_id or lease_until < self._clock.now()
