"""Jobs that another installation has done: they enter the ledger as done, with nothing but their result."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert

from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import State
from app.core.ledger.tables import jobs

ATTEMPT = 1  # under which the result of a job that was taken over lies
QUEUE = "taken over"  # none that a worker serves: how long such a job took tells nothing of ours


@dataclass(frozen=True, slots=True)
class Done:
    """A job of the other installation; `ended` in seconds UTC, `size` of the result in bytes."""

    id: str
    ended: float
    size: int


def adopt(database: Database, clock: Clock, done: Done, *, kept: float) -> None:
    """Enter the job; its result is kept for `kept` seconds from now. The caller has put the file in its place."""
    wall = clock.wall()
    values = {
        "id": done.id,
        "state": State.DONE,
        "attempt": ATTEMPT,
        "queue": QUEUE,
        "pipeline": QUEUE,
        "release": "",
        "verify": False,
        "options": {},
        "input_name": "",
        "sent": True,
        "progress": 100.0,
        "result_size": done.size,
        "submitted_wall": done.ended,
        "ended_wall": done.ended,
        "input_dropped_wall": wall,
        "expires_wall": wall + kept,
    }
    with database.write() as connection:
        connection.execute(insert(jobs).values(**values))
