"""The worker's sign of life in the ledger, given only while the worker can work; and what is known of its consumer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between two ticks of the consumer's own timer
PATIENCE = 12.0  # seconds without a tick after which the consumer is taken for hung
BEAT = 3.0  # seconds between two heartbeats in the ledger
LASTS = 12.0  # seconds that a heartbeat lasts


@dataclass(slots=True)
class Loop:
    """What is known of Celery's consumer loop. It does not turn while Redis is away; then nothing is wrong with it."""

    turns: bool = False
    ticked: float = 0.0

    def begin(self) -> None:
        """The loop begins to turn."""
        self.tick()
        self.turns = True

    def tick(self) -> None:
        """The loop turned."""
        self.ticked = time.monotonic()

    def end(self) -> None:
        """The loop has left off, e.g. to connect again."""
        self.turns = False

    def excuse(self, seconds: float) -> None:
        """The whole process was stopped so long."""
        self.ticked += seconds

    def is_alive(self, now: float) -> bool:
        """Whether the loop ticked within PATIENCE, or is not meant to."""
        return not self.turns or now - self.ticked < PATIENCE


@dataclass(slots=True)
class Pulse:
    """A thread that writes heartbeats while `is_well()`. `beat(draining)` writes one.

    It is not the thread that feeds systemd's watchdog: a ledger that answers late is no reason to restart a worker.
    """

    is_well: Callable[[], bool]
    beat: Callable[[bool], None]
    _draining: bool = False
    _ended: bool = False
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Beat once and then for as long as the worker is well."""
        self._beat()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Note soon that this worker takes no further job (called by a signal handler: it must not write itself)."""
        self._draining = True
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._ended = True
        self._wake.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            if self.is_well():
                self._beat()
            self._wake.wait(BEAT)
            self._wake.clear()

    def _beat(self) -> None:
        try:
            self.beat(self._draining)
        except Exception:  # a full disk or a locked ledger passes
            log.exception("the heartbeat could not be written")
