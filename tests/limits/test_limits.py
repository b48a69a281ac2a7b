"""What units promise and only a kernel of its own keeps: their cards and no others, their memory, their processor time.

Our own templates are rendered by the plan; only the program is another one, which tries what it may do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farrier.render import release_files
from tests.limits.machine import Machine, booted
from tests.unit.farrier.conftest import Repository

pytestmark = pytest.mark.slow

TEMPLATES = Path(__file__).parents[2] / "systemd"
PROBE = Path(__file__).with_name("probe.py")
STACK = """\
description: What bites
sources: {app: {path: code}}
envs: {app: {conda: envs/web.lock}}
services:
  redis: {kind: redis, memory: 64M}
  worker:
    {kind: celery, app: "hello:celery", env: app, queues: [q], replicas: 2, gpus: {count: 1},
     limits: {memory: 100M, cpu: 0.2}}
  plain: {kind: celery, app: "hello:celery", env: app, queues: [p]}
"""
T4 = {"model": "Tesla T4", "memory": "15G", "capability": "7.5"}
CARDS = [T4 | {"pci": f"0000:{bus}:00.0"} for bus in ("3b", "af")]
UNITS = ("limited-worker@0.service", "limited-worker@1.service", "limited-plain@0.service")
# Cards have the numbers of devices that any machine has, so that who may open one can. The disk stands for all else.
NODES = """
modprobe -a tun fuse loop
mknod -m 666 /dev/nvidia0 c 10 200
mknod -m 666 /dev/nvidia1 c 10 229
mknod -m 666 /dev/nvidiactl c 10 237
chmod 666 /dev/vda
groupadd --system farrier-gpu
useradd --system --user-group limited
install -d -o limited -g limited /var/lib/farrier/limited
"""
DEVICES = ("/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl", "/dev/vda", "/dev/null")
INSTEAD = """\
[Service]
Type=exec
Restart=no
WatchdogSec=0
LoadCredential=
ExecStartPre=
ExecStart=
ExecStart=/usr/bin/python3 /opt/limits/probe.py {devices}
"""


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The unit files of a host with two cards, by name."""
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.stack("limited", STACK)
    (stack,) = repository.plan("limited", farrier_gpus=CARDS).stacks
    files = release_files(stack, TEMPLATES)
    wanted = [name for name in files if name.startswith("units/") and "redis" not in name]
    return {name.removeprefix("units/"): files[name] for name in wanted}


@pytest.fixture(scope="module")
def machine(units: dict[str, str]) -> Iterator[Machine]:
    """The machine with these units, and dummies of two cards."""
    with booted() as up:
        instead = INSTEAD.format(devices=" ".join(DEVICES))
        files = {f"/etc/systemd/system/{name}": text for name, text in units.items()}
        files |= {f"/etc/systemd/system/{unit}.d/instead.conf": instead for unit in UNITS}
        up.write(files | {"/opt/limits/probe.py": PROBE.read_text()})
        lines = "\n".join(units.values())
        folders = set(re.findall(r"^WorkingDirectory=(.*)$", lines, re.MULTILINE))
        up.must(f"set -e; mkdir -p {' '.join(folders)}{NODES}systemctl daemon-reload")
        yield up


@pytest.fixture(scope="module")
def found(machine: Machine) -> dict[str, dict[str, Any]]:
    """What each unit's process could do."""
    assert machine.must(f"for path in {' '.join(DEVICES)}; do : <>$path || exit 1; done") == "", "root opens them all"
    machine.must(f"systemctl start {' '.join(UNITS)}")
    machine.must(f"timeout 100 sh -c 'while systemctl is-active -q {UNITS[0]} {UNITS[1]} {UNITS[2]}; do sleep 1; done'")
    return {unit: result(machine, unit) for unit in UNITS}


def result(machine: Machine, unit: str) -> dict[str, Any]:
    said = machine.must(f"journalctl --no-pager -o cat -u {unit}")
    lines = [line.removeprefix("PROBE ") for line in said.splitlines() if line.startswith("PROBE ")]
    assert lines, said
    answer: dict[str, Any] = json.loads(lines[0])
    return answer


@pytest.mark.parametrize(("own", "others"), [(0, 1), (1, 0)])
def test_a_unit_opens_its_card_and_no_other(found: dict[str, dict[str, Any]], own: int, others: int) -> None:
    assert found[f"limited-worker@{own}.service"]["devices"] == {
        f"/dev/nvidia{own}": "open",
        f"/dev/nvidia{others}": "EPERM",
        "/dev/nvidiactl": "open",
        "/dev/vda": "EPERM",
        "/dev/null": "open",
    }


def test_a_unit_without_cards_does_not_see_any(found: dict[str, dict[str, Any]]) -> None:
    devices = found["limited-plain@0.service"]["devices"]
    assert {devices[path] for path in ("/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl")} == {"ENOENT"}
    assert devices["/dev/null"] == "open"


def test_what_eats_all_memory_is_killed_alone(found: dict[str, dict[str, Any]], machine: Machine) -> None:
    assert found["limited-worker@0.service"]["eater"] == -9
    assert found["limited-plain@0.service"]["eater"] == 0
    assert machine.must("systemctl show -P Result limited-worker@0.service").strip() in ("success", "oom-kill")


def test_a_busy_loop_gets_its_share_of_a_processor(found: dict[str, dict[str, Any]]) -> None:
    assert found["limited-worker@0.service"]["cpu"] < 0.25
    assert found["limited-plain@0.service"]["cpu"] > 0.3, "without a limit it gets what is left"
