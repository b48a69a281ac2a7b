"""A plain Celery program under `contract: foreign`, with a real Redis: its jobs survive their worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

RUNTIME = Path(__file__).parents[3] / "host" / "farrier_host" / "runtime"
PASSWORD = "p@ss/word:%"
PROGRAM = """
import os, pathlib, time
from celery import Celery
app = Celery("tasks")
here = pathlib.Path(os.environ["HERE"])

@app.task
def work():
    with (here / "notes").open("a") as notes:
        print(os.getpid(), file=notes, flush=True)
    while not (here / "go").exists():
        time.sleep(0.05)
    (here / "done").touch()
"""

pytestmark = pytest.mark.timeout(120)


def wait_for(condition: Callable[[], Any], what: str, within: float = 30.0) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.05)
    return value


class Program:
    """A Redis, and a worker of PROGRAM as its unit starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, str(folder / "redis.sock")
        (folder / "tasks.py").write_text(PROGRAM)
        (folder / "redis-password").write_text(PASSWORD + "\n")
        (folder / "users.acl").write_text(
            f"user default off\nuser app on >{PASSWORD} ~* &* +@all -@dangerous -@admin\n"
        )
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(folder / "notify"))
        self.systemd.settimeout(30)
        settings = ("--port", "0", "--unixsocket", self.path, "--save", "", "--aclfile", str(folder / "users.acl"))
        self.redis = subprocess.Popen(["redis-server", *settings], cwd=folder, stdout=subprocess.DEVNULL)
        self.client = redis.Redis(unix_socket_path=self.path, username="app", password=PASSWORD)
        wait_for(lambda: Path(self.path).exists() and self.client.ping(), "Redis")
        self.worker: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "HERE": str(self.folder),
            "PYTHONPATH": str(self.folder),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "CREDENTIALS_DIRECTORY": str(self.folder),
            "FARRIER_BROKER_SOCKET": self.path,
            "FARRIER_BROKER_CREDENTIAL": "redis-password",
        }

    def start(self, stop_seconds: int = 2) -> subprocess.Popen[bytes]:
        """Start the worker and wait until it says READY."""
        guarded = [sys.executable, str(RUNTIME / "foreign_celery.py"), str(stop_seconds)]
        options = ["-A", "tasks:app", "worker", "-n", "tasks@0", "-c", "1", "--without-gossip", "--without-mingle"]
        with (self.folder / "log").open("ab") as log:
            self.worker = subprocess.Popen(
                [*guarded, *options], env=self.environment, cwd="/", stdout=log, stderr=log, start_new_session=True
            )
        while not self.systemd.recv(500).startswith(b"READY=1"):
            pass
        return self.worker

    def submit(self) -> None:
        """Send a job as the program's own web would."""
        url = "from foreign_celery import _broker_url as u; import os; os.environ['CELERY_BROKER_URL'] = u(); "
        command = [sys.executable, "-c", f"{url}import tasks; tasks.work.delay()"]
        path = f"{RUNTIME}:{self.folder}"
        subprocess.run(command, env=self.environment | {"PYTHONPATH": path}, check=True)

    def begun(self) -> list[int]:
        """The processes that began the job, one after the other."""
        notes = self.folder / "notes"
        return [int(line) for line in notes.read_text().split()] if notes.exists() else []

    def finish(self) -> None:
        """Let the job end, and wait until it has."""
        (self.folder / "go").touch()
        wait_for((self.folder / "done").exists, "the job's end")

    def close(self) -> None:
        """End everything."""
        if self.worker and self.worker.poll() is None:
            os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker.wait()
        self.redis.kill()
        self.redis.wait()
        self.systemd.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.close()


def test_job_of_a_killed_worker_or_pool_process_runs_again_and_once_at_a_time(program: Program) -> None:
    worker = program.start()
    program.submit()
    (child,) = wait_for(program.begun, "the job's begin")
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: len(program.begun()) == 2, "the job's second begin")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    program.start()
    wait_for(lambda: len(program.begun()) == 3, "the job's third begin")
    program.finish()
    wait_for(lambda: not list(program.client.scan_iter("unacked*:tasks@0")), "nothing is left unacknowledged")
    assert len(program.begun()) == 3


def test_stop_is_bounded_and_gives_the_job_back(program: Program) -> None:
    worker = program.start(stop_seconds=1)
    program.submit()
    wait_for(program.begun, "the job's begin")
    worker.send_signal(signal.SIGQUIT)
    worker.wait(15)
    assert program.client.llen("celery") == 1
    program.start()
    wait_for(lambda: len(program.begun()) == 2, "the job's second begin")
    program.finish()


def test_jobs_that_another_worker_holds_are_not_taken_from_it(program: Program) -> None:
    program.client.hset("unacked:tasks@1", "tag", "held by tasks@1")
    program.client.hset("unacked", "tag", "held by a worker that we did not start")
    program.start()
    assert program.client.hexists("unacked:tasks@1", "tag")
    assert program.client.hexists("unacked", "tag")


def test_hung_consumer_is_told_to_systemd(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_RDBSIG", "1")  # Celery's own debugger holds the process that a signal hits
    worker = program.start()
    assert program.systemd.recv(500) == b"WATCHDOG=1"
    worker.send_signal(signal.SIGUSR2)
    while (message := program.systemd.recv(500)) == b"WATCHDOG=1":
        pass
    assert message == b"WATCHDOG=trigger"
