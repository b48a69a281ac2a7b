"""How long an administrator and a user wait: deploying, deploying again, a job, a reboot."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.site import ROOT, Site, deploy, deployed
from tests.harness import Figure

_RUNS = 3
_EMPTY = "- hosts: hosts\n  gather_facts: false\n  tasks: []\n"


def knee() -> Iterator[Figure]:
    """Everything on one host, one figure after the other."""
    started = time.monotonic()
    with deployed("bench-pegasus") as site:
        yield Figure("boot and first deploy, warm image", time.monotonic() - started, "s")
        again, empty = _best(lambda: deploy(site.host).seconds), _best(lambda: _empty_play(site))
        yield Figure("second run of site.yml", again, "s")
        yield Figure("empty play", empty, "s")
        yield Figure("second run : empty play", again / empty, "ratio")
        yield Figure("upload to result", _best(lambda: _job(site)), "s")
        yield Figure("reboot to ready", _reboot(site), "s")


def _best(measure: object) -> float:
    assert callable(measure)
    return min(float(measure()) for _ in range(_RUNS))


def _empty_play(site: Site) -> float:
    playbook = ROOT / "build" / "empty.yml"
    playbook.write_text(_EMPTY)
    tool = str(Path(sys.executable).parent / "ansible-playbook")
    started = time.monotonic()
    subprocess.run(
        [tool, "-i", "inventory/demo", str(playbook), "-l", site.host.name], check=True, capture_output=True, cwd=ROOT
    )
    return time.monotonic() - started


def _job(site: Site) -> float:
    started = time.monotonic()
    site.wait_for(site.submit())
    return time.monotonic() - started


def _reboot(site: Site) -> float:
    started = time.monotonic()
    site.reboot()
    site.wait_until_serving()
    return time.monotonic() - started


RUN = [knee]
