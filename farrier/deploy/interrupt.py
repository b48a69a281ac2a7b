"""Ctrl-C: the first ends the run at a safe point, the second at once."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from farrier.deploy.runner import Brake

# A terminal that is closed and a polite kill mean the same: Ansible's process would go on without anybody.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Counts the signals. A safe point is between two phases, or while the host goes live, which it does by itself."""

    def __init__(self, stop: Path, going_live: Callable[[], bool], say: Callable[[str], None]) -> None:
        self.count = 0
        self._stop, self._going_live, self._say = stop, going_live, say
        self._told = False

    @property
    def brake(self) -> Brake:
        """For the runner, which asks several times a second."""
        return Brake(self._stop, self._at_once)

    def signalled(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        del number, frame
        self.count += 1
        self._stop.touch()

    def _at_once(self) -> bool:
        """Whether to end now. What is told is told here, not in the signal handler, which may interrupt a print."""
        if self.count and not self._told:
            self._told = True
            if not self._going_live():
                self._say("Interrupted: this phase is ended first, then no other begins. Ctrl-C again ends at once.")
        return self.count > 1 or (self.count > 0 and self._going_live())


@contextmanager
def interruptible(going_live: Callable[[], bool], say: Callable[[str], None]) -> Iterator[Interrupt]:
    """Take the signals meanwhile."""
    with tempfile.TemporaryDirectory(prefix="farrier-") as folder:
        interrupt = Interrupt(Path(folder) / "stop", going_live, say)
        before = {number: signal.signal(number, interrupt.signalled) for number in _SIGNALS}
        try:
            yield interrupt
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
