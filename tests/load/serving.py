"""A host with the stack that the load asks, and load on it while something happens."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from testbed import host
from testbed.host import Host
from tests.e2e.site import ROOT, Deploy, Site, copy_of_the_tree, deploy, site_of
from tests.load.record import Request
from tests.load.traffic import Rates, folder_of_stack

ANOTHER = "29990101T000000Z-test"


@dataclass
class Run:
    """What was asked under load, known when the load has ended."""

    requests: list[Request] = field(default_factory=list)


@contextmanager
def serving(name: str) -> Iterator[tuple[Site, Path]]:
    """A host of that name with `hello` and the load's stack, and the tree that it was deployed from, to change."""
    booted = host.up(name, "bookworm", warm=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tree = loaded_tree(Path(folder) / "tree")
            release(booted, tree)
            yield site_of(booted, Path(folder)), tree
    finally:
        host.down(name)


def loaded_tree(folder: Path) -> Path:
    """A copy of the working tree in which the load's stack is one as any other, with the env of `hello`."""
    tree = copy_of_the_tree(folder)
    shutil.copytree(folder_of_stack(), tree / "stacks" / "load")
    shutil.copytree(tree / "stacks" / "hello" / "envs", tree / "stacks" / "load" / "envs")
    (tree / "build").unlink()
    shutil.copytree(ROOT / "build" / "locks", tree / "build" / "locks")
    shutil.copytree(ROOT / "build" / "locks" / "hello", tree / "build" / "locks" / "load")
    return tree


def release(target: Host, tree: Path) -> Deploy:
    """Deploy both stacks of the tree. Raises AssertionError with the play's last words."""
    done = deploy(target, "-e", '{"farrier_stacks": ["hello", "load"]}', tree=tree)
    assert done.code == 0, done.output[-4000:]
    return done


@contextmanager
def under_load(site: Site, rates: Rates | None = None, at_least: float = 20) -> Iterator[Run]:
    """Load from outside the host, for `at_least` seconds and as long as what happens meanwhile."""
    options = [f"--{name.replace('_', '-')}={float(value)}" for name, value in asdict(rates or Rates()).items()]
    command = [sys.executable, "-m", "tests.load", site.host.address, str(site.ca), *options]
    run, began, steady = Run(), time.monotonic(), time.time()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "begun\n", "the load did not begin"
            steady = time.time()
            yield run
            time.sleep(max(0.0, began + at_least - time.monotonic()))
        finally:
            process.terminate()
            said, _ = process.communicate()
            # How long the first connections of all clients at once took says nothing about what happens later.
            requests = [Request(**json.loads(line)) for line in said.splitlines()]
            run.requests = [each for each in requests if each.started >= steady or each.error]


def storm(site: Site, rounds: int, *, by_release: bool) -> Run:
    """Small POSTs begin all the time, while the service goes over again and again."""
    first = site.run("basename $(readlink /opt/farrier/load/current)").strip()
    # It differs in its unit alone, so that each round is the whole way of a release and nothing besides.
    site.run(
        f"cd /opt/farrier/load/releases && rm -rf {ANOTHER} && cp -r {first} {ANOTHER} && "
        f"sed -i 's/^Description=.*/Description=another/' {ANOTHER}/units/load-web.service"
    )
    with under_load(site, Rates(short=20, slow=0, uploads=0, posts=150, h2=False), at_least=0) as run:
        for number in range(rounds):
            # systemd counts starts by hand too, and would refuse the sixth within two minutes.
            restart = "systemctl reset-failed load-web && systemctl restart load-web"
            to = first if number % 2 else ANOTHER
            site.run(f"farrier-release deploy load {to} --who test" if by_release else restart)
    return run
