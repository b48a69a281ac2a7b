"""Waiting until a service is ready."""

from __future__ import annotations

import json
import time
from pathlib import Path

from farrier_host.release import systemd
from farrier_host.release.http import status_of
from farrier_host.release.systemd import Failed

_REQUEST = 5.0  # seconds for one request
_PAUSE = 0.2
_UNIX_SOCKETS = Path("/proc/net/unix")
DRAIN = 10.0  # seconds that a hung generation has to take what waits for it
ANSWERED = 300.0  # seconds that requests in hand have, long uploads among them


def await_ready(unit: str, socket: str, path: str, within: int, *, workers_come: bool = False) -> None:
    """Wait until `path`, asked through the unix socket, answers 200. Raises Failed after `within` seconds.

    `workers_come`: the release's workers go over later, so an answer is enough in which only they are missing.
    """
    deadline = time.monotonic() + within
    status, body = status_of(socket, path, _REQUEST)
    while status != 200 and not (workers_come and lacks_only_workers(body)):
        if systemd.look([unit])[unit].state == "failed":
            raise Failed(unit, "it failed while it was waited for")
        if time.monotonic() > deadline:
            raise Failed(unit, f"GET {path} answers {status or 'nothing'} after {within} s: {body}")
        time.sleep(_PAUSE)
        status, body = status_of(socket, path, _REQUEST)


def lacks_only_workers(body: str) -> bool:
    """Whether a readiness answer names what is missing (`{"missing": [...]}`), and that is nothing but `worker:…`."""
    try:
        missing = json.loads(body)["missing"]
        return bool(missing) and all(each.startswith("worker:") for each in missing)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def is_ready(socket: str, path: str) -> bool:
    """Whether it answers 200 now."""
    return status_of(socket, path, _REQUEST)[0] == 200


def await_answered(socket: str, path: str) -> None:
    """Wait until everything that was asked at a socket is answered, for ANSWERED seconds at most.

    Nothing new comes, and stopping the service would cut what outlasts its stop time. The kernel hands waiting
    connections out in the order in which they came: when ours has its answer, those before it were taken. A service
    that does not answer ours answers no other either.
    """
    deadline = time.monotonic() + ANSWERED
    if status_of(socket, path, DRAIN)[0] == 0:
        return
    while (
        connections(socket, _UNIX_SOCKETS.read_text(encoding="utf-8", errors="replace")) and time.monotonic() < deadline
    ):
        time.sleep(_PAUSE)


def connections(socket: str, table: str) -> int:
    """How many connections to a socket are open: lines of the kernel's `table` (/proc/net/unix) in state 03."""
    # A name is whatever its owner chose, line breaks included.
    rows = [line.split() for line in table.split("\n")]
    return sum(row[5:6] == ["03"] and row[7:8] == [socket] for row in rows)
