"""The locks that logind knows: one that refuses a reboot and says why, and one that delays it for a second or two."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

_POLKIT = Path("/usr/lib/polkit-1/polkitd")
_SIGNAL = "type='signal',interface='org.freedesktop.login1.Manager',member='PrepareForShutdown'"
_SCHEDULED = Path("/run/systemd/shutdown/scheduled")


def mode(version: int, *, has_polkit: bool) -> str:
    """The refusing lock's mode.

    From systemd 257 on `block` binds root, too, and only polkit lets `reboot -i` through. Where there is none, nobody
    could reboot but by --force: there the lock binds only those who are not root.
    """
    return "block" if version < 257 or has_polkit else "block-weak"


class Locks:
    """Both locks, as one child process: it ends with them, and prints a line when the host is about to go down."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        own = ["systemd-inhibit", "--what=shutdown", "--who=Farrier", f"--why={reason}"]
        refusing, delaying = [*own, f"--mode={_mode()}"], [*own, "--mode=delay"]
        command = [*refusing, *delaying, "busctl", "--json=short", f"--match={_SIGNAL}", "monitor"]
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
        )

    def is_held(self) -> bool:
        """Whether the locks are there."""
        return self._child.poll() is None

    def goes_down(self, within: float) -> bool:
        """Wait for the signal that the host goes down; False when it did not come within that many seconds."""
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], within)
        said = os.read(self._child.stdout.fileno(), 65536) if ready else b""
        if ready and not said:  # it has ended, a moment before the kernel says so
            self._child.wait()
        return b"PrepareForShutdown" in said

    def let_go(self) -> None:
        """Give them back."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGTERM)
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


def scheduled() -> str:
    """What somebody planned with `shutdown`, as logind noted it; empty for nothing."""
    try:
        return _SCHEDULED.read_text(encoding="utf-8")
    except OSError:
        return ""


def _mode() -> str:
    said = subprocess.run(["systemctl", "--version"], check=False, capture_output=True, text=True).stdout
    found = re.match(r"systemd (\d+)", said)
    return mode(int(found[1]) if found else 0, has_polkit=_POLKIT.exists())
