"""A whole small site for tests: its environment, a real Redis on a unix socket, and its processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from farrier.document import read
from farrier.pipelines import Places, pipeline_data
from farrier.stack import Stack
from tests.unit.app.migrations import new_ledger
from tests.unit.app.places import REPOSITORY

KNEE = REPOSITORY / "stacks/knee"
FIXTURES = KNEE / "fixtures"
PHANTOM = FIXTURES / "phantom.nii.gz"
TOKEN = "verify token"
PASSWORD = "p@ss/word:%"  # must survive being part of a URL


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """The condition's first true value; fails with `what` when it takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def holding_pipeline(folder: Path) -> dict[str, Any]:
    """The pipeline of `slow_step`, as the stack's file has it."""
    steps = [{"name": "hold", "timeout": 60}]
    return {"title": "Hold", "python": sys.executable, "code": str(slow_step(folder)), "steps": steps}


def slow_step(folder: Path) -> Path:
    """A pipeline whose one step waits until the file `go` is there; it notes each start in `starts`."""
    steps = folder / "slow/steps"
    steps.mkdir(parents=True)
    (steps / "__init__.py").write_text("")
    (steps / "hold.py").write_text(
        "import json, os, pathlib, sys, time\n"
        "work = pathlib.Path(sys.argv[1])\n"
        f"with open({str(folder / 'starts')!r}, 'a') as out: out.write(f'{{os.getpid()}}\\n')\n"
        "print('[PROGRESS] 40% holding', flush=True)\n"
        f"while not os.path.exists({str(folder / 'go')!r}): time.sleep(0.05)\n"
        "(work / 'results/held.txt').write_text('held')\n"
        "(work / '_step_result.json').write_text(json.dumps({'summary': {'held': True}}))\n"
    )
    return steps.parent


def stubborn_step(folder: Path) -> Path:
    """A pipeline whose one step and its children ignore SIGTERM and never end; it writes their numbers to `starts`."""
    steps = folder / "stubborn/steps"
    steps.mkdir(parents=True)
    (steps / "__init__.py").write_text("")
    (steps / "hold.py").write_text(
        "import os, signal, subprocess, sys, time\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
        "script = 'trap \"\" TERM; echo $$; sleep 1000 & echo $!; wait'\n"
        "child = subprocess.Popen(['sh', '-c', script], stdout=subprocess.PIPE)\n"
        "pids = [os.getpid(), *(int(child.stdout.readline()) for _ in range(2))]\n"
        f"with open({str(folder / 'starts')!r}, 'a') as out: out.write(' '.join(map(str, pids)) + '\\n')\n"
        "time.sleep(1000)\n"
    )
    return steps.parent


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely unreaped."""
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def knee_pipeline() -> dict[str, Any]:
    """The pipeline of the knee's stack file, with the Python of the tests."""
    stack = read(KNEE / "stack.yml", "stack.yml").validate(Stack)
    pipeline = stack.pipelines["knee"]
    places = Places({pipeline.env: sys.prefix}, {pipeline.source: str(KNEE / "pipeline")}, "")
    return pipeline_data(pipeline, places) | {"models": {"knee-phantom-classes": str(KNEE / "models")}}


def site_environment(folder: Path, pipeline: Mapping[str, Any]) -> dict[str, str]:
    """What the units of the stack would set, with everything under `folder`."""
    credentials = folder / "credentials"
    credentials.mkdir()
    (credentials / "redis-password").write_text(PASSWORD + "\n")
    (credentials / "verify-token").write_text(TOKEN + "\n")
    new_ledger(folder / "state" / "ledger")
    (folder / "pipelines.json").write_text(json.dumps({"knee": pipeline}))
    return {
        "FARRIER_STACK": "knee",
        "FARRIER_SERVICE": "web",
        "FARRIER_STATE": str(folder / "state"),
        "FARRIER_REDIS_SOCKET": str(folder / "redis.sock"),
        "FARRIER_PIPELINES": str(folder / "pipelines.json"),
        "FARRIER_QUEUES": "knee",
        "FARRIER_LEASE": "6",
        "FARRIER_DISK_RESERVE": "1048576",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }


@dataclass
class Site:
    """The processes of a site; `close()` ends all of them."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def _start(self, name: str, command: list[str], **environment: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(self.folder)}
        self.processes[name] = subprocess.Popen(
            command,
            env=base | self.environment | environment,
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def start_redis(self) -> None:
        """Redis as the stack has it: unix socket only, ACL file, AOF."""
        users = self.folder / "users.acl"
        users.write_text(f"user default off ~* &* +@all\nuser app on >{PASSWORD} ~* &* +@all -@dangerous -@admin\n")
        data = self.folder / "redis"
        data.mkdir(exist_ok=True)
        unix = self.environment["FARRIER_REDIS_SOCKET"]
        settings = {"port": "0", "unixsocket": unix, "aclfile": users, "dir": data, "appendonly": "yes", "save": ""}
        arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        self._start("redis", ["redis-server", *arguments])
        wait_for(lambda: self._listens(unix), "Redis on its socket")

    @staticmethod
    def _listens(path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(path) == 0

    def start_web(self, processes: int = 2) -> None:
        """Gunicorn as its unit starts it."""
        unix = str(self.folder / "web.sock")
        gunicorn = [sys.executable, "-m", "gunicorn", "--no-control-socket", "-k", "uvicorn_worker.UvicornWorker"]
        self._start("web", [*gunicorn, "-w", str(processes), "-b", f"unix:{unix}", "app.knee.web:create_app()"])
        wait_for(lambda: self._listens(unix) and self.get("/health/live").status_code == 200, "the web's /health/live")

    def start_worker(self, **environment: str) -> None:
        """The worker as its unit starts it."""
        celery = [sys.executable, "-m", "celery", "-A", "app.knee.worker:celery", "worker", "-Q", "knee"]
        options = ["-c", "1", "-P", "prefork", "-n", "worker@0"]
        self._start("worker", [*celery, *options], FARRIER_SERVICE="worker", FARRIER_INSTANCE="0", **environment)

    def stop(self, name: str, number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send the process a signal and wait for its end; gives its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(seconds)

    def close(self) -> None:
        """End everything at once."""
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def client(self) -> httpx.Client:
        """HTTP to the web's socket."""
        transport = httpx.HTTPTransport(uds=str(self.folder / "web.sock"))
        return httpx.Client(transport=transport, base_url="http://knee.test", timeout=20)

    def get(self, path: str) -> httpx.Response:
        """GET a path; a connection that is not there yet counts as 599."""
        try:
            with self.client() as client:
                return client.get(path)
        except httpx.TransportError:
            return httpx.Response(599)

    def post(self, path: str) -> httpx.Response:
        """POST nothing to a path."""
        with self.client() as client:
            return client.post(path)

    def upload(self, path: Path = PHANTOM, headers: dict[str, str] | None = None) -> str:
        """Upload a scan; gives the job's id."""
        with self.client() as client, path.open("rb") as file:
            answer = client.post("/upload", files={"file": (path.name, file)}, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        """What /status says."""
        return dict(self.get(f"/status/{job_id}").json())

    def wait_status(self, job_id: str, wanted: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the job has this status."""
        found = wait_for(
            lambda: (s := self.status(job_id)).get("status") == wanted and s, f"{job_id} {wanted}", seconds
        )
        return dict(found)
