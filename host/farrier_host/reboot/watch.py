"""As long as jobs run: whoever is about to reboot the host is told so, and whom to ask."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from farrier_host import people
from farrier_host.reboot import locks
from farrier_host.reboot.jobs import Workers, going_down, planned, reason
from farrier_host.reboot.locks import Locks
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Failed

_PAUSE = 5.0  # seconds between two looks: shorter jobs need no announcement


class Guard:
    """Holds the locks while jobs run."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.workers = layout, Workers(layout)
        self.locks: Locks | None = None
        self.told = ""  # the plan to shut down that was spoken of

    def look(self) -> None:
        """One look, and the time until the next."""
        busy = self.workers.busy()
        contact = people.contact(self.layout)
        why = reason(busy, contact) if busy else ""
        if self.locks and self.locks.reason != why:
            self.release()
        if busy and self.locks is None:
            self.locks = Locks(why)
        plan = locks.scheduled()
        if busy and plan and plan != self.told:
            people.tell_everybody(planned(busy, people.host(), contact))
        self.told = plan if busy else ""
        if self.locks is None or not self.locks.is_held():  # without logind nobody can be told by a lock
            time.sleep(_PAUSE)
        elif self.locks.goes_down(_PAUSE):
            people.tell_everybody(going_down(busy, people.host(), contact))
            self.release()  # now it may go on
            time.sleep(_PAUSE)

    def release(self) -> None:
        """Let go of the locks."""
        if self.locks is not None:
            self.locks.let_go()
            self.locks = None


def watch(layout: Layout) -> None:
    """For ever."""
    signal.signal(signal.SIGTERM, _end)
    guard = Guard(layout)
    try:
        while True:
            try:
                guard.look()
            except (Failed, OSError, ValueError) as error:
                print(f"could not be looked at, and is looked at again: {error}", file=sys.stderr, flush=True)
                time.sleep(_PAUSE)
    finally:
        guard.release()


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(0)
