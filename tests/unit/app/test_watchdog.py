"""What feeds systemd's watchdog, and what happens to a pool process that falls silent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import children
from app.core.children import Children
from app.core.pulse import PATIENCE, Loop
from app.core.watchdog import Watchdog

LIVING = "from app.core.children import show_life; show_life(); print('up', flush=True); input()"


@pytest.fixture
def listening() -> Iterator[Children]:
    made = Children()
    yield made
    made.close()


@pytest.fixture
def child(listening: Children) -> Iterator[subprocess.Popen[str]]:
    """A pool process that has given its first sign."""
    with subprocess.Popen([sys.executable, "-c", LIVING], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        await_sign(listening, process.pid)
        yield process
        process.kill()


def await_sign(listening: Children, pid: int) -> None:
    """Wait for a sign at time 0."""
    deadline = time.monotonic() + 10
    listening.listen(0.0)
    while pid not in listening._known:
        assert time.monotonic() < deadline, "no sign came"
        time.sleep(0.02)
        listening.listen(0.0)


class Systemd:
    """Takes what it is told, as systemd does: nobody waits for it."""

    def __init__(self, address: str) -> None:
        self.told: list[str] = []
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while message := self._socket.recv(100).decode():
            self.told.append(message)

    def all_told(self) -> list[str]:
        """Everything, once no more comes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._address)
        self._thread.join(10)
        self._socket.close()
        return self.told


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return Systemd(str(tmp_path / "notify"))


def dog(loop: Loop, listening: Children, at: float) -> Watchdog:
    """A watchdog that looked at that time."""
    made = Watchdog(loop, listening)
    made._looked = at
    return made


def test_loop_lives_while_it_ticks_or_is_not_meant_to_turn() -> None:
    loop = Loop()
    late = time.monotonic() + PATIENCE + 1
    assert loop.is_alive(late)
    loop.begin()
    assert loop.is_alive(time.monotonic())
    assert not loop.is_alive(late)
    loop.end()
    assert loop.is_alive(late)


def test_hung_loop_is_told_once_and_the_watchdog_is_fed_no_more(listening: Children, systemd: Systemd) -> None:
    loop = Loop(turns=True, ticked=100.0)
    watching = dog(loop, listening, 100.0)
    for second in range(1, 16):
        watching.look(100.0 + second)
    assert systemd.all_told() == ["WATCHDOG=1"] * 11 + ["WATCHDOG=trigger"]
    assert not watching.is_well()


def test_worker_that_was_stopped_and_goes_on_is_not_taken_for_hung(
    listening: Children, child: subprocess.Popen[str], systemd: Systemd
) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    loop = Loop(turns=True, ticked=0.0)
    dog(loop, listening, 0.0).look(3600.0)  # nobody ticked or gave a sign for an hour, nor did we look
    assert systemd.all_told() == ["WATCHDOG=1"]
    assert child.poll() is None


def test_silent_pool_process_is_killed_and_one_that_gives_signs_is_not(
    listening: Children, child: subprocess.Popen[str], systemd: Systemd
) -> None:
    watching = dog(Loop(), listening, 0.0)
    os.kill(child.pid, signal.SIGSTOP)
    listening.listen(0.0)
    for second in range(1, int(children.PATIENCE) + 1):
        watching.look(float(second))
    assert child.poll() is None
    watching.look(children.PATIENCE + 1)
    assert child.wait(5) == -signal.SIGKILL
    watching.look(children.PATIENCE + 2)
    assert listening._known == {}
    assert set(systemd.all_told()) == {"WATCHDOG=1"}  # its pool starts another one: the worker itself stays


def test_worker_whose_pool_process_cannot_be_killed_is_given_up(
    listening: Children, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing but a kernel that is stuck itself makes such a process: this one of ours stands for it.
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)
    watching = dog(Loop(), listening, 0.0)
    listening._hear(os.getpid(), 0.0)
    for second in range(1, 26):
        watching.look(float(second))
    assert systemd.all_told() == ["WATCHDOG=1"] * 23
    assert not watching.is_well()
