"""The timers that end an open activation when nobody else does."""

from __future__ import annotations

import subprocess

from farrier_host.release import systemd


def look_after(stack: str) -> None:
    """Settle the stack every minute from now on, until `look_away`.

    Whoever is at work holds the lock; when it died in the middle, `settle` goes on. Raises Failed.
    """
    systemd.start(f"farrier-settle@{stack}.timer")


def look_away(stack: str) -> None:
    """Nothing is half-way."""
    _stop(f"farrier-settle@{stack}.timer")
    systemd.forget_starts(f"farrier-settle@{stack}.service")  # it may have failed once, and somebody else did it


def go_back_later(stack: str, release: str, seconds: int) -> None:
    """Take the release back after this time unless it is confirmed; the last call counts. Raises Failed."""
    forget(stack, release)
    name = _name(stack, release)
    timer = ["systemd-run", "--quiet", "--collect", f"--unit={name}", f"--on-active={seconds}"]
    expire = ["/usr/local/sbin/farrier-release", "expire", stack, release]
    systemd.run([*timer, "--timer-property=AccuracySec=1s", *expire], name)


def is_set(stack: str, release: str | None) -> bool:
    """Whether the release would be taken back by itself."""
    return bool(systemd.running([f"{_name(stack, release)}.timer"]))


def forget(stack: str, release: str | None) -> None:
    """The release is confirmed, or was taken back."""
    _stop(f"{_name(stack, release)}.timer")


def _name(stack: str, release: str | None) -> str:
    # With the release in its name: the timer of an earlier one may have run out and wait for its turn.
    return f"farrier-goback-{stack}-{release}"


def _stop(unit: str) -> None:
    subprocess.run(["systemctl", "stop", unit], check=False, capture_output=True)
