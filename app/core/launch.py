"""launch.py PROGRAM ARGUMENT…: become PROGRAM, which the kernel kills when the process that started it dies.

A step must not outlive a worker that was killed. util-linux's `setpriv --pdeathsig` does the same, but it also sets
capabilities, which a hardened unit refuses.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execv(sys.argv[1], sys.argv[1:])
