"""The worker's sign of life to systemd: given only while its consumer loop turns and its pool's processes answer."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from app.core.children import Children
from app.core.notify import notify
from app.core.pulse import PATIENCE, Loop

log = logging.getLogger(__name__)
LOOK = 1.0  # seconds between two looks


@dataclass(slots=True)
class Watchdog:
    """A thread that looks each second. A hung consumer is told to systemd at once, which replaces the worker."""

    loop: Loop
    children: Children
    _stop: threading.Event = field(default_factory=threading.Event)
    _looked: float = 0.0
    _well: bool = True

    def start(self) -> None:
        """Look each second from now on."""
        self._looked = time.monotonic()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def is_well(self) -> bool:
        """What the last look found."""
        return self._well

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Look once, `now` by CLOCK_MONOTONIC."""
        missed = now - self._looked - LOOK
        self._looked = now
        self.children.listen(now)
        if missed > LOOK:
            self.loop.excuse(missed)
            self.children.excuse(missed)
        self.children.replace_silent(now)
        turns = self.loop.is_alive(now)
        if self._well and not turns:
            log.critical("the consumer did not turn for %.0f s: systemd replaces this worker", PATIENCE)
            notify("WATCHDOG=trigger")
        self._well = turns and self.children.are_well(now)
        if self._well:
            notify("WATCHDOG=1")
