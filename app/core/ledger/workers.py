"""Heartbeats: which workers are alive, on which queues, and whether they still take jobs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import State
from app.core.ledger.tables import jobs, workers

_DRAINING = select(workers.c.draining).where(workers.c.name == bindparam("name"))  # asked before each claim
_WAITING = select(workers.c.waiting).where(workers.c.name == bindparam("name"))


class Workers:
    """The workers that a ledger knows."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def beat(self, name: str, queues: Sequence[str], lasts: float, *, draining: bool = False) -> None:
        """Note that the worker lives, for `lasts` seconds; `draining` means that it takes no further job."""
        until = self._clock.now() + lasts
        values = {"boot_id": self._clock.boot_id, "alive_until": until, "draining": draining}
        with self._database.note() as connection:
            connection.execute(delete(workers).where(and_(workers.c.name == name, workers.c.queue.not_in(queues))))
            for queue in queues:
                row = and_(workers.c.name == name, workers.c.queue == queue)
                if not connection.execute(update(workers).where(row).values(**values)).rowcount:
                    connection.execute(insert(workers).values(name=name, queue=queue, **values))

    def live_queues(self) -> set[str]:
        """The queues that at least one live worker serves."""
        alive = and_(workers.c.boot_id == self._clock.boot_id, workers.c.alive_until > self._clock.now())
        with self._database.read() as connection:
            return set(connection.execute(select(workers.c.queue).where(alive)).scalars())

    def alive(self) -> dict[str, int]:
        """How many live workers each queue has."""
        alive = and_(workers.c.boot_id == self._clock.boot_id, workers.c.alive_until > self._clock.now())
        query = select(workers.c.queue, func.count()).where(alive).group_by(workers.c.queue)
        with self._database.read() as connection:
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}

    def idle_queues(self) -> set[str]:
        """The queues that a live worker serves which holds no job, was not told to end, and waits for nothing."""
        alive = and_(workers.c.boot_id == self._clock.boot_id, workers.c.alive_until > self._clock.now())
        with self._database.read() as connection:
            serving = connection.execute(
                select(workers.c.name, workers.c.queue).where(alive, ~workers.c.draining, workers.c.waiting.is_(None))
            ).all()
            owners = connection.execute(select(jobs.c.owner).where(jobs.c.state == State.RUNNING)).scalars().all()
        busy = {(owner or "").split(" ", 1)[0] for owner in owners}
        return {queue for name, queue in serving if name not in busy}

    def is_draining(self, name: str) -> bool:
        """Whether the worker was told to end after its present job."""
        with self._database.read() as connection:
            return any(connection.execute(_DRAINING, {"name": name}).scalars())

    def wait(self, name: str, words: str | None) -> bool:
        """Note what keeps the worker from taking a job, for people (None: nothing does); False: it never beat yet."""
        with self._database.note() as connection:
            return bool(
                connection.execute(update(workers).where(workers.c.name == name).values(waiting=words)).rowcount
            )

    def waits_for(self, name: str) -> str | None:
        """What keeps the worker from taking a job; None where nothing does."""
        with self._database.read() as connection:
            return next((words for words in connection.execute(_WAITING, {"name": name}).scalars() if words), None)
