"""One thread in every web and worker process: each ends the leases it knows to be dead, one sends what is unsent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.bell import Bells
from app.core.broker import Sender
from app.core.ledger import Election, Jobs, Workers
from app.core.storage import Storage
from app.core.untouched import Untouched

log = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two rounds
HOLD = 5.0  # seconds that an election lasts
OVERDUE = 60.0  # seconds after which a message that woke nobody is taken for lost
SOON = 3.0  # the same where a worker is idle; a busy one looks for the next job by itself
STARTS = 15.0  # the same where one sleeps: it has this time to start before all others are woken, too
MESSAGES = 50  # that one round sends: whoever is woken by one goes on until no job is left
UPLOAD_AGE = 3600.0  # seconds after which an upload that nothing was added to is taken for dead: its web process died
VERIFY_AGE = 3600.0  # seconds that a verify job which nobody deleted is kept


@dataclass(slots=True)
class Trouble:
    """When the ledger could not be asked or written to, as one reaper saw it."""

    ended: float = float("-inf")  # seconds on CLOCK_BOOTTIME
    lasts: bool = False

    def begin(self) -> bool:
        """There is some; True where it is new."""
        is_new, self.lasts = not self.lasts, True
        return is_new

    def end(self) -> bool:
        """There is none (any more); True where there was."""
        was, self.lasts = self.lasts, False
        if was:
            self.ended = time.clock_gettime(time.CLOCK_BOOTTIME)
        return was

    def is_recent(self, seconds: float) -> bool:
        """Whether there is some, or the last one ended so short a time ago."""
        return self.lasts or time.clock_gettime(time.CLOCK_BOOTTIME) - self.ended < seconds


@dataclass(slots=True)
class Reaper:
    """Sees to it that no job is forgotten. `owner` names this process in the election.

    `gone` says whether the process that owns a job has ended for sure; `lease` is how many seconds a job's lasts.
    """

    jobs: Jobs
    workers: Workers
    election: Election
    storage: Storage
    send: Sender
    owner: str
    gone: Callable[[str], bool]
    lease: float
    bells: Bells = field(default_factory=Bells)
    _trouble: Trouble = field(default_factory=Trouble)
    _uploads: Untouched = field(default_factory=Untouched)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin the rounds in a daemon thread."""
        threading.Thread(target=self._run, name="reaper", daemon=True).start()

    def stop(self) -> None:
        """No further round begins."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.attempt()

    def attempt(self) -> None:
        """One round, if it is possible just now; a full disk or a locked ledger passes, and the rounds must go on."""
        try:
            self.round(elected=self.election.hold(self.owner, HOLD), again=self._trouble.lasts)
        except Exception:
            if self._trouble.begin():
                log.exception("the reaper's round failed; it tries again every %g s, silently", EVERY)
        else:
            if self._trouble.end():
                log.warning("the reaper can work again")

    def round(self, *, elected: bool = True, again: bool = False) -> None:
        """Do once what there is to do. Ending leases is everybody's: only some can see that a job's owner is gone.

        `again`: whoever was woken meanwhile could not claim a job, so what was sent counts for nothing.
        """
        self._end_dead_leases()
        if not elected:
            return
        self._drop_left_work()
        self._send(again=again)
        for job_id in self.jobs.old_verify_jobs(VERIFY_AGE):
            self.jobs.delete(job_id)
            self.storage.drop(job_id)
        for job_id in self._uploads.longer_than(UPLOAD_AGE, self.storage.begun_uploads()):
            self.storage.drop(job_id)

    def _end_dead_leases(self) -> None:
        # While nobody could write to the ledger nobody could renew: who still lives gets the time to do it now.
        spare = self._trouble.is_recent(self.lease)
        for job in self.jobs.running():
            if self.jobs.is_dead(job, self.gone, spare=spare) and self.jobs.take_back(job):
                log.warning("job %s: attempt %d by %s is dead", job.id, job.attempt, job.owner)
                self.storage.drop_work(job.id, job.attempt)
                self.storage.drop_result(job.id, job.attempt)

    def _drop_left_work(self) -> None:
        """Delete what a worker left that was killed after its job had ended: it holds patients' data."""
        there = self.storage.work_folders()  # asked for first: a folder is made after its attempt is in the ledger
        at_work = {(job.id, job.attempt) for job in self.jobs.running()} if there else set()
        for job_id, attempt in there:
            if (job_id, attempt) not in at_work:
                self.storage.drop_work(job_id, attempt)

    def _send(self, *, again: bool) -> None:
        idle, live = self.workers.idle_queues(), self.workers.live_queues()
        soon = 0.0 if again else SOON

        def overdue(queue: str) -> float:
            if queue in idle:
                return soon
            return STARTS if queue not in live and self.bells.hears(queue) else OVERDUE

        for job in self.jobs.unsent(overdue)[:MESSAGES]:
            if not self.send(job.id, job.queue):
                return
            if job.queue not in live:  # who was rung for it, if anybody was, did not come
                self.bells.ring(job.queue, self.bells.many(job.queue))
            self.jobs.mark_sent(job.id)
