"""The pool's processes: each says every second that it lives, and one that falls silent is killed.

Celery itself starts another one in a killed one's place; it never notices one that is stopped or hung.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)
ADDRESS = "FARRIER_POOL_SIGNS"  # the variable by which the pool's processes find where to send their signs
SIGN = 1.0  # seconds between two signs
PATIENCE = 12.0  # seconds of silence after which a process is killed


def show_life() -> None:
    """Send signs from a thread of this process to its parent for as long as it lives; nothing where none is asked."""
    address = os.environ.get(ADDRESS)
    if address:
        threading.Thread(target=_send_signs, args=(address,), name="signs", daemon=True).start()


def _send_signs(address: str) -> None:
    own = str(os.getpid()).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        while True:
            with suppress(OSError):  # the parent is stopped, or gone
                out.sendto(own, address)
            time.sleep(SIGN)


@dataclass(slots=True)
class _Child:
    """A process that gave a sign. Its pidfd means this process alone, whoever gets the number later."""

    pidfd: int
    heard: float
    killed: bool = False

    def has_ended(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])


class Children:
    """What the main process knows of its pool's processes. Times are of the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="pool-")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(Path(self._folder, "signs")))
        self._socket.setblocking(False)
        self._known: dict[int, _Child] = {}
        os.environ[ADDRESS] = str(Path(self._folder, "signs"))

    def close(self) -> None:
        """Listen no more."""
        os.environ.pop(ADDRESS, None)
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def listen(self, now: float) -> None:
        """Take in the signs that came, and forget who has ended."""
        with suppress(BlockingIOError):
            while True:
                self._hear(int(self._socket.recv(32)), now)
        for pid, child in list(self._known.items()):
            if child.has_ended():
                os.close(child.pidfd)
                del self._known[pid]

    def _hear(self, pid: int, now: float) -> None:
        if pid in self._known:
            self._known[pid].heard = now
            return
        with suppress(ProcessLookupError):
            self._known[pid] = _Child(os.pidfd_open(pid), now)

    def excuse(self, seconds: float) -> None:
        """We ourselves were stopped so long: what we did not hear meanwhile says nothing."""
        for child in self._known.values():
            child.heard += seconds

    def replace_silent(self, now: float) -> None:
        """Kill who was silent for too long; the pool starts another one, and the ledger gives its job to it."""
        for pid, child in self._known.items():
            if not child.killed and now - child.heard > PATIENCE:
                log.error("pool process %d gave no sign for %.0f s: it is killed and replaced", pid, now - child.heard)
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
                child.killed = True

    def are_well(self, now: float) -> bool:
        """Whether nobody is silent for so long that even being killed did not help."""
        return all(now - child.heard < 2 * PATIENCE for child in self._known.values())
