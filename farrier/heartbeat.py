"""A sign of life on the terminal while one long task runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY = 30.0  # seconds


@contextmanager
def heartbeat(say: Callable[[str], object], what: str, every: float = _EVERY) -> Iterator[None]:
    """While the block runs, `say` every so many seconds that `what` still goes on, and since when."""
    over, started = threading.Event(), time.monotonic()

    def beat() -> None:
        while not over.wait(every):
            say(f"  … {what}, {time.monotonic() - started:.0f} s so far")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
