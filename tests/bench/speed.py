"""A deploy that changes nothing, beside an empty play and beside the same checks done by pyinfra; and one changed file.

The runs take turns, so that a busy moment of this machine meets all of them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from farrier.planning import plan_for
from testbed.settings import STATE
from tests.bench.pyinfra.wanted import write_wanted
from tests.e2e.site import ROOT, Site, copy_of_the_tree, deploy, deployed
from tests.harness import Figure

_RUNS = 5
_LOCKS = "build/locks"
_EMPTY = "- hosts: hosts\n  gather_facts: false\n  tasks: []\n"
_PYINFRA = ROOT / "build" / "bench" / "bin" / "pyinfra"


def speed() -> Iterator[Figure]:
    """Medians of five runs each."""
    with deployed("bench-speed") as site, tempfile.TemporaryDirectory() as folder:
        wanted = _wanted(site, Path(folder) / "pyinfra")
        tree = copy_of_the_tree(Path(folder) / "tree")
        empty, again, pyinfra, changed, live, restart = _medians(
            lambda: _empty_play(site),
            lambda: _deploy(site),
            lambda: _pyinfra(site, wanted),
            lambda: _one_file(site, tree),
            lambda: _going_live(site),
            lambda: _restart(site),
        )
    yield Figure("empty play", empty, "s")
    yield Figure("second run of site.yml", again, "s")
    yield Figure("the same checks by pyinfra", pyinfra, "s")
    yield Figure("second run : empty play", again / empty, "ratio")
    yield Figure("second run : pyinfra", again / pyinfra, "ratio")
    yield Figure("one file changed", changed, "s")
    yield Figure("of that on the host: bridge, restart, gates, proof", live, "s")
    yield Figure("a restart of that service alone", restart, "s")
    yield Figure("one file changed, less what the host did : empty play", (changed - live) / empty, "ratio")


def _medians(*measures: Callable[[], float]) -> list[float]:
    rounds = [[measure() for measure in measures] for _ in range(_RUNS)]
    return [median(column) for column in zip(*rounds, strict=True)]


def _timed(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return time.monotonic() - started


def _empty_play(site: Site) -> float:
    playbook = ROOT / "build" / "empty.yml"
    playbook.write_text(_EMPTY)
    tool = str(Path(sys.executable).parent / "ansible-playbook")
    return _timed([tool, "-i", "inventory/demo", str(playbook), "-l", site.host.name])


def _deploy(site: Site, tree: Path = ROOT) -> float:
    done = deploy(site.host, tree=tree)
    if done.code != 0 or (tree == ROOT) != (done.changed == 0):
        raise RuntimeError(f"not the deploy that was to be measured:\n{done.output[-3000:]}")
    return done.seconds


def _one_file(site: Site, tree: Path) -> float:
    """Another line in the smallest stack's program each time."""
    code = tree / "stacks" / "hello" / "app" / "hello.py"
    code.write_text(code.read_text() + f"# {time.time_ns()}\n")
    return _deploy(site, tree)


def _going_live(site: Site) -> float:
    """What the host itself took for that, as its history has it; afterwards this tree's release again."""
    history = json.loads(site.run("farrier-release history hello --json"))
    deploy(site.host)
    return float(max(history, key=lambda entry: str(entry["when"]))["seconds"])


def _restart(site: Site) -> float:
    """Until the service says that it is ready, as the host's own clock measures it."""
    took = site.run("a=$(date +%s%N); systemctl restart hello-web.service; b=$(date +%s%N); echo $((b - a))")
    return int(took) / 1e9


def _pyinfra(site: Site, wanted: Path) -> float:
    login = ["--ssh-user", "root", "--ssh-key", str(STATE / "key"), "--data", "ssh_strict_host_key_checking=no"]
    data = ["--data", "ssh_known_hosts_file=/dev/null", "--data", f"wanted={wanted}"]
    return _timed([str(_PYINFRA), "--yes", *login, *data, site.host.address, "tests/bench/pyinfra/deploy.py"])


def _wanted(site: Site, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    variables = {"ansible_host": site.host.address, "farrier_stacks": ["hello", "knee"], "farrier_locks": _LOCKS}
    return write_wanted(ROOT, plan_for(ROOT, site.host.name, variables), _LOCKS, folder)


RUN = [speed]
