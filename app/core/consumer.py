"""Celery's consumer as our workers need it: it publishes nothing of its own, and it ticks."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from app.core.pulse import TICK, Loop

log = logging.getLogger(__name__)
RECONNECT = 2.0  # seconds between two tries to reach Redis
SAID_EVERY = 60  # tries


class QuietConsumer(Consumer):
    """A consumer without Celery's own heartbeat, gossip and mingle.

    Where Redis goes away, a publish of theirs tries again for ever inside the loop that should connect again.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, without_heartbeat=True, without_gossip=True, without_mingle=True)

    def ensure_connected(self, conn: Any) -> Any:
        """Try for ever and often: Celery's own pauses grow to half a minute."""
        tries = itertools.count()

        def say(error: Exception, _pause: float) -> None:
            if next(tries) % SAID_EVERY == 0:
                log.warning("Redis cannot be reached (%s); trying again every %g s", error, RECONNECT)

        connected = conn.ensure_connection(say, None, RECONNECT, 0, RECONNECT, callback=maybe_shutdown)
        self.first_connection_attempt = False
        return connected


def tick_step(loop: Loop) -> type[bootsteps.StartStopStep]:
    """A step of the consumer that ticks from the consumer's own timer, so that a hung consumer is seen."""

    class Tick(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)
        _timer: Any = None

        def start(self, consumer: Any) -> None:
            self._timer = consumer.timer.call_repeatedly(TICK, loop.tick)
            loop.begin()

        def stop(self, _consumer: Any) -> None:
            loop.end()
            if self._timer:
                self._timer.cancel()
                self._timer = None

    return Tick


def up_step(up: Callable[[], None]) -> type[bootsteps.StartStopStep]:
    """A step of the worker that calls `up` when its pool is there, before it connects to Redis."""

    class Up(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, _worker: Any) -> None:
            up()

    return Up
