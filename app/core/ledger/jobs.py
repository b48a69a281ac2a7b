"""What can happen to a job. Every change of state is a compare-and-set, so that of two who try only one succeeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, delete, func, insert, select, update

from app.core.ledger import history
from app.core.ledger.asked import TURN, Asked, held
from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import Job, NewJob, State, job_from
from app.core.ledger.tables import jobs

GIVEN_UP = (
    "The worker died {attempts} times while it worked on this job, so it is not tried again. "
    "Submit the scan once more; if it happens again, tell the administrator this job's number."
)
DAY = 86400.0  # seconds


class Jobs(Asked):
    """The jobs of a ledger. `max_attempts`: how often one is begun at most; `kept`: seconds until its files expire."""

    def __init__(self, database: Database, clock: Clock, max_attempts: int = 3, kept: float = DAY) -> None:
        super().__init__(database, clock)
        self._max_attempts = max_attempts
        self._kept = kept

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
            "keep_input": new.keep_input,
            "email": new.email,
            "client": new.client,
            "submitted_wall": self._clock.wall(),
        }
        with self._database.write() as connection:
            connection.execute(insert(jobs).values(**values))
            return _one(connection, jobs.c.id == new.id)

    def delete(self, job_id: str) -> bool:
        """Forget a job. Whoever runs it loses it at the next renewal."""
        with self._database.write() as connection:
            history.forget(connection, job_id)
            return connection.execute(delete(jobs).where(jobs.c.id == job_id)).rowcount == 1

    def cancel(self, job_id: str) -> bool:
        """End the job as cancelled: at once where it waits, and soon where it runs, whatever its worker does.

        False where it has ended already, or there is none of that id.
        """
        this = jobs.c.id == job_id
        with self._database.write() as connection:
            row = connection.execute(select(jobs).where(this).with_for_update()).mappings().first()
            if row is None or row["state"] not in (State.QUEUED, State.RUNNING):
                return False
            job = job_from(dict(row))
            values = self._ended(job, State.CANCELLED) if job.state == State.QUEUED else {}
            connection.execute(update(jobs).where(this).values(cancel_requested=True, **values))
            return True

    # ---- the worker's side ------------------------------------------------------------------------------------------

    def claim_next(self, queues: Sequence[str], owner: str, lease: float, release: str = "") -> Job | None:
        """Take the next queued job (verify jobs first, then the oldest) for `lease` seconds; None if there is none.

        `release` is the one whose code works on it.
        """
        turn = and_(jobs.c.state == State.QUEUED, jobs.c.queue.in_(queues))
        head = select(jobs.c.id, jobs.c.attempt, jobs.c.release).where(turn).order_by(*TURN).limit(1)
        with self._database.write() as connection:
            found = connection.execute(head.with_for_update(skip_locked=True)).first()
            if found is None:
                return None
            this = jobs.c.id == found.id
            connection.execute(update(jobs).where(this).values(**self._claim(found.attempt, owner, lease)))
            job = _one(connection, this)
            history.begin_attempt(connection, job, release or job.release, self._clock.wall())
            return job

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
        with self._database.write() as connection:
            return self._change(connection, job, lease_until=self._clock.now() + lease)

    def begin_step(self, job: Job, *, number: int, steps: int, name: str) -> bool:
        """Note that the job's step `number` of `steps` begins."""
        percent = (number - 1) / steps * 100
        with self._database.write() as connection:
            ours = self._change(connection, job, progress=percent, step=number, steps=steps, step_name=name)
            if ours:
                history.begin_step(connection, job, number, name, self._clock.wall())
            return ours

    def end_step(self, job: Job, *, number: int, outcome: str, duration: float) -> None:
        """Note how a step of this attempt ended (done, skipped, failed), after how many seconds."""
        with self._database.write() as connection:
            history.end_step(connection, job, number, outcome, duration)

    def progress(self, job: Job, *, percent: float, step: int, steps: int, step_name: str) -> bool:
        """Note how far the job is (percent of the whole, number of the step from 1)."""
        with self._database.write() as connection:
            return self._change(connection, job, progress=percent, step=step, steps=steps, step_name=step_name)

    def publish(self, job: Job, *, size: int, summary: dict[str, Any]) -> bool:
        """End the job as done; False: it is lost or cancelled, and the output of this attempt must be deleted."""
        values: dict[str, Any] = {"progress": 100.0, "result_size": size, "summary": summary}
        return self._end(job, State.DONE, jobs.c.cancel_requested.is_(False), **values)

    def fail(self, job: Job, *, code: str, message: str) -> bool:
        """End the job as failed with a code and a text for its user; False: it is lost or cancelled."""
        told = {"error_code": code, "error_message": message}
        return self._end(job, State.FAILED, jobs.c.cancel_requested.is_(False), **told)

    def let_go(self, job: Job) -> bool:
        """End a job whose end was asked for as cancelled; False: it is not ours, or nobody asked."""
        return self._end(job, State.CANCELLED, jobs.c.cancel_requested)

    def _end(self, job: Job, state: State, *conditions: ColumnElement[bool], outcome: str = "", **values: Any) -> bool:
        with self._database.write() as connection:
            ended = self._ended(job, state)
            if not self._change(connection, job, *conditions, **ended, **values):
                return False
            past = {name: ended[name] for name in ("ended_wall", "duration")}
            error = values.get("error_code")
            history.end_attempt(connection, job, outcome=outcome or state, error_code=error, **past)
            return True

    def _ended(self, job: Job, state: State) -> dict[str, Any]:
        """What is written into a job as it ends."""
        wall = self._clock.wall()
        duration = self.since(job)
        times = {"duration": duration, "ended_wall": wall, "expires_wall": wall + self._kept, "lease_until": None}
        return {"state": state, "ended_seq": _next_end(job, state), **times}

    def _change(self, connection: Connection, job: Job, *conditions: ColumnElement[bool], **values: Any) -> bool:
        """Compare-and-set: only while this attempt holds the job, and the conditions hold."""
        return connection.execute(update(jobs).where(held(job), *conditions).values(**values)).rowcount == 1

    # ---- the reaper's side ------------------------------------------------------------------------------------------

    def take_back(self, job: Job) -> bool:
        """Queue a dead attempt's job again; end it where it was cancelled, or tried often enough."""
        # The lease is compared too: an owner who renewed since we looked keeps its job.
        unrenewed = jobs.c.lease_until == job.lease_until
        if self._end(job, State.CANCELLED, unrenewed, jobs.c.cancel_requested):
            return True
        still_wanted = and_(unrenewed, jobs.c.cancel_requested.is_(False))
        if job.attempt >= self._max_attempts:
            told = {"error_code": "PIPELINE_ERROR", "error_message": GIVEN_UP.format(attempts=job.attempt)}
            return self._end(job, State.FAILED, still_wanted, outcome=history.LOST, **told)
        nobody = {"owner": None, "lease_until": None, "started_at": None}
        values = {"state": State.QUEUED, "sent": False, "progress": 0.0, "step": 0, **nobody}
        with self._database.write() as connection:
            if not self._change(connection, job, still_wanted, **values):
                return False
            past = {"ended_wall": self._clock.wall(), "duration": self.since(job)}
            history.end_attempt(connection, job, outcome=history.LOST, **past)
            return True

    def mark_sent(self, job_id: str) -> None:
        """Note that the job's message is on its way."""
        values = {"sent": True, "sent_at": self._clock.now(), "sent_boot_id": self._clock.boot_id}
        with self._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def _next_end(job: Job, state: State) -> ScalarSelect[int]:
    """The number of an end among those that the mean of a queue is made of."""
    same = and_(jobs.c.queue == job.queue, jobs.c.state == state, jobs.c.verify == job.verify)
    return select(func.coalesce(func.max(jobs.c.ended_seq), 0) + 1).where(same).scalar_subquery()


def _one(connection: Connection, condition: ColumnElement[bool]) -> Job:
    return job_from(dict(connection.execute(select(jobs).where(condition)).mappings().one()))
