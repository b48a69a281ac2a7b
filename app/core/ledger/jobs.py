"""What can happen to a job. Every change of state is a compare-and-set, so that of two who try only one succeeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import DURATIONS, Job, NewJob, State, job_from, mean_duration
from app.core.ledger.tables import jobs

GIVEN_UP = (
    "The worker died {attempts} times while it worked on this job, so it is not tried again. "
    "Submit the scan once more; if it happens again, tell the administrator this job's number."
)


class Jobs:
    """The jobs of a ledger. `max_attempts` is how often a job is begun at most."""

    def __init__(self, database: Database, clock: Clock, max_attempts: int = 3) -> None:
        self._database = database
        self._clock = clock
        self._max_attempts = max_attempts

    def submit(self, new: NewJob) -> Job:
        """Accept a job: from here on it ends exactly once."""
        values = {
            "id": new.id,
            "state": State.QUEUED,
            "queue": new.queue,
            "pipeline": new.pipeline,
            "release": new.release,
            "verify": new.verify,
            "options": dict(new.options),
            "input_name": new.input_name,
            "submitted_wall": self._clock.wall(),
        }
        with self._database.write() as connection:
            connection.execute(insert(jobs).values(**values))
            return _one(connection, jobs.c.id == new.id)

    def find(self, job_id: str) -> Job | None:
        """The job, or None where there is none of that id."""
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
        return job_from(dict(row)) if row else None

    def delete(self, job_id: str) -> bool:
        """Forget a job. Whoever runs it loses it at the next renewal."""
        with self._database.write() as connection:
            return connection.execute(delete(jobs).where(jobs.c.id == job_id)).rowcount == 1

    # ---- the worker's side ------------------------------------------------------------------------------------------

    def claim_next(self, queues: Sequence[str], owner: str, lease: float) -> Job | None:
        """Take the next queued job (verify jobs first, then the oldest) for `lease` seconds; None if there is none."""
        turn = and_(jobs.c.state == State.QUEUED, jobs.c.queue.in_(queues))
        while True:
            with self._database.write() as connection:
                head = connection.execute(select(jobs).where(turn).order_by(*_TURN).limit(1)).first()
                if head is None:
                    return None
                mine = and_(jobs.c.id == head.id, jobs.c.state == State.QUEUED, jobs.c.attempt == head.attempt)
                values = self._claim(head.attempt, owner, lease)
                if connection.execute(update(jobs).where(mine).values(**values)).rowcount:
                    return _one(connection, jobs.c.id == head.id)

    def _claim(self, attempt: int, owner: str, lease: float) -> dict[str, Any]:
        now = self._clock.now()
        return {
            "state": State.RUNNING,
            "attempt": attempt + 1,
            "owner": owner,
            "boot_id": self._clock.boot_id,
            "lease_until": now + lease,
            "started_at": now,
            "progress": 0.0,
            "step": 0,
            "step_name": None,
        }

    def renew(self, job: Job, lease: float) -> bool:
        """Keep the job for `lease` seconds more; False means that it is no longer ours."""
        return self._change(job, lease_until=self._clock.now() + lease)

    def progress(self, job: Job, *, percent: float, step: int, steps: int, step_name: str) -> bool:
        """Note how far the job is (percent of the whole, number of the step from 1)."""
        return self._change(job, progress=percent, step=step, steps=steps, step_name=step_name)

    def publish(self, job: Job, *, size: int, summary: dict[str, Any]) -> bool:
        """End the job as done; False means that this attempt lost the job and its output must be deleted."""
        return self._end(job, state=State.DONE, progress=100.0, result_size=size, summary=summary)

    def fail(self, job: Job, *, code: str, message: str) -> bool:
        """End the job as failed with a code and a text for its user."""
        return self._end(job, state=State.FAILED, error_code=code, error_message=message)

    def _end(self, job: Job, *conditions: ColumnElement[bool], **values: Any) -> bool:
        duration = self._clock.now() - (job.started_at or self._clock.now())
        ended = {"duration": duration, "ended_wall": self._clock.wall(), "lease_until": None}
        return self._change(job, *conditions, **values, **ended)

    def _change(self, job: Job, *conditions: ColumnElement[bool], **values: Any) -> bool:
        """Compare-and-set: only while this attempt holds the job, and the conditions hold."""
        ours = and_(jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.state == State.RUNNING, *conditions)
        with self._database.write() as connection:
            return connection.execute(update(jobs).where(ours).values(**values)).rowcount == 1

    # ---- the reaper's side ------------------------------------------------------------------------------------------

    def running(self) -> list[Job]:
        """All jobs that someone claims to be working on."""
        with self._database.read() as connection:
            rows = connection.execute(select(jobs).where(jobs.c.state == State.RUNNING)).mappings().all()
        return [job_from(dict(row)) for row in rows]

    def held_by(self, worker: str) -> str | None:
        """The id of the job that a worker's pool process holds; None while it is idle. `owner` begins with its name."""
        return next((job.id for job in self.running() if (job.owner or "").startswith(f"{worker} ")), None)

    def is_dead(self, job: Job, gone: Callable[[str], bool]) -> bool:
        """Whether nobody can be working on a running job: another boot, its lease over, or its owner's process gone."""
        if job.boot_id != self._clock.boot_id:
            return True
        return (job.lease_until or 0.0) < self._clock.now() or gone(job.owner or "")

    def take_back(self, job: Job) -> bool:
        """Queue a dead attempt's job again, or end it as failed when it was tried often enough."""
        # The lease is compared too: an owner who renewed since we looked keeps its job.
        unrenewed = jobs.c.lease_until == job.lease_until
        if job.attempt >= self._max_attempts:
            message = GIVEN_UP.format(attempts=job.attempt)
            return self._end(job, unrenewed, state=State.FAILED, error_code="PIPELINE_ERROR", error_message=message)
        values = {"state": State.QUEUED, "owner": None, "lease_until": None, "sent": False, "progress": 0.0, "step": 0}
        return self._change(job, unrenewed, **values)

    def unsent(self, overdue: float) -> list[Job]:
        """Jobs to be sent: the unsent ones, and each queue's head once it was unclaimed for `overdue` seconds.

        One message wakes a worker for all of its queue, so only the head is sent again.
        """
        queued = select(jobs).where(jobs.c.state == State.QUEUED).order_by(*_TURN)
        with self._database.read() as connection:
            rows = connection.execute(queued).mappings().all()
        latest = self._clock.now() - overdue
        chosen, seen = [], set()
        for row in rows:
            late = row["sent_boot_id"] != self._clock.boot_id or row["sent_at"] < latest
            if not row["sent"] or (row["queue"] not in seen and late):
                chosen.append(job_from(dict(row)))
            seen.add(row["queue"])
        return chosen

    def mark_sent(self, job_id: str) -> None:
        """Note that the job's message is on its way."""
        values = {"sent": True, "sent_at": self._clock.now(), "sent_boot_id": self._clock.boot_id}
        with self._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))

    def old_verify_jobs(self, age: float) -> list[str]:
        """Ids of verify jobs that were submitted more than `age` seconds ago and have ended."""
        old = and_(jobs.c.verify, jobs.c.submitted_wall < self._clock.wall() - age, jobs.c.ended_wall.is_not(None))
        with self._database.read() as connection:
            return list(connection.execute(select(jobs.c.id).where(old)).scalars())

    # ---- what people are told ---------------------------------------------------------------------------------------

    def position(self, job: Job) -> int:
        """1 for the job that is next in its queue; verify jobs stand apart and count for nobody else."""
        ahead = and_(
            jobs.c.state == State.QUEUED,
            jobs.c.queue == job.queue,
            jobs.c.verify == job.verify,
            jobs.c.seq < job.seq,
        )
        with self._database.read() as connection:
            return 1 + int(connection.execute(select(func.count()).select_from(jobs).where(ahead)).scalar_one())

    def mean(self, queue: str) -> float:
        """Seconds that a job of this queue is expected to last."""
        done = and_(jobs.c.state == State.DONE, jobs.c.queue == queue, jobs.c.verify.is_(False))
        latest = (jobs.c.ended_wall.desc(), jobs.c.seq.desc())
        query = select(jobs.c.duration).where(done).order_by(*latest).limit(DURATIONS)
        with self._database.read() as connection:
            return mean_duration([float(value) for value in connection.execute(query).scalars()])

    def elapsed(self, job: Job) -> float:
        """Seconds since the running job's attempt began."""
        return max(0.0, self._clock.now() - (job.started_at or self._clock.now()))


_TURN = (jobs.c.verify.desc(), jobs.c.seq)


def _one(connection: Connection, condition: ColumnElement[bool]) -> Job:
    return job_from(dict(connection.execute(select(jobs).where(condition)).mappings().one()))
