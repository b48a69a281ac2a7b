"""Time that no one can set: leases count on CLOCK_BOOTTIME and the boot id, so a stepped wall clock ends none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clock:
    """`now()`: seconds since this boot, suspended time too; `boot_id`: which boot; `wall()`: UTC epoch, for people."""

    boot_id: str
    now: Callable[[], float] = _since_boot
    wall: Callable[[], float] = time.time


def boot_clock(boot_id: str | None = None) -> Clock:
    """The clock of this host; `boot_id` is given where /proc/sys is hidden from the process."""
    return Clock((boot_id or BOOT_ID.read_text(encoding="ascii")).strip().replace("-", ""))
