"""A static HTTP server on the test network's gateway address, in the background, one per port."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from testbed import cgroup, network
from testbed.settings import GATEWAY, SERVERS
from testbed.shell import DriverError, lock

_START_SECONDS = 10.0


def serve(folder: Path, port: int) -> str:
    """Serve a folder to the hosts and return its URL; a server of the same folder and port is kept."""
    if not folder.is_dir():
        raise DriverError(f"{folder} is no folder: build what is to be served first")
    url = f"http://{GATEWAY}:{port}"
    with lock("network"):
        network.ensure_bridge()
        if _record(port) != str(folder) or not cgroup.is_alive(_name(port)):
            _stop(port)
            _start(folder, port)
    return url


def unserve() -> None:
    """Stop every server; no error when there is none."""
    with lock("network"):
        for name in cgroup.names():
            if name.startswith("server-"):
                _stop(int(name.removeprefix("server-")))


def stop(port: int) -> None:
    """Stop the server of one port; no error when there is none."""
    with lock("network"):
        _stop(port)


def _start(folder: Path, port: int) -> None:
    SERVERS.mkdir(parents=True, exist_ok=True)
    own, log = cgroup.create(_name(port)), SERVERS / f"{port}.log"
    # the shell enters the cgroup before Python starts: no moment in which a crash would leave a process outside
    enter = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
    server = [sys.executable, "-m", "http.server", "--bind", str(GATEWAY), "--directory", str(folder), str(port)]
    with log.open("w") as out:
        command = ["sh", "-c", enter, "sh", str(own), *server]
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd="/"
        )
    _await(port, log)
    (SERVERS / f"{port}.json").write_text(json.dumps(str(folder)))


def _await(port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _listens(port) or not cgroup.is_alive(_name(port)):
        if time.monotonic() > deadline:
            cgroup.remove(_name(port))
            raise DriverError(f"nothing could be served on {GATEWAY}:{port}:\n{log.read_text()}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((str(GATEWAY), port), timeout=0.5):
            return True
    except OSError:
        return False


def _stop(port: int) -> None:
    cgroup.remove(_name(port))
    (SERVERS / f"{port}.json").unlink(missing_ok=True)


def _record(port: int) -> str | None:
    try:
        return str(json.loads((SERVERS / f"{port}.json").read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _name(port: int) -> str:
    return f"server-{port}"
