"""Whether a worker hears of its jobs: one that sits idle while a job of its queues waits does not.

Seen with kombu: a Redis that stopped in the moment in which a message was acknowledged left a consumer whose loop
turns, and that never asks for messages again. No tick shows that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# Seconds. The reaper sends the call for a waiting job again after 15 s, so that a lost one is no sign of deafness.
PATIENCE = 25.0


@dataclass(slots=True)
class Ear:
    """`waits`: whether a job of the worker's queues waits; `redis_answers`: whether Redis works now."""

    waits: Callable[[], bool]
    redis_answers: Callable[[], bool]
    _since: float | None = None

    def is_deaf(self, *, free: bool, now: float | None = None) -> bool:
        """Ask every few seconds. `free`: the worker is idle, connected, not told to end. Raises what `waits` does."""
        now = time.monotonic() if now is None else now
        if not free or not self.waits():
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now - self._since < PATIENCE:
            return False
        if not self.redis_answers():  # then nobody could hear
            self._since = None
            return False
        return True
