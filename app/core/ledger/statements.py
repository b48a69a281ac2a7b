"""The statements by which jobs change, built once: building one anew costs more than SQLite takes to carry it out."""

from __future__ import annotations

from enum import Enum, auto
from functools import cache

from sqlalchemy import ColumnElement, Update, and_, bindparam, func, insert, select, update

from app.core.ledger.asked import TURN
from app.core.ledger.job import State
from app.core.ledger.tables import jobs


class Only(Enum):
    """What must be true besides, for a job that an attempt holds to be changed."""

    WANTED = auto()  # nobody asked for its end
    CANCELLED = auto()  # somebody did
    UNRENEWED = auto()  # its lease is the one that is known


_CONDITIONS: dict[Only, ColumnElement[bool]] = {
    Only.WANTED: jobs.c.cancel_requested.is_(False),
    Only.CANCELLED: jobs.c.cancel_requested.is_(True),
    Only.UNRENEWED: jobs.c.lease_until == bindparam("known_lease_until"),
}
_NEXT = (
    select(jobs.c.id)
    .where(jobs.c.state == State.QUEUED, jobs.c.queue.in_(bindparam("queues", expanding=True)))
    .order_by(*TURN)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
# The number of an end among those that the mean of a queue is made of.
NEXT_END = (
    select(func.coalesce(func.max(jobs.c.ended_seq), 0) + 1)
    .where(
        jobs.c.queue == bindparam("end_queue"),
        jobs.c.state == bindparam("end_state"),
        jobs.c.verify == bindparam("end_verify"),
    )
    .scalar_subquery()
)

SUBMIT = insert(jobs).returning(jobs)
CLAIM = (
    update(jobs)
    .where(jobs.c.id == _NEXT)
    .values(
        state=State.RUNNING,
        attempt=jobs.c.attempt + 1,
        owner=bindparam("new_owner"),
        boot_id=bindparam("new_boot_id"),
        lease_until=bindparam("new_lease_until"),
        started_at=bindparam("new_started_at"),
        progress=0.0,
        step=0,
        step_name=None,
    )
    .returning(jobs)
)


@cache
def change(names: tuple[str, ...], only: tuple[Only, ...], *, ends: bool) -> Update:
    """Sets the columns `names` to `new_<name>` while attempt `this_attempt` runs job `this_id`; `ends`: numbers it."""
    held = and_(
        jobs.c.id == bindparam("this_id"),
        jobs.c.attempt == bindparam("this_attempt"),
        jobs.c.state == State.RUNNING,
        *(_CONDITIONS[each] for each in only),
    )
    new = {name: bindparam(f"new_{name}", type_=jobs.c[name].type) for name in names}
    return update(jobs).where(held).values(**new, **({"ended_seq": NEXT_END} if ends else {}))
