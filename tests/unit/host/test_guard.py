"""The guard against a real gunicorn with uvicorn workers: READY only when every worker answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farrier_host.runtime.guard import ask, worker_of

RUNTIME = Path(__file__).parents[3] / "host" / "farrier_host" / "runtime"
APPLICATION = """
import os, pathlib, time
gate = pathlib.Path(os.environ["GATE"])
while not gate.exists():
    time.sleep(0.02)

async def app(scope, receive, send):
    if scope["type"] == "http":
        code = 200 if scope["path"] == "/live" else 503
        await send({"type": "http.response.start", "status": code, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
"""


class Guarded:
    """A guarded server, and what it told systemd."""

    def __init__(self, folder: Path, path: str) -> None:
        (folder / "application.py").write_text(APPLICATION)
        self.socket, self.gate = str(folder / "web.sock"), folder / "gate"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        guard = [sys.executable, str(RUNTIME / "guard.py"), "--socket", self.socket, "--path", path, "--workers", "2"]
        server = [str(Path(sys.executable).parent / "gunicorn"), "--config", str(RUNTIME / "gunicorn_conf.py")]
        server += ["--workers", "2", "--no-control-socket"]
        server += ["--bind", f"unix:{self.socket}", "application:app"]
        told = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "3000000", "GATE": str(self.gate)}
        self.process = subprocess.Popen(
            [*guard, "--", *server], cwd=folder, env=os.environ | told | {"PYTHONPATH": str(folder)}
        )

    def told(self, within: float) -> str | None:
        """The next message to systemd, or None within the time (seconds)."""
        self.notify.settimeout(within)
        try:
            return self.notify.recv(4096).decode()
        except TimeoutError:
            return None

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        self.notify.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path, "/live")
    yield made
    made.stop()


def test_ready_comes_when_both_workers_have_answered_and_not_before(guarded: Guarded) -> None:
    assert guarded.told(1.0) is None  # the workers are still importing the application
    guarded.gate.touch()
    ready = guarded.told(20.0)
    assert ready is not None
    assert ready.startswith("READY=1")
    assert "2 workers answer" in ready
    assert guarded.told(10.0) == "WATCHDOG=1"


def test_the_watchdog_starves_when_no_worker_answers(guarded: Guarded) -> None:
    guarded.gate.touch()
    assert (guarded.told(20.0) or "").startswith("READY=1")
    children = subprocess.run(
        ["pgrep", "-P", str(guarded.process.pid)], capture_output=True, text=True, check=True
    ).stdout
    workers = [
        pid for pid in map(int, children.split()) if b"guard.py" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    assert starves(guarded.told)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert guarded.told(10.0) == "WATCHDOG=1"


def starves(told: Callable[[float], str | None]) -> bool:
    """Whether nothing more is told, once what was under way has come."""
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        told(0.2)
    return told(2.5) is None


def test_the_watchdog_starves_when_the_main_process_stands_still(guarded: Guarded) -> None:
    guarded.gate.touch()
    assert (guarded.told(20.0) or "").startswith("READY=1")
    guarded.process.send_signal(signal.SIGSTOP)
    assert starves(guarded.told)
    guarded.process.send_signal(signal.SIGCONT)
    assert guarded.told(10.0) == "WATCHDOG=1"


def test_redis_says_ready_itself_and_its_guard_feeds_the_watchdog_while_it_answers(tmp_path: Path) -> None:
    path = str(tmp_path / "redis.sock")
    (tmp_path / "users.acl").write_text("user default off\n")
    guard = [sys.executable, "-I", str(RUNTIME / "guard.py"), "--socket", path, "--redis", "--"]
    redis = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", path, "--supervised", "systemd", "--save", ""]
    told = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        process = subprocess.Popen(
            [*guard, *redis, "--aclfile", str(tmp_path / "users.acl")], cwd=tmp_path, env=told, stdout=-3
        )
        try:
            messages = [systemd.recv(4096)]
            while b"WATCHDOG=1" not in messages:
                messages.append(systemd.recv(4096))
            assert any(b"READY=1" in message for message in messages)
            process.send_signal(signal.SIGSTOP)
            assert starves(lambda within: next_of(systemd, within))
        finally:
            process.kill()
            process.wait()


def next_of(systemd: socket.socket, within: float) -> str | None:
    """The next message, or None within the time (seconds)."""
    systemd.settimeout(within)
    try:
        return systemd.recv(4096).decode()
    except TimeoutError:
        return None


def test_a_worker_names_itself_to_probes_alone(guarded: Guarded) -> None:
    guarded.gate.touch()
    assert (guarded.told(20.0) or "").startswith("READY=1")
    worker = ask(guarded.socket, "/live", 5.0)
    assert worker is not None
    assert int(worker) > 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(guarded.socket)
        connection.sendall(b"GET /live HTTP/1.0\r\nHost: x\r\n\r\n")
        assert b"x-farrier-worker" not in connection.recv(4096).lower()


def test_a_path_that_answers_503_is_not_ready(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, "/broken")
    guarded.gate.touch()
    assert guarded.told(3.0) is None
    guarded.stop()


@pytest.mark.parametrize(
    ("head", "worker"),
    [
        ("HTTP/1.1 200 OK\r\nX-Farrier-Worker: 12", "12"),
        ("HTTP/1.1 200 OK\r\nServer: x", ""),
        ("HTTP/1.1 503 No\r\nX-Farrier-Worker: 12", None),
        ("", None),
    ],
)
def test_only_a_200_counts(head: str, worker: str | None) -> None:
    assert worker_of(head) == worker
