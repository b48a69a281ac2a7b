"""The gate before any reboot: every kernel that the host can boot has the driver's module, and nothing is half done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from farrier.nvidia.look import Driver
from farrier.nvidia.policy import upstream
from farrier.nvidia.providers import Packages, with_dkms
from farrier.nvidia.settings import Provider

# Both of dkms's ways of writing: `nvidia-current/535.309.01, 6.1.0-56-amd64, x86_64: installed`, and with `, ` (2.8).
_STATUS = re.compile(r"^(?P<module>nvidia[^/,]*)[/,] ?(?P<version>[^,:]+), (?P<kernel>[^,]+), [^:]+: (?P<state>\w+)")


def problems(driver: Driver, provider: Provider, wanted: Packages) -> list[str]:
    """Everything that would make a reboot end without a driver; empty when the host may be rebooted."""
    return [*_halves(driver), *_missing(driver, wanted.names), *_modules(driver, provider, wanted)]


def built(driver: Driver) -> dict[str, set[str]]:
    """Kernel -> versions of the driver that DKMS says are installed for it."""
    found: dict[str, set[str]] = {}
    for match in filter(None, map(_STATUS.match, driver.dkms.splitlines())):
        if match["state"] == "installed":
            found.setdefault(match["kernel"], set()).add(match["version"])
    return found


def _halves(driver: Driver) -> Iterator[str]:
    # `hi` is installed and held.
    for name, package in sorted(driver.packages.items()):
        if package.state not in ("ii", "hi"):
            yield f"package {name} is in state '{package.state}' (`dpkg -l {name}`); mend it: `dpkg --configure -a`"


def _missing(driver: Driver, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in driver.packages:
            yield f"package {name} is not installed"


def _modules(driver: Driver, provider: Provider, wanted: Packages) -> Iterator[str]:
    if not driver.kernels:
        yield no_kernel(driver)
    main = driver.packages.get(wanted.main)
    if main is None:  # said already
        return
    version, done = upstream(main.version), built(driver)
    for kernel in driver.kernels:
        if with_dkms(provider):
            if version not in done.get(kernel, set()):
                yield _unbuilt(driver, kernel, version)
        elif prebuilt(wanted, kernel) not in driver.packages:
            yield (
                f"kernel {kernel} has no prebuilt module: package {prebuilt(wanted, kernel)} is not installed; install "
                f"it, or take that kernel away (`apt purge linux-image-{kernel}`)"
            )


def _unbuilt(driver: Driver, kernel: str, version: str) -> str:
    log = next((tail for name, tail in driver.logs.items() if name.endswith(f"/{version}")), "")
    told = f"; the end of DKMS's build log:\n{log}" if log else "; DKMS has no build log of it"
    return (
        f"kernel {kernel} has no module of driver {version}: make its headers come (linux-headers-{kernel}), build it "
        f"again (`dkms autoinstall -k {kernel}`), or take that kernel away (`apt purge linux-image-{kernel}`){told}"
    )


def prebuilt(wanted: Packages, kernel: str) -> str:
    """The package of Ubuntu with the signed module for one kernel; `kernel`: as `uname -r` says it."""
    suffix = "-open" if wanted.main.endswith("-open") else ""
    return f"linux-modules-nvidia-{wanted.branch}-server{suffix}-{kernel}"


def no_kernel(driver: Driver) -> str:
    """Said where nothing in /boot can be booted."""
    return (
        f"no kernel is installed in /boot (the one that runs, {driver.running}, comes from elsewhere): nothing can be "
        "built for it; install the distribution's own, for example linux-image-amd64, and boot it"
    )
