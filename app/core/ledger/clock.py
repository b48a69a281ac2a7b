"""Time that no one can set: leases count on CLOCK_BOOTTIME and the boot id, so a stepped wall clock ends none.

Where several hosts share a ledger, they count on the clock of its server instead: `postgres.server_clock`.
"""

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
    """`now()`: seconds that leases count on, in the count that `boot_id` names; `wall()`: UTC epoch, for people."""

    boot_id: str
    now: Callable[[], float] = _since_boot
    wall: Callable[[], float] = time.time


def this_boot(boot_id: str | None = None) -> str:
    """Which boot of which host this is; `boot_id` is given where /proc/sys is hidden from the process."""
    return (boot_id or BOOT_ID.read_text(encoding="ascii")).strip().replace("-", "")


def boot_clock(boot_id: str | None = None) -> Clock:
    """The clock of this host: seconds since this boot, suspended time too."""
    return Clock(this_boot(boot_id))
