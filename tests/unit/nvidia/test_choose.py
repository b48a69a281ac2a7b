"""The exact versions, for every branch of every provider, against what `apt-cache policy` says there."""

from __future__ import annotations

import pytest

from farrier.nvidia.choose import Chosen, choose
from farrier.nvidia.decide import decide
from farrier.nvidia.look import System
from farrier.nvidia.policy import chosen_by_apt, parse
from farrier.nvidia.settings import Settings
from tests.gpu import pci
from tests.unit.nvidia.machines import DEBIAN, TRIXIE, UBUNTU, found, installed, policies

SLOT = "0000:3b:00.0"
GENERIC = {
    "linux-image-generic": {"state": "ii", "version": "6.8.0-110.110", "held": False},
    "linux-image-6.8.0-110-generic": {"state": "ii", "version": "6.8.0-110.110", "held": False},
}


def chosen(
    system: System, apt: str, settings: Settings, card: pci.Device = pci.T4, driver: dict[str, object] | None = None
) -> Chosen:
    on_ubuntu = {"packages": GENERIC, "kernels": ["6.8.0-110-generic"], "running": "6.8.0-110-generic"}
    look = found({SLOT: card}, **((on_ubuntu if system.id == "ubuntu" else {}) | (driver or {})))
    decision = decide(look, system, settings, declared=True)
    assert decision.problems == ()
    assert decision.driving is not None
    assert look.driver is not None
    return choose(decision.driving, look.driver, settings, policies(apt))


def test_debian_12_takes_the_security_archives_proprietary_driver() -> None:
    found_ = chosen(DEBIAN, "debian-12", Settings())
    assert found_.first == ("linux-headers-amd64", "dkms")
    assert found_.driver == (
        "nvidia-kernel-dkms=535.309.01-0+deb12u1",
        "nvidia-smi=535.309.01-0+deb12u1",
        "libcuda1=535.309.01-0+deb12u1",
        "libnvidia-cfg1=535.309.01-0+deb12u1",
        "libnvidia-ml1=535.309.01-0+deb12u1",
        "nvidia-modprobe=535.309.01-0+deb12u1",
        "nvidia-persistenced=535.171.04-1~deb12u1",
    )


def test_the_pins_hold_every_part_in_its_own_version() -> None:
    text = chosen(DEBIAN, "debian-12", Settings()).preferences
    assert "Package: *nvidia* libcuda* libnv* firmware-nvidia-gsp\nPin: version 535.309.01-0+deb12u1\n" in text
    assert "Package: nvidia-persistenced\nPin: version 535.171.04-1~deb12u1\n" in text
    assert text.count("Pin-Priority: 1001\n") == text.count("Package: ")


def test_debian_13_takes_its_own() -> None:
    found_ = chosen(TRIXIE, "debian-13", Settings())
    assert found_.version == "550.163.01"
    assert "nvidia-kernel-dkms=550.163.01-2" in found_.driver
    assert "nvidia-modprobe=570.133.07-1" in found_.driver


@pytest.mark.parametrize("wanted", ["535.261.03", "535.261.03-1"])
def test_a_version_may_be_said_in_nvidias_words_or_the_packages(wanted: str) -> None:
    assert "nvidia-kernel-dkms=535.261.03-1" in chosen(DEBIAN, "debian-12", Settings(version=wanted)).driver


def test_a_version_that_is_not_there_is_told_with_those_that_are() -> None:
    (told,) = chosen(DEBIAN, "debian-12", Settings(version="535.1.2")).problems
    assert told == (
        "apt has no version 535.1.2 of nvidia-kernel-dkms; it has 535.309.01-0+deb12u1, 535.261.03-1: say which "
        "(nvidia_version, nvidia_branch)"
    )


def test_what_is_pinned_stays_until_an_upgrade_is_asked_for() -> None:
    pin = {"preferences": "Package: x\nPin: version 535.261.03-1\n", "packages": installed()["packages"]}
    assert chosen(DEBIAN, "debian-12", Settings(), driver=pin).version == "535.261.03"
    assert chosen(DEBIAN, "debian-12", Settings(upgrade=True), driver=pin).version == "535.309.01"


PINNED = """\
nvidia-kernel-dkms:
  Installed: 535.261.03-1
  Candidate: 535.261.03-1
  Version table:
     580.95.05-1~bpo12+1 100
        100 http://mirror.example.org/debian bookworm-backports/non-free amd64 Packages
     535.309.01-0+deb12u1 500
        500 http://mirror.example.org/debian-security bookworm-security/non-free amd64 Packages
 *** 535.261.03-1 1001
        500 http://mirror.example.org/debian bookworm/non-free amd64 Packages
        100 /var/lib/dpkg/status
     535.183.01-1 990
        990 http://mirror.example.org/old bookworm/non-free amd64 Packages
"""


def test_an_upgrade_looks_past_our_own_pin_and_takes_no_step_back() -> None:
    policy = parse(PINNED)["nvidia-kernel-dkms"]
    assert chosen_by_apt(policy, upgrade=False) == "535.261.03-1"
    assert chosen_by_apt(policy, upgrade=True) == "535.309.01-0+deb12u1"


UBUNTUS = {"535": "535.288.01", "570": "570.211.01", "580": "580.173.02", "595": "595.71.05", "615": "615.36.02"}


@pytest.mark.parametrize("flavour", ["open", "proprietary"])
@pytest.mark.parametrize("branch", UBUNTUS)
def test_every_branch_of_ubuntu(branch: str, flavour: str) -> None:
    settings = Settings.model_validate({"branch": branch, "module": flavour})
    found_ = chosen(UBUNTU, "ubuntu-24.04", settings)
    suffix, version = "-open" if flavour == "open" else "", f"{UBUNTUS[branch]}-0ubuntu0.24.04.1"
    assert found_.problems == ()
    assert found_.first == ("linux-headers-generic", "linux-headers-6.8.0-110-generic")
    assert found_.driver == (
        f"linux-modules-nvidia-{branch}-server{suffix}-generic",
        f"nvidia-headless-no-dkms-{branch}-server{suffix}={version}",
        f"nvidia-utils-{branch}-server={version}",
        f"nvidia-compute-utils-{branch}-server={version}",
        f"libnvidia-cfg1-{branch}-server={version}",
    )


def test_the_kernels_own_flavour_names_the_prebuilt_modules() -> None:
    kernel = {"linux-image-aws": {"state": "ii", "version": "6.8.0-1040.42", "held": False}}
    decision = decide(found("one T4", packages=kernel), UBUNTU, Settings(), declared=True)
    assert decision.driving is not None
    assert decision.driving.packages.modules == ("linux-modules-nvidia-580-server-open-aws",)
    assert decision.driving.hold == (
        "linux-image-aws", "linux-headers-aws", "linux-modules-nvidia-580-server-open-aws",
    )  # fmt: skip


def test_a_branch_that_lives_on_in_name_only_is_refused() -> None:
    (told,) = chosen(UBUNTU, "ubuntu-24.04", Settings(branch="565")).problems
    assert "apt has no version of branch 565 of nvidia-headless-no-dkms-565-server-open" in told
    assert "it has 580.173.02-0ubuntu0.24.04.1" in told


def test_a_branch_that_never_was_is_refused() -> None:
    (told,) = chosen(UBUNTU, "ubuntu-24.04", Settings(branch="581")).problems
    assert told.startswith(
        "apt knows no package linux-modules-nvidia-581-server-open-generic, nvidia-headless-no-dkms-581"
    )


REPOSITORY = {"580": "580.173.02", "590": "590.48.01", "595": "595.71.05", "615": "615.36.02"}


@pytest.mark.parametrize(
    ("system", "apt"), [(DEBIAN, "nvidia-debian12"), (TRIXIE, "nvidia-debian13")], ids=["12", "13"]
)
@pytest.mark.parametrize("branch", REPOSITORY)
def test_every_branch_of_nvidias_repository_on_debian(branch: str, system: System, apt: str) -> None:
    found_ = chosen(system, apt, Settings(provider="nvidia_repo", branch=branch))
    assert found_.problems == ()
    version = f"{REPOSITORY[branch]}-1"
    names = (
        "nvidia-kernel-open-dkms",
        "nvidia-driver-cuda",
        "libnvidia-cfg1",
        "nvidia-persistenced",
        "nvidia-modprobe",
    )
    assert found_.driver == tuple(f"{name}={version}" for name in names)


def test_blackwell_gets_the_open_module_from_there() -> None:
    found_ = chosen(TRIXIE, "nvidia-debian13", Settings(provider="nvidia_repo", branch="595"), pci.B200)
    assert found_.driver[0] == "nvidia-kernel-open-dkms=595.71.05-1"


def test_volta_gets_the_proprietary_one_of_its_last_branch() -> None:
    found_ = chosen(DEBIAN, "nvidia-debian12", Settings(provider="nvidia_repo"), pci.V100)
    assert found_.driver[0] == "nvidia-kernel-dkms=580.173.02-1"


@pytest.mark.parametrize("branch", ["570", "580"])
def test_branches_of_nvidias_repository_that_carry_their_number_on_ubuntu(branch: str) -> None:
    found_ = chosen(UBUNTU, "nvidia-ubuntu2404", Settings(provider="nvidia_repo", branch=branch))
    assert found_.problems == ()
    names = [name.partition("=")[0] for name in found_.driver]
    assert names == [
        f"nvidia-dkms-{branch}-open", f"libnvidia-compute-{branch}", f"libnvidia-cfg1-{branch}",
        f"nvidia-compute-utils-{branch}", f"nvidia-utils-{branch}", "nvidia-modprobe",
    ]  # fmt: skip


@pytest.mark.parametrize("branch", ["590", "595", "615"])
def test_branches_of_nvidias_repository_without_a_number_on_ubuntu(branch: str) -> None:
    found_ = chosen(UBUNTU, "nvidia-ubuntu2404", Settings(provider="nvidia_repo", branch=branch))
    assert found_.problems == ()
    assert found_.driver[0] == f"nvidia-dkms-open={REPOSITORY[branch]}-1ubuntu1"
    assert not [name for name in found_.driver if f"-{branch}" in name]
