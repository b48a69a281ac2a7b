"""What sleeping workers need of a ledger: how many of them have work, that one has left, and how long a start takes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, insert, select, update

from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import State
from app.core.ledger.tables import jobs, leases, workers

_UNDER_WAY = (
    select(jobs.c.id)
    .where(jobs.c.state.in_((State.QUEUED, State.RUNNING)), jobs.c.queue == bindparam("queue"))
    .limit(bindparam("most"))
)
_DEMAND = select(func.count()).select_from(_UNDER_WAY.subquery())


class Sleep:
    """Questions and notes about workers that sleep."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def demand(self, queue: str, most: int) -> int:
        """How many workers the queue has work for: its jobs that wait or run, counted up to `most`."""
        with self._database.read() as connection:
            return int(connection.execute(_DEMAND, {"queue": queue, "most": most}).scalar_one())

    def leave(self, name: str) -> None:
        """Note that the worker ends: it gives no sign of life from now on, and takes no further job."""
        values = {"alive_until": self._clock.now(), "draining": True}
        with self._database.note() as connection:
            connection.execute(update(workers).where(workers.c.name == name).values(**values))

    def note_start(self, queues: Sequence[str], seconds: float) -> None:
        """Note how long a worker of these queues took from its start until it could take a job."""
        values = {"owner": f"{seconds:.1f}", "boot_id": self._clock.boot_id, "lease_until": self._clock.now()}
        with self._database.note() as connection:
            for name in map(_start, queues):
                if not connection.execute(update(leases).where(leases.c.name == name).values(**values)).rowcount:
                    connection.execute(insert(leases).values(name=name, **values))

    def start_lasts(self, queue: str) -> float | None:
        """Seconds that the last start of a worker of the queue took; None before there was one."""
        with self._database.read() as connection:
            row = connection.execute(select(leases.c.owner).where(leases.c.name == _start(queue))).first()
        return None if row is None else float(row.owner)


def _start(queue: str) -> str:
    """The row that keeps it: this table has rows for whatever concerns several processes."""
    return f"start:{queue}"
