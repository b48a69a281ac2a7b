"""The worker's sign of life, to systemd's watchdog and to the ledger: given only while its consumer loop turns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.notify import notify, watchdog_seconds

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between two ticks of the consumer's own timer
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

    def is_alive(self, patience: float) -> bool:
        """Whether the loop ticked within `patience` seconds, or is not meant to."""
        return not self.turns or time.monotonic() - self.ticked < patience


@dataclass(slots=True)
class Pulse:
    """A thread that tells systemd and the ledger that the worker lives. `beat(draining)` writes to the ledger."""

    loop: Loop
    beat: Callable[[bool], None]
    _draining: bool = False
    _ended: bool = False
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Beat once and then for as long as the loop turns."""
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
        watchdog = watchdog_seconds()
        patience = watchdog / 2 if watchdog else 5 * TICK
        every = min(BEAT, watchdog / 4) if watchdog else BEAT
        while not self._ended:
            if self.loop.is_alive(patience):
                notify("WATCHDOG=1")
                self._beat()
            self._wake.wait(every)
            self._wake.clear()

    def _beat(self) -> None:
        try:
            self.beat(self._draining)
        except Exception:  # a full disk or a locked ledger passes
            log.exception("the heartbeat could not be written")
