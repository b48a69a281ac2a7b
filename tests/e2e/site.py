"""A deployed host as its users and its administrator meet it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from testbed import host
from testbed.host import Host

ROOT = Path(__file__).parents[2]
PHANTOM = ROOT / "stacks" / "knee" / "fixtures" / "phantom.nii.gz"
_BIN = Path(sys.executable).parent
_CA = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
_HOLD = "hold-jobs.service"
_STEPS = "pkill -{} -u knee -f '^/opt/farrier/envs/pipeline-'"  # the step's own program, and not its launcher
_HOLDING = f"while :; do {_STEPS.format('STOP')}; sleep 0.05; done"
# What a refused deploy must leave as it was: every file that Farrier or apt could write, and every process of a stack;
# but for those of its timers, which come and go by themselves.
_FINGERPRINT = (
    # The time of an env's or a model's folder says when a deploy last asked for it; their files count in full.
    "find /etc /opt/farrier /srv /usr/local -xdev -type d '(' -path '/opt/farrier/envs/*' -o -path '/srv/models/*' ')' "
    "-printf '%p %m %u\\n' -o -printf '%p %T@ %s %m %u\\n' 2>/dev/null | sort | sha256sum;"
    "systemctl show --property=Id,MainPID,ActiveState 'knee-web*' 'knee-redis*' 'knee-worker*' knee.target 'hello*' "
    "caddy.service; dpkg-query -W | sha256sum"
)


@dataclass(frozen=True)
class Deploy:
    """One run of ansible-playbook."""

    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        """The number of changed tasks, from the recap."""
        return int(re.findall(r"changed=(\d+)", self.output)[-1])


@dataclass(frozen=True)
class Site:
    """A host with `hello` and `knee`."""

    host: Host
    ca: Path

    @property
    def url(self) -> str:
        """The front door."""
        return f"https://{self.host.address}"

    def client(self) -> httpx.Client:
        """HTTP through the front door, trusting nothing but its CA."""
        return httpx.Client(base_url=self.url, verify=ssl.create_default_context(cafile=str(self.ca)), timeout=30)

    def submit(self, scan: Path = PHANTOM) -> str:
        """Upload a scan; the job's id."""
        with self.client() as client, scan.open("rb") as file:
            answer = client.post("/upload", files={"file": (scan.name, file)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    def wait_for(self, job: str, status: str = "complete", within: float = 90) -> dict[str, Any]:
        """Wait until the job has that status; its last answer."""
        deadline = time.monotonic() + within
        answer: dict[str, Any] = {}
        while time.monotonic() < deadline:
            with self.client() as client:
                answer = client.get(f"/status/{job}").json()
            if answer["status"] in (status, "error"):
                break
            time.sleep(0.2)
        assert answer["status"] == status, answer
        return answer

    def volumes(self, job: str) -> dict[str, float]:
        """The measured volumes (mm³ by tissue) out of the downloaded result."""
        with self.client() as client:
            answer = client.get(f"/download/{job}")
        assert answer.status_code == 200, answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as result:
            name = next(name for name in result.namelist() if name.endswith("metrics.json"))
            metrics = json.loads(result.read(name))
        volumes: dict[str, float] = metrics["volumes_mm3"]
        return volumes

    def status_code(self, path: str) -> int:
        """The status of a GET; 0 when the front door does not answer."""
        try:
            with self.client() as client:
                return client.get(path).status_code
        except httpx.TransportError:
            return 0

    def wait_until_serving(self, path: str = "/health/ready", within: float = 60) -> None:
        """Wait for a 200."""
        deadline = time.monotonic() + within
        while self.status_code(path) != 200:
            assert time.monotonic() < deadline, f"{path} answers {self.status_code(path)}\n{self.journal()}"
            time.sleep(0.1)

    def reboot(self, within: float = 30) -> None:
        """Reboot the host, and come back when its front door does not answer any more."""
        self.host.run("systemctl reboot")
        deadline = time.monotonic() + within
        while self.status_code("/health/live") != 0:
            assert time.monotonic() < deadline, "the host does not go down"
            time.sleep(0.05)

    @contextmanager
    def jobs_held(self) -> Iterator[None]:
        """Every step of a job that begins is stopped in its middle (SIGSTOP), and goes on at the end."""
        self.run(f'systemd-run -q --collect --unit={_HOLD} sh -c "{_HOLDING}"')
        try:
            yield
        finally:
            # A signal that is under way comes before the end of the unit.
            self.host.run(f"systemctl stop {_HOLD}; {_STEPS.format('CONT')}")

    def held(self) -> int:
        """How many jobs' steps are stopped now."""
        return int(
            self.host.run("ps -o stat= -o args= -u knee | grep -Ec '^T[^ ]* +/opt/farrier/envs/pipeline-'").stdout
        )

    def statuses(self, stack: str = "knee") -> dict[str, Any]:
        """What farrier-release says of a stack."""
        found: dict[str, Any] = json.loads(self.run(f"farrier-release status --json {stack}"))[stack]
        return found

    def until(self, condition: Callable[[], bool], what: str, within: float = 60) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, f"not within {within:g} s: {what}\n{self.journal()}"
            time.sleep(0.2)

    def run(self, command: str) -> str:
        """Run a command as root on the host, which must succeed; what it printed."""
        done = self.host.run(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def journal(self) -> str:
        """The stacks' last journal lines, for a failed assertion."""
        return self.host.run("journalctl --no-pager -n 60 -u 'knee-*' -u 'hello-*' -u caddy").stdout

    def fingerprint(self) -> str:
        """Changes when a file or a process of a stack changes."""
        return self.host.run(_FINGERPRINT).stdout


def deploy(target: Host, *arguments: str, tree: Path = ROOT, playbooks: Sequence[str] = ("site.yml",)) -> Deploy:
    """Run site.yml of `tree` against a host, as an administrator does."""
    command = [str(_BIN / "ansible-playbook"), "-i", "inventory/demo", *playbooks, "-l", target.name, *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE")}
    started = time.monotonic()
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=tree, env=environment | {"NO_COLOR": "1"}
    )
    return Deploy(done.returncode, done.stdout + done.stderr, time.monotonic() - started)


@contextmanager
def deployed(name: str) -> Iterator[Site]:
    """A host of that name with both stacks, removed at the end: for faults and benchmarks, outside pytest."""
    booted = host.up(name, "bookworm", warm=True)
    try:
        done = deploy(booted)
        if done.code != 0:
            raise RuntimeError(f"the deploy of {name} failed:\n{done.output[-4000:]}")
        with tempfile.TemporaryDirectory() as folder:
            yield site_of(booted, Path(folder))
    finally:
        host.down(name)


def site_of(target: Host, folder: Path) -> Site:
    """The deployed host, with its CA's root certificate in `folder`."""
    ca = folder / f"{target.name}.crt"
    ca.write_text(target.run(f"cat {_CA}").stdout)
    return Site(target, ca)


def copy_of_the_tree(folder: Path) -> Path:
    """A copy of the working tree to change files in; locks and tools are the same."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for shared in (".venv", "build"):
        (folder / shared).symlink_to(ROOT / shared)
    return folder
