"""What every process of an application works with, opened once from its settings."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import OperationalError

from app.core.bell import Bells
from app.core.broker import Sender, ringing, sender
from app.core.events import Changes
from app.core.ledger import Clock, Database, Election, Jobs, Workers, clock_of, open_database, this_boot
from app.core.ledger.sleep import Sleep
from app.core.notify import notify
from app.core.pipelines import Pipeline, read_pipelines
from app.core.process import is_gone
from app.core.process import owner as process_as_owner
from app.core.reaper import Reaper
from app.core.settings import Settings, read_settings
from app.core.storage import Storage

log = logging.getLogger(__name__)
AGAIN = 2.0  # seconds between two looks for a ledger that cannot be opened just now
START = 10.0  # seconds that a worker is expected to need for its start, before one was measured


@dataclass(frozen=True, slots=True)
class Service:
    """The open parts of an application: ledger, storage, pipelines and the way to wake workers.

    `boot` says which boot of which host this is.
    """

    settings: Settings
    boot: str
    clock: Clock
    database: Database
    jobs: Jobs
    workers: Workers
    storage: Storage
    pipelines: Mapping[str, Pipeline]
    send: Sender
    bells: Bells
    sleep: Sleep

    def reaper(self) -> Reaper:
        """A reaper for this process, not yet started."""
        owner = f"{self.settings.service}@{self.settings.instance} {os.getpid()}"
        election = Election(self.database, self.clock, "reaper")
        gone = partial(is_gone, boot=self.boot)
        return Reaper(
            self.jobs, self.workers, election, self.storage, self.send, owner, gone, self.settings.lease, self.bells
        )

    def is_served(self, queue: str) -> bool:
        """Whether a worker of the queue is awake, or sleeps and would wake."""
        return queue in self.workers.live_queues() or self.bells.hears(queue)

    def start_of(self, queue: str) -> str | None:
        """What a job of this queue waits for while its worker starts, in words; None: one is awake, or none comes."""
        if not self.bells.many(queue) or queue in self.workers.live_queues() or not self.bells.hears(queue):
            return None
        lasts = self.sleep.start_lasts(queue) or START
        return f"waiting for its worker, which was asleep and starts now; that takes about {max(1, round(lasts))} s"

    def owner(self) -> str:
        """The name under which a job is claimed by this process."""
        return process_as_owner(self.settings.worker_name, self.boot)


def open_service(environment: Mapping[str, str]) -> Service:
    """Open everything; raises SettingsError or ValueError that says what is wrong with the configuration."""
    settings = read_settings(environment)
    clock = clock_of(settings.ledger, settings.boot_id)
    database = open_database(settings.ledger)
    bells, sleep = Bells(settings.bells), Sleep(database, clock)
    return Service(
        settings=settings,
        boot=this_boot(settings.boot_id),
        clock=clock,
        database=database,
        jobs=Jobs(
            database,
            clock,
            settings.max_attempts,
            kept=settings.result_hours * 3600.0,
            changed=Changes(settings).publish,
        ),
        workers=Workers(database, clock),
        storage=Storage(settings.state),
        pipelines=read_pipelines(settings.pipelines),
        send=ringing(sender(settings), bells, sleep.demand),
        bells=bells,
        sleep=sleep,
    )


def await_service(environment: Mapping[str, str]) -> Service:
    """Open everything, and wait for a ledger that is there but cannot be opened: its disk is full, its server away.

    A start that ended instead would be tried again a few times, and then no more. Raises as open_service does.
    """
    while True:
        try:
            return open_service(environment)
        except OperationalError as error:
            reason = str(error.orig or error)
            log.warning("the ledger cannot be opened (%s); trying again", reason)
            notify(f"STATUS=waits for the ledger: {reason}")
            time.sleep(AGAIN)
