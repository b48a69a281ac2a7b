"""Who a process is, so that others on the same host can tell whether it still lives."""

from __future__ import annotations

import os
import time
from pathlib import Path

PROC = Path("/proc")


def _started(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot, or None where there is no such process (or a zombie)."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in brackets may hold spaces and brackets; state is field 3, the start time field 22.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def age(pid: int) -> float:
    """Seconds since a process began."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(_started(pid) or 0) / os.sysconf("SC_CLK_TCK")


def _namespace(boot: str) -> str:
    """Who shares it sees the same processes; another user namespace (PrivateUsers=) hides ours as if they were gone.

    The boot is part of it, because the namespaces of two hosts may have the same numbers.
    """
    return ":".join([boot, *(str((PROC / "self/ns" / kind).stat().st_ino) for kind in ("pid", "user"))])


def owner(name: str, boot: str) -> str:
    """The running process as the owner of a job: `<worker> <pid> <start time> <boot and namespaces>`."""
    pid = os.getpid()
    return f"{name} {pid} {_started(pid)} {_namespace(boot)}"


def is_gone(text: str, boot: str) -> bool:
    """Whether the owner's process has ended for sure; False for one that we cannot see into."""
    parts = text.rsplit(" ", 3)
    if len(parts) != 4 or not parts[1].isdigit() or parts[3] != _namespace(boot):
        return False
    return _started(int(parts[1])) != parts[2]
