"""foreign_celery.py STOP-SECONDS CELERY-ARGUMENT…: run a Celery worker whose program knows nothing of Farrier.

The program is imported and run as `celery …` runs it. Around it this adds what makes a job survive its worker: a job is
acknowledged when it is done and not before; one job at a time; what the process before this one held when it was killed
goes back to its queue; a stop is bounded; READY and WATCHDOG. Settings that the program sets itself are kept, but for
those that belong to the unit: broker, the keys of unacknowledged jobs, the time of a stop.

The jobs that this worker holds have keys of their own in Redis. So they can be queued again at its start whoever else
works on the same queues: nobody but its predecessor, which has ended for sure, held them.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from celery import bootsteps, signals
from celery.__main__ import main as celery_main
from celery._state import connect_on_app_finalize

log = logging.getLogger("farrier")
TICK = 1.0  # seconds between two ticks of the consumer
PATIENCE = 12.0  # seconds without a tick after which the consumer is taken for hung
BROKER_SECONDS = 5  # that Redis has for an answer
FOR_EVER = 366 * 24 * 3600  # seconds; kombu would give a job that runs longer to a second worker
SETTINGS = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_pool_start_method": "spawn",  # Celery 5.7 and later: a forked child could not use CUDA
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # for ever
}


def main(arguments: list[str]) -> None:
    """Run Celery with the arguments after the first."""
    stop_seconds = float(arguments[0])
    url = _broker_url()
    if url:
        os.environ["CELERY_BROKER_URL"] = url
    connect_on_app_finalize(lambda app: app.add_defaults(SETTINGS))
    worker = _Worker(stop_seconds)
    for signal, handler in (
        (signals.celeryd_init, worker.configure),
        (signals.worker_ready, worker.ready),
    ):
        signal.connect(handler, weak=False)
    sys.argv = ["celery", *arguments[1:]]
    celery_main()


def _broker_url() -> str:
    """The stack's Redis with its password, where the unit names one; else the program has a broker of its own."""
    path, secret = os.environ.get("FARRIER_BROKER_SOCKET"), os.environ.get("FARRIER_BROKER_CREDENTIAL")
    if not path or not secret:
        return ""
    password = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / secret).read_text(encoding="utf-8").strip()
    return f"redis+socket://app:{quote(password, safe='')}@{path}?virtual_host=0"


class _Worker:
    """What the main process adds to the program."""

    def __init__(self, stop_seconds: float) -> None:
        self._stop_seconds = stop_seconds
        self._ticked: float | None = None  # None while the consumer is not meant to turn

    def configure(self, sender: str, instance: Any, conf: Any, **_: Any) -> None:
        """Called before Celery makes the worker: `sender` is its name."""
        conf.worker_soft_shutdown_timeout = self._stop_seconds
        if conf.broker_url and str(conf.broker_url).startswith("redis"):
            options = {"visibility_timeout": FOR_EVER, "socket_timeout": BROKER_SECONDS} | conf.broker_transport_options
            keys = {key: f"{key.removesuffix('_key')}:{sender}" for key in _KEYS}
            conf.broker_transport_options = options | keys
            self._give_back(instance.app)
        instance.app.steps["consumer"].add(_ticks(self))

    def _give_back(self, app: Any) -> None:
        """Queue again what the process before this one held. Waits for Redis."""
        with app.connection_for_read() as connection:
            connection.ensure_connection(_say_waiting, interval_start=1, interval_step=1, interval_max=2)
            channel = connection.default_channel
            tags = channel.client.hkeys(channel.unacked_key)
            for tag in tags:
                channel.qos.restore_by_tag(tag.decode() if isinstance(tag, bytes) else tag, leftmost=True)
        if tags:
            log.warning("%d jobs that the process before this one held are queued again", len(tags))

    def ready(self, **_: Any) -> None:
        """Called when the worker takes jobs."""
        _notify("READY=1\nSTATUS=takes jobs")
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def tick(self) -> None:
        """The consumer turned."""
        self._ticked = time.monotonic()

    def pause(self) -> None:
        """The consumer has left off, e.g. to connect again."""
        self._ticked = None

    def _watch(self) -> None:
        looked = time.monotonic()
        while True:
            time.sleep(TICK)
            now = time.monotonic()
            if self._ticked is not None and now - looked > 2 * TICK:
                self._ticked += now - looked  # the whole process was stopped
            looked = now
            hung = self._ticked is not None and now - self._ticked > PATIENCE
            _notify("WATCHDOG=trigger" if hung else "WATCHDOG=1")


_KEYS = ("unacked_key", "unacked_index_key", "unacked_mutex_key")


def _ticks(worker: _Worker) -> type[bootsteps.StartStopStep]:
    """A step of the consumer that ticks from the consumer's own timer, so that a hung consumer is seen."""

    class Tick(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)
        _timer: Any = None

        def start(self, consumer: Any) -> None:
            self._timer = consumer.timer.call_repeatedly(TICK, worker.tick)
            worker.tick()

        def stop(self, _consumer: Any) -> None:
            worker.pause()
            if self._timer:
                self._timer.cancel()
                self._timer = None

    return Tick


def _say_waiting(error: Exception, _pause: float) -> None:
    log.warning("the broker does not answer (%s); trying again", error)
    _notify(f"STATUS=waits for the broker: {error}")


def _notify(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        target = "\0" + address[1:] if address.startswith("@") else address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(message.encode(), target)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file: its modules must not stand in for the program's
    main(sys.argv[1:])
