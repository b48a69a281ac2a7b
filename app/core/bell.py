"""Bells: systemd holds a socket for each worker that may sleep, and starts the worker when somebody has rung.

The order is what makes it safe. Who queues a job notes it in the ledger and rings then; a worker empties its bell and
looks into the ledger then. A ring that a worker does not see before it ends is still there when it has ended, and
systemd starts it again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_FIRST = 3  # the first file descriptor that systemd passes (sd_listen_fds)
_RING = b"1"


def read_bells(text: str) -> dict[str, tuple[Path, ...]]:
    """The bells of each queue out of `queue=path:queue=path`. Raises ValueError for anything else."""
    found: dict[str, tuple[Path, ...]] = {}
    for word in filter(None, text.split(":")):
        queue, equals, path = word.partition("=")
        if not (queue and equals and path.startswith("/")):
            raise ValueError(f"{word!r} is no bell; write queue=/path")
        found[queue] = (*found.get(queue, ()), Path(path))
    return found


def _speak(path: Path, say: Callable[[socket.socket], object]) -> bool:
    """Whether somebody, systemd or a worker, holds this bell."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        try:
            out.connect(str(path))
            with suppress(BlockingIOError):  # it is full of rings that nobody has read yet
                say(out)
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Bells:
    """The bells of each queue's workers, the first worker's first."""

    queues: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def many(self, queue: str) -> int:
        """How many workers of the queue can be woken at most."""
        return len(self.queues.get(queue, ()))

    def hears(self, queue: str) -> bool:
        """Whether a ring would wake a worker of this queue; nobody is rung for."""
        return any(_speak(path, lambda _: None) for path in self.queues.get(queue, ()))

    def ring(self, queue: str, workers: int) -> int:
        """Ring for so many workers of the queue, past those whose bell nobody holds; how many that were."""
        rung = 0
        for path in self.queues.get(queue, ()):
            if rung >= workers:
                break
            rung += _speak(path, lambda out: out.send(_RING))
        return rung


class OwnBell:
    """The bell of this worker, as systemd handed it over. Take it once, in the main process."""

    def __init__(self, bell: socket.socket) -> None:
        self._bell = bell
        bell.setblocking(False)
        bell.set_inheritable(False)

    @classmethod
    def passed(cls, environment: Mapping[str, str]) -> OwnBell | None:
        """None where systemd holds no bell for this process: nobody could wake it."""
        if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS") != "1":
            return None
        return cls(socket.socket(fileno=_FIRST))

    def ring(self) -> None:
        """Have systemd start this worker again once it has ended."""
        _speak(Path(self._bell.getsockname()), lambda out: out.send(_RING))

    def empty(self) -> bool:
        """Take all that was rung; whether anybody had."""
        rung = False
        with suppress(BlockingIOError):
            while True:
                self._bell.recv(len(_RING))
                rung = True
        return rung
