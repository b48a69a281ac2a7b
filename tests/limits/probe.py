"""What a process of a unit can do: prints one JSON object. Runs on the machine, with nothing but Python."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

_EAT = "import sys; eaten = bytearray(300_000_000); print(len(eaten))"
_SECONDS = 5.0


def opened(path: str) -> str:
    """`open`, or the name of the error."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "open"


def share() -> float:
    """The share of a processor that a busy loop gets."""
    begun, used = time.monotonic(), time.process_time()
    while time.monotonic() - begun < _SECONDS:
        pass
    return (time.process_time() - used) / (time.monotonic() - begun)


if __name__ == "__main__":
    devices = {path: opened(path) for path in sys.argv[1:]}
    eater = subprocess.run([sys.executable, "-c", _EAT], check=False, capture_output=True)
    print("PROBE " + json.dumps({"devices": devices, "eater": eater.returncode, "cpu": share()}), flush=True)
