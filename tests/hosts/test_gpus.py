"""The cards on a booted host: the check before a unit starts, and what farrier-gpus tells while things go wrong."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from farrier.tool import programs
from testbed.host import Host
from tests.conftest import Boot
from tests.gpu.world import A10, GIB, SECOND_T4, T4, World, install, send, show

ROOT = Path(__file__).parents[2]
WELL = World((T4, A10))
UNIT = "knee-worker@0.service"
TOOL = "/usr/local/sbin/farrier-gpus"
WELL_AGAIN = f"{TOOL} >/dev/null"
SHOWS = f"{TOOL} | grep -q {{}}"
DECLARED = f'[{{"index": 0, "pci": "{T4.pci}"}}, {{"index": 1, "pci": "{A10.pci}", "owner": "the LLM\'s"}}]'
LOCK = "/run/farrier/gpu/card-0/lock"
WORKER = f"""\
[Service]
Slice=knee.slice
DynamicUser=yes
SupplementaryGroups=farrier-gpu
ReadWritePaths=-/run/farrier/gpu/card-0
DevicePolicy=closed
DeviceAllow=/dev/nvidia0 rw
DeviceAllow=/dev/nvidiactl rw
DeviceAllow=/dev/nvidia-uvm rw
DeviceAllow=/dev/nvidia-uvm-tools rw
ExecStartPre=+{TOOL} check --unit %n --card 0={T4.pci}
EnvironmentFile=-/run/farrier/gpu/%n.env
UMask=0027
ExecStart=/bin/sh -c ': >{LOCK} && exec sleep infinity'
"""


@pytest.fixture(scope="module")
def host(boot: Boot) -> Host:
    """A host with two cards, the watcher and a GPU worker."""
    booted = boot(os.environ.get("FARRIER_TEST_HOST", "test") + "-cards")
    tool = programs(ROOT)
    files = {path: file["content"].encode() for path, file in tool.items()}
    units = {"farrier-gpus.service": (ROOT / "systemd" / "farrier-gpus.service.j2").read_text(), UNIT: WORKER}
    files |= {f"/etc/systemd/system/{name}": text.encode() for name, text in units.items()}
    files |= {"/etc/farrier/gpus.json": DECLARED.encode(), "/var/lib/prometheus/node-exporter/x": b""}
    install(booted, WELL)
    # At boot a worker may be the first: its check makes what the watcher would have made.
    first = f"systemctl start {UNIT} && {until(f'test -f {LOCK}')}"
    send(booted, files, then=f"groupadd --system farrier-gpu && systemctl daemon-reload && {first}")
    return booted


@pytest.fixture
def cards(host: Host) -> Host:
    """All is well with them, and the worker runs."""
    show(host, WELL)
    said(host, f"systemctl reset-failed; systemctl start farrier-gpus {UNIT} && {until(WELL_AGAIN)}")
    return host


def until(test: str) -> str:
    """A command that waits until a shell test holds."""
    return f"timeout 30 sh -c 'until {test}; do sleep 0.1; done'"


def said(host: Host, command: str) -> str:
    """What a command prints; it must go well."""
    done = host.run(command, timeout=60)
    assert done.returncode == 0, (command, done.stdout, done.stderr, host.run("journalctl -n 30 --no-pager").stdout)
    return done.stdout


def test_a_unit_starts_with_its_card_by_uuid_and_may_use_no_other(cards: Host) -> None:
    environment = said(cards, f"tr '\\0' '\\n' </proc/$(systemctl show -P MainPID {UNIT})/environ")
    assert f"CUDA_VISIBLE_DEVICES={T4.uuid}\n" in environment
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID\n" in environment
    locks = said(cards, "stat -c '%U:%G %a' /run/farrier/gpu/card-0 /run/farrier/gpu/card-1")
    assert locks == "root:farrier-gpu 2770\n" * 2


def test_a_unit_whose_card_was_moved_does_not_start(cards: Host) -> None:
    show(cards, World((replace(T4, pci=SECOND_T4.pci), A10)))
    assert cards.run(f"systemctl restart {UNIT}").returncode != 0
    assert f"driver's cards: {SECOND_T4.pci} (Tesla T4)" in said(cards, f"journalctl -u {UNIT} -n 20 -o cat")
    assert cards.run(f"test -e /run/farrier/gpu/{UNIT}.env").returncode != 0


def test_a_unit_that_may_use_every_card_does_not_start(cards: Host) -> None:
    said(
        cards,
        f"mkdir -p /run/systemd/system/{UNIT}.d && printf '[Service]\\nDeviceAllow=char-nvidia rw\\n' "
        f">/run/systemd/system/{UNIT}.d/x.conf && systemctl daemon-reload",
    )
    try:
        assert cards.run(f"systemctl restart {UNIT}").returncode != 0
        assert "may use char-nvidia too" in said(cards, f"journalctl -u {UNIT} -n 20 -o cat")
    finally:
        said(cards, f"rm -r /run/systemd/system/{UNIT}.d && systemctl daemon-reload")


def test_everybodys_processes_are_shown_with_user_unit_and_memory(cards: Host) -> None:
    said(cards, "systemctl is-active matlab || systemd-run -q --uid=nobody --unit=matlab sleep 600")
    ours, foreign = said(cards, f"systemctl show -P MainPID {UNIT} matlab | xargs").split()
    show(cards, WELL.with_process(T4.pci, int(ours), GIB).with_process(T4.pci, int(foreign), 11 * GIB))
    table = said(cards, f"{until(SHOWS.format('matlab'))} && {TOOL}")
    print(table)
    (row,) = (line.split() for line in table.splitlines() if "matlab.service" in line)
    assert row[-6:] == ["matlab.service", "sleep", f"({foreign})", "nobody", "11.0", "GiB"]
    assert "12.0 GiB of 16.0 GiB" in table
    assert UNIT in table
    assert "the LLM's" in table
    farrier = [str(ROOT / ".venv" / "bin" / "farrier"), "gpus", "-i", "inventory/demo", "-l", cards.name]
    away = subprocess.run(farrier, cwd=ROOT, capture_output=True, text=True, check=False)
    assert away.returncode == 0, away.stdout + away.stderr
    (shown,) = (line.split() for line in away.stdout.splitlines() if "matlab.service" in line)
    assert shown[0] == cards.name
    assert shown[-6:] == row[-6:]


def test_mismatch_is_told_with_the_remedy(cards: Host) -> None:
    show(cards, WELL.mismatched())
    table = said(cards, f"{until(SHOWS.format('mismatch'))}; {TOOL}; [ $? = 1 ]")
    assert "the loaded module is 535.309.01, the libraries are 535.261.03: reboot" in table
    assert "mismatch 1" in said(cards, "cat /var/lib/prometheus/node-exporter/farrier_gpus.prom")
    assert "version mismatch" in said(cards, "journalctl -u farrier-gpus -o cat")


def test_a_hanging_driver_is_told_and_nobody_waits_for_it(cards: Host) -> None:
    assert said(cards, "systemctl show -P NRestarts farrier-gpus") == "0\n"  # its sandbox lets it do all it does
    said(cards, f"sed -i 's/^hang 0/hang 1/' /run/fakegpu/nvml; {until(SHOWS.format('answer'))}")
    said(cards, "systemctl restart farrier-gpus")
    assert "timed out" not in said(cards, "journalctl -u farrier-gpus -o cat"), "systemd had to kill what it stopped"
