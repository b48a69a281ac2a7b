"""Faults of a serving host, caused for real: what was promised, and what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.site import Site, copy_of_the_tree, deploy, deployed
from tests.harness import Observation

Fault = Callable[[Site], str]
_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
_PHASE = 'sed -n "s/.*phase.: .\\([a-z]*\\).*/\\1/p" /opt/farrier/knee/state.json'


def knee() -> Iterator[Observation]:
    """Each fault on the same host, which must serve a job before the next one."""
    with deployed("fault-pegasus") as site:
        for fault, promise, cause in FAULTS:
            try:
                observed, ok = cause(site), True
                site.wait_until_serving()
                site.wait_for(site.submit())
            except AssertionError as error:
                observed, ok = str(error).splitlines()[0], False
            yield Observation(fault, promise, observed, ok)


def worker_killed(site: Site) -> str:
    """kill -9 of all worker processes in mid-job."""
    job = site.submit()
    site.wait_for(job, "processing", within=20)
    site.run("systemctl kill --signal=KILL knee-worker@0")
    started = time.monotonic()
    site.wait_for(job)
    return f"the job is complete {time.monotonic() - started:.1f} s after the kill"


def web_master_killed(site: Site) -> str:
    """kill -9 of gunicorn's master."""
    started = time.monotonic()
    site.run("kill -9 $(systemctl show --property=MainPID --value knee-web)")
    site.wait_until_serving()
    return f"ready again after {time.monotonic() - started:.1f} s"


def redis_stopped(site: Site) -> str:
    """Redis is away while a scan comes in."""
    restarts = site.run("systemctl show --property=NRestarts --value knee-web knee-worker@0").split()
    site.run("systemctl stop knee-redis")
    job = site.submit()
    site.run("systemctl start knee-redis")
    site.wait_for(job)
    assert site.run("systemctl show --property=NRestarts --value knee-web knee-worker@0").split() == restarts
    return "the scan was accepted and ended; no unit restarted"


def redis_wiped(site: Site) -> str:
    """FLUSHALL while a job waits."""
    site.run("systemctl stop knee-worker@0")
    job = site.submit()
    password = "$(cat /etc/farrier/knee/credentials/redis-password)"
    cli = f"REDISCLI_AUTH={password} redis-cli --user app -s /run/farrier/knee/redis/redis.sock"
    # FLUSHALL itself is not allowed to the application: deleting every key is.
    site.run(f"{cli} --scan | xargs -r -n 1 env {cli} DEL >/dev/null; systemctl start knee-worker@0")
    site.wait_for(job)
    return "the job ended: the ledger is the truth"


def deploy_killed(site: Site) -> str:
    """kill -9 of ansible-playbook while changed code is on trial; then the administrator runs it again."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_of_the_tree(Path(folder))
        (tree / "app" / "__init__.py").write_text('"""Changed."""\n')
        play = subprocess.Popen(
            [_PLAYBOOK, "-i", "inventory/demo", "site.yml", "-l", site.host.name],
            cwd=tree,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        site.run(f"timeout 120 sh -c 'until {_PHASE} | grep -qx unconfirmed; do :; done'")
        os.killpg(play.pid, signal.SIGKILL)
        play.wait()
    site.wait_until_serving()
    left = site.run(_PHASE).strip()
    assert left == "unconfirmed"
    again = deploy(site.host)
    assert again.code == 0, again.output[-2000:]
    assert site.run(_PHASE).strip() == "confirmed"
    return f"it served on ({left}); the next run repaired and confirmed in {again.seconds:.0f} s"


def activation_killed(site: Site) -> str:
    """kill -9 of farrier-release itself in mid-activation; then the administrator runs the play again."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_of_the_tree(Path(folder))
        (tree / "app" / "__init__.py").write_text('"""Changed once more."""\n')
        with ThreadPoolExecutor(1) as pool:
            play = pool.submit(deploy, site.host, tree=tree)
            site.run(f"timeout 120 sh -c 'until {_PHASE} | grep -q activating; do :; done'")
            site.run("systemctl kill --signal=KILL farrier-activate-knee")
            assert play.result().code != 0
    site.wait_until_serving()
    left = site.run(_PHASE).strip()
    assert left == "confirmed", f"the stack is {left}"
    again = deploy(site.host)
    assert again.code == 0, again.output[-2000:]
    assert site.run(_PHASE).strip() == "confirmed"
    return "the release before came back at once; the next run went on"


FAULTS: tuple[tuple[str, str, Fault], ...] = (
    ("kill -9 of the worker in mid-job", "the job runs again and ends", worker_killed),
    ("kill -9 of the web service's master", "it is back by itself", web_master_killed),
    ("Redis away while a scan comes in", "nothing restarts, nothing is lost", redis_stopped),
    ("every key of Redis deleted", "the job ends all the same", redis_wiped),
    ("kill -9 of ansible in mid-deploy", "one release serves, whole", deploy_killed),
    (
        "kill -9 of farrier-release in mid-activation",
        "the release before comes back",
        activation_killed,
    ),
)

RUN = [knee]
