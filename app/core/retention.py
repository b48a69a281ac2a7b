"""`python -m app.core.retention`: deletes what is not to be kept any longer. A systemd timer starts it.

It may be killed at any point and run at any time: files go first, then the ledger is told, so that the next run finds
what this one left. Only a run that did all that was due says so, and readiness hangs on that.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

from sqlalchemy.exc import OperationalError

from app.core.ledger import Job, State
from app.core.ledger.lifetime import ENDED, Lifetime
from app.core.privacy import quiet_logs
from app.core.service import Service, open_service
from app.core.storage import Storage, Stray

log = logging.getLogger(__name__)
Each = TypeVar("Each")
# Seconds without a change after which files that belong to no job are abandoned. It is the wall clock's time, which may
# be stepped by an hour while an upload comes in; the reaper, whose clock nobody steps, drops a dead upload sooner.
STRAY_AGE = 6 * 3600.0
AT_ONCE = 500  # jobs asked of the ledger, and noted, at a time


@dataclass(slots=True)
class CleanUp:
    """One run. `failed` says what could not be deleted."""

    storage: Storage
    lifetime: Lifetime
    originals: int = 0
    expired: int = 0
    strays: int = 0
    failed: list[str] = field(default_factory=list)

    def run(self) -> bool:
        """Delete everything that is due; False where something of it is still there."""
        self.originals = self._end(self.lifetime.with_original(), self.storage.drop_input, self.lifetime.note_dropped)
        self.expired = self._end(self.lifetime.due(), self.storage.drop, self.lifetime.forget)
        for batch in _batches(self.storage.strays(STRAY_AGE)):
            known = self.lifetime.known([stray.job_id for stray in batch])
            self.strays += sum(
                self._try(partial(self.storage.drop_stray, stray), stray.job_id)
                for stray in batch
                if is_abandoned(stray, known.get(stray.job_id))
            )
        if not self.failed:
            self.lifetime.note_clean()
        return not self.failed

    def _end(self, due: list[Job], drop: Callable[[str], None], note: Callable[[list[str]], None]) -> int:
        gone = [job.id for job in due if self._try(partial(drop, job.id), job.id)]
        for batch in _batches(gone):
            note(batch)
        return len(gone)

    def _try(self, delete: Callable[[], None], job_id: str) -> bool:
        try:
            delete()
        except OSError as error:  # e.g. a file that somebody made immutable: the others must go all the same
            self.failed.append(f"job {job_id}: {error.strerror}: {error.filename}")
            return False
        return True


def is_abandoned(stray: Stray, job: Job | None) -> bool:
    """Whether nobody will ever ask for the files again."""
    if job is None:
        return stray.is_old
    if stray.kind == "work":
        return job.state in ENDED or (job.state == State.RUNNING and stray.attempt < job.attempt)
    if stray.kind == "results":
        return job.state in ENDED and (job.state != State.DONE or stray.attempt != job.attempt)
    return False  # uploads and logs of a job go when it ends, and when it expires


def _batches(all_of_them: Iterable[Each]) -> Iterator[list[Each]]:
    rest = iter(all_of_them)
    while batch := list(islice(rest, AT_ONCE)):
        yield batch


def clean_up(service: Service) -> CleanUp:
    """One run over a service's jobs."""
    run = CleanUp(service.storage, Lifetime(service.database, service.clock))
    run.run()
    service.database.checkpoint()
    return run


def main() -> int:
    """Run once; exit code 1 where something could not be deleted.

    A ledger that is full, locked or away is no failure of the unit: readiness tells it, and the next run does the work.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    service = open_service(os.environ)
    quiet_logs(unless=service.settings.pii_logging)
    try:
        run = clean_up(service)
    except OperationalError as error:
        log.error("the ledger cannot be used just now (%s); the next run does what is due", error.orig)  # noqa: TRY400 - no trace helps
        return 0
    log.info("deleted: originals of %d jobs, %d expired jobs, %d abandoned folders", *_counts(run))
    for why in run.failed:
        log.error("not deleted: %s", why)
    return 1 if run.failed else 0


def _counts(run: CleanUp) -> tuple[int, int, int]:
    return run.originals, run.expired, run.strays


if __name__ == "__main__":
    sys.exit(main())
