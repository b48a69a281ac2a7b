"""Who holds a card: one file a holder in the card's folder, which its process keeps locked for as long as it lives.

A lock of flock() ends with its process, however that ends, so nothing has to be cleaned up for a job to start again.
`lock` in the same folder is held while somebody looks and decides, so that of two who look only one takes the last
memory. Whoever holds it for longer, as `flock /run/farrier/gpu/card-1/lock PROGRAM` does, keeps our jobs off the card.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from app.core.gpu.decide import Need, Reservation
from app.core.gpu.state import SEE

LOCK = "lock"
HOLD = "hold-"
PATIENCE = 0.5  # seconds that another one has to look and decide
Decide = Callable[[int, Sequence[Reservation]], str | None]  # gives an obstacle, or None


class Held(Exception):
    """A card cannot be taken now; the message says why."""


def folder_of(run: Path, card: int) -> Path:
    """Where the holders of a card are noted."""
    return run / f"card-{card}"


def reservations(folder: Path) -> list[Reservation]:
    """The live holders of a card; what dead ones left is removed."""
    found = []
    for path in sorted(folder.glob(f"{HOLD}*")):
        with suppress(FileNotFoundError), _opened(path, os.O_RDONLY) as file:
            if _lock(file):
                path.unlink(missing_ok=True)
            else:
                found.append(Reservation(**json.loads(path.read_bytes())))
    return found


def take(run: Path, need: Need, decide: Decide) -> ExitStack:
    """Take all cards of the need, or none; closing what is given gives them back. Raises Held.

    `decide` is asked about each card, with its live holders.
    """
    mine = Reservation(need.unit, os.getpid(), need.memory)
    with ExitStack() as taken:
        for card in sorted(need.cards):  # in one order, so that two never wait for each other's
            folder = folder_of(run, card)
            try:
                with _deciding(folder):
                    if words := decide(card, reservations(folder)):
                        raise Held(f"GPU {card}: {words}")
                    taken.enter_context(_hold(folder, mine))
            except OSError as error:
                raise Held(f"GPU {card}: {folder} cannot be used ({error.strerror}); see `{SEE}`") from error
        return taken.pop_all()


@contextmanager
def _deciding(folder: Path) -> Iterator[None]:
    with _opened(folder / LOCK, os.O_RDONLY | os.O_CREAT) as file:
        deadline = time.monotonic() + PATIENCE
        while not _lock(file):
            if time.monotonic() > deadline:
                raise Held(f"GPU {folder.name.removeprefix('card-')}: another program holds {folder / LOCK}")
            time.sleep(0.02)
        yield


@contextmanager
def _hold(folder: Path, mine: Reservation) -> Iterator[None]:
    path = folder / f"{HOLD}{mine.pid}-{uuid4().hex}"
    with _opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, json.dumps(asdict(mine)).encode())
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o640)  # other stacks' workers are of the same group, and need only look
    try:
        yield file
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
