"""Where the driver may come from, and what it is called there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from farrier.nvidia.flavour import Flavour
from farrier.nvidia.look import Driver, System
from farrier.nvidia.settings import Provider

DEFAULT_BRANCH = "580"  # the last one that drives Maxwell, Pascal and Volta too
_META = re.compile(r"linux-image-(?!\d|unsigned-)(.+)")
_RENAMED = 590  # NVIDIA's packages for Ubuntu lost the branch in their names here


@dataclass(frozen=True)
class Packages:
    """What is installed for one provider. `first` must be configured before `driver`: DKMS builds with it.

    `main` decides the version of all of NVIDIA's own; `loose` are released apart from it. `modules` are prebuilt ones.
    """

    first: tuple[str, ...]
    driver: tuple[str, ...]
    main: str
    branch: str = ""
    loose: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All that must be there in the end."""
        return (*self.first, *self.modules, *self.driver, *self.loose)


def default_provider(system: System) -> Provider:
    """The distribution's own."""
    return "ubuntu" if system.id == "ubuntu" else "debian"


def packages(provider: Provider, flavour: Flavour, branch: str, system: System, driver: Driver) -> Packages:
    """The names. `branch` may be empty for Debian, which has one."""
    if provider == "debian":
        return _debian(driver)
    if provider == "ubuntu":
        return _ubuntu(flavour, branch or DEFAULT_BRANCH, driver)
    return _nvidia(flavour, branch or DEFAULT_BRANCH, system, driver)


def metas(driver: Driver) -> tuple[str, ...]:
    """The installed packages that bring the newest kernel: `linux-image-amd64`."""
    return tuple(sorted(name for name in driver.packages if _META.fullmatch(name)))


def headers(driver: Driver) -> tuple[str, ...]:
    """The packages that bring those kernels' headers."""
    return tuple(name.replace("linux-image-", "linux-headers-", 1) for name in metas(driver))


def with_dkms(provider: Provider) -> bool:
    """Whether the module is built on the host."""
    return provider != "ubuntu"


def _debian(driver: Driver) -> Packages:
    # libnvidia-cfg1 is only recommended, and nvidia-persistenced ends without it. nvidia-modprobe makes
    # /dev/nvidia-uvm, which no udev rule does.
    own = ("nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "libnvidia-ml1")
    loose = ("nvidia-modprobe", "nvidia-persistenced")
    return Packages((*headers(driver), "dkms"), own, "nvidia-kernel-dkms", loose=loose)


def _ubuntu(flavour: Flavour, branch: str, driver: Driver) -> Packages:
    suffix = "-open" if flavour == "open" else ""
    flavours = (name.removeprefix("linux-image-") for name in metas(driver))
    modules = tuple(f"linux-modules-nvidia-{branch}-server{suffix}-{kernel}" for kernel in flavours)
    main = f"nvidia-headless-no-dkms-{branch}-server{suffix}"
    own = (
        main,
        f"nvidia-utils-{branch}-server",
        f"nvidia-compute-utils-{branch}-server",
        f"libnvidia-cfg1-{branch}-server",
    )
    return Packages(headers(driver), own, main, branch, modules=modules)


def _nvidia(flavour: Flavour, branch: str, system: System, driver: Driver) -> Packages:
    first = (*headers(driver), "dkms")
    if system.id == "debian":
        module = "nvidia-kernel-open-dkms" if flavour == "open" else "nvidia-kernel-dkms"
        # Debian's own names lie in the same lists; without the branch, apt would take the newest of all.
        own = (module, "nvidia-driver-cuda", "libnvidia-cfg1", "nvidia-persistenced", "nvidia-modprobe")
        return Packages(first, own, module, branch)
    number = "" if int(branch.partition(".")[0]) >= _RENAMED else f"-{branch}"
    module = f"nvidia-dkms{number}-open" if flavour == "open" else f"nvidia-dkms{number}"
    tools = (f"nvidia-compute-utils{number}", f"nvidia-utils{number}") if number else ("nvidia-persistenced",)
    own = (module, f"libnvidia-compute{number}", f"libnvidia-cfg1{number}", *tools)
    return Packages(first, own, module, branch, loose=("nvidia-modprobe",))


def blacklist(provider: Provider) -> tuple[str, ...]:
    """Beginnings of the names that unattended-upgrades must not touch."""
    names: Iterable[str] = ("nvidia-", "libnvidia-", "libcuda", "firmware-nvidia-gsp")
    return (*names, "linux-modules-nvidia-") if provider == "ubuntu" else tuple(names)
