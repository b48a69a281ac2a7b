"""Kills the worker process that runs it, as a driver or a library that goes wrong does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def worker() -> int:
    """The first process above this one that is not the launcher of steps."""
    pid = os.getppid()
    while b"launch.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


if __name__ == "__main__":
    os.kill(worker(), signal.SIGKILL)
    time.sleep(60)
