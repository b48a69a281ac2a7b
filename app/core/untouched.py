"""How long things have stayed as they are, by a clock that nobody can set: files' times are the wall clock's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Untouched:
    """Remembers when each thing was first seen as it is. What changes, or goes away, begins anew."""

    now: Callable[[], float] = _since_boot
    _seen: dict[str, tuple[object, float]] = field(default_factory=dict)

    def longer_than(self, seconds: float, things: Mapping[str, object]) -> list[str]:
        """Those of the things (name -> whatever differs once it changed) that have not changed for so long."""
        now = self.now()
        before, self._seen = self._seen, {}
        for name, state in things.items():
            known = before.get(name)
            self._seen[name] = known if known and known[0] == state else (state, now)
        return [name for name, (_, since) in self._seen.items() if now - since > seconds]
