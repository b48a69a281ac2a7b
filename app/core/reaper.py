"""One thread in every web and worker process: each ends the leases it knows to be dead, one sends what is unsent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.broker import Sender
from app.core.ledger import Election, Jobs
from app.core.storage import Storage

log = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two rounds
HOLD = 5.0  # seconds that an election lasts
OVERDUE = 15.0  # seconds after which a message that woke nobody is taken for lost
UPLOAD_AGE = 3600.0  # seconds after which an upload that nothing was added to is taken for dead
VERIFY_AGE = 3600.0  # seconds that a verify job which nobody deleted is kept


@dataclass(slots=True)
class Reaper:
    """Sees to it that no job is forgotten. `owner` names this process in the election.

    `gone` says whether the process that owns a job has ended for sure.
    """

    jobs: Jobs
    election: Election
    storage: Storage
    send: Sender
    owner: str
    gone: Callable[[str], bool]
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin the rounds in a daemon thread."""
        threading.Thread(target=self._run, name="reaper", daemon=True).start()

    def stop(self) -> None:
        """No further round begins."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.round(elected=self.election.hold(self.owner, HOLD))
            except Exception:  # a full disk or a locked ledger passes; the rounds must go on
                log.exception("the reaper's round failed; it tries again")

    def round(self, *, elected: bool = True) -> None:
        """Do once what there is to do. Ending leases is everybody's: only some can see that a job's owner is gone."""
        self._end_dead_leases()
        if not elected:
            return
        self._send()
        for job_id in self.jobs.old_verify_jobs(VERIFY_AGE):
            self.jobs.delete(job_id)
            self.storage.drop(job_id)
        for job_id in self.storage.abandoned_uploads(UPLOAD_AGE):
            self.storage.drop(job_id)

    def _end_dead_leases(self) -> None:
        for job in self.jobs.running():
            if self.jobs.is_dead(job, self.gone) and self.jobs.take_back(job):
                log.warning("job %s: attempt %d by %s is dead", job.id, job.attempt, job.owner)

    def _send(self) -> None:
        for job in self.jobs.unsent(OVERDUE):
            if not self.send(job.id, job.queue):
                return
            self.jobs.mark_sent(job.id)
