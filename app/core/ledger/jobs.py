"""What can happen to a job. Every change of state is a compare-and-set, so that of two who try only one succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, select, update

from app.core.ledger import history
from app.core.ledger.asked import Asked
from app.core.ledger.clock import Clock
from app.core.ledger.database import Database
from app.core.ledger.job import Job, NewJob, State, job_from
from app.core.ledger.statements import CLAIM, NEXT_END, SUBMIT, Only, change
from app.core.ledger.tables import jobs

GIVEN_UP = (
    "The worker died {attempts} times while it worked on this job, so it is not tried again. "
    "Submit the scan once more; if it happens again, tell the administrator this job's number."
)
DAY = 86400.0  # seconds


class Jobs(Asked):
    """The jobs of a ledger. `max_attempts`: how often one is begun at most; `kept`: seconds until its files expire.

    `changed` is told the id of a job after each commit that may have changed what its followers see.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        max_attempts: int = 3,
        kept: float = DAY,
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(database, clock)
        self._max_attempts = max_attempts
        self._kept = kept
        self._changed = changed

    @contextmanager
    def _write(self, job_id: str) -> Iterator[Connection]:
        """A transaction after which the job's followers have something to see."""
        with self._database.write() as connection:
            yield connection
        self._changed(job_id)

    @contextmanager
    def _note(self, job_id: str) -> Iterator[Connection]:
        """The same, for what need not survive a power cut: no attempt does."""
        with self._database.note() as connection:
            yield connection
        self._changed(job_id)

    def submit(self, new: NewJob, *, sent: bool = False) -> Job:
        """Accept a job: from here on it ends exactly once.

        `sent`: its message follows at once, and `mark_unsent` where that fails. A process that dies in between has
        lost a message, for which there is `unsent`; noting every message by itself would cost each job a transaction.
        """
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
            **self._sent(sent),
        }
        with self._database.write() as connection:  # nobody can follow it yet, so its followers are not called
            return job_from(dict(connection.execute(SUBMIT, values).mappings().one()))

    def delete(self, job_id: str) -> bool:
        """Forget a job. Whoever runs it loses it at the next renewal."""
        with self._write(job_id) as connection:
            history.forget(connection, job_id)
            return connection.execute(delete(jobs).where(jobs.c.id == job_id)).rowcount == 1

    def cancel(self, job_id: str) -> bool:
        """End the job as cancelled: at once where it waits, and soon where it runs, whatever its worker does.

        False where it has ended already, or there is none of that id.
        """
        this = jobs.c.id == job_id
        with self._write(job_id) as connection:
            row = connection.execute(select(jobs).where(this).with_for_update()).mappings().first()
            if row is None or row["state"] not in (State.QUEUED, State.RUNNING):
                return False
            job = job_from(dict(row))
            asked = update(jobs).where(this).values(cancel_requested=True)
            if job.state == State.QUEUED:
                ended = asked.values(**self._ended(job, State.CANCELLED), ended_seq=NEXT_END)
                connection.execute(ended, _end_of(job, State.CANCELLED))
            else:
                connection.execute(asked)
            return True

    # ---- the worker's side ------------------------------------------------------------------------------------------

    def claim_next(self, queues: Sequence[str], owner: str, lease: float, release: str = "") -> Job | None:
        """Take the next queued job (verify jobs first, then the oldest) for `lease` seconds; None if there is none.

        `release` is the one whose code works on it.
        """
        now = self._clock.now()
        given = {
            "queues": list(queues),
            "new_owner": owner,
            "new_boot_id": self._clock.boot_id,
            "new_lease_until": now + lease,
            "new_started_at": now,
        }
        # On disk before the work begins: a job that takes the whole host down would otherwise begin for the first time
        # after every boot, and never be given up.
        with self._database.write() as connection:
            row = connection.execute(CLAIM, given).mappings().first()
            if row is None:
                return None
            job = job_from(dict(row))
            history.begin_attempt(connection, job, release or job.release, self._clock.wall())
        self._changed(job.id)
        return job

    def renew(self, job: Job, lease: float) -> bool:
        """Keep the job for `lease` seconds more; False means that it is no longer ours."""
        with self._database.note() as connection:
            return self._change(connection, job, lease_until=self._clock.now() + lease)

    def begin_step(self, job: Job, *, number: int, steps: int, name: str) -> bool:
        """Note that the job's step `number` of `steps` begins."""
        percent = (number - 1) / steps * 100
        with self._note(job.id) as connection:
            ours = self._change(connection, job, progress=percent, step=number, steps=steps, step_name=name)
            if ours:
                history.begin_step(connection, job, number, name, self._clock.wall())
            return ours

    def end_step(self, job: Job, *, number: int, outcome: str, duration: float) -> None:
        """Note how a step of this attempt ended (done, skipped, failed), after how many seconds."""
        with self._database.note() as connection:
            history.end_step(connection, job, number, outcome, duration)

    def progress(self, job: Job, *, percent: float, step: int, steps: int, step_name: str) -> bool:
        """Note how far the job is (percent of the whole, number of the step from 1)."""
        with self._note(job.id) as connection:
            return self._change(connection, job, progress=percent, step=step, steps=steps, step_name=step_name)

    def publish(self, job: Job, *, size: int, summary: dict[str, Any]) -> bool:
        """End the job as done; False: it is lost or cancelled, and the output of this attempt must be deleted."""
        values: dict[str, Any] = {"progress": 100.0, "result_size": size, "summary": summary}
        return self._end(job, State.DONE, Only.WANTED, **values)

    def fail(self, job: Job, *, code: str, message: str) -> bool:
        """End the job as failed with a code and a text for its user; False: it is lost or cancelled."""
        told = {"error_code": code, "error_message": message}
        return self._end(job, State.FAILED, Only.WANTED, **told)

    def displace(self, job: Job) -> bool:
        """Queue the job again, at no cost to it: others left it no memory on its card. False: lost or cancelled."""
        return self._queue_again(job, history.DISPLACED, Only.WANTED, error_code="GPU_OOM")

    def let_go(self, job: Job) -> bool:
        """End a job whose end was asked for as cancelled; False: it is not ours, or nobody asked."""
        return self._end(job, State.CANCELLED, Only.CANCELLED)

    def _end(self, job: Job, state: State, *only: Only, outcome: str = "", **values: Any) -> bool:
        with self._write(job.id) as connection:
            ended = self._ended(job, state)
            if not self._change(connection, job, *only, ends=True, **ended, **values):
                return False
            past = {name: ended[name] for name in ("ended_wall", "duration")}
            error = values.get("error_code")
            history.end_attempt(connection, job, outcome=outcome or state, error_code=error, **past)
            return True

    def _queue_again(self, job: Job, outcome: str, *only: Only, error_code: str | None = None) -> bool:
        """End the attempt, and put its job where it was in the queue."""
        values: dict[str, Any] = {"state": State.QUEUED, "sent": False, "progress": 0.0, "step": 0}
        values |= {"owner": None, "lease_until": None, "started_at": None}
        with self._write(job.id) as connection:
            if not self._change(connection, job, *only, **values):
                return False
            past = {"ended_wall": self._clock.wall(), "duration": self.since(job)}
            history.end_attempt(connection, job, outcome=outcome, error_code=error_code, **past)
            return True

    def _ended(self, job: Job, state: State) -> dict[str, Any]:
        """What is written into a job as it ends."""
        wall = self._clock.wall()
        duration = self.since(job)
        times = {"duration": duration, "ended_wall": wall, "expires_wall": wall + self._kept, "lease_until": None}
        return {"state": state, **times}

    def _change(self, connection: Connection, job: Job, *only: Only, ends: bool = False, **values: Any) -> bool:
        """Compare-and-set: only while this attempt holds the job, and what `only` says is true."""
        given = {f"new_{name}": value for name, value in values.items()}
        given |= {"this_id": job.id, "this_attempt": job.attempt}
        if Only.UNRENEWED in only:
            given["known_lease_until"] = job.lease_until
        if ends:
            given |= _end_of(job, values["state"])
        return connection.execute(change(tuple(values), only, ends=ends), given).rowcount == 1

    # ---- the reaper's side ------------------------------------------------------------------------------------------

    def take_back(self, job: Job) -> bool:
        """Queue a dead attempt's job again; end it where it was cancelled, or tried often enough."""
        # The lease is compared too: an owner who renewed since we looked keeps its job.
        if self._end(job, State.CANCELLED, Only.UNRENEWED, Only.CANCELLED):
            return True
        still_wanted = (Only.UNRENEWED, Only.WANTED)
        tried = job.attempt - self.displaced(job)
        if tried >= self._max_attempts:
            told = {"error_code": "PIPELINE_ERROR", "error_message": GIVEN_UP.format(attempts=tried)}
            return self._end(job, State.FAILED, *still_wanted, outcome=history.LOST, **told)
        return self._queue_again(job, history.LOST, *still_wanted)

    def mark_sent(self, job_id: str) -> None:
        """Note that the job's message is on its way."""
        with self._database.note() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**self._sent(True)))

    def mark_unsent(self, job_id: str) -> None:
        """Note that the job's message could not be sent."""
        with self._database.note() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**self._sent(False)))

    def _sent(self, is_sent: bool) -> dict[str, Any]:
        now = self._clock.now() if is_sent else None
        return {"sent": is_sent, "sent_at": now, "sent_boot_id": self._clock.boot_id if is_sent else None}


def _end_of(job: Job, state: State) -> dict[str, Any]:
    """What the number of an end is counted by."""
    return {"end_queue": job.queue, "end_state": state, "end_verify": job.verify}
