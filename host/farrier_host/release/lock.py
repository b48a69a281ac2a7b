"""One deploy or rollback of a stack at a time; who holds the lock is written in it.

The kernel frees the lock when its holder dies, so that a stale one is recognised by being free.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.state import utc


@contextmanager
def hold(layout: Layout, stack: str, who: str, doing: str) -> Iterator[None]:
    """Hold the stack's lock. Raises Refused, naming its holder and since when, where somebody else has it."""
    path = layout.stack_lock(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Refused(f"{stack}: {_holder(file.read())}; wait for its end and try again") from None
        file.truncate(0)
        file.write(json.dumps({"who": who, "doing": doing, "since": utc(), "pid": os.getpid()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"{holder['who']} is at it since {holder['since']} ({holder['doing']}, PID {holder['pid']})"
    except (ValueError, KeyError):  # it has just been taken, or just been let go
        return "somebody else is at it"
