"""The files that hold a driver in its place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from farrier.nvidia.look import System
from farrier.nvidia.providers import blacklist
from farrier.nvidia.settings import Provider

SOURCES = "/etc/apt/sources.list.d/farrier-nvidia.sources"
PREFERENCES = "/etc/apt/preferences.d/farrier-nvidia"
UNATTENDED = "/etc/apt/apt.conf.d/52farrier-nvidia"
PERSISTENCE = "/etc/systemd/system/nvidia-persistenced.service.d/farrier.conf"
KEY = "/etc/apt/keyrings/farrier-nvidia.asc"
REPOSITORY = "https://developer.download.nvidia.com/compute/cuda/repos"
_HEAD = "# Farrier: role nvidia; rewritten at each deploy."
_DEBIAN = ("contrib", "non-free", "non-free-firmware")
_UBUNTU = ("restricted", "multiverse")


def sources(provider: Provider, system: System, indexes: Iterable[str], before: str) -> str:
    """The text of our sources file: what apt does not read yet, from the mirrors that the host has; or NVIDIA's own.

    `indexes`: `<address> <release> <component> <key>` of every list that apt reads; the key must be the same wherever
    an address is named. Nothing when nothing is missing. `before`: the file's text now, which stays where it is for
    the same provider: apt reads its lists by now, so that they no longer count as missing.
    """
    if before and (REPOSITORY in before) == (provider == "nvidia_repo"):
        return before
    if provider == "nvidia_repo":
        return _stanza(repository(system), "/", (), KEY)
    have: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for index in indexes:
        address, release, component, key = index.split(" ", 3)
        if release.startswith(system.version_codename):
            have[address, release, key if key.startswith("/") else ""].add(component)
    wanted = _DEBIAN if provider == "debian" else _UBUNTU
    parts = []
    for (address, release, key), components in sorted(have.items()):
        missing = [component for component in wanted if component not in components]
        if "main" in components and missing:
            parts.append(_stanza(address, release, missing, key))
    return "\n".join(parts)


def repository(system: System) -> str:
    """The address of NVIDIA's repository for the distribution."""
    return f"{REPOSITORY}/{system.id}{system.version_id.replace('.', '')}/x86_64/"


def _stanza(address: str, release: str, components: Sequence[str], key: str) -> str:
    lines = [_HEAD, "Types: deb", f"URIs: {address}", f"Suites: {release}"]
    lines += [f"Components: {' '.join(components)}"] if components else []
    lines += [f"Signed-By: {key}"] if key else []
    return "".join(f"{line}\n" for line in lines)


def preferences(version: str, loose: Mapping[str, str]) -> str:
    """Pins for apt: the driver's own packages to `version`, and those released apart from it, each to its own.

    1001: also where that is a step back, so that a version said in the inventory is the one that comes.
    """
    pins = {"*nvidia* libcuda* libnv* firmware-nvidia-gsp": version, **loose}
    parts = [f"Package: {names}\nPin: version {wanted}\nPin-Priority: 1001\n" for names, wanted in pins.items()]
    return "\n".join([f"{_HEAD}\n", *parts])


def pinned(text: str) -> str | None:
    """The driver's version in our preferences file; None where there is none."""
    lines = (line for line in text.splitlines() if line.startswith("Pin: version "))
    return next(lines, "").removeprefix("Pin: version ") or None


def unattended(provider: Provider) -> str:
    """The second line of defence: unattended-upgrades leaves the driver alone whatever the pins say."""
    names = "".join(f'  "{name}";\n' for name in blacklist(provider))
    return f"{_HEAD.replace('#', '//')}\nUnattended-Upgrade::Package-Blacklist {{\n{names}}};\n"


def persistence() -> str:
    """The driver stays initialised while nobody uses a card, and /dev/nvidia-uvm is there before any service."""
    return f"""\
{_HEAD}
[Service]
ExecStartPre=-/usr/bin/nvidia-modprobe -c 0 -u
ExecStart=
ExecStart=/usr/bin/nvidia-persistenced --persistence-mode
"""
