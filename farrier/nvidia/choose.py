"""The exact versions that come onto the host, out of what apt knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farrier.nvidia import files
from farrier.nvidia.decide import Driving
from farrier.nvidia.look import Driver
from farrier.nvidia.policy import Policy, chosen_by_apt, known, matching, upstream
from farrier.nvidia.settings import Settings


@dataclass(frozen=True)
class Chosen:
    """`first`, then `driver`: what `apt-get install` is given. `preferences` is written before that."""

    problems: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    driver: tuple[str, ...] = ()
    preferences: str = ""
    version: str = ""


def asked(driving: Driving, driver: Driver) -> tuple[str, ...]:
    """The names that apt is asked about: what shall come, and the headers of every kernel that the host can boot."""
    return (*driving.packages.names, *(f"linux-headers-{kernel}" for kernel in driver.kernels))


def choose(driving: Driving, driver: Driver, settings: Settings, policies: Mapping[str, Policy]) -> Chosen:
    """What to install. Without a version in the settings what is pinned stays, until `upgrade` is asked for."""
    names, wanted = driving.packages, settings.version
    if not wanted and not settings.upgrade:
        wanted = files.pinned(driver.preferences) or ""
    main = policies.get(names.main)
    version = matching(main, names.branch, wanted, upgrade=settings.upgrade) if main else None
    problems = _problems(driving, policies, wanted, version)
    if problems or version is None:
        return Chosen(tuple(problems))
    loose = {name: str(chosen_by_apt(policies[name], upgrade=settings.upgrade)) for name in names.loose}
    kernels = (f"linux-headers-{kernel}" for kernel in driver.kernels)
    return Chosen(
        first=(*names.first, *(name for name in kernels if name in policies)),
        driver=(*names.modules, *(f"{name}={version}" for name in names.driver),
                *(f"{name}={each}" for name, each in loose.items())),
        preferences=files.preferences(version, loose),
        version=upstream(version),
    )  # fmt: skip


def _problems(driving: Driving, policies: Mapping[str, Policy], wanted: str, version: str | None) -> list[str]:
    names = driving.packages
    absent = [name for name in names.names if name not in policies]
    if absent:
        told = f"apt knows no package {', '.join(absent)}: choose another branch (nvidia_branch) or provider"
        return [f"{told} (nvidia_provider), or mend apt's sources"]
    if version is None:
        # An old branch's package lives on as a transitional one, which brings the next branch's driver.
        what = f"version {wanted}" if wanted else f"version of branch {names.branch}"
        there = known(policies, names.main)
        return [f"apt has no {what} of {names.main}; it has {there}: say which (nvidia_version, nvidia_branch)"]
    other = [name for name in names.driver if version not in policies[name].versions]
    told = f"is not to be had in version {version}, as {names.main} is; it has"
    return [f"{name} {told} {known(policies, name)}: choose another version (nvidia_version)" for name in other]
