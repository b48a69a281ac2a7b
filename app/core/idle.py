"""A worker that had nothing to do for some time ends, and its bell starts it again: it sleeps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
ASLEEP = 90  # the exit code by which systemd knows that it is not to start the worker again by itself
LOOK = 1.0  # seconds between two looks


@dataclass(slots=True)
class Idle:
    """Decides when it is time. `rings` empties the bell and says whether somebody had rung."""

    after: float  # seconds
    rings: Callable[[], bool]
    has_work: Callable[[], bool]
    _since: float | None = None

    def is_over(self, *, able: bool, now: float) -> bool:
        """Whether there was no work for so long; `now` by CLOCK_MONOTONIC. `able`: the worker could have taken some.

        The bell first, the ledger then: what is queued after the look rings into an empty bell, which stays rung.
        """
        rung = self.rings()
        if rung or not able or self._since is None or self.has_work():
            self._since = now
            return False
        return now - self._since >= self.after


@dataclass(slots=True)
class Sleeper:
    """A thread that looks each second, and calls `fall_asleep` once. It is not the consumer's: a ledger may be slow."""

    idle: Idle
    able: Callable[[], bool]
    fall_asleep: Callable[[], None]
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Look each second from now on."""
        threading.Thread(target=self._run, name="sleeper", daemon=True).start()

    def stop(self) -> None:
        """Stay awake until the end."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            if self._is_over() and not self._stop.is_set():
                self.fall_asleep()
                return

    def _is_over(self) -> bool:
        try:
            return self.idle.is_over(able=self.able(), now=time.monotonic())
        except Exception:  # a locked ledger passes; who cannot look stays awake
            log.warning("it could not be seen whether there is work", exc_info=True)
            return False
