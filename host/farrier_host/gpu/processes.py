"""Whose a process is: name, user, unit and stack, by its number."""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_UNIT = re.compile(r".+\.(service|scope)")


def owner_of(pid: int, proc: Path, user_of: Callable[[int], str]) -> dict[str, Any]:
    """`name`, `user`, `unit` and `stack` of a process; empty or None where it cannot be told, as when it ended."""
    unit, stack = place_of(_read(proc / str(pid) / "cgroup"))
    return {
        "pid": pid,
        "name": _read(proc / str(pid) / "comm").strip(),
        "user": _user(_read(proc / str(pid) / "status"), user_of),
        "unit": unit,
        "stack": stack,
    }


def place_of(cgroup: str) -> tuple[str | None, str | None]:
    """Unit and stack by the text of /proc/PID/cgroup.

    A stack's units are its own slice's: `/demo.slice/demo-worker@0.service`; in slices' names `_` stands for `-`.
    """
    path = next((line.partition("::")[2] for line in cgroup.splitlines() if line.startswith("0::")), "")
    parts = path.strip("/").split("/")
    units = [part for part in parts if _UNIT.fullmatch(part)]
    unit = units[-1] if units else None
    slices = [part.removesuffix(".slice").replace("_", "-") for part in parts if part.endswith(".slice")]
    stack = next((each for each in slices if unit and unit.startswith(f"{each}-")), None)
    return unit, stack


def user_name(uid: int) -> str:
    """By the host's directory of users, which may be on another machine, and slow."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _user(status: str, user_of: Callable[[int], str]) -> str | None:
    found = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
    return user_of(int(found.group(1))) if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
