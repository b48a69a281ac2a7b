"""Debian's own driver with its DKMS build, on both releases. It found two drivers that could not be built."""

from __future__ import annotations

import subprocess
import time

import pytest

from testbed.host import Host
from testbed.settings import SUITES
from tests.conftest import Boot
from tests.gpu import pci
from tests.hosts.test_nvidia import boot_of, deploy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(45 * 60)]
PACKAGES = "pciutils kmod linux-image-amd64"


@pytest.fixture(scope="module", params=SUITES)
def installed(request: pytest.FixtureRequest, boot: Boot) -> Host:
    """A host with two cards, a kernel of Debian's, and the driver."""
    host = boot(f"test-driver-{request.param}", request.param, warm=True)
    ready = host.run(f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {PACKAGES}", timeout=600)
    assert ready.returncode == 0, ready.stderr
    pci.plug(host, pci.MACHINES["two of a kind"])
    started, before = time.monotonic(), boot_of(host)
    done = deploy(host, nvidia_version="")
    print(f"\n{request.param}: driver installed in {time.monotonic() - started:.0f} s")
    assert done.code == 0, done.output[-6000:]
    assert boot_of(host) == before
    return host


def test_every_kernel_has_the_module(installed: Host) -> None:
    kernels = installed.run("ls /boot | sed -n s/vmlinuz-//p").stdout.split()
    status = installed.run("dkms status").stdout
    assert kernels
    assert all(f", {kernel}, x86_64: installed" in status for kernel in kernels)
    assert installed.run("dpkg-query -W -f '${db:Status-Abbrev}\\n' | grep -v '^[ih]i '").stdout == ""


def test_real_modprobe_takes_the_driver_for_the_cards(installed: Host) -> None:
    kernel = installed.run("ls /lib/modules | grep amd64").stdout.strip()
    found = installed.run(f"modprobe -n -R -S {kernel} {pci.T4.modalias}").stdout.split()
    assert "nvidia" in found
    assert set(installed.run(f"modprobe -n -R -S {kernel} {pci.AMD.modalias}").stdout.split()) == {"amdgpu"}
    module = installed.run(f"modinfo -k {kernel} -F version nvidia-current").stdout.strip()
    assert installed.run("dpkg-query -W -f '${Version}' nvidia-kernel-dkms").stdout.startswith(f"{module}-")


def test_a_newer_driver_in_the_archive_waits(installed: Host) -> None:
    simulated = installed.run("apt-get -s dist-upgrade").stdout
    assert not [line for line in simulated.splitlines() if line.startswith("Inst ") and "nvidia" in line]
    held = installed.run("apt-mark showhold").stdout.split()
    assert held == ["linux-headers-amd64", "linux-image-amd64"]


def test_unattended_upgrades_would_not_touch_it(installed: Host) -> None:
    installed.run("apt-get install -y -qq --no-install-recommends unattended-upgrades", timeout=300)
    told: subprocess.CompletedProcess[str] = installed.run("unattended-upgrade --dry-run --debug 2>&1", timeout=300)
    taken = [line for line in told.stdout.splitlines() if line.startswith("Packages that will be upgraded:")]
    assert not [line for line in taken if "nvidia" in line or "libcuda" in line]


def test_second_run_changes_nothing(installed: Host) -> None:
    done = deploy(installed, nvidia_version="")
    assert done.code == 0, done.output[-3000:]
    assert done.changed == 0
    assert done.output.count("is installed, not loaded") == 1
