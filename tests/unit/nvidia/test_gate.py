"""The gate before a reboot."""

from __future__ import annotations

from typing import Any

import pytest

from farrier.nvidia import gate
from farrier.nvidia.flavour import Flavour
from farrier.nvidia.look import System
from farrier.nvidia.providers import packages
from farrier.nvidia.settings import Provider
from tests.unit.nvidia.machines import DEBIAN, KERNEL, UBUNTU, found, installed

NEXT = "6.1.0-57-amd64"
NEWER = f"nvidia-current/535.309.01, {KERNEL}, x86_64: installed\nnvidia-current/535.309.01: added\n"


def problems(
    driver: dict[str, Any], provider: Provider = "debian", system: System = DEBIAN, flavour: Flavour = "proprietary"
) -> list[str]:
    look = found("one T4", **driver)
    assert look.driver is not None
    return gate.problems(look.driver, provider, packages(provider, flavour, "", system, look.driver))


def test_it_is_open_when_every_kernel_has_the_module() -> None:
    assert problems(installed()) == []


STATUS = {
    "dkms 3": f"nvidia-current/535.309.01, {KERNEL}, x86_64: installed",
    "dkms 2.8": f"nvidia-current, 535.309.01, {KERNEL}, x86_64: installed",
    "with a remark": f"nvidia/535.309.01, {KERNEL}, x86_64: installed (WARNING! Diff between built and installed)",
}


@pytest.mark.parametrize("status", STATUS.values(), ids=STATUS)
def test_every_way_in_which_dkms_says_installed_counts(status: str) -> None:
    assert problems(installed(dkms=f"other/1.0, {KERNEL}, x86_64: installed\n{status}\n")) == []


def test_a_kernel_that_came_since_is_named_with_the_end_of_the_log() -> None:
    log = "nv-pci.c:237: error: too few arguments to function 'pci_resize_resource'\nmake: *** [Makefile:82] Error 2"
    found_ = problems(installed(kernels=[KERNEL, NEXT], dkms=NEWER, logs={"nvidia-current/535.309.01": log}))
    assert len(found_) == 1
    assert found_[0].startswith(f"kernel {NEXT} has no module of driver 535.309.01: make its headers come")
    assert f"`apt purge linux-image-{NEXT}`" in found_[0]
    assert found_[0].endswith(log)


@pytest.mark.parametrize("state", ["added", "built"])
def test_built_is_not_installed(state: str) -> None:
    assert problems(installed(dkms=f"nvidia-current/535.309.01, {KERNEL}, x86_64: {state}\n")) != []


def test_another_drivers_module_does_not_count() -> None:
    assert problems(installed(dkms=f"nvidia-current/535.261.03, {KERNEL}, x86_64: installed\n")) != []


def test_a_half_configured_package_closes_it() -> None:
    half = installed()["packages"] | {"nvidia-kernel-dkms": {"state": "iF", "version": "535.309.01", "held": False}}
    told = problems(installed(packages=half))
    assert told[0] == (
        "package nvidia-kernel-dkms is in state 'iF' (`dpkg -l nvidia-kernel-dkms`); mend it: `dpkg --configure -a`"
    )


def test_a_part_that_is_missing_closes_it() -> None:
    left = {name: package for name, package in installed()["packages"].items() if name != "libnvidia-cfg1"}
    assert problems(installed(packages=left)) == ["package libnvidia-cfg1 is not installed"]


def test_a_host_that_boots_no_kernel_of_its_own_is_told() -> None:
    assert "no kernel is installed in /boot" in problems(installed(kernels=[], dkms=""))[0]


def test_prebuilt_modules_are_asked_for_by_kernel() -> None:
    kernels = ["6.8.0-110-generic", "6.8.0-111-generic"]
    names = (
        "linux-image-generic", "linux-headers-generic", "linux-modules-nvidia-580-server-open-generic",
        "linux-modules-nvidia-580-server-open-6.8.0-110-generic", "nvidia-headless-no-dkms-580-server-open",
        "nvidia-utils-580-server", "nvidia-compute-utils-580-server", "libnvidia-cfg1-580-server",
    )  # fmt: skip
    there = {name: {"state": "ii", "version": "580.173.02-0ubuntu0.24.04.1", "held": True} for name in names}
    told = problems(installed(packages=there, kernels=kernels, dkms=""), "ubuntu", UBUNTU, "open")
    assert len(told) == 1
    assert "package linux-modules-nvidia-580-server-open-6.8.0-111-generic is not installed" in told[0]
