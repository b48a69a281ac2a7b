"""The role `nvidia` on a host whose cards, kernel and driver are made of nothing, and whose dpkg and apt are real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import host as driver_of_hosts
from testbed import serve
from testbed.host import Host
from tests.conftest import Boot
from tests.e2e.site import Deploy
from tests.gpu import archive, pci, proc
from tests.gpu.world import SECOND_T4, T4, send

ROOT = Path(__file__).parents[2]
PORT = 8697
CARDS = [
    {"pci": "0000:3b:00.0", "model": "Tesla T4", "memory": "14G", "capability": "7.5"},
    {"pci": "0000:5e:00.0", "model": "Tesla T4", "memory": "14G", "capability": "7.5"},
]
WORKER = """\
[Service]
ExecStart=sleep infinity
ExecStop=/bin/sh -c "systemctl is-system-running >/var/tmp/stopped"
"""
BELL = "[Socket]\nListenDatagram=/run/uses-gpu\n"
UNITS = {
    "nvidia_units": ["uses-gpu.service", "not-deployed-yet@0.service"],
    "nvidia_sockets": ["uses-gpu.socket", "not-deployed-yet@0.socket"],
}
PINNED = "apt-get -s -o Debug::NoLocking=1 dist-upgrade | grep -E '^Inst (nvidia|libnvidia|libcuda|linux)'"


def deploy(host: Host, *arguments: str, **variables: Any) -> Deploy:
    """Let the role, and what it needs to know, run over the host; it has no stack."""
    given = {"farrier_stacks": [], "farrier_gpus": CARDS, "nvidia_version": "535.900.01"} | variables
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventory/demo", "site.yml"]
    command += ["-l", host.name, "--tags", "preflight,nvidia", "-e", json.dumps(given), *arguments]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"}
    )
    return Deploy(done.returncode, done.stdout + done.stderr, 0)


@pytest.fixture(scope="module")
def host(boot: Boot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A Debian 12 with a kernel, lspci, and an archive in which there are newer drivers and kernels."""
    booted = boot(os.environ.get("FARRIER_TEST_HOST", "test-gpus"), "bookworm", warm=True)
    url = serve.serve(archive.build(tmp_path_factory.mktemp("archive")), PORT)
    old = f"linux-image-amd64=9:1 linux-image-{archive.KERNEL}"
    # Kernels come in the version that the host has, the next one waits in the archive. Debian's own archive is taken
    # away: reading its lists again takes longer than all the rest.
    ready = booted.run(
        "apt-get install -y -qq --no-install-recommends pciutils kmod && rm /etc/apt/sources.list && "
        f"echo 'deb [trusted=yes] {url}/ ./' >/etc/apt/sources.list.d/test.list && apt-get update -qq && "
        f"apt-get install -y -qq --no-install-recommends {old} && "
        "printf 'Package: linux-*-amd64\\nPin: version 9:1\\nPin-Priority: 999\\n' >/etc/apt/preferences.d/a-test"
    )
    assert ready.returncode == 0, ready.stderr
    yield booted
    serve.stop(PORT)


def test_real_lspci_sees_the_cards_that_the_tests_put_in(host: Host) -> None:
    show = "unshare --mount sh -c 'mount --bind {} /sys/bus/pci/devices && lspci -Dnn -d ::03xx'"
    for number, (machine, devices) in enumerate(pci.MACHINES.items()):
        listed = host.run(f"{pci.unpack(devices, f'/run/{number}')} && {show.format(f'/run/{number}')}").stdout
        found = [(line.split()[0], line.split()[-3]) for line in listed.splitlines()]
        expected = [(slot, f"[{each.vendor:04x}:{each.device:04x}]") for slot, each in sorted(devices.items())]
        assert found == expected, machine
        assert ("Tesla T4" in listed) == ("T4" in machine or machine in ("two of a kind", "mixed"))


@pytest.mark.slow
def test_an_amd_card_is_told_and_nothing_is_done(host: Host) -> None:
    pci.plug(host, pci.MACHINES["AMD"])
    done = deploy(host, farrier_gpus=[])
    assert done.code == 0, done.output[-3000:]
    assert done.output.count(f"{host.name}: AMD GPU found, not supported: services run their CPU variants") == 1
    assert "TASK [nvidia" not in done.output


def test_a_build_that_breaks_off_is_told_with_its_log_and_never_rebooted(host: Host) -> None:
    pci.plug(host, pci.MACHINES["two of a kind"])
    before = boot_of(host)
    host.run("touch /etc/break-build")
    done = deploy(host, nvidia_reboot="auto")
    assert done.code != 0, done.output[-3000:]
    assert "the driver is not whole; the host was not rebooted:" in done.output, done.output[-3000:]
    assert "package nvidia-kernel-dkms is in state 'iF'" in done.output
    assert "error: too few arguments to function 'pci_resize_resource'" in done.output
    assert boot_of(host) == before


def test_the_next_run_mends_it_and_tells_once_what_is_left(host: Host) -> None:
    host.run("rm /etc/break-build")
    done = deploy(host)
    assert done.code == 0, done.output[-3000:]
    assert done.output.count("driver 535.900.01 is installed, not loaded") == 1
    told = " ".join(done.output.split())
    assert "reboot the host when it suits, or deploy with `-e nvidia_reboot=auto`" in told
    assert host.run("dkms status").stdout == f"nvidia-current/535.900.01, {archive.KERNEL}, x86_64: installed\n"


def test_driver_and_kernel_stay_where_they_are_whatever_apt_has(host: Host) -> None:
    assert "535.900.02-1" in host.run("apt-cache policy nvidia-kernel-dkms").stdout
    assert host.run("rm /etc/apt/preferences.d/a-test; " + PINNED).stdout == ""
    assert host.run("apt-mark showhold").stdout.split() == ["linux-headers-amd64", "linux-image-amd64"]
    listed = host.run("apt-config dump Unattended-Upgrade::Package-Blacklist").stdout
    assert '"libnvidia-"' in listed


def test_second_run_changes_nothing(host: Host) -> None:
    done = deploy(host)
    assert done.code == 0, done.output[-3000:]
    assert done.changed == 0


@pytest.mark.slow
def test_a_reboot_that_somebody_refuses_leaves_all_as_it_was(host: Host) -> None:
    before = boot_of(host)
    units = {"uses-gpu.socket": BELL.encode(), "uses-gpu.service": WORKER.encode()}
    send(host, units, "/etc/systemd/system", then=f"systemctl daemon-reload && systemctl start {' '.join(units)}")
    backup = "systemd-inhibit --what=shutdown --mode=block --why='the nightly backup' sleep infinity"
    host.run(f"systemd-run -q --unit=backup {backup}")
    done = deploy(host, nvidia_reboot="auto", **UNITS)
    host.run("systemctl stop backup")
    assert done.code != 0, done.output[-3000:]
    assert "not rebooted: somebody's work keeps the host from going down" in " ".join(done.output.split())
    assert "the nightly backup" in done.output
    assert boot_of(host) == before
    assert host.run("cat /var/tmp/stopped").returncode == 0, "it was stopped, so that its own work locks nobody out"
    assert host.run("systemctl is-active uses-gpu.service uses-gpu.socket").stdout == "active\nactive\n"


@pytest.mark.slow
def test_a_reboot_that_is_allowed_waits_for_the_cards(host: Host) -> None:
    before = boot_of(host)
    host.run("rm /var/tmp/stopped")
    done = deploy(host, nvidia_reboot="auto", nvidia_reboot_timeout=60, **UNITS)
    assert done.code == 0, done.output[-3000:]
    assert boot_of(host) != before
    driver_of_hosts.await_running(host)
    assert host.run("nvidia-smi --list-gpus | grep -c '^GPU '").stdout == "2\n"
    assert host.run("cat /var/tmp/stopped").stdout.strip() in ("running", "degraded"), "stopped only by the reboot"


@pytest.mark.slow
def test_a_driver_that_works_is_left_alone_until_it_is_to_be_replaced(host: Host) -> None:
    host.run("rm /etc/apt/preferences.d/farrier-nvidia; apt-mark unhold linux-image-amd64 linux-headers-amd64")
    load(host, "535.900.01")
    left = deploy(host)
    assert (left.code, left.changed) == (0, 0), left.output[-3000:]
    assert "driver 535.900.01 works and is not Farrier's: left alone (nvidia_replace: true puts it" in left.output
    taken = deploy(host, nvidia_replace=True)
    assert taken.code == 0, taken.output[-3000:]
    assert "Pin: version 535.900.01-1" in host.run("cat /etc/apt/preferences.d/farrier-nvidia").stdout
    assert host.run("apt-mark showhold").stdout.split() == ["linux-headers-amd64", "linux-image-amd64"]
    again = deploy(host)
    assert (again.code, again.changed) == (0, 0), again.output[-3000:]


@pytest.mark.slow
def test_a_newer_kernel_that_came_all_the_same_closes_the_gate(host: Host) -> None:
    host.run(f"apt-get install -y -qq --no-install-recommends linux-image-{archive.NEXT_KERNEL}")
    host.run("touch /etc/break-build")
    done = deploy(host, nvidia_reboot="auto")
    assert done.code != 0, done.output[-3000:]
    assert f"kernel {archive.NEXT_KERNEL} has no module of driver 535.900.01" in done.output


@pytest.mark.slow
def test_an_upgrade_takes_driver_kernel_and_headers_in_one_go(host: Host) -> None:
    host.run("rm /etc/break-build")
    load(host, "535.900.01")
    done = deploy(host, nvidia_version="", nvidia_upgrade=True)
    assert done.code == 0, done.output[-3000:]
    kernels = (archive.KERNEL, archive.NEXT_KERNEL)
    built = [f"nvidia-current/535.900.02, {kernel}, x86_64: installed" for kernel in kernels]
    assert host.run("dkms status").stdout.splitlines() == built
    versions = host.run(
        "dpkg-query -W -f '${Version}\\n' linux-image-amd64 linux-headers-amd64 libcuda1"
    ).stdout.split()
    assert versions == [archive.NEW, "9:2", "9:2"]
    assert host.run("apt-mark showhold").stdout.split() == ["linux-headers-amd64", "linux-image-amd64"]
    told = " ".join(done.output.split())
    assert told.count("the kernel runs driver 535.900.01, the libraries are 535.900.02: every program that") == 1
    load(host, "535.900.02")
    again = deploy(host, nvidia_version="")
    assert (again.code, again.changed) == (0, 0), again.output[-3000:]


@pytest.mark.slow
def test_one_exact_version_comes_also_where_that_is_a_step_back(host: Host) -> None:
    done = deploy(host, nvidia_version="535.900.01")
    assert done.code == 0, done.output[-3000:]
    assert host.run("dpkg-query -W -f '${Version}' nvidia-kernel-dkms").stdout == archive.OLD
    assert "the kernel runs driver 535.900.02, the libraries are 535.900.01" in " ".join(done.output.split())


def load(host: Host, version: str) -> None:
    """Let the kernel have this driver, which drives both cards."""
    folder = f"/run/driver-{version}"
    send(host, {path: text.encode() for path, text in proc.tree((T4, SECOND_T4), version, is_open=False)}, folder)
    proc.load(host, folder)


def boot_of(host: Host) -> str:
    """The id of the boot that runs."""
    return host.run("cat /proc/sys/kernel/random/boot_id").stdout
