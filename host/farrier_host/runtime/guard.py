"""guard.py --socket PATH --path URL-PATH --workers N -- SERVER…: says READY when every worker really answers.

The server becomes the main process (it keeps the PID that systemd gave its sockets to). A child asks PATH through the
unix socket and talks to systemd: READY after N distinct workers have answered 200, then WATCHDOG after each 200 while
the main process, which alone replaces a stuck worker, does not stand still either.
Without it a server says READY before its workers have imported the application.

guard.py --socket PATH --redis -- REDIS-SERVER…: Redis says READY by itself; WATCHDOG comes after each of its answers.

A worker names itself in the answer's header X-Farrier-Worker (see gunicorn_conf.py), to requests with X-Farrier-Probe.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PROBE = "GET {path} HTTP/1.0\r\nHost: localhost\r\nX-Farrier-Probe: 1\r\n\r\n"
_LISTEN_FD = 3


def main(arguments: list[str]) -> None:
    """Exec the server; the child watches it for as long as it lives."""
    options = _parse(arguments)
    notify = os.environ.get("NOTIFY_SOCKET")
    if not options.redis:
        os.environ.pop("NOTIFY_SOCKET", None)  # else the server would say READY by itself, too early
    watchdog = int(os.environ.pop("WATCHDOG_USEC", "60000000")) / 1e6  # seconds
    os.environ.pop("WATCHDOG_PID", None)
    if notify is None or os.fork():
        os.execv(options.server[0], options.server)
    _die_with_parent()
    _drop_listening_socket()
    if options.redis:
        _feed(notify, watchdog, lambda: answers_as_redis(options.socket, watchdog / 3))
    _await_workers(options, notify, watchdog)
    main_process = Turning(os.getppid())
    _feed(
        notify,
        watchdog,
        lambda: ask(options.socket, options.path, watchdog / 3) is not None and main_process.turns(),
    )


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Say READY when every worker of a web server really answers.")
    parser.add_argument("--socket", required=True, help="the unix socket that the server listens on")
    parser.add_argument("--path", help="the URL path that answers 200")
    parser.add_argument("--workers", type=int, help="how many distinct workers must answer")
    parser.add_argument("--redis", action="store_true", help="the server is Redis")
    parser.add_argument("server", nargs="+", help="the server and its arguments")
    return parser.parse_args(arguments)


def _await_workers(options: argparse.Namespace, notify: str, watchdog: float) -> None:
    seen: set[str] = set()
    while len(seen) < options.workers:
        worker = ask(options.socket, options.path, watchdog / 3)
        if worker is None:
            time.sleep(0.1)
        else:
            seen.add(worker)
    _say(notify, f"READY=1\nWATCHDOG=1\nSTATUS={len(seen)} workers answer")


def _feed(notify: str, watchdog: float, is_well: Callable[[], bool]) -> NoReturn:
    """Say WATCHDOG for as long as all is well. Seconds."""
    while True:
        started = time.monotonic()
        if is_well():
            _say(notify, "WATCHDOG=1")
        time.sleep(max(0.0, watchdog / 6 - (time.monotonic() - started)))


class Turning:
    """Whether a process does anything at all between two looks: gunicorn's main process wakes each second."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/status")
        self._before = ""

    def turns(self) -> bool:
        """Whether the kernel switched to or from it since the last look."""
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        switches = "".join(line for line in lines if "ctxt_switches" in line)
        before, self._before = self._before, switches
        return switches != before


def answers_as_redis(path: str, timeout: float) -> bool:
    """Whether Redis answers anything within `timeout` seconds; that we have no password is an answer too."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            return connection.recv(64)[:1] in (b"+", b"-")
        except OSError:
            return False


def ask(path: str, url_path: str, timeout: float) -> str | None:
    """The worker that answered 200 (empty when it does not name itself), or None within `timeout` seconds."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            connection.sendall(_PROBE.format(path=url_path).encode())
            answer = b""
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        except OSError:
            return None
    return worker_of(answer.split(b"\r\n\r\n")[0].decode("latin-1"))


def worker_of(head: str) -> str | None:
    """The worker named in an answer's head, or None when its status is not 200."""
    status, *headers = head.split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        return None
    values = dict(header.lower().split(": ", 1) for header in headers if ": " in header)
    return values.get("x-farrier-worker", "")


def _say(address: str, message: str) -> None:
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(message.encode(), target)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _drop_listening_socket() -> None:
    """The child must not hold the service's socket open."""
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    with contextlib.suppress(OSError):  # started without a socket unit
        os.close(_LISTEN_FD)


if __name__ == "__main__":
    main(sys.argv[1:])
