"""When a web process should let go of those it would answer for ever: told to end, or while a release goes live."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any


@dataclass(slots=True)
class Ending:
    """What is known of this process's end. `socket`: what it listens on; `live`: the link that the front door asks."""

    socket: Path | None = None
    live: Path | None = None
    on_end: Callable[[], None] | None = None  # called in the event loop as soon as the process is told to end
    _told: bool = field(default=False, init=False)

    def is_near(self) -> bool:
        """Whether a long answer should end now; who asks again is answered by the generation that comes next."""
        return self._told or self._is_led_past()

    def _is_led_past(self) -> bool:
        """Whether requests are led to another generation: a release waits until this one has answered all it has."""
        if self.socket is None or self.live is None:
            return False
        try:
            return self.live.readlink() != self.socket
        except OSError:  # no release is going on where there is no link
            return False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Notice SIGTERM; the server's own handler does what it does besides. Only in a main thread: else, nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGTERM)

        def told(number: int, frame: FrameType | None) -> None:
            self._told = True
            loop.call_soon_threadsafe(self._tell)
            if callable(before):
                before(number, frame)

        def restore(handler: Any) -> None:
            # A server that ended by the signal has its own idea of what comes after.
            if signal.getsignal(signal.SIGTERM) is told:
                signal.signal(signal.SIGTERM, handler)

        signal.signal(signal.SIGTERM, told)
        try:
            yield
        finally:
            restore(before)

    def _tell(self) -> None:
        if self.on_end:
            self.on_end()
