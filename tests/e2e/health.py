"""The faults of docs/reference/health.md: how each is caused, and what health, unit and verify must say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from tests.e2e.cutting import empty, fill, small_disk
from tests.e2e.hung import Unit
from tests.e2e.site import Site

WEB, WORKER, REDIS = "knee-web", "knee-worker@0", "knee-redis"
STATE = "/var/lib/farrier/knee"
SERVICES = f"knee-web.socket {WEB} {WORKER}"
NO_WORKER = "no live worker serves the queue knee"
LEDGER_FULL = "disk is full"
Cause = Callable[[Site], AbstractContextManager[None]]


@dataclass(frozen=True)
class Seen:
    """What is said: two statuses, what /health/ready misses, and the unit's ActiveState."""

    live: int
    ready: int
    missing: tuple[str, ...]
    state: str


@dataclass(frozen=True)
class Fault:
    """`verify`: words with which the verify run fails, empty where it passes. `lasts`: until somebody mends it."""

    name: str
    cause: Cause
    unit: str
    seen: Seen
    verify: str = ""
    lasts: bool = True
    within: float = 15  # seconds until all say so


def well(state: str = "active") -> Seen:
    """Nothing is missing."""
    return Seen(200, 200, (), state)


def missing(*names: str, state: str = "active") -> Seen:
    """Live, and not ready."""
    return Seen(200, 503, names, state)


@contextmanager
def commands(before: str, after: str, site: Site) -> Iterator[None]:
    """Shell commands that cause a fault and end it."""
    site.run(before)
    try:
        yield
    finally:
        site.run(after)


@contextmanager
def in_mid_job(before: str, after: str, site: Site) -> Iterator[None]:
    """The same, while a job's step is held; the job ends all the same."""
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        site.run(before)
    yield
    site.run(after)
    site.wait_for(job)


@contextmanager
def env_without_a_package(site: Site) -> Iterator[None]:
    """What the scientists' unpinned kombu was: the worker cannot be imported. The web runs on."""
    prefix = site.run("grep -o '/opt/farrier/envs/app-[^/]*' '/etc/systemd/system/knee-worker@.service'").split()[0]
    kombu = site.run(f"echo {prefix}/lib/python3*/site-packages/kombu").strip()
    with commands(f"mv {kombu} {kombu}.off; systemctl kill --signal=KILL {WORKER}", f"mv {kombu}.off {kombu}", site):
        yield


@contextmanager
def pool_process_stopped(site: Site) -> Iterator[None]:
    """Nothing tells but that a job does not go on."""
    (stopped,) = Unit(site, WORKER).children("spawn_main")
    with commands(f"kill -STOP {stopped}", "true", site):
        yield


@contextmanager
def full(folder: str, site: Site) -> Iterator[None]:
    """A folder's disk is full."""
    site.run(f"systemctl stop {SERVICES}")
    with small_disk(site, folder):
        site.run(f"systemctl start {SERVICES}")
        site.host.run("sleep 1")
        fill(site, folder)
        yield
        empty(site, folder)
        site.run(f"systemctl stop {SERVICES}")


@contextmanager
def little_room(site: Site) -> Iterator[None]:
    """The disk of all the stack's data has less room than is kept in reserve."""
    site.run("systemctl stop knee.target")
    with small_disk(site, STATE):
        site.run("systemctl start knee.target")
        yield
        site.run("systemctl stop knee.target")


@contextmanager
def redis_disk_full(site: Site) -> Iterator[None]:
    """Redis cannot write its append-only file."""
    folder = f"{STATE}/redis"
    site.run(f"systemctl stop {REDIS}")
    with small_disk(site, folder):
        site.run(f"systemctl start {REDIS}")
        fill(site, folder)
        yield
        empty(site, folder)
        site.run(f"systemctl stop {REDIS}")


@contextmanager
def job_that_nothing_cuts(site: Site) -> Iterator[None]:
    """A step stands still, and by the ledger it should have been cut long ago."""
    python = (
        "$(grep -o '/opt/farrier/envs/app-[^/]*' '/etc/systemd/system/knee-worker@.service' | head -n 1)/bin/python"
    )
    old = "import sqlite3; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        sql = "UPDATE jobs SET started_at = started_at - 4000 WHERE state = 'running'"
        site.run(f'{python} -c "import sys; {old}" {STATE}/ledger/ledger.sqlite "{sql}"')
        yield
    site.wait_for(job)


@contextmanager
def rebooted(site: Site) -> Iterator[None]:
    """The host is rebooted in mid-job."""
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        site.reboot()
        site.until(lambda: site.host.run("true").returncode == 0, "the host is up", 60)
    site.wait_until_serving()
    yield
    site.wait_for(job)


def _wipe() -> str:
    cli = (
        "REDISCLI_AUTH=$(cat /etc/farrier/knee/credentials/redis-password) "
        "redis-cli --user app -s /run/farrier/knee/redis/redis.sock"
    )
    # FLUSHALL itself is not allowed to the application: deleting every key is.
    return f"{cli} --scan | xargs -r -n 1 env {cli} DEL >/dev/null"


NOBODY = missing("worker:knee")
FAULTS = (
    Fault("nothing is wrong", partial(commands, "true", "true"), WORKER, well()),
    Fault(
        "the worker is stopped",
        partial(commands, f"systemctl stop {WORKER}", f"systemctl start {WORKER}"),
        WORKER,
        missing("worker:knee", state="inactive"),
        NO_WORKER,
    ),
    Fault(
        "the env is broken: the worker cannot be imported",
        env_without_a_package,
        WORKER,
        missing("worker:knee", state="failed"),
        NO_WORKER,
        within=120,
    ),
    Fault(
        "the worker was killed (kill -9) in mid-job",
        partial(in_mid_job, f"systemctl kill --signal=KILL {WORKER}", "true"),
        WORKER,
        well(),
    ),
    Fault(
        "the worker was restarted in mid-job",
        partial(in_mid_job, f"timeout 60 systemctl restart {WORKER}", "true"),
        WORKER,
        well(),
        within=30,
    ),
    Fault("a pool process of the worker stands still", pool_process_stopped, WORKER, well(), lasts=False),
    Fault(
        "every process of the worker stands still",
        partial(commands, f"systemctl kill --signal=STOP {WORKER}", "true"),
        WORKER,
        NOBODY,
        lasts=False,
    ),
    Fault(
        "a job runs beyond its time limits, and nothing cuts it",
        job_that_nothing_cuts,
        WORKER,
        missing("jobs"),
        "should have been cut",
    ),
    Fault(
        "Redis is stopped",
        partial(commands, f"systemctl stop {REDIS}", f"systemctl start {REDIS}"),
        WORKER,
        missing("redis"),
        '"missing":["redis"]',
    ),
    Fault(
        "Redis stands still",
        partial(commands, f"systemctl kill --signal=STOP {REDIS}", f"systemctl kill --signal=CONT {REDIS}"),
        REDIS,
        missing("redis"),
        lasts=False,
    ),
    Fault("Redis was wiped", partial(commands, _wipe(), "true"), WORKER, well()),
    Fault("Redis's disk is full", redis_disk_full, REDIS, missing("redis"), "MISCONF"),
    Fault(
        "the ledger's disk is full",
        partial(full, f"{STATE}/ledger"),
        WEB,
        missing("ledger", "worker:knee"),
        "POST /upload answered 503",
        within=30,
    ),
    Fault("the data's disk is nearly full", little_room, WEB, missing("disk"), "POST /upload answered 507", within=30),
    Fault(
        "a web process stands still",
        partial(commands, f"kill -STOP $(pgrep -n -P $(systemctl show -P MainPID {WEB}) gunicorn)", "true"),
        WEB,
        well(),
    ),
    Fault(
        "the web service is stopped",
        partial(commands, f"systemctl stop knee-web.socket {WEB}", f"systemctl start knee-web.socket {WEB}"),
        WEB,
        Seen(502, 502, (), "inactive"),
        "answered 502",
    ),
    Fault("the host was rebooted in mid-job", rebooted, WORKER, well(), within=60),
)


def table() -> str:
    """The lines of docs/reference/health.md."""
    head = ("Fault", "`/health/live`", "`/health/ready`", "Unit", "`farrier-release verify`")
    lines = [head, ("---",) * len(head), *(_line(fault) for fault in FAULTS)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(fault: Fault) -> tuple[str, ...]:
    said = fault.seen
    names = ", ".join(f"`{name}`" for name in said.missing)
    verify = f"fails: “{fault.verify}”" if fault.verify else "passes" if fault.lasts else "waits, then passes"
    state = f"{fault.unit}: {said.state}" + ("" if fault.lasts else ", then replaced")
    return fault.name, str(said.live), f"{said.ready} {names}".strip(), state, verify
