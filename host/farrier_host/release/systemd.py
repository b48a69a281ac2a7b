"""The few things asked of systemd and Caddy. Jobs of units end by the units' own time limits, the rest by ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_CADDY_LIMIT = 20  # seconds: a reload that cannot finish would leave Caddy "reloading" for ever
_CADDYFILE = Path("/etc/caddy/Caddyfile")
_PROPERTIES = (
    "Id,ActiveState,SubState,Result,UnitFileState,InvocationID,StatusText,NRestarts,MainPID,"
    "ExecMainStatus,ActiveEnterTimestamp,StateChangeTimestamp"
)
_DOWN = ("inactive", "failed")
_KEPT_DOWN = ("disabled", "masked", "masked-runtime")


class Failed(Exception):
    """A step of an activation failed. `unit` is the one to look at; `said`, its journal, where it will be gone."""

    def __init__(self, unit: str, reason: str, said: str = "") -> None:
        super().__init__(reason)
        self.unit, self.reason, self.said = unit, reason, said


@dataclass(frozen=True)
class Seen:
    """A unit as systemd has it at one moment."""

    state: str  # ActiveState: active, activating, deactivating, inactive, failed
    sub: str
    result: str  # of the last run: success, exit-code, timeout, …
    enabled: str  # UnitFileState
    invocation: str  # another one for every start; empty while down
    status: str  # what the program says of itself
    restarts: int  # by systemd itself, since the last start by hand
    started: int | None  # seconds since 1970; None when not up
    changed: int | None  # since when it is in this state
    pid: int = 0  # of its main process; 0 for none
    code: int = 0  # that its main process ended with, the last time

    @property
    def is_up(self) -> bool:
        """Whether it has said READY and runs."""
        return self.state in ("active", "reloading")

    @property
    def is_down(self) -> bool:
        """Whether it neither runs nor is about to."""
        return self.state in _DOWN

    @property
    def is_kept_down(self) -> bool:
        """Whether an administrator disabled or masked it: ours are all enabled when they come."""
        return self.enabled in _KEPT_DOWN


def look(units: Iterable[str]) -> dict[str, Seen]:
    """How units are, in one question; one that does not exist is `inactive`."""
    names = list(units)
    if not names:
        return {}
    command = ["systemctl", "show", "--timestamp=unix", f"--property={_PROPERTIES}", *names]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in done.stdout.strip().split("\n\n")]
    if done.returncode != 0 or len(blocks) != len(names):
        raise Failed("systemd", f"`systemctl show` failed: {done.stderr.strip() or done.stdout.strip()}")
    return {name: _seen(block) for name, block in zip(names, blocks, strict=True)}


def _seen(block: dict[str, str]) -> Seen:
    return Seen(
        state=block["ActiveState"],
        sub=block["SubState"],
        result=block.get("Result", ""),
        enabled=block.get("UnitFileState", ""),
        invocation=block.get("InvocationID", ""),
        status=block.get("StatusText", ""),
        restarts=int(block.get("NRestarts", 0)),
        started=_time(block.get("ActiveEnterTimestamp", "")) if block["ActiveState"] not in _DOWN else None,
        changed=_time(block.get("StateChangeTimestamp", "")),
        pid=int(block.get("MainPID", 0)),
        code=int(block.get("ExecMainStatus", 0)),
    )


def _time(text: str) -> int | None:
    return int(text.removeprefix("@")) if text.startswith("@") else None


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
    return [unit for unit, seen in look(units).items() if not seen.is_down]


def disable(units: Sequence[str]) -> None:
    """Start units no more at boot."""
    if units:
        run(["systemctl", "disable", "--quiet", *units], units[0])


def enable(units: Sequence[str]) -> None:
    """Start units at boot."""
    if units:
        run(["systemctl", "enable", "--quiet", *units], units[0])


def forget_starts(unit: str) -> None:
    """Forget that a unit failed, and how often it was started of late: systemd would refuse to start it again."""
    subprocess.run(["systemctl", "reset-failed", unit], check=False, capture_output=True)


def restart(unit: str) -> None:
    """Restart one unit and wait until it says READY. Raises Failed with its name."""
    forget_starts(unit)
    run(["systemctl", "restart", unit], unit)


def start(unit: str) -> None:
    """Start one unit, if it does not run, and wait until it says READY. Raises Failed with its name."""
    forget_starts(unit)
    run(["systemctl", "start", unit], unit)


def start_down(unit: str) -> None:
    """Start one unit that is down; nothing for one that is up."""
    if not look([unit])[unit].is_up:
        start(unit)


def start_later(unit: str) -> None:
    """Queue a start and come back at once: for early boot, where waiting would wait for itself."""
    subprocess.run(["systemctl", "start", "--no-block", unit], check=False)


def ask_to_end(unit: str) -> None:
    """SIGTERM to the unit's main process alone: it ends when its work in hand is done, without a time limit."""
    subprocess.run(["systemctl", "kill", "--kill-who=main", "--signal=TERM", unit], check=False, capture_output=True)


def is_ending() -> bool:
    """Whether the host is going down."""
    command = ["systemctl", "is-system-running"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip() == "stopping"


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
