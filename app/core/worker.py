"""The worker: a Celery app whose only task is to work off the ledger's queue. It imports no scientific code."""

from __future__ import annotations

import faulthandler
import logging
import os
from functools import cache, partial
from typing import Any

from billiard import pool
from celery import Celery, shared_task, signals
from celery.worker import state
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.core.bell import OwnBell
from app.core.broker import WAKE, common
from app.core.children import Children, show_life
from app.core.consumer import tick_step, up_step
from app.core.ear import Ear
from app.core.gpu.admission import Cards, HostCards, NoCards
from app.core.gpu.decide import Need
from app.core.health import OK, redis_check
from app.core.idle import ASLEEP, Idle, Sleeper
from app.core.ledger import Job
from app.core.notify import notify
from app.core.privacy import quiet_logs
from app.core.process import age
from app.core.pulse import LASTS, Loop, Pulse
from app.core.reaper import Reaper
from app.core.service import Service, await_service
from app.core.settings import Settings, SettingsError, read_settings
from app.core.watchdog import Watchdog
from app.core.work import Workshop

log = logging.getLogger(__name__)
HOPELESS = 78  # EX_CONFIG: the unit does not try such a start again
LONG_START = 90.0  # seconds: one that lasted longer waited for Redis, and a worker of that age is not starting
FAREWELL = 10  # tenths of a second that a pool process, at its end, gives the worker to take its last results
BROKER_SECONDS = 5  # that Redis has for an answer, before the worker connects anew


@cache
def _service() -> Service:
    """The service of this process, opened when it is first needed: never at import, and anew in each pool process."""
    service = await_service(os.environ)
    quiet_logs(unless=service.settings.pii_logging)
    return service


@cache
def _cards() -> Cards:
    """The cards of this process's unit."""
    settings = _service().settings
    if not settings.gpu_cards:
        return NoCards()
    return HostCards(Need(settings.unit, settings.gpu_cards, settings.gpu_memory), settings.gpu_run)


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings of a worker."""
    return common(settings) | {
        # Without a bound a Redis that hangs would hold the consumer, and look like a hung worker.
        "broker_transport_options": {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS},
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


@cache
def _note_start() -> None:
    """Note how long it took from the start of the worker until this, its pool process, could take a job; once."""
    service = _service()
    lasted = age(os.getppid())
    if service.settings.idle and lasted < LONG_START:
        try:
            service.sleep.note_start(service.settings.queues, lasted)
        except SQLAlchemyError:  # a figure for people is not worth a job
            log.warning("the time of this start could not be noted", exc_info=True)


def work_one(service: Service, workshop: Workshop) -> bool:
    """Wait for the worker's cards, claim the ledger's next job and do it; False where there is none for this worker."""
    settings, workers = service.settings, service.workers

    def wanted() -> bool:
        return not workers.is_draining(settings.worker_name) and service.jobs.has_queued(settings.queues)

    with workshop.cards.held(wanted, partial(workers.wait, settings.worker_name)) as is_wanted:
        job = claim(service) if is_wanted else None
        if job is None:
            return False
        log.info("job %s: attempt %d begins", job.id, job.attempt)
        workshop.work(job)
        return True


@shared_task(name=WAKE)
def work_off(_job_id: str) -> None:
    """Claim and do the ledger's next job until none is left; the message only wakes, whichever job it names."""
    service = _service()
    _note_start()
    workshop = Workshop(service.jobs, service.storage, service.pipelines, service.settings.lease, _cards())
    while work_one(service, workshop):
        pass


def doing(job: str | None, *, draining: bool, waiting: str | None = None) -> str:
    """What the unit's status says; farrier-release reads the job's id out of it."""
    if job is None:
        return "ends" if draining else waiting or "idle"
    return f"ends job {job} first" if draining else f"job {job}"


def _hopeless(error: ValueError) -> SystemExit:
    """The end of a start that no waiting can help; says why in the journal and in the unit's status."""
    log.critical("this worker cannot start: %s", error)
    notify(f"STATUS=cannot start: {error}")
    return SystemExit(HOPELESS)


def _ear(service: Service) -> Ear:
    check = redis_check(service.settings)

    def waits() -> bool:
        return any(job.queue in service.settings.queues for job in service.jobs.unsent(lambda _queue: 0.0))

    def redis_answers() -> bool:
        try:
            return check() == OK
        except RedisError:
            return False

    return Ear(waits, redis_answers)


class _Main:
    """The threads and messages of the worker's main process."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._watchdog: Watchdog | None = None
        self._children: Children | None = None
        self._pulse: Pulse | None = None
        self._reaper: Reaper | None = None
        self._sleeper: Sleeper | None = None
        self._bell: OwnBell | None = None

    def begin(self, **_: Any) -> None:
        faulthandler.enable()  # a hung worker says where it hangs when systemd ends it
        try:
            service = _service()
        except ValueError as error:
            raise _hopeless(error) from error
        settings = service.settings
        beat = partial(service.workers.beat, settings.worker_name, settings.queues, LASTS)

        ear = _ear(service)

        def pulse(draining: bool) -> None:
            beat(draining=draining)
            job = service.jobs.held_by(settings.worker_name)
            waiting = service.workers.waits_for(settings.worker_name)
            notify(f"STATUS={doing(job, draining=draining, waiting=waiting)}")
            if ear.is_deaf(free=job is None and not waiting and self.loop.turns and not draining):
                log.critical("a job waits, and nothing wakes this worker: systemd replaces it")
                notify("WATCHDOG=trigger")

        self._children = Children()
        self._watchdog = Watchdog(self.loop, self._children)
        self._pulse = Pulse(self._watchdog.is_well, pulse)
        self._sleeper = self._sleeper_of(service)
        self._reaper = service.reaper()
        self._reaper.start()

    def _sleeper_of(self, service: Service) -> Sleeper | None:
        """What lets this worker sleep, if it is meant to and somebody would wake it."""
        settings = service.settings
        if not settings.idle:
            return None
        self._bell = bell = OwnBell.passed(os.environ)
        if bell is None:
            log.warning("systemd holds no bell for this worker, so that nobody could wake it: it does not sleep")
            return None

        def has_work() -> bool:
            return service.jobs.has_queued(settings.queues) or bool(service.jobs.held_by(settings.worker_name))

        return Sleeper(Idle(settings.idle, bell.empty, has_work), lambda: self.loop.turns, self._fall_asleep)

    def _fall_asleep(self) -> None:
        if state.should_stop is not None:  # it was told to end, and is to come back
            return
        service = _service()
        settings = service.settings
        log.info("nothing to do for %d s: this worker sleeps until the next job", settings.idle)
        if self._pulse:
            self._pulse.stop()
        try:
            service.sleep.leave(settings.worker_name)
        except SQLAlchemyError:  # then its last sign of life lasts as long as it does
            log.warning("it could not be noted that this worker sleeps", exc_info=True)
        notify("STATUS=asleep")
        state.should_stop = ASLEEP

    def up(self) -> None:
        # Redis may be away for hours: that is no reason for systemd to try this start again.
        notify("READY=1\nSTATUS=waits for Redis")
        if self._watchdog:
            self._watchdog.start()

    def ready(self, **_: Any) -> None:
        if self._pulse:
            self._pulse.start()
        service = _service()
        for queue in service.settings.queues:  # jobs may have been waiting for this worker
            service.send("", queue)
        if self._sleeper:
            self._sleeper.start()

    def drain(self, **_: Any) -> None:
        if self._sleeper:
            self._sleeper.stop()
        # No STOPPING=1: systemd would end the unit after its stop time, and a release lets the job in hand end.
        if self._pulse:
            self._pulse.drain()

    def _ring_for_what_is_left(self) -> None:
        """Whoever queued it has rung, and this worker has taken that for itself."""
        try:
            if self._bell and _service().jobs.has_queued(_service().settings.queues):
                self._bell.ring()
        except SQLAlchemyError:  # the reaper of another process sees to it
            log.warning("it could not be seen whether jobs are left", exc_info=True)

    def end(self, **_: Any) -> None:
        self._ring_for_what_is_left()
        if self._reaper:
            self._reaper.stop()
        if self._pulse:
            # Its last sign of life lasts for some seconds: a worker that goes over to a release is back by then, and
            # the site is ready all the time.
            self._pulse.stop()
        if self._watchdog:
            self._watchdog.stop()
        if self._children:
            self._children.close()


@signals.worker_process_init.connect
def _begin_pool_process(**_: Any) -> None:
    # A worker that is told to end forgets the message that it has just handed over, and its pool process would wait
    # half a minute for a sign that the result was taken: ours have none, and what is done stands in the ledger.
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = FAREWELL
    show_life()


def _configuration() -> dict[str, Any]:
    try:
        return configuration(read_settings(os.environ))
    except SettingsError as error:
        raise _hopeless(error) from error


def create_celery(name: str) -> Celery:
    """The Celery app of a worker; reads its settings from the environment when Celery first asks for them."""
    celery = Celery(name)
    celery.add_defaults(_configuration)
    main = _Main()
    celery.steps["worker"].add(up_step(main.up))
    celery.steps["consumer"].add(tick_step(main.loop))
    for signal, handler in (
        (signals.worker_init, main.begin),
        (signals.worker_ready, main.ready),
        (signals.worker_shutting_down, main.drain),
        (signals.worker_shutdown, main.end),
    ):
        signal.connect(handler, weak=False)
    return celery
