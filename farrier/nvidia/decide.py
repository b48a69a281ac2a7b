"""What a deploy does about the driver of one host: decided before anything is touched."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from farrier.nvidia import files, gate
from farrier.nvidia.flavour import Flavour, choice, model, named
from farrier.nvidia.look import Driver, Look, System
from farrier.nvidia.policy import upstream
from farrier.nvidia.providers import (
    DEFAULT_BRANCH,
    Packages,
    default_provider,
    headers,
    metas,
    packages,
    with_dkms,
)
from farrier.nvidia.settings import Provider, Settings

_LAST_PROPRIETARY = 580  # the last branch for Maxwell, Pascal and Volta


class Unfit(Exception):
    """No driver fits the host as it was asked for; the text says what to change."""


@dataclass(frozen=True)
class Driving:
    """Which driver the host gets."""

    provider: Provider
    flavour: Flavour
    packages: Packages
    hold: tuple[str, ...]  # packages that stay together: the kernel's and its headers'


@dataclass(frozen=True)
class Decision:
    """`line`: said in any case. `problems`: why nothing is done. `driving` is None where the host is left alone."""

    line: str
    problems: tuple[str, ...] = ()
    driving: Driving | None = None
    install: bool = False


def line(look: Look, *, declared: bool) -> str:
    """What there is, in one line for people."""
    kinds = Counter(model(card) for card in look.nvidia)
    cards = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    amd = "AMD GPU found, not supported" if look.amd else ""
    if not look.nvidia:
        return f"{amd or 'no GPU'}: services run their CPU variants"
    undeclared = "" if declared else "; none is declared (`farrier_gpus`), so no driver is installed"
    return "; ".join(part for part in (cards + undeclared, amd) if part)


def decide(look: Look, system: System, settings: Settings, *, declared: bool) -> Decision:
    """Whether a driver comes onto the host, and which. `declared`: the inventory says that it has cards for us."""
    said, driver = line(look, declared=declared), look.driver
    if driver is None or not declared:
        return Decision(said)
    asked = settings.replace or settings.upgrade
    if driver.works and not driver.preferences and not asked:
        return Decision(f"{said}; driver {driver.loaded} works and is not Farrier's: left alone (nvidia_replace: true "
                        "puts it into Farrier's care)")  # fmt: skip
    if system.id not in ("debian", "ubuntu"):
        return Decision(said, (f"{system.id} is not supported; install a driver yourself, which is then left alone",))
    provider = settings.provider or default_provider(system)
    try:
        flavour = _flavour(look, provider, system, settings)
    except Unfit as unfit:
        return Decision(said, (str(unfit),))
    if with_dkms(provider) and not driver.kernels:
        return Decision(said, (gate.no_kernel(driver),))
    driving = _driving(provider, flavour, system, driver, settings)
    install = settings.upgrade or not settled(driver, driving, settings)
    then = f"driver {_wanted(settings, driver) or 'of apt'} by {provider}, {flavour} module"
    return Decision(f"{said}; {then}{'' if install else ', is there'}", driving=driving, install=install)


def _flavour(look: Look, provider: Provider, system: System, settings: Settings) -> Flavour:
    """The kernel module. Raises Unfit when none drives the cards, or not the one that was asked for."""
    chosen, names = choice(look.nvidia), ", ".join(named(card) for card in look.nvidia)
    if not chosen.possible:
        raise Unfit(chosen.problem)
    if provider in ("debian", "ubuntu") and provider != system.id:
        other = "ubuntu" if provider == "debian" else "debian"
        raise Unfit(f"nvidia_provider: {provider} is not for this host's {system.id}: use {other} or nvidia_repo")
    if settings.module and settings.module not in chosen.possible:
        raise Unfit(f"nvidia_module: {settings.module} does not drive {names}; take that line out")
    if provider == "debian":
        return _of_debian(names, settings, chosen.possible)
    if "open" not in chosen.possible and int((settings.branch or DEFAULT_BRANCH).partition(".")[0]) > _LAST_PROPRIETARY:
        raise Unfit(f"branch {settings.branch} no longer drives {names}: the last one is '580' (nvidia_branch)")
    return settings.module or ("open" if "open" in chosen.possible else "proprietary")


def _of_debian(names: str, settings: Settings, possible: frozenset[Flavour]) -> Flavour:
    """Debian's open module cannot be installed (12), or built (13), beside its current driver and kernel."""
    if "proprietary" not in possible:
        raise Unfit(f"{names}: works with the open module of a newer driver than Debian's; use "
                    "nvidia_provider: nvidia_repo")  # fmt: skip
    if settings.module == "open":
        raise Unfit("nvidia_module: open: Debian's open module does not go with Debian's driver and kernel; take that "
                    "line out, or use nvidia_provider: nvidia_repo")  # fmt: skip
    return "proprietary"


def _driving(provider: Provider, flavour: Flavour, system: System, driver: Driver, settings: Settings) -> Driving:
    names = packages(provider, flavour, settings.branch, system, driver)
    hold = (*metas(driver), *headers(driver), *names.modules) if settings.hold_kernel else ()
    return Driving(provider, flavour, names, hold)


def settled(driver: Driver, driving: Driving, settings: Settings) -> bool:
    """Whether all of it is there, pinned and held, and the gate is open."""
    version = files.pinned(driver.preferences)
    main = driver.packages.get(driving.packages.main)
    if main is None or main.version != version or (settings.version and not _is(settings.version, version)):
        return False
    if any(name not in driver.packages or not driver.packages[name].held for name in driving.hold):
        return False
    return not gate.problems(driver, driving.provider, driving.packages)


def _is(wanted: str, version: str) -> bool:
    return wanted in (version, upstream(version))


def _wanted(settings: Settings, driver: Driver) -> str:
    pinned = None if settings.upgrade else files.pinned(driver.preferences)
    return settings.version or pinned or settings.branch


@dataclass(frozen=True)
class Next:
    """What is left when the driver is installed. `say` is for people; nothing when the cards are ready."""

    load: bool = False
    reboot: bool = False
    say: str = ""


def afterwards(driver: Driver, provider: Provider) -> Next:
    """Whether what is loaded is what is installed, and if not, what brings it about."""
    if driver.loaded is not None and driver.loaded == driver.libraries:
        return Next()
    if driver.secure_boot and with_dkms(provider) and not driver.enrolled:
        return Next(say=(
            "Secure Boot is on: the kernel loads no module that was built on this host before its owner trusts the key "
            "that DKMS signs with. Run `mokutil --import /var/lib/dkms/mok.pub` on the host (it asks for a password "
            "that you make up), reboot, and at the console choose Enroll MOK and give that password. Or take signed "
            "modules (Ubuntu: nvidia_provider: ubuntu), or turn Secure Boot off in the firmware. Not rebooted."
        ))  # fmt: skip
    if driver.loaded is None:
        return _not_loaded(driver)
    return Next(reboot=True, say=(
        f"the kernel runs driver {driver.loaded}, the libraries are {driver.libraries}: every program that opens a "
        'card from now on ends with "Driver/library version mismatch"'
    ))  # fmt: skip


def _not_loaded(driver: Driver) -> Next:
    if driver.running not in driver.kernels:
        why = f"the kernel that runs, {driver.running}, is not one that the driver was built for"
        return Next(reboot=True, say=f"driver {driver.libraries} is installed, not loaded: {why}")
    if driver.nouveau:
        why = "nouveau holds the cards"
        return Next(reboot=True, say=f"driver {driver.libraries} is installed, not loaded: {why}")
    return Next(load=True, reboot=True, say=f"driver {driver.libraries} is installed, not loaded")


def with_remedy(next_: Next, *, allowed: bool) -> Next:
    """The same; where a reboot is needed and was not allowed, the text says how to have it."""
    if not next_.reboot or allowed:
        return next_
    remedy = "; reboot the host when it suits, or deploy with `-e nvidia_reboot=auto`"
    return replace(next_, reboot=False, say=next_.say + remedy)
