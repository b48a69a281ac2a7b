"""The worker: a Celery app whose only task is to work off the ledger's queue. It imports no scientific code."""

from __future__ import annotations

import logging
import os
from functools import cache, partial
from typing import Any

from celery import Celery, shared_task, signals

from app.core.broker import WAKE, common
from app.core.consumer import tick_step
from app.core.ledger import Job
from app.core.notify import notify
from app.core.privacy import quiet_logs
from app.core.pulse import LASTS, Loop, Pulse
from app.core.reaper import Reaper
from app.core.service import Service, open_service
from app.core.settings import Settings, read_settings
from app.core.work import Workshop

log = logging.getLogger(__name__)


@cache
def _service() -> Service:
    """The service of this process, opened when it is first needed: never at import, and anew in each pool process."""
    service = open_service(os.environ)
    quiet_logs(unless=service.settings.pii_logging)
    return service


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings of a worker."""
    return common(settings) | {
        "imports": [__name__],  # a spawned pool process knows the task by this only
        "worker_consumer": "app.core.consumer:QuietConsumer",
        "worker_pool": "prefork",
        "worker_pool_start_method": "spawn",  # a forked child could use neither CUDA nor our threads' locks
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_enable_remote_control": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": True,
        "worker_log_format": "%(levelname)s %(name)s: %(message)s",  # the journal has the time
        "worker_task_log_format": "%(levelname)s %(name)s: %(message)s",
    }


def claim(service: Service) -> Job | None:
    """The next job for this process, unless its worker was told to end."""
    settings = service.settings
    if service.workers.is_draining(settings.worker_name):
        return None
    return service.jobs.claim_next(settings.queues, service.owner(), settings.lease, settings.release)


@shared_task(name=WAKE)
def work_off(_job_id: str) -> None:
    """Claim and do the ledger's next job until none is left; the message only wakes, whichever job it names."""
    service = _service()
    workshop = Workshop(service.jobs, service.storage, service.pipelines, service.settings.lease)
    while job := claim(service):
        log.info("job %s: attempt %d begins", job.id, job.attempt)
        workshop.work(job)


def doing(job: str | None, *, draining: bool) -> str:
    """What the unit's status says; farrier-release reads the job's id out of it."""
    if job is None:
        return "ends" if draining else "idle"
    return f"ends job {job} first" if draining else f"job {job}"


class _Main:
    """The threads and messages of the worker's main process."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._pulse: Pulse | None = None
        self._reaper: Reaper | None = None

    def begin(self, **_: Any) -> None:
        service = _service()
        settings = service.settings
        beat = partial(service.workers.beat, settings.worker_name, settings.queues, LASTS)

        def pulse(draining: bool) -> None:
            beat(draining=draining)
            notify(f"STATUS={doing(service.jobs.held_by(settings.worker_name), draining=draining)}")

        self._pulse = Pulse(self.loop, pulse)
        self._reaper = service.reaper()
        self._reaper.start()

    def ready(self, **_: Any) -> None:
        notify("READY=1")
        if self._pulse:
            self._pulse.start()
        service = _service()
        for queue in service.settings.queues:  # jobs may have been waiting for this worker
            service.send("", queue)

    def drain(self, **_: Any) -> None:
        # No STOPPING=1: systemd would end the unit after its stop time, and a release lets the job in hand end.
        if self._pulse:
            self._pulse.drain()

    def end(self, **_: Any) -> None:
        if self._pulse and self._reaper:
            self._reaper.stop()
            # Its last sign of life lasts for some seconds: a worker that goes over to a release is back by then, and
            # the site is ready all the time.
            self._pulse.stop()


def create_celery(name: str) -> Celery:
    """The Celery app of a worker; reads its settings from the environment when Celery first asks for them."""
    celery = Celery(name)
    celery.add_defaults(lambda: configuration(read_settings(os.environ)))
    main = _Main()
    celery.steps["consumer"].add(tick_step(main.loop))
    for signal, handler in (
        (signals.worker_init, main.begin),
        (signals.worker_ready, main.ready),
        (signals.worker_shutting_down, main.drain),
        (signals.worker_shutdown, main.end),
    ):
        signal.connect(handler, weak=False)
    return celery
