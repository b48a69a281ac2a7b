"""What a deploy does about a host's driver, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from farrier.nvidia.decide import afterwards, decide, with_remedy
from farrier.nvidia.look import Look, System
from farrier.nvidia.settings import Settings
from tests.gpu import pci
from tests.unit.nvidia.machines import DEBIAN, KERNEL, TRIXIE, UBUNTU, found, installed

PLAIN = Settings()
LINES = {
    "none": "no GPU: services run their CPU variants",
    "one T4": "1 × Tesla T4; driver of apt by debian, proprietary module",
    "two of a kind": "2 × Tesla T4; driver of apt by debian, proprietary module",
    "mixed": "1 × Tesla T4, 1 × TITAN Xp; driver of apt by debian, proprietary module",
    "V100": "1 × Tesla V100 PCIe 16GB; driver of apt by debian, proprietary module",
    "AMD": "AMD GPU found, not supported: services run their CPU variants",
}


@pytest.mark.parametrize(("machine", "expected"), LINES.items(), ids=LINES)
def test_one_line_says_what_there_is_and_what_comes(machine: str, expected: str) -> None:
    decision = decide(found(machine), DEBIAN, PLAIN, declared=True)
    assert (decision.line, decision.problems) == (expected, ())
    assert decision.install == ("driver" in expected)


def test_a_card_that_nobody_declared_brings_no_driver(bare: Look) -> None:
    decision = decide(bare, DEBIAN, PLAIN, declared=False)
    assert not decision.install
    assert "none is declared (`farrier_gpus`), so no driver is installed" in decision.line


def test_a_working_driver_of_somebody_else_is_left_alone() -> None:
    theirs = found("one T4", loaded="570.86.15", libraries="570.86.15", bound=["0000:3b:00.0"])
    decision = decide(theirs, DEBIAN, PLAIN, declared=True)
    assert decision.driving is None
    assert "driver 570.86.15 works and is not Farrier's: left alone (nvidia_replace: true" in decision.line


@pytest.mark.parametrize("asked", [Settings(replace=True), Settings(upgrade=True)], ids=["replace", "upgrade"])
def test_it_is_replaced_when_asked(asked: Settings) -> None:
    theirs = found("one T4", loaded="570.86.15", libraries="570.86.15", bound=["0000:3b:00.0"])
    assert decide(theirs, DEBIAN, asked, declared=True).install


@pytest.mark.parametrize("driver", [{"loaded": "570.86.15", "libraries": "535.1"}, {"loaded": None}], ids=str)
def test_one_that_does_not_work_is_replaced(driver: dict[str, Any]) -> None:
    assert decide(found("one T4", bound=["0000:3b:00.0"], **driver), DEBIAN, PLAIN, declared=True).install


def test_a_host_as_it_should_be_is_not_installed_again() -> None:
    decision = decide(found("one T4", **installed()), DEBIAN, PLAIN, declared=True)
    assert not decision.install
    assert decision.line.endswith("driver 535.309.01-0+deb12u1 by debian, proprietary module, is there")


HELD = {"state": "ii", "version": "6.1.192-2", "held": False}
UNSETTLED: dict[str, tuple[dict[str, Any], Settings]] = {
    "another version is asked for": ({}, Settings(version="535.261.03")),
    "an upgrade is asked for": ({}, Settings(upgrade=True)),
    "the pin is gone": ({"preferences": "# Farrier\n"}, Settings()),
    "a kernel came without a module": ({"kernels": [KERNEL, "6.1.0-57-amd64"]}, Settings()),
    "the kernel is not held": ({"packages": installed()["packages"] | {"linux-image-amd64": HELD}}, Settings()),
    "a build broke off": (
        {"packages": installed()["packages"] | {"nvidia-smi": {"state": "iF", "version": "5", "held": False}}},
        Settings(),
    ),
}


@pytest.mark.parametrize(("changes", "settings"), UNSETTLED.values(), ids=UNSETTLED)
def test_each_difference_brings_the_installation_back(changes: dict[str, Any], settings: Settings) -> None:
    assert decide(found("one T4", **installed(**changes)), DEBIAN, settings, declared=True).install


BLACKWELL = "works with the open module of a newer driver than Debian's; use nvidia_provider: nvidia_repo"
DROPPED = "branch 595 no longer drives TITAN Xp at 0000:01:00.0: the last one is '580'"
UNFIT: dict[str, tuple[pci.Device, System, Settings, str]] = {
    "Blackwell on Debian": (pci.B200, DEBIAN, Settings(), BLACKWELL),
    "Debian's open module": (pci.T4, TRIXIE, Settings(module="open"), "Debian's open module does not go"),
    "the open module for Volta": (pci.V100, UBUNTU, Settings(module="open"), "nvidia_module: open does not drive "),
    "a branch that dropped Pascal": (pci.TITAN_XP, UBUNTU, Settings(branch="595"), DROPPED),
    "Ubuntu's packages on Debian": (pci.T4, DEBIAN, Settings(provider="ubuntu"), "is not for this host's debian"),
    "another distribution": (pci.T4, System(id="fedora", version_id="42"), Settings(), "fedora is not supported"),
}


@pytest.mark.parametrize(("card", "system", "settings", "told"), UNFIT.values(), ids=UNFIT)
def test_what_cannot_work_is_refused_with_a_remedy(
    card: pci.Device, system: System, settings: Settings, told: str
) -> None:
    decision = decide(found({"0000:01:00.0": card}), system, settings, declared=True)
    assert not decision.install
    assert told in decision.problems[0]


def test_a_host_without_a_kernel_of_its_own_is_refused_before_anything_changes() -> None:
    decision = decide(found("one T4", kernels=[], running="6.18.44-fc"), DEBIAN, PLAIN, declared=True)
    assert decision.problems[0].startswith("no kernel is installed in /boot (the one that runs, 6.18.44-fc, comes")


def test_the_open_module_is_taken_where_the_provider_has_it() -> None:
    decision = decide(found("one T4"), UBUNTU, PLAIN, declared=True)
    assert decision.driving is not None
    assert decision.driving.flavour == "open"
    assert "nvidia-headless-no-dkms-580-server-open" in decision.driving.packages.driver


MISMATCH = (
    "the kernel runs driver 535.309.01, the libraries are 535.261.03: every program that opens a card from now on "
    'ends with "Driver/library version mismatch"'
)
SIGNED = {"loaded": None, "secure_boot": True}
# What was found, whether the module may just be loaded, whether a reboot helps, and what is told.
LEFT: dict[str, tuple[dict[str, Any], bool, bool, str]] = {
    "all is well": ({}, False, False, ""),
    "unattended upgrades went past the module": ({"libraries": "535.261.03"}, False, True, MISMATCH),
    "nothing is loaded yet": ({"loaded": None}, True, True, "driver 535.309.01 is installed, not loaded"),
    "nouveau is": ({"loaded": None, "nouveau": True}, False, True, "nouveau holds the cards"),
    "another kernel runs": ({"loaded": None, "running": "6.1.0-1"}, False, True, "6.1.0-1, is not one that"),
    "Secure Boot, and nobody enrolled the key": (SIGNED, False, False, "mokutil --import /var/lib/dkms/mok.pub"),
    "Secure Boot with the key": (SIGNED | {"enrolled": True}, True, True, "not loaded"),
}


@pytest.mark.parametrize(("changes", "load", "reboot", "told"), LEFT.values(), ids=LEFT)
def test_what_is_left_to_do_is_predicted(changes: dict[str, Any], load: bool, reboot: bool, told: str) -> None:
    driver = found("one T4", **installed(**changes)).driver
    assert driver is not None
    left = afterwards(driver, "debian")
    assert (left.load, left.reboot) == (load, reboot)
    assert told in left.say
    assert bool(left.say) == bool(told)


def test_signed_modules_need_no_key() -> None:
    driver = found("one T4", **installed(loaded=None, secure_boot=True)).driver
    assert driver is not None
    assert afterwards(driver, "ubuntu").reboot


def test_a_reboot_that_nobody_allowed_becomes_advice() -> None:
    driver = found("one T4", **installed(libraries="535.261.03")).driver
    assert driver is not None
    needed = afterwards(driver, "debian")
    told = with_remedy(needed, allowed=False)
    assert not told.reboot
    assert told.say.endswith("; reboot the host when it suits, or deploy with `-e nvidia_reboot=auto`")
    assert with_remedy(needed, allowed=True) == needed
