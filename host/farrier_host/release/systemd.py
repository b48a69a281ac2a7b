"""The few things asked of systemd and Caddy. Jobs of units end by the units' own time limits, the rest by ours."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

_CADDY_LIMIT = 20  # seconds: a reload that cannot finish would leave Caddy "reloading" for ever
_CADDYFILE = Path("/etc/caddy/Caddyfile")


class Failed(Exception):
    """A step of an activation failed. `unit` is the one to look at."""

    def __init__(self, unit: str, reason: str) -> None:
        super().__init__(reason)
        self.unit, self.reason = unit, reason


def daemon_reload() -> None:
    """Let systemd read the unit files again."""
    run(["systemctl", "daemon-reload"], "systemd")


def stop(units: Sequence[str]) -> None:
    """Stop units and wait until they are down; those that are unknown are left alone."""
    # A unit that is just being restarted after a crash cancels the first stop.
    for attempt in (units, running(units)):
        if attempt:
            subprocess.run(["systemctl", "stop", *attempt], check=False, capture_output=True)
    left = running(units)
    if left:
        raise Failed(left[0], f"{', '.join(left)} would not stop")


def running(units: Sequence[str]) -> list[str]:
    """Those of `units` that are not down."""
    asked = [
        subprocess.run(["systemctl", "is-active", unit], check=False, capture_output=True, text=True) for unit in units
    ]
    down = ("inactive", "failed", "unknown")
    return [unit for unit, answer in zip(units, asked, strict=True) if answer.stdout.strip() not in down]


def kept_down(units: Sequence[str]) -> set[str]:
    """Those of `units` that an administrator disabled or masked: ours are all enabled when they come."""
    asked = [
        subprocess.run(["systemctl", "is-enabled", unit], check=False, capture_output=True, text=True) for unit in units
    ]
    return {unit for unit, answer in zip(units, asked, strict=True) if answer.stdout.strip() in ("disabled", "masked")}


def started(unit: str) -> int | None:
    """When the unit came up, in seconds since 1970; None when it is not up."""
    command = ["systemctl", "show", "--timestamp=unix", "--property=ActiveEnterTimestamp", "--value", unit]
    answer = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    return int(answer.removeprefix("@")) if answer.startswith("@") else None


def disable(units: Sequence[str]) -> None:
    """Start units no more at boot."""
    if units:
        run(["systemctl", "disable", "--quiet", *units], units[0])


def enable(units: Sequence[str]) -> None:
    """Start units at boot."""
    if units:
        run(["systemctl", "enable", "--quiet", *units], units[0])


def restart(unit: str) -> None:
    """Restart one unit and wait until it says READY. Raises Failed with its name."""
    subprocess.run(["systemctl", "reset-failed", unit], check=False, capture_output=True)
    run(["systemctl", "restart", unit], unit)


def start(unit: str) -> None:
    """Start one unit, if it does not run, and wait until it says READY. Raises Failed with its name."""
    subprocess.run(["systemctl", "reset-failed", unit], check=False, capture_output=True)
    run(["systemctl", "start", unit], unit)


def start_later(unit: str) -> None:
    """Queue a start and come back at once: for early boot, where waiting would wait for itself."""
    subprocess.run(["systemctl", "start", "--no-block", unit], check=False)


def journal(unit: str, lines: int = 20) -> str:
    """The unit's last journal lines."""
    command = ["journalctl", "--unit", unit, "--lines", str(lines), "--no-pager", "--output", "cat"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def reload_caddy() -> None:
    """Validate Caddy's configuration and load it. Raises Failed; the caller puts the old files back."""
    # As its own user: validating sets up the CA's folder, which must not become root's.
    check = ["runuser", "-u", "caddy", "--", "caddy", "validate", "--config", str(_CADDYFILE), "--adapter", "caddyfile"]
    run(check, "caddy.service", _CADDY_LIMIT)
    run(["systemctl", "reload", "caddy.service"], "caddy.service", _CADDY_LIMIT)


def run(command: Sequence[str], unit: str, limit: int | None = None) -> None:
    """Run a command. Raises Failed, with the last lines that it printed, when it fails or takes over `limit` s."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failed(unit, f"`{' '.join(command)}` did not finish within {limit} s") from None
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise Failed(unit, f"`{' '.join(command)}` failed: {last}")
