"""What can be asked of a ledger about its jobs. None of it changes anything, or waits for a writer."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select

from app.core.ledger import history
from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import DURATIONS, Attempt, Job, State, StepRun, job_from, mean_duration
from app.core.ledger.tables import jobs, workers

TURN = (jobs.c.verify.desc(), jobs.c.seq)
# Built once: they are asked for each page that somebody looks at.
_FIND = select(jobs).where(jobs.c.id == bindparam("id"))
_AHEAD = (
    select(func.count())
    .select_from(jobs)
    .where(
        jobs.c.state == State.QUEUED,
        jobs.c.queue == bindparam("queue"),
        jobs.c.verify == bindparam("verify"),
        jobs.c.seq < bindparam("seq"),
    )
)
_QUEUED = select(jobs.c.id).where(jobs.c.state == State.QUEUED, jobs.c.queue.in_(bindparam("queues", expanding=True)))
_LAST = (
    select(jobs.c.duration)
    .where(jobs.c.state == State.DONE, jobs.c.queue == bindparam("queue"), jobs.c.verify.is_(False))
    # Jobs that ended before the ledger numbered ends come last.
    .order_by(jobs.c.ended_seq.desc().nulls_last(), jobs.c.ended_wall.desc(), jobs.c.seq.desc())
    .limit(DURATIONS)
)


_WAITS = (
    select(workers.c.queue, workers.c.waiting)
    .where(
        workers.c.queue.in_(bindparam("queues", expanding=True)),
        workers.c.waiting.is_not(None),
        workers.c.draining.is_(False),
        workers.c.boot_id == bindparam("boot_id"),
        workers.c.alive_until > bindparam("now"),
    )
    .order_by(workers.c.name)
)


def waits(connection: Connection, queues: Collection[str], clock: Clock) -> dict[str, str]:
    """What the live workers of these queues wait for before they take a job, by queue; none that waits for nothing."""
    given = {"queues": list(queues), "boot_id": clock.boot_id, "now": clock.now()}
    found: dict[str, dict[str, None]] = {}
    for row in connection.execute(_WAITS, given):
        found.setdefault(row.queue, {})[row.waiting] = None
    return {queue: "; ".join(words) for queue, words in found.items()}


def held(job: Job) -> ColumnElement[bool]:
    """That this very attempt runs the job."""
    return and_(jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.state == State.RUNNING)


class Asked:
    """Questions to a ledger."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def find(self, job_id: str) -> Job | None:
        """The job, or None where there is none of that id."""
        with self._database.read() as connection:
            row = connection.execute(_FIND, {"id": job_id}).mappings().first()
        return job_from(dict(row)) if row else None

    def attempts(self, job_id: str) -> list[Attempt]:
        """What was tried for the job, from the first attempt."""
        with self._database.read() as connection:
            return history.attempts_of(connection, job_id)

    def steps(self, job_id: str) -> list[StepRun]:
        """The steps that the job's attempts began, in their order."""
        with self._database.read() as connection:
            return history.steps_of(connection, job_id)

    def is_wanted(self, job: Job) -> bool:
        """Whether this attempt still holds the job, and nobody asked for its end."""
        query = select(jobs.c.id).where(held(job), jobs.c.cancel_requested.is_(False))
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def running(self) -> list[Job]:
        """All jobs that someone claims to be working on."""
        with self._database.read() as connection:
            rows = connection.execute(select(jobs).where(jobs.c.state == State.RUNNING)).mappings().all()
        return [job_from(dict(row)) for row in rows]

    def held_by(self, worker: str) -> str | None:
        """The id of the job that a worker's pool process holds; None while it is idle. `owner` begins with its name."""
        return next((job.id for job in self.running() if (job.owner or "").startswith(f"{worker} ")), None)

    def is_dead(self, job: Job, gone: Callable[[str], bool], *, spare: bool = False) -> bool:
        """Whether nobody can be working on a running job: another boot, its lease over, or its owner's process gone.

        `spare`: a lease that is over counts for nothing, since its owner may not have been able to renew it.
        """
        if job.boot_id != self._clock.boot_id:
            return True
        is_over = (job.lease_until or 0.0) < self._clock.now()
        return (is_over and not spare) or gone(job.owner or "")

    def unsent(self, overdue: Callable[[str], float]) -> list[Job]:
        """Jobs to be sent: the unsent ones, and each queue's head once it was unclaimed for `overdue(queue)` seconds.

        One message wakes a worker for all of its queue, so only the head is sent again.
        """
        queued = select(jobs).where(jobs.c.state == State.QUEUED).order_by(*TURN)
        with self._database.read() as connection:
            rows = connection.execute(queued).mappings().all()
        now = self._clock.now()
        chosen, seen = [], set()
        for row in rows:
            is_head = row["queue"] not in seen
            seen.add(row["queue"])
            other_boot = row["sent_boot_id"] != self._clock.boot_id
            if not row["sent"] or (is_head and (other_boot or row["sent_at"] < now - overdue(row["queue"]))):
                chosen.append(job_from(dict(row)))
        return chosen

    def old_verify_jobs(self, age: float) -> list[str]:
        """Ids of verify jobs that were submitted more than `age` seconds ago and have ended."""
        old = and_(jobs.c.verify, jobs.c.submitted_wall < self._clock.wall() - age, jobs.c.ended_wall.is_not(None))
        with self._database.read() as connection:
            return list(connection.execute(select(jobs.c.id).where(old)).scalars())

    def has_queued(self, queues: Collection[str]) -> bool:
        """Whether a job waits in any of these queues."""
        with self._database.read() as connection:
            return connection.execute(_QUEUED.limit(1), {"queues": list(queues)}).first() is not None

    def displaced(self, job: Job) -> int:
        """How often others left the job no memory on its card."""
        with self._database.read() as connection:
            return history.displaced(connection, job.id)

    # ---- what people are told ---------------------------------------------------------------------------------------

    def position(self, job: Job) -> int:
        """1 for the job that is next in its queue; verify jobs stand apart and count for nobody else."""
        given = {"queue": job.queue, "verify": job.verify, "seq": job.seq}
        with self._database.read() as connection:
            return 1 + int(connection.execute(_AHEAD, given).scalar_one())

    def waits_for(self, queue: str) -> str | None:
        """What the queue's live workers wait for before they take a job, in words; None: they wait for nothing."""
        with self._database.read() as connection:
            return waits(connection, [queue], self._clock).get(queue)

    def mean(self, queue: str) -> float:
        """Seconds that a job of this queue is expected to last."""
        with self._database.read() as connection:
            return mean_duration([float(value) for value in connection.execute(_LAST, {"queue": queue}).scalars()])

    def elapsed(self, job: Job) -> float:
        """Seconds since the running job's attempt began."""
        return self.since(job) or 0.0

    def since(self, job: Job) -> float | None:
        """Seconds since the attempt began; None where it did not, or in another boot."""
        if job.started_at is None or job.boot_id != self._clock.boot_id:
            return None
        return max(0.0, self._clock.now() - job.started_at)
