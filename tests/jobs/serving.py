"""A host that serves the stack of tests/jobs, and what the tests do on it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import host
from testbed.host import Host
from tests.e2e.site import ROOT, Site, copy_of_the_tree, deploy, site_of
from tests.jobs.audit import Found, Move, Result, Row
from tests.jobs.clients import Plan, Submission, client_of

HERE = Path(__file__).parent
STATE = "/var/lib/farrier/jobs"
UNITS = ("jobs-web", "jobs-worker@0", "jobs-worker@1", "jobs-redis")
WORKERS = "jobs-worker@0 jobs-worker@1"
BELLS = "jobs-worker@0.socket jobs-worker@1.socket"  # a worker whose bell is there starts with the next job
ROOM = 24 * 1024  # KiB that a small disk has besides what is on it already
LEASE = 10  # seconds: shorter than systemd would let a stopped worker be
_SYSTEMCTL = f"systemctl {{}} jobs.target jobs-web.socket {' '.join(UNITS)}"
_ON_HOST = "/usr/local/lib/on_host.py"
_ACL = "/etc/farrier/jobs/credentials/redis-users.acl"


@dataclass(frozen=True)
class JobsHost:
    """The host, and the commands that the faults are made of."""

    site: Site

    def submission(self, plan: Plan) -> Submission:
        """Clients of it, not yet begun."""
        return Submission(client_of(self.site.host.address, str(self.site.ca)), plan)

    def run(self, command: str) -> str:
        """A command as root, which must succeed; what it printed."""
        return self.site.run(command).strip()

    def ask(self, what: str) -> Any:
        """What on_host.py says."""
        return json.loads(self.run(f"runuser -u jobs -- python3 {_ON_HOST} {STATE} {what}"))

    def watch(self) -> int:
        """Note every move of a job from now on; the number of the last job that there was before."""
        # systemd counts starts by hand too, and those of the faults before: the sixth in two minutes is refused.
        self.run("systemctl reset-failed 'jobs-*'")
        self.run(f"cat > {_ON_HOST} <<'END'\n{(HERE / 'on_host.py').read_text()}\nEND")
        return int(self.ask("watch"))

    def found(self, after: int) -> Found:
        """What is there of the jobs after that number."""
        raw = self.ask(f"found {after}")
        kinds = {"rows": Row, "moves": Move, "results": Result}
        return Found(**{name: [kind(**each) for each in raw[name]] for name, kind in kinds.items()}, left=raw["left"])

    def wait_until_quiet(self, within: float = 240) -> None:
        """Wait until no job waits or runs; a job that does not end is the audit's to tell."""
        deadline = time.monotonic() + within
        while self.ask("busy") and time.monotonic() < deadline:
            time.sleep(0.5)

    def working(self) -> dict[str, Any]:
        """A job in the middle of its step: `job`, its `worker`, and the `pid` that holds it."""
        found: dict[str, Any] = self.ask("working")
        return found

    def wait_until_serving(self) -> None:
        """Wait until all that a job needs is there."""
        self.site.wait_until_serving("/engine/health/ready", within=120)

    def restarts(self) -> str:
        """How often systemd restarted each unit."""
        return self.run(f"systemctl show --property=Id,NRestarts {' '.join(UNITS)}")

    def failed(self) -> list[str]:
        """Units that are not active, in words."""
        states = self.run(f"systemctl is-active {' '.join(UNITS)} || true").split()
        return [f"{unit} is {state}" for unit, state in zip(UNITS, states, strict=True) if state != "active"]

    def drop_in(self, unit: str, name: str, *lines: str) -> None:
        """What `systemctl edit` of a unit writes."""
        folder, text = f"/etc/systemd/system/{unit}.service.d", "\n".join(("[Service]", *lines))
        self.run(f"mkdir -p {folder} && cat > {folder}/{name}.conf <<'END'\n{text}\nEND")

    def stop(self) -> None:
        """Nothing of it runs any more."""
        self.run(f"{_SYSTEMCTL.format('stop')} && systemctl disable --quiet jobs.target")

    def redis(self, command: str) -> str:
        """A command to Redis, with all rights."""
        return self.run(
            f"redis-cli --no-auth-warning --user test --pass test -s /run/farrier/jobs/redis/redis.sock {command}"
        )

    def open_redis(self) -> None:
        """Let `redis()` in: the application itself may not do what an administrator may."""
        self.run(f"grep -q '^user test' {_ACL} || echo 'user test on >test ~* &* +@all' >> {_ACL}")
        self.run("systemctl restart jobs-redis")


def tree_with_jobs(folder: Path, *edits: tuple[str, str]) -> Path:
    """A copy of the working tree in which the stack of tests/jobs is one as any other, with the app env of `knee`.

    `edits` of its stack file: what stands there, and what is to.
    """
    tree = copy_of_the_tree(folder)
    stack, knee = tree / "stacks" / "jobs", tree / "stacks" / "knee"
    shutil.copytree(HERE / "stack", stack, ignore=shutil.ignore_patterns("__pycache__"))
    for old, new in edits:
        text = (stack / "stack.yml").read_text()
        assert old in text
        (stack / "stack.yml").write_text(text.replace(old, new))
    shutil.copytree(tree / "app", stack / "code" / "app")
    (stack / "envs").mkdir()
    for file in ("app.yml", "app.in", "app.txt"):
        shutil.copy2(knee / "envs" / file, stack / "envs")
    (tree / "build").unlink()
    shutil.copytree(ROOT / "build" / "locks", tree / "build" / "locks")
    shutil.copytree(ROOT / "build" / "locks" / "knee", tree / "build" / "locks" / "jobs")
    return tree


def add_jobs(target: Host, folder: Path, *edits: tuple[str, str]) -> JobsHost:
    """Deploy the stack beside what the host has, with `edits`. Raises AssertionError with the play's last words."""
    tree = tree_with_jobs(folder / "tree", *edits)
    done = deploy(target, "-e", '{"farrier_stacks": ["jobs"]}', tree=tree)
    assert done.code == 0, done.output[-4000:]
    jobs = JobsHost(site_of(target, folder))
    for unit in ("jobs-web", "jobs-worker@"):
        jobs.drop_in(unit, "lease", f"Environment=FARRIER_LEASE={LEASE}")
    jobs.run(f"systemctl daemon-reload && systemctl restart jobs-web {WORKERS}")
    jobs.wait_until_serving()
    return jobs


@contextmanager
def serving_jobs(name: str) -> Iterator[JobsHost]:
    """A host of that name with this stack alone."""
    booted = host.up(name, "bookworm", warm=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield add_jobs(booted, Path(folder))
    finally:
        host.down(name)


@contextmanager
def small_data_disk(jobs: JobsHost, folder: str) -> Iterator[None]:
    """A folder of the stack's data lies on a small disk of its own; the services are down while it is exchanged."""
    path, kept = f"{STATE}/{folder}", f"{STATE}-{folder}"
    like = f"chown --reference={kept} {path} && chmod --reference={kept} {path}"
    size = f"$(( $(du -sk {kept} | cut -f1) + {ROOM} ))k"
    mount = f"mkdir {path} && mount -t tmpfs -o size={size} small {path} && {like} && cp -a {kept}/. {path}/"
    stop, start = (_SYSTEMCTL.format(verb) for verb in ("stop", "start"))
    jobs.run(f"{stop} && mv {path} {kept} && {mount} && {start}")
    jobs.wait_until_serving()
    try:
        yield
    finally:
        jobs.run(f"rm -f {path}/.fill && {stop} && rm -rf {kept}/* && cp -a {path}/. {kept}/")
        jobs.run(f"umount {path} && rmdir {path} && mv {kept} {path} && {start}")
        jobs.wait_until_serving()
